"""The changes of a generation as followers are told them, and the latest of them."""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from .changes import Change, Why
from .model import OFFSET, ORIGIN, TIMESTAMP, Entry, partition_of, weight_of
from .stored import is_turned_away, offset_of, source_of, timestamp_of
from .view import View

__all__ = ["Event", "Past", "event_of"]

# What an event weighs beside its key and its value.
_OVERHEAD_BYTES = 200
# So many of the latest keep what was encoded of them; whoever is further behind has it done anew.
_FORMED = 4096


class Event(NamedTuple):
    """One change, as followers are told it.

    Attributes:
        revision: the table's, with it.
        key: whose entry changed.
        entry: what it is now; None: gone.
        at: partition, offset and timestamp of the record that made it; where none did, of the
            entry that is gone.
        cause: partition and offset at which it happened, where it is not the work of its own
            record; None: it is.
        why: RECORD, or what else.
        crosses: one partition's word took the place of another's.
        weight: bytes, about.
        forms: for whoever encodes it: by form, so that it is done once.
    """

    revision: int
    key: bytes
    entry: Entry | None
    at: tuple[int, int, int]
    cause: tuple[int, int] | None
    why: Why
    crosses: bool
    weight: int
    forms: dict[tuple[int, int], Any]

    def __repr__(self) -> str:
        return f"<Event revision={self.revision} at={self.at[:2]} why={self.why.name}>"

    def behind(self, positions: Mapping[int, int]) -> bool:
        """It happened at or behind these positions (by partition, the next offset to read)."""
        partition, offset = self.cause or self.at[:2]
        return offset >= positions.get(partition, 0)


def event_of(change: Change, position: Callable[[int], int]) -> Event:
    """A change as followers are told it; `position`: how far a partition was read."""
    revision, _, key, old, entry, by, why = change
    if by is not None and is_turned_away(by):
        why = Why.TABLE_RULE
    places = [_place(each) for each in (old, entry) if each is not None]
    at = places[0] if by is None else _place_of(by)
    cause = None
    if by is None:
        cause = (at[0], position(at[0]))
    elif entry is not None and places[-1] != at:
        cause = at[:2]
    crosses = any(place[0] != at[0] for place in places)
    weight = _OVERHEAD_BYTES + len(key) + (0 if entry is None else weight_of(entry))
    return Event(revision, key, entry, at, cause, why, crosses, weight, {})


class Past:
    """The latest events of a generation, for those who go on behind one.

    Attributes:
        events: the oldest first.
        since: the revision behind which all are here.
        positions: the same by partition.
        weight: bytes, about.
    """

    def __init__(self, view: View, limit: int) -> None:
        self.events: deque[Event] = deque()
        self.since = view.table.revision
        self.positions = {number: known.position for number, known in view.progress.items()}
        self._limit = limit
        self.weight = 0

    def keep(self, event: Event) -> None:
        """It has happened; what is too long past is let go."""
        self.events.append(event)
        if len(self.events) > _FORMED:
            self.events[-_FORMED - 1].forms.clear()
        self.weight += event.weight
        while self.weight > self._limit:
            oldest = self.events.popleft()
            self.weight -= oldest.weight
            self.since = oldest.revision
            partition, offset = oldest.cause or oldest.at[:2]
            self.positions[partition] = max(self.positions.get(partition, 0), offset + 1)

    def behind(self, revision: int) -> list[Event]:
        """Those behind a revision."""
        newer = list(takewhile(lambda event: event.revision > revision, reversed(self.events)))
        return newer[::-1]

    def crossing(self) -> dict[bytes, Event]:
        """The last event of each key of which more than one partition has spoken."""
        spoke: dict[bytes, int] = {}
        crossing: dict[bytes, Event] = {}
        for event in self.events:
            first = spoke.setdefault(event.key, event.at[0])
            if event.crosses or event.at[0] != first or event.key in crossing:
                crossing[event.key] = event
        return crossing


def _place(entry: Entry) -> tuple[int, int, int]:
    return partition_of(entry[ORIGIN]), entry[OFFSET], entry[TIMESTAMP]


def _place_of(word: bytes) -> tuple[int, int, int]:
    return source_of(word), offset_of(word), timestamp_of(word)
