"""The log of a generation's latest events: for those who go on behind one, and who read it."""

from collections.abc import Iterator
from math import inf

from .events import Event
from .packed import Packed
from .view import View

__all__ = ["Past"]

# At how many events, and behind how many bytes, readers are called.
_NEVER = inf, inf


class Past:
    """The log of a generation's latest events.

    Attributes:
        since: the revision behind which all are here.
        positions: the same by partition.
        limit: bytes of them that are kept; it keeps no more than it must for that.
        count: events that were ever written; the number of the next one.
        written: bytes that were ever written, about.
    """

    def __init__(self, view: View, limit: int) -> None:
        self.since = view.table.revision
        self.positions = {number: known.position for number, known in view.progress.items()}
        self.limit = limit
        self.count = self.written = 0
        self._events = Packed()
        self._call = _NEVER

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        """The oldest first; not while one is written."""
        return self._events.read()

    @property
    def weight(self) -> int:
        """Bytes that are kept, about."""
        return self._events.weight

    def keep(self, event: Event) -> bool:
        """It has happened; what is too long past is let go. True: readers are to look."""
        events = self._events
        events.append(event)
        self.count += 1
        self.written += event.weight
        while events.weight > self.limit and events.weight - events.oldest_weight >= self.limit:
            self._let_go()
        count, written = self._call
        return self.count >= count or self.written > written

    def _let_go(self) -> None:
        positions = self.positions
        for event in self._events.pop():
            self.since = event.revision
            partition, offset = event.happened_at
            if offset >= positions.get(partition, 0):
                positions[partition] = offset + 1

    def call_at(self, count: int, written: int) -> None:
        """Readers are to look at so many events, or behind so many bytes."""
        self._call = min(self._call[0], count), min(self._call[1], written)

    def called(self) -> None:
        """All look now, and say anew when they are to."""
        self._call = _NEVER

    def holds(self, number: int) -> bool:
        """All events from the one with this number on are here."""
        return self._first <= number

    def read(self, number: int) -> Iterator[Event]:
        """The events from the one with this number on, which it holds; not while one is written."""
        return self._events.read(number - self._first)

    @property
    def _first(self) -> int:
        """The number of the oldest that is here."""
        return self.count - len(self._events)

    def forget(self, most: int) -> bool:
        """Let go of so many, and say whether there are more; nobody may resume any more."""
        end = self._first + most
        while self._events and self._first < end:
            self._events.pop()
        return bool(self._events)

    def behind(self, revision: int) -> list[Event]:
        """Those behind a revision."""
        return self._events.behind(revision)

    def crossing(self) -> dict[bytes, int]:
        """The last event's revision, of each key of which more than one partition has spoken."""
        spoke: dict[bytes, int] = {}
        crossing: dict[bytes, int] = {}
        for event in self:
            first = spoke.setdefault(event.key, event.at[0])
            if event.crosses or event.at[0] != first or event.key in crossing:
                crossing[event.key] = event.revision
        return crossing
