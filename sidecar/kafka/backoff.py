"""Waiting longer after each failure in a row, with jitter so that sidecars spread out."""

import random

__all__ = ["Backoff", "Retry"]

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


class Retry:
    """When to try again: `not_before` a moment, later after each failure in a row."""

    def __init__(self, *, largest_s: float = 1.0) -> None:
        self.not_before = 0.0
        self._backoff = Backoff(largest_s=largest_s)

    def failed(self, now: float) -> None:
        """Wait longer than the last time (seconds)."""
        self.not_before = now + self._backoff.next_s()

    def worked(self) -> None:
        """The next failure is a first one."""
        self._backoff.reset()
