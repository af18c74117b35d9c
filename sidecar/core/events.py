"""The changes of a generation as followers are told them, and the latest of them."""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import NamedTuple

from .changes import Change, Why
from .model import Entry
from .stored import entry_of, is_of_another, is_turned_away, place_of, source_of
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
