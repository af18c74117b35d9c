"""Waiting longer after each failure in a row, with jitter so that sidecars spread out."""

import random

__all__ = ["Backoff"]

_FIRST_S = 0.1


class Backoff:
    """Doubling waits from 0.1 s up to a bound, each shortened by up to half at random."""

    def __init__(self, *, largest_s: float = 2.0) -> None:
        self._largest_s = largest_s
        self._next_s = _FIRST_S

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(self._largest_s, self._next_s * 2)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)

    def reset(self) -> None:
        """It works again."""
        self._next_s = _FIRST_S
