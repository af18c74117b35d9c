"""Lets watches send one after the other, with room for everybody else between two turns.

What hundreds have to send at once would else stand before a lookup, and not once: a call is
taken, read and answered in several rounds of the loop. Hundreds do come at once, for those
that had their turns together have more to send at the same time again. And what concerns
hundreds would be hundreds of messages of one event: so a watch to which something has come
gathers for a while before its turn, and longer the more watches there are.

Nothing is done for a watch until its turn but to note that it waits. A turn is over before a
message is written, so one that cannot be written holds up nobody.
"""

import asyncio
from collections import deque
from typing import Final

__all__ = ["Turns"]

# So much is between two turns.
_BETWEEN_S: Final = 0.001
# So long is gathered for each watch there is, and at most.
_EACH_S: Final = 0.002
_MOST_S: Final = 1.0


class Turns:
    """The turns of all watches.

    Attributes:
        watches: how many there are.
    """

    def __init__(self) -> None:
        self.watches = 0
        self._gathering: deque[tuple[float, asyncio.Event]] = deque()
        # Those who have much to send, and all others: one of these, one of those.
        self._soon: deque[asyncio.Event] = deque()
        self._ready: deque[asyncio.Event] = deque()
        self._lines = self._soon, self._ready
        self._due: asyncio.TimerHandle | None = None
        self._next: asyncio.TimerHandle | None = None
        self._last = 0.0

    def __repr__(self) -> str:
        waiting = len(self._soon), len(self._ready)
        return f"<Turns gathering={len(self._gathering)} waiting={waiting}>"

    def ask(self, turn: asyncio.Event, *, at_once: bool = False) -> None:
        """Set it in its turn, a while from now; or soon."""
        if not at_once:
            due = asyncio.get_running_loop().time() + min(_MOST_S, _EACH_S * self.watches)
            self._gathering.append((due, turn))
        elif turn not in self._soon:
            self._soon.append(turn)
        self._go_on()

    def due(self, turn: asyncio.Event) -> None:
        """Set it in its turn."""
        self._ready.append(turn)
        self._go_on()

    async def take(self, *, again: bool = False) -> None:
        """Wait for a turn; `again`: soon, to go on with what was begun in the last."""
        turn = asyncio.Event()
        (self._soon if again else self._ready).append(turn)
        self._go_on()
        await turn.wait()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if any(self._lines) and self._next is None:
            self._next = loop.call_at(self._last + _BETWEEN_S, self._give)
        if self._gathering and self._due is None:
            self._due = loop.call_at(self._gathering[0][0], self._gathered)

    def _gathered(self) -> None:
        """Some have gathered for long enough."""
        self._due, now = None, asyncio.get_running_loop().time()
        while self._gathering and self._gathering[0][0] <= now:
            self._ready.append(self._gathering.popleft()[1])
        self._go_on()

    def _give(self) -> None:
        self._next, self._last = None, asyncio.get_running_loop().time()
        one, other = self._lines
        (one or other).popleft().set()
        self._lines = other, one
        self._go_on()
