"""What a table tells those who follow it: one change after the other, and whose work it was.

Most changes are the work of a record: a value that takes the place of another, or a
tombstone. Some are not: the log's start moved past an entry, or the log no longer holds it
and its tombstone was missed. And where several partitions hold a key, a record of one may
bring back what another has said.
"""

from enum import IntEnum
from typing import NamedTuple, Protocol

from .model import Entry
from .stored import entry_of

__all__ = ["SHARDS", "Change", "Observer", "Why", "shard_of"]

SHARDS = 64
_MASK = SHARDS - 1
_SHIFT = 48


def shard_of(key: bytes) -> int:
    """Which of the table's dicts holds a key."""
    return hash(key) >> _SHIFT & _MASK


class Why(IntEnum):
    """Why an entry is another one now, or gone; from 1 on the numbers of ``DeletionCause``."""

    RECORD = 1
    LOG_START = 2
    TABLE_RULE = 3
    MISSED_TOMBSTONE = 4


class Change(NamedTuple):
    """One change.

    Attributes:
        revision: the table's, with it.
        shard: the one of the table's dicts that holds the key.
        key: whose entry changed.
        held: what was stored; None: nothing.
        stored: what is now; None: nothing; the two are never both None.
        by: the record or tombstone whose work it is, as it is stored; None: that of none.
        why: RECORD where `by` is given.
    """

    revision: int
    shard: int
    key: bytes
    held: bytes | None
    stored: bytes | None
    by: bytes | None
    why: Why

    @property
    def old(self) -> Entry | None:
        """The entry that was there."""
        return None if self.held is None else entry_of(self.held)

    @property
    def new(self) -> Entry | None:
        """The entry that is there now."""
        return None if self.stored is None else entry_of(self.stored)


class Observer(Protocol):
    """Told of every change, in order, while it is made."""

    def __call__(self, change: Change) -> None:
        """The table has changed."""
