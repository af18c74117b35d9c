"""The changes of a generation as followers are told them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .changes import Change, Why
from .model import Entry
from .stored import entry_of, is_of_another, is_turned_away, place_of, source_of

__all__ = ["Event", "event_of"]

# What an event weighs beside its key and its value, as the objects that it consists of.
_OVERHEAD_BYTES = 300


@dataclass(slots=True, repr=False)
class Event:
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
        forms: for whoever encodes it, so that it is done once: each form with its bytes.
    """

    revision: int
    key: bytes
    stored: bytes | None
    told: bytes
    cause: tuple[int, int] | None
    why: Why
    crosses: bool
    weight: int
    forms: tuple[tuple[tuple[int, int], bytes], ...] = ()

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

    @property
    def happened_at(self) -> tuple[int, int]:
        """Partition and offset at which it happened."""
        return self.cause or self.at[:2]

    def behind(self, positions: Mapping[int, int]) -> bool:
        """It happened at or behind these positions (by partition, the next offset to read)."""
        partition, offset = self.happened_at
        return offset >= positions.get(partition, 0)


def event_of(change: Change, position: Callable[[int], int]) -> Event:
    """A change as followers are told it; `position`: how far a partition was read."""
    revision, _, key, held, stored, by, why = change
    if stored is not None and stored is by and not is_of_another(held, stored):
        # Nearly always: a record took the place of one of its own partition.
        weight = _OVERHEAD_BYTES + len(key) + len(stored)
        return Event(revision, key, stored, stored, None, why, crosses=False, weight=weight)
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
    return Event(revision, key, stored, told, cause, why, crosses, weight)
