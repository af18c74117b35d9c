"""The changes of a generation as followers are told them, and the latest of them."""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice, takewhile
from math import inf
from typing import NamedTuple

from .changes import Change, Why
from .model import Entry
from .stored import entry_of, is_of_another, is_turned_away, place_of, source_of
from .view import View

__all__ = ["Event", "Past", "event_of"]

# What an event weighs beside its key and its value.
_OVERHEAD_BYTES = 200
# So many of the latest keep what was encoded of them; whoever is further behind has it done anew.
_FORMED = 8192
_FORMED_AT_ONCE = 256
# At how many events, and behind how many bytes, readers are called.
_NEVER = inf, inf


class Event(NamedTuple):
    """One change, as followers are told it.

    Attributes:
        revision: the table's, with it.
        key: whose entry changed.
        stored: what it is now, as it is stored; None: gone.
        told: the record that made it, as it is stored; where none did, the entry that is gone.
        cause: partition and offset at which it happened, where it is not the work of its own
            record; None: it is.
        why: RECORD, or what else.
        crosses: one partition's word took the place of another's.
        weight: bytes, about.
        forms: for whoever encodes it: the bytes by form, so that it is done once.
    """

    revision: int
    key: bytes
    stored: bytes | None
    told: bytes
    cause: tuple[int, int] | None
    why: Why
    crosses: bool
    weight: int
    forms: dict[tuple[int, int], bytes]

    def __repr__(self) -> str:
        return f"<Event revision={self.revision} at={self.at[:2]} why={self.why.name}>"

    @property
    def at(self) -> tuple[int, int, int]:
        """Partition, offset and timestamp of the record that made it, or of what is gone."""
        return place_of(self.told)

    @property
    def entry(self) -> Entry | None:
        """What it is now; None: gone."""
        return None if self.stored is None else entry_of(self.stored)

    def behind(self, positions: Mapping[int, int]) -> bool:
        """It happened at or behind these positions (by partition, the next offset to read)."""
        partition, offset = self.cause or self.at[:2]
        return offset >= positions.get(partition, 0)


def event_of(change: Change, position: Callable[[int], int]) -> Event:
    """A change as followers are told it; `position`: how far a partition was read."""
    revision, _, key, held, stored, by, why = change
    if stored is not None and stored is by and not is_of_another(held, stored):
        # Nearly always: a record took the place of one of its own partition.
        weight = _OVERHEAD_BYTES + len(key) + len(stored)
        return Event(
            revision, key, stored, stored, None, why, crosses=False, weight=weight, forms={}
        )
    told, cause = by or held or stored or b"", None
    if by is None:
        partition = source_of(told)
        cause = (partition, position(partition))
    elif stored is None:
        why = Why.TABLE_RULE if is_turned_away(by) else why
    elif stored != by:
        cause = place_of(by)[:2]
    crosses = is_of_another(held, told) or is_of_another(stored, told)
    weight = _OVERHEAD_BYTES + len(key) + len(stored or b"")
    return Event(revision, key, stored, told, cause, why, crosses, weight, {})


class Past:
    """The log of a generation's latest events: for those who go on behind one, and who read it.

    Attributes:
        events: the oldest first.
        since: the revision behind which all are here.
        positions: the same by partition.
        weight: bytes, about.
        limit: most of that.
        count: events that were ever written.
        written: bytes that were ever written, about.
    """

    def __init__(self, view: View, limit: int) -> None:
        self.events: deque[Event] = deque()
        self.since = view.table.revision
        self.positions = {number: known.position for number, known in view.progress.items()}
        self.limit = limit
        self.weight = self.count = self.written = 0
        self._call = _NEVER

    def keep(self, event: Event) -> bool:
        """It has happened; what is too long past is let go. True: readers are to look."""
        self.events.append(event)
        self.count += 1
        self.written += event.weight
        self.weight += event.weight
        if self.weight > self.limit:
            self._let_go()
        if not self.count % _FORMED_AT_ONCE:
            known = islice(reversed(self.events), _FORMED, _FORMED + _FORMED_AT_ONCE)
            for older in known:
                older.forms.clear()
        count, written = self._call
        return self.count >= count or self.written > written

    def _let_go(self) -> None:
        positions = self.positions
        while self.weight > self.limit:
            oldest = self.events.popleft()
            self.weight -= oldest.weight
            self.since = oldest.revision
            partition, offset = oldest.cause or oldest.at[:2]
            if offset >= positions.get(partition, 0):
                positions[partition] = offset + 1

    def call_at(self, count: int, written: int) -> None:
        """Readers are to look at so many events, or behind so many bytes."""
        self._call = min(self._call[0], count), min(self._call[1], written)

    def called(self) -> None:
        """All look now, and say anew when they are to."""
        self._call = _NEVER

    def holds(self, number: int) -> bool:
        """All events behind the first so many are here."""
        return self.count - len(self.events) <= number

    def latest(self, number: int) -> list[Event]:
        """The latest so many."""
        return list(islice(reversed(self.events), number))[::-1]

    def forget(self, most: int) -> bool:
        """Let go of so many, and say whether there are more; nobody may resume any more."""
        for _ in range(min(most, len(self.events))):
            self.weight -= self.events.popleft().weight
        return bool(self.events)

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
