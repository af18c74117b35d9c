"""What happened to a table, as plain counts."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Applied", "Counters"]


class Applied(NamedTuple):
    """What one call of `Table.apply` did: records seen, and the last one's offset (-1: none)."""

    records: int
    last_offset: int


@dataclass(slots=True)
class Counters:
    """Since the generation began.

    Attributes:
        records: applied, tombstones among them.
        tombstones: applied.
        null_keys: records without a key, left out.
        unchanged: records that left the value as it was, from when the table became ready.
        expired: entries that the log's start has passed.
        missed_tombstones: entries whose tombstone was cleaned away before it was read.
        skipped_batches: that could not be read.
        turned_away: records that the table's rule has no use for.
        aged: entries that were as old as the table's rule allows.
    """

    records: int = 0
    tombstones: int = 0
    null_keys: int = 0
    unchanged: int = 0
    expired: int = 0
    missed_tombstones: int = 0
    skipped_batches: int = 0
    turned_away: int = 0
    aged: int = 0
