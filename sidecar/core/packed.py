"""Events in order, of which all but the latest are packed.

The latest are kept as they are, for there the readers are. Those before them are packed, a few
hundred to one bytes object. So an event takes little more than its key, its value and what was
encoded of it, not three times that in small objects; and what goes, goes in large pieces, which
the system gets back: small ones leave holes between what the table has been given meanwhile.
"""

import marshal
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Any, NamedTuple

from .changes import Why
from .events import Event

__all__ = ["Packed"]

# So many of the latest are kept as they are.
_RECENT = 1024
# Those before are packed so many at a time, or so many bytes.
_AT_ONCE = 256
_AT_ONCE_BYTES = 64 << 10
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
        packed = marshal.dumps(list(map(_row, events)), _FORMAT)
        return cls(events[-1].revision, len(events), packed)

    @property
    def weight(self) -> int:
        """Bytes."""
        return len(self.packed)

    def events(self) -> Iterator[Event]:
        """Unpack them, as soon as the first is asked for."""
        yield from map(_event, marshal.loads(self.packed))  # noqa: S302 (our own)


def _row(event: Event) -> tuple[Any, ...]:
    """What cannot be told from the rest."""
    stored, told, cause, why = event.stored, event.told, event.cause, event.why
    row = event.revision, event.key, stored, event.weight, event.forms
    if told is stored and cause is None and why is Why.RECORD and not event.crosses:
        return row
    return *row, told, cause, why.value, event.crosses


def _event(row: tuple[Any, ...]) -> Event:
    revision, key, stored, weight, forms, *rest = row
    told, cause, why, crosses = rest or (stored, None, Why.RECORD, False)
    return Event(revision, key, stored, told, cause, Why(why), crosses, weight, forms)


class Packed:
    """Events, the oldest first; none may be written while they are read.

    Attributes:
        weight: bytes, about.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._blocks: deque[_Block] = deque()
        self._recent: deque[Event] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, event: Event) -> None:
        """One more."""
        self._recent.append(event)
        self._size += 1
        self.weight += event.weight
        if len(self._recent) >= _RECENT + _AT_ONCE:
            self._pack()

    def _pack(self) -> None:
        events, weight = list[Event](), 0
        while len(events) < _AT_ONCE and weight < _AT_ONCE_BYTES:
            event = self._recent.popleft()
            events.append(event)
            weight += event.weight
        block = _Block.of(events)
        self._blocks.append(block)
        self.weight += block.weight - weight

    @property
    def oldest_weight(self) -> int:
        """What `pop` takes out."""
        return (self._blocks or self._recent)[0].weight

    def pop(self) -> Iterable[Event]:
        """Take out the oldest: one, or some that are packed together."""
        self.weight -= self.oldest_weight
        if not self._blocks:
            self._size -= 1
            return (self._recent.popleft(),)
        block = self._blocks.popleft()
        self._size -= block.size
        return block.events()

    def read(self, skipped: int = 0) -> Iterator[Event]:
        """All but the first so many."""
        for block in self._blocks:
            if skipped < block.size:
                yield from islice(block.events(), skipped, None)
            skipped = max(0, skipped - block.size)
        yield from islice(self._recent, skipped, None)

    def behind(self, revision: int) -> list[Event]:
        """Those behind a revision."""
        newer = list(takewhile(lambda event: event.revision > revision, reversed(self._recent)))
        packed = (block.events() for block in self._blocks if block.revision > revision)
        older = [event for events in packed for event in events if event.revision > revision]
        return older + newer[::-1]
