"""The fold of a log: key → its latest entry.

The rules are Kafka's for a compacted topic. A later record of a key replaces an
earlier one; a record with a null value (a tombstone) removes the key; a record with a
null key belongs to no key and is only counted. An empty value is a value and an empty
key is a key.

Keys are spread over 64 dicts by hash, for two reasons: a dict that grows moves all
its entries in one go (a single one of 2.8 M keys: 138 ms in one insert), and ordered
reads sort one dict at a time. The high bits of the hash choose the dict, because the
dict itself uses the low ones.

An entry is stored as one bytes object: the value, then where it came from (offset,
timestamp, origin) in 24 bytes. Beside a tuple of the same parts that is a third less
memory an entry (265 B instead of 394 B at 16 B keys and 100 B values), and faster to
fold, because an entry that is overwritten is one object to free, not four. `get` takes
it apart again, which costs a third of a microsecond. Kept headers stand between the two,
marshalled.

Nothing is ever evicted: a key that is missing here is absent from the log's prefix,
and is answered so. That is why no bounded cache stands under a table.

`apply` is the hot path of every bootstrap, and what it does for a record is pared down
to that: it does not even look at the entry that it replaces. Once the bootstrap is over,
or while an observer (ordered reads, a digest under way) must be told of each change, a
second loop does.
"""

import marshal
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .model import VALUE, Entry, Record

__all__ = ["SHARDS", "Applied", "Counters", "Observer", "Table", "shard_of"]

SHARDS = 64
_MASK = SHARDS - 1
_SHIFT = 48
# Offset, timestamp, and origin and size of the headers in one.
_META = struct.Struct("<qqq")
_SIZE_BITS = 32
_SIZE_MASK = (1 << _SIZE_BITS) - 1
_SAMPLE = 4096


def shard_of(key: bytes) -> int:
    """Which of the table's dicts holds a key."""
    return hash(key) >> _SHIFT & _MASK


class Observer(Protocol):
    """Told of every change, in order, while it is made."""

    def __call__(self, shard: int, key: bytes, old: Entry | None, new: Entry | None) -> None:
        """`old` became `new`; None: no entry. Both are never None."""


class Applied(NamedTuple):
    """What one call of `Table.apply` did: records seen, and the last one's offset (-1: none)."""

    records: int
    last_offset: int


@dataclass(slots=True)
class Counters:
    """What was applied since the generation began."""

    records: int = 0
    tombstones: int = 0
    null_keys: int = 0
    unchanged: int = 0


