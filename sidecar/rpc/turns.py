"""Lets watches send one after the other, one in a round of the loop.

What hundreds have to send at once would else stand between a lookup and its answer. And what
concerns hundreds would be hundreds of messages of one event: so a watch to which something
has come gathers for a while before its turn, and longer the more watches there are.

Nothing is done for a watch until its turn but to note that it waits. A turn is over before a
message is written, so one that cannot be written holds up nobody.
"""

import asyncio
from collections import deque
from typing import Final

__all__ = ["Turns"]

# So long is gathered for each watch there is, and at most.
_EACH_S: Final = 0.001
_MOST_S: Final = 0.5


class Turns:
    """The turns of all watches.

    Attributes:
        watches: how many there are.
    """

    def __init__(self) -> None:
        self.watches = 0
        self._gathering: deque[tuple[float, asyncio.Event]] = deque()
        self._ready: deque[asyncio.Event] = deque()
        self._due: asyncio.TimerHandle | None = None
        self._giving = False

    def __repr__(self) -> str:
        return f"<Turns gathering={len(self._gathering)} ready={len(self._ready)}>"

    def ask(self, turn: asyncio.Event) -> None:
        """Set it in its turn, a while from now."""
        due = asyncio.get_running_loop().time() + min(_MOST_S, _EACH_S * self.watches)
        self._gathering.append((due, turn))
        self._go_on()

    async def take(self) -> None:
        """Wait for a turn."""
        turn = asyncio.Event()
        self._ready.append(turn)
        self._go_on()
        await turn.wait()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ready and not self._giving:
            self._giving = True
            loop.call_soon(self._give)
        elif self._gathering and self._due is None:
            self._due = loop.call_at(self._gathering[0][0], self._gathered)

    def _gathered(self) -> None:
        """Some have gathered for long enough."""
        self._due, now = None, asyncio.get_running_loop().time()
        while self._gathering and self._gathering[0][0] <= now:
            self._ready.append(self._gathering.popleft()[1])
        self._go_on()

    def _give(self) -> None:
        self._giving = False
        self._ready.popleft().set()
        self._go_on()
