"""Entries that grow too old, found without looking at all the others.

Keys are noted by the time of their record, in buckets that each span a small part of an
entry's life. What is due are the buckets behind the oldest time that is allowed, and a part
of the one in which that time lies. A key that has been written anew since is in a later
bucket too, and is only taken out of the earlier one.

Which entries are due follows from their records' timestamps and the time alone, not from
when they were read.
"""

from collections.abc import Iterator

from .changes import Change
from .model import TIMESTAMP
from .stored import timestamp_of
from .table import Table

__all__ = ["Expiry"]

_BUCKETS = 256
_NARROWEST_MS = 1000


class Expiry:
    """The ages of one table's entries, once it is settled.

    Args:
        table: which.
        expire_after_ms: an entry's life, from its record's timestamp.
    """

    def __init__(self, table: Table, expire_after_ms: int) -> None:
        self._table = table
        self._width = max(_NARROWEST_MS, expire_after_ms // _BUCKETS)
        self._buckets: dict[int, set[bytes]] = {}
        table.observe(self)

    def __call__(self, change: Change) -> None:
        """Note what was written."""
        if change.stored is not None:
            self._note(change.key, timestamp_of(change.stored))

    def walk(self, limit: int) -> Iterator[None]:
        """Note what is there, in steps of up to `limit` entries."""
        for some in self._table.slices(limit):
            for key, word in some:
                self._note(key, timestamp_of(word))
            yield

    def _note(self, key: bytes, timestamp: int) -> None:
        if timestamp >= 0:
            self._buckets.setdefault(timestamp // self._width, set()).add(key)

    def expire(self, oldest_ms: float, limit: int) -> Iterator[int]:
        """Take out all entries whose record is older, in steps; each tells how many it did."""
        due = sorted(number for number in self._buckets if number * self._width < oldest_ms)
        for number in due:
            keys = list(self._buckets[number])
            for start in range(0, len(keys), limit):
                yield sum(self._expire(key, number, oldest_ms) for key in keys[start:][:limit])
            if not self._buckets[number]:
                del self._buckets[number]

    def _expire(self, key: bytes, bucket: int, oldest_ms: float) -> bool:
        entry = self._table.get(key)
        timestamp = -1 if entry is None else entry[TIMESTAMP]
        if timestamp // self._width != bucket or timestamp < oldest_ms:
            self._buckets[bucket].discard(key)
        if not 0 <= timestamp < oldest_ms:
            return False
        self._table.expire(key)
        return True
