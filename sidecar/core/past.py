"""The log of a generation's latest events: for those who go on behind one, and who read it.

The latest few thousand are kept as they are, for there the readers are. Those before them
are packed, a few hundred to one bytes object. So an event takes little more than its key and
its value, not three times that in small objects; and what goes, goes in large pieces, which
the system gets back: small ones leave holes between what the table has been given meanwhile.
"""

import marshal
from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile
from math import inf
from typing import Any, NamedTuple

from .changes import Why
from .events import Event
from .view import View

__all__ = ["Past"]

# So many of the latest are kept as they are.
_RECENT = 1024
# Those before are packed so many at a time, or so many bytes.
_PACKED_AT_ONCE = 256
_PACKED_BYTES = 64 << 10
# At how many events, and behind how many bytes, readers are called.
_NEVER = inf, inf
_FORMAT = 2  # of marshal: it looks for no object that is there twice


class _Block(NamedTuple):
    """Events that are packed.

    Attributes:
        revision: of the last of them.
        size: how many they are.
        packed: they.
    """

    revision: int
    size: int
    packed: bytes

    @classmethod
    def of(cls, events: list[Event]) -> "_Block":
        """Pack them."""
        return cls(
            events[-1].revision, len(events), marshal.dumps(list(map(_row, events)), _FORMAT)
        )

    @property
    def weight(self) -> int:
        """Bytes."""
        return len(self.packed)

    def events(self) -> Iterator[Event]:
        """Unpack them."""
        return map(_event, marshal.loads(self.packed))  # noqa: S302 (our own)


def _row(event: Event) -> tuple[Any, ...]:
    """What cannot be told from the rest."""
    revision, key, stored, told, cause, why, crosses, weight, forms = event
    if told is stored and cause is None and why is Why.RECORD and not crosses:
        return revision, key, stored, weight, forms
    return revision, key, stored, weight, forms, told, cause, why.value, crosses


def _event(row: tuple[Any, ...]) -> Event:
    revision, key, stored, weight, forms, *rest = row
    if not rest:
        return Event(
            revision, key, stored, stored, None, Why.RECORD, crosses=False, weight=weight,
            forms=forms,
        )  # fmt: skip
    told, cause, why, crosses = rest
    return Event(revision, key, stored, told, cause, Why(why), crosses, weight, forms)


class Past:
    """The log of a generation's latest events.

    Attributes:
        since: the revision behind which all are here.
        positions: the same by partition.
        weight: bytes, about.
        limit: that is kept of them, save that a block goes only whole.
        count: events that were ever written; the number of the next one.
        written: bytes that were ever written, about.
    """

    def __init__(self, view: View, limit: int) -> None:
        self.since = view.table.revision
        self.positions = {number: known.position for number, known in view.progress.items()}
        self.limit = limit
        self.weight = self.count = self.written = 0
        self._blocks: deque[_Block] = deque()
        self._recent: deque[Event] = deque()
        self._first = 0  # the number of the oldest that is here
        self._call = _NEVER

    def __len__(self) -> int:
        return self.count - self._first

    def __iter__(self) -> Iterator[Event]:
        """The oldest first; not while one is written."""
        return self.read(self._first)

    def keep(self, event: Event) -> bool:
        """It has happened; what is too long past is let go. True: readers are to look."""
        self._recent.append(event)
        self.count += 1
        self.written += event.weight
        self.weight += event.weight
        if len(self._recent) >= _RECENT + _PACKED_AT_ONCE:
            self._pack()
        if self.weight > self.limit:
            self._let_go()
        count, written = self._call
        return self.count >= count or self.written > written

    def _pack(self) -> None:
        events, weight = list[Event](), 0
        while len(events) < _PACKED_AT_ONCE and weight < _PACKED_BYTES:
            event = self._recent.popleft()
            events.append(event)
            weight += event.weight
        block = _Block.of(events)
        self._blocks.append(block)
        self.weight += block.weight - weight

    def _let_go(self) -> None:
        positions = self.positions
        for event in self._beyond_limit():
            self._first += 1
            self.since = event.revision
            partition, offset = event.happened_at
            if offset >= positions.get(partition, 0):
                positions[partition] = offset + 1

    def _beyond_limit(self) -> Iterator[Event]:
        """Take out what need not be kept, the oldest first."""
        while self._blocks and self.weight - self._blocks[0].weight >= self.limit:
            block = self._blocks.popleft()
            self.weight -= block.weight
            yield from block.events()
        while not self._blocks and self.weight > self.limit:
            event = self._recent.popleft()
            self.weight -= event.weight
            yield event

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
        skipped = number - self._first
        for block in self._blocks:
            if skipped < block.size:
                yield from islice(block.events(), skipped, None)
            skipped = max(0, skipped - block.size)
        yield from islice(self._recent, skipped, None)

    def forget(self, most: int) -> bool:
        """Let go of so many, and say whether there are more; nobody may resume any more."""
        if self._blocks:
            block = self._blocks.popleft()
            self._first += block.size
            self.weight -= block.weight
            return True
        for _ in range(min(most, len(self))):
            self._first += 1
            self.weight -= self._recent.popleft().weight
        return bool(self._recent)

    def behind(self, revision: int) -> list[Event]:
        """Those behind a revision."""
        newer = list(takewhile(lambda event: event.revision > revision, reversed(self._recent)))
        packed = (block.events() for block in self._blocks if block.revision > revision)
        older = [event for events in packed for event in events if event.revision > revision]
        return older + newer[::-1]

    def crossing(self) -> dict[bytes, int]:
        """The last event's revision, of each key of which more than one partition has spoken."""
        spoke: dict[bytes, int] = {}
        crossing: dict[bytes, int] = {}
        for event in self:
            first = spoke.setdefault(event.key, event.at[0])
            if event.crosses or event.at[0] != first or event.key in crossing:
                crossing[event.key] = event.revision
        return crossing