class Table:
    """An in-memory table of one generation.

    Attributes:
        applied: what the latest `apply` did, also where it raised.
        counters: what was applied so far.
        revision: number of changes; the same revision is the same table.
        tailing: the bootstrap is over; from now on the records that leave their key's value as
            it was are counted.
    """

    __slots__ = (
        "_keep_headers",
        "_observers",
        "_shards",
        "applied",
        "counters",
        "revision",
        "tailing",
    )

    def __init__(self, *, keep_headers: bool = False) -> None:
        self._shards: list[dict[bytes, bytes]] = [{} for _ in range(SHARDS)]
        self._keep_headers = keep_headers
        self._observers: tuple[Observer, ...] = ()
        self.applied = Applied(0, -1)
        self.counters = Counters()
        self.revision = 0
        self.tailing = False

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"<Table entries={len(self)} revision={self.revision}>"

    def apply(self, records: Iterable[Record], origin: int) -> Applied:
        """Fold records of one partition in, in offset order.

        Args:
            records: none of them below the partition's position.
            origin: `model.origin_of` the partition and timestamp type of their batch.

        Returns:
            How many records the iterable gave, and the offset of the last one (-1: none).

        When the iterable raises (a record that cannot be decoded), those before it are
        applied and counted, and `applied` tells how far it came.
        """
        if self.tailing or self._observers or self._keep_headers:
            return self._apply_watched(records, origin)
        shards, pack, tail = self._shards, _META.pack, origin << _SIZE_BITS
        puts = others = 0
        record: Record | None = None
        try:
            for record in records:
                key, value = record.key, record.value
                if key is None or value is None:
                    others += 1
                    self._remove(key)
                    continue
                puts += 1
                shards[hash(key) >> _SHIFT & _MASK][key] = value + pack(
                    record.offset, record.timestamp, tail
                )
        finally:
            self._count(record, puts, others)
        return self.applied

    def _apply_watched(self, records: Iterable[Record], origin: int) -> Applied:
        """The same, looking at what each record replaces, and keeping headers where asked."""
        puts = others = unchanged = 0
        record: Record | None = None
        try:
            for record in records:
                key, value = record.key, record.value
                if key is None or value is None:
                    others += 1
                    self._remove(key)
                    continue
                shard = self._shards[hash(key) >> _SHIFT & _MASK]
                old = shard.get(key)
                headers = b""
                if self._keep_headers and record.headers:
                    headers = marshal.dumps(tuple(record.headers))
                tail = origin << _SIZE_BITS | len(headers)
                new = value + headers + _META.pack(record.offset, record.timestamp, tail)
                shard[key] = new
                puts += 1
                if self.tailing and old is not None and old.startswith(value):
                    unchanged += _entry(old)[VALUE] == value
                self._tell(key, old, new)
        finally:
            self._count(record, puts, others)
            self.counters.unchanged += unchanged
        return self.applied

    def _count(self, last: Record | None, puts: int, others: int) -> None:
        self.applied = Applied(puts + others, -1 if last is None else last.offset)
        self.revision += puts
        self.counters.records += puts

    def _remove(self, key: bytes | None) -> None:
        """Apply a tombstone, or count a record that has no key."""
        if key is None:
            self.counters.null_keys += 1
            return
        self.counters.records += 1
        self.counters.tombstones += 1
        old = self._shards[shard_of(key)].pop(key, None)
        if old is not None:
            self.revision += 1
            self._tell(key, old, None)

    def get(self, key: bytes) -> Entry | None:
        """The entry of a key; None: there is none."""
        stored = self._shards[hash(key) >> _SHIFT & _MASK].get(key)
        return None if stored is None else _entry(stored)

    def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """The entries of several keys at one moment, in the order asked."""
        return [self.get(key) for key in keys]

    @property
    def payload_bytes(self) -> int:
        """Bytes of live keys, values and kept headers: of a large table, by a sample.

        Whole dicts are weighed until 4096 entries are; keys come to a dict by their hash, so
        they are as good as drawn at random. Keeping the sum at each record instead would cost
        a seventh of a bootstrap.
        """
        weighed = entries = 0
        for shard in self._shards:
            stored = list(shard.items())  # in one step, for other threads ask too
            weighed += sum(len(key) + len(value) for key, value in stored)
            entries += len(stored)
            if entries >= _SAMPLE:
                break
        weighed -= _META.size * entries
        return weighed * len(self) // entries if entries else 0

    def shard_keys(self, shard: int) -> list[bytes]:
        """The keys of one of the table's dicts, in no order."""
        return list(self._shards[shard])

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every change from now on."""
        self._observers = (*self._observers, observer)

    def unobserve(self, observer: Observer) -> None:
        """Stop telling it."""
        self._observers = tuple(known for known in self._observers if known is not observer)

    def _tell(self, key: bytes, old: bytes | None, new: bytes | None) -> None:
        before = None if old is None else _entry(old)
        after = None if new is None else _entry(new)
        for observe in self._observers:
            observe(shard_of(key), key, before, after)


def _entry(stored: bytes) -> Entry:
    """Take a stored entry apart."""
    behind = len(stored) - _META.size
    offset, timestamp, tail = _META.unpack_from(stored, behind)
    origin, size = tail >> _SIZE_BITS, tail & _SIZE_MASK
    if not size:
        return stored[:behind], origin, offset, timestamp
    headers = marshal.loads(stored[behind - size : behind])  # noqa: S302 (our own)
    return stored[: behind - size], origin, offset, timestamp, headers
