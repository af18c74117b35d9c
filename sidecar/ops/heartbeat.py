"""Whether the event loop still turns, as another thread can see it.

A task of the loop beats about four times a second. A beat that comes late by so much
is the loop's lag: for so long every lookup had to wait. No beat for many seconds means
that the loop is stuck, and only then does /livez fail.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Heartbeat"]

_REMEMBERED: Final = 120


class Heartbeat:
    """The beats of one loop; read from any thread.

    Args:
        interval: seconds between two beats.
        clock: monotonic seconds.
    """

    def __init__(self, interval: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._last = clock()
        self._late: deque[float] = deque(maxlen=_REMEMBERED)

    def __repr__(self) -> str:
        return f"<Heartbeat age={self.age():.3f} lag={self.lag():.3f}>"

    async def run(self) -> None:
        """Beat until cancelled."""
        self._last = self._clock()
        while True:
            await asyncio.sleep(self._interval)
            self.beat()

    def beat(self) -> None:
        """The loop has come round."""
        now = self._clock()
        self._late.append(max(0.0, now - self._last - self._interval))
        self._last = now

    def age(self) -> float:
        """Seconds since the last beat."""
        return max(0.0, self._clock() - self._last)

    def lag(self) -> float:
        """Worst lateness of the last beats (30 s of them), or of the one that is due: seconds."""
        return max(0.0, self.age() - self._interval, *self._late.copy())
