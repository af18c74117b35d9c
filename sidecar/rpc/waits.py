"""Waiting until a table is as fresh as a request wants it.

A call waits for what it lacks (a position of a partition, or any progress where only the
staleness is too high), is woken when that is there, and looks again. It never waits past
its deadline: a little before it, it goes on to the gate, which says what is missing. An
answer is taken in the step after the wait, with no await in between.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .._pb import cache_pb2 as pb
from ..core.bounds import Bounds
from ..core.errors import Reason, Refused
from ..core.served import Served
from .calls import Calls, Context
from .checks import bounds_of
from .errors import shutting_down

__all__ = ["Waits"]

# What is left of a call's deadline for the answer: a tenth, and no more than this (seconds).
_ANSWER_S: Final = 0.05


class Waits:
    """Holds calls up until their bounds are met.

    Args:
        clock: seconds, CLOCK_BOOTTIME.
        calls: those under way; none waits on when the sidecar stops.
        longest_ms: most that one waits, and how long where it does not say.
    """

    def __init__(self, clock: Callable[[], float], calls: Calls, longest_ms: int) -> None:
        self._clock = clock
        self._calls = calls
        self._longest_ms = longest_ms

    async def until_met(self, served: Served, freshness: pb.Freshness, context: Context) -> None:
        """Return when the bounds are met, or the time is over; the gate tells which.

        Raises:
            Refused: what waiting does not help against; SHUTTING_DOWN.
        """
        if freshness.allow_partial:
            return
        asked_ms = freshness.wait_ms if freshness.HasField("wait_ms") else self._longest_ms
        limit_s = min(asked_ms, self._longest_ms) / 1000
        left = context.time_remaining()
        if left is not None:
            limit_s = min(limit_s, left - min(left / 10, _ANSWER_S))
        await self.within(served, bounds_of(freshness), limit_s)

    async def within(self, served: Served, bounds: Bounds, limit_s: float | None) -> None:
        """The same, with a limit in seconds; None: none.

        Raises:
            Refused: what waiting does not help against; SHUTTING_DOWN.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._met(served, bounds):
                    await self._progress(served, bounds)

    def _met(self, served: Served, bounds: Bounds) -> bool:
        try:
            served.read(self._clock(), bounds)
        except Refused as refused:
            if refused.reason is not Reason.NOT_FRESH:
                raise
            if self._calls.stopping:
                raise shutting_down() from refused
            return False
        return True

    @staticmethod
    async def _progress(served: Served, bounds: Bounds) -> None:
        woken = asyncio.Event()
        call = woken.set
        served.arrivals.when(call, served.view.missing(bounds) if served.view else None)
        try:
            await woken.wait()
        finally:
            served.arrivals.forget(call)
