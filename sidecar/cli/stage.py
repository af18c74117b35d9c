"""What goes on behind the demo: data that change, and what may be done to the broker.

One task does it all, so that two keys never act at once. The writer ends before its topic
is deleted: a producer that stays would have the broker create it again.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from .text import count

if TYPE_CHECKING:
    from ..demo.airports import Airports
    from ..demo.writer import Writer

__all__ = ["KEYS", "Stage"]

KEYS: Final = {
    "f": "freezes the broker: the table turns STALE, and goes on answering",
    "d": "deletes the topic: lookups are refused, not answered from what is no more",
    "q": "quits",
}
_FROZEN = """\
the broker is frozen: it takes requests and answers none. Look in the other terminal:
  sidecar status{where}  says STALE and why, from about 5 s on: exit code 3
  sidecar get KJFK{where}  is answered all the same, and says how old the answer may be
f thaws it."""
_THAWED = "the broker answers again: in a moment `sidecar status{where}` says LIVE"
_DELETED = """\
the topic is deleted. Look in the other terminal:
  sidecar status{where}  says that the topic is gone: exit code 3
  sidecar get KJFK{where}  is refused: what was true of a topic that is no more is no answer
d creates it anew."""
_CREATED = """\
the topic is there again, with {written} airports: the name is the same, the topic id another.
  sidecar status{where}  says LIVE once the new one is read; its incarnation is another one"""
_FULL = "the embedded broker is full: the data stand still from now on; start it anew"
_THAW_FIRST = "the broker is frozen and would not hear of it: press f first"


class _Broker(Protocol):
    """What is done to the broker."""

    frozen: bool

    def freeze(self, *, frozen: bool) -> None:
        """Answer nothing from now on, or answer again."""

    def create_topic(self) -> None:
        """Create the topic."""

    def delete_topic(self) -> None:
        """Delete it."""


class Stage:
    """Writes the data, and does what keys ask for.

    Args:
        broker: to be frozen and so on.
        new_writer: makes a writer for the topic as it is then.
        airports: the data.
        rate: changes a second.
        say: shows a text.
        where: what commands need to find the sidecar: options, or nothing.
    """

    def __init__(
        self,
        broker: _Broker,
        new_writer: "Callable[[], Writer]",
        airports: "Airports",
        rate: float,
        say: Callable[[str], None],
        where: str,
    ) -> None:
        self._broker = broker
        self._new_writer = new_writer
        self._airports = airports
        self._rate = rate
        self._say = say
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._where = where
        self._writer: Writer | None = None

    def press(self, key: str) -> None:
        """A key was pressed."""
        self._keys.put_nowait(key.lower())

    async def fill(self) -> int:
        """Write all of the data to a topic that is new; how many records."""
        self._writer = self._new_writer()
        return await asyncio.to_thread(self._writer.fill, self._airports)

    async def run(self, stop: asyncio.Event) -> None:
        """Change the data, and do what keys ask for, until `stop` is set; q sets it."""
        quitting = asyncio.create_task(self._quit_with(stop))
        try:
            while await self._live():
                pass
        finally:
            quitting.cancel()
            stop.set()

    async def _quit_with(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.press("q")

    async def _live(self) -> bool:
        """One life of the topic, and the time without one; false: it is time to quit."""
        end = asyncio.Event()
        changing = asyncio.create_task(self._change(end))
        try:
            deleting = await self._until_d()
        finally:
            end.set()
            await changing
        if not deleting:
            return False
        self._writer = None
        self._broker.delete_topic()
        self._tell(_DELETED)
        if not await self._until_d():
            return False
        self._broker.create_topic()
        self._tell(_CREATED, written=count(await self.fill()))
        return True

    async def _until_d(self) -> bool:
        """Act on keys until it is d; false: it was q."""
        while (key := await self._keys.get()) != "q":
            if key == "f":
                self._freeze()
            elif key == "d" and not self._broker.frozen:
                return True
            elif key == "d":
                self._say(_THAW_FIRST)
        return False

    def _freeze(self) -> None:
        frozen = not self._broker.frozen
        self._broker.freeze(frozen=frozen)
        if self._writer is not None:
            self._writer.paused = frozen
        self._tell(_FROZEN if frozen else _THAWED)

    def _tell(self, text: str, **given: str) -> None:
        self._say(text.format(where=self._where, **given))

    async def _change(self, end: asyncio.Event) -> None:
        writer = self._writer
        if writer is not None and not await writer.change(
            self._airports, rate=self._rate, stop=end
        ):
            self._say(_FULL)
