"""A sum that proves what a table holds.

For each entry, h is the first 16 bytes of SHA-256(u32(len(key)) key u32(len(value))
value i64(offset)), integers big-endian; a partition's digest is the sum of all h of
the entries whose record came from it, modulo 2^128.

A sum can be built while writes go on: a write to an entry that is summed already
takes the old hash out and puts the new one in. So the table is walked in steps, and
the digest holds at the position where the last step ends.
"""

import hashlib
import struct
from typing import NamedTuple

from .changes import SHARDS, Change
from .model import OFFSET, ORIGIN, VALUE, Entry, partition_of
from .table import Table

__all__ = ["ALGORITHM", "Digest", "DigestBuild", "entry_hash"]

ALGORITHM = "sha256-128-sum"
_MODULUS = 1 << 128
_U32, _I64 = struct.Struct(">I").pack, struct.Struct(">q").pack


def entry_hash(key: bytes, value: bytes, offset: int) -> int:
    """The hash of one live entry: 128 bits."""
    text = b"".join((_U32(len(key)), key, _U32(len(value)), value, _I64(offset)))
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "big")


class Digest(NamedTuple):
    """One partition's sum and its number of live entries."""

    sum: int = 0
    entries: int = 0

    def to_bytes(self) -> bytes:
        """The sum as 16 bytes, big-endian."""
        return self.sum.to_bytes(16, "big")


class DigestBuild:
    """A walk over one table; `close` it when it is no longer needed.

    Within the dict that is being walked, `_seen` holds the keys that are summed (or
    known to be gone), because a write may come before the walk meets its key.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._digests: dict[int, Digest] = {}
        self._shard = -1
        self._pending: list[bytes] = []
        self._seen: set[bytes] = set()
        table.observe(self)

    def __call__(self, change: Change) -> None:
        """Keep the sum in step with one change."""
        shard, key = change.shard, change.key
        if shard > self._shard:
            return
        old, new = change.old, change.new
        if old is not None and (shard < self._shard or key in self._seen):
            self._add(key, old, -1)
        if new is not None:
            self._add(key, new, 1)
        if shard == self._shard:
            self._seen.add(key)

    def step(self, limit: int) -> bool:
        """Sum up to `limit` entries more, or settle so many; false: all are summed."""
        if self._table.settle(limit) or not self._table.swept:
            return True  # what is hidden only would be told as a change, yet was never summed
        if not self._pending:
            self._seen.clear()
            self._shard += 1
            if self._shard >= SHARDS:
                return False
            self._pending = list(dict(self._table.shard_words(self._shard)))
        chunk, self._pending = self._pending[-limit:], self._pending[:-limit]
        for key in chunk:
            entry = self._table.get(key)
            if key not in self._seen and entry is not None:
                self._add(key, entry, 1)
        self._seen.update(chunk)
        return True

    def digest(self, partition: int) -> Digest:
        """The sum of one partition; right once `step` has returned false."""
        return self._digests.get(partition, Digest())

    def close(self) -> None:
        """Stop following the table."""
        self._table.unobserve(self)

    def _add(self, key: bytes, entry: Entry, sign: int) -> None:
        partition = partition_of(entry[ORIGIN])
        known = self.digest(partition)
        change = sign * entry_hash(key, entry[VALUE], entry[OFFSET])
        self._digests[partition] = Digest((known.sum + change) % _MODULUS, known.entries + sign)
