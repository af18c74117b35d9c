"""Virtual time: an asyncio loop that jumps to whatever comes next.

The world outside of the sidecar (brokers, the network, the faults) is a heap of plain
calls, `World.at`. The sidecar's tasks are asyncio's as ever. When no task can go on, the
loop jumps to the next timer or the next call of the world; while some can, each round of
the loop takes a little virtual time, as it would take CPU time.

So a process can be paused (`World.pause`): the world's calls go on for a while, and the
sidecar finds the clock changed, as after a SIGSTOP.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VirtualLoop", "World"]

_START_S = 1000.0
_MOST_ROUNDS = 400_000


class World:
    """The clock, chance, and what is going to happen outside of the sidecar.

    Args:
        seed: of all chance.
        trace: told each event, as text; None: nobody listens.
    """

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = random.Random(seed)
        self.now = _START_S
        self.digest = 0
        self._trace = trace
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have something called after so many seconds."""
        self._number += 1
        heapq.heappush(self._calls, (self.now + delay_s, self._number, call))

    def note(self, event: str, *details: Any) -> None:
        """Put an event on the record that makes two runs comparable."""
        self.digest = zlib.crc32(repr((round(self.now, 6), event, details)).encode(), self.digest)
        if self._trace is not None:
            self._trace(f"{self.now - _START_S:9.4f}  {event} {' '.join(map(str, details))}")

    def run_until(self, moment: float) -> None:
        """Let the world go on up to a moment, without the sidecar."""
        while self._calls and self._calls[0][0] <= moment:
            when, _, call = heapq.heappop(self._calls)
            self.now = max(self.now, when)
            call()
        self.now = max(self.now, moment)

    def pause(self, seconds: float) -> None:
        """Stop the sidecar's process for so long."""
        self.run_until(self.now + seconds)

    @property
    def next_call(self) -> float | None:
        """When something happens next."""
        return self._calls[0][0] if self._calls else None


class _Selector:
    """Where a loop would wait for sockets: the clock moves here."""

    def __init__(self, world: World, round_s: float) -> None:
        self._world = world
        self._round_s = round_s

    def select(self, timeout: float | None) -> list[Any]:
        """Let time pass up to the next timer or call."""
        world, coming = self._world, self._world.next_call
        if timeout is not None and timeout <= 0:
            world.run_until(world.now + self._round_s)
        elif timeout is None and coming is None:
            raise RuntimeError("everybody waits, and nothing is going to happen")
        elif timeout is None or (coming is not None and coming < world.now + timeout):
            world.run_until(max(coming, world.now))
        else:
            world.run_until(world.now + timeout)
        return []

    def close(self) -> None:
        """Nothing was opened."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on a world's clock.

    Args:
        world: whose clock and calls.
        round_s: how long a round of the loop takes while there is work.
        look: called after each round; what it raises ends the run.
    """

    def __init__(self, world: World, round_s: float, look: Callable[[], None]) -> None:
        super().__init__()
        self._world = world
        self._selector = _Selector(world, round_s)
        self._clock_resolution = 1e-7
        self._look = look
        self._rounds = 0

    def time(self) -> float:
        """The world's time, in seconds."""
        return self._world.now

    def end(self) -> None:
        """Look no more: what is left is only to be cancelled."""
        self._look = _nothing

    def _run_once(self) -> None:
        super()._run_once()
        self._rounds += 1
        if self._rounds > _MOST_ROUNDS:
            raise RuntimeError(f"no end after {self._rounds} rounds: a task spins")
        self._look()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no other threads."""


def _nothing() -> None:
    pass
