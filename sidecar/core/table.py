"""The fold of a log: key → its latest entry.

The rules are Kafka's for a compacted topic. A later record of a key replaces an
earlier one; a record with a null value (a tombstone) removes the key; a record with a
null key belongs to no key and is only counted. An empty value is a value and an empty
key is a key.

Keys are spread over 64 dicts by hash, for two reasons: a dict that grows moves all
its entries in one go (a single one of 2.8 M keys: 138 ms in one insert), and ordered
reads sort one dict at a time. The high bits of the hash choose the dict, because the
dict itself uses the low ones.

Not so while a bootstrap reads the log: then nobody waits for an answer, and choosing a
dict for each record is a fifth of the whole work. `Partitions` takes what is read, a dict a
partition; once all has been read the table answers, and `settle` moves the entries over
in steps, as Redis does when it grows a hash. Until that is done a lookup asks both places.

An entry is stored as one bytes object (`stored`). Nothing is ever evicted: a key that is
missing here is absent from the log's prefix, and is answered so. That is why no bounded
cache stands under a table.

`_load` is the hot path of every bootstrap, and what it does for a record is pared down to
that: it does not even look at the entry that it replaces.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat

from .changes import SHARDS, Change, Observer, Why, shard_of
from .counters import Applied, Counters
from .model import Entry, Record, partition_of
from .partitions import Partitions
from .stored import (
    META,
    ORIGIN_SHIFT,
    entry_of,
    is_tombstone,
    offset_of,
    payload_of,
    source_of,
    stored_of,
    value_of,
)

__all__ = ["Table"]

_MASK = SHARDS - 1
_SHIFT = 48
_SAMPLE = 1024
_META_AT = -META.size


class Table:
    """An in-memory table of one generation.

    Args:
        keep_headers: whether entries hold their headers.
        partitions: of the topic.

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
        "_partitions",
        "_shards",
        "applied",
        "counters",
        "revision",
        "tailing",
    )

    def __init__(self, *, keep_headers: bool = False, partitions: int = 1) -> None:
        self._shards: list[dict[bytes, bytes]] = [{} for _ in range(SHARDS)]
        self._partitions = Partitions(remember=partitions > 1)
        self._keep_headers = keep_headers
        self._observers: tuple[Observer, ...] = ()
        self.applied = Applied(0, -1)
        self.counters = Counters()
        self.revision = 0
        self.tailing = False

    def __len__(self) -> int:
        """Entries. Until all is settled, a key that n partitions hold counts n times."""
        return sum(map(len, (*self._shards, *self._partitions.parts())))

    def __iter__(self) -> Iterator[bytes]:
        """The keys, in no order; not while the table changes."""
        keys = set(chain(*self._shards, *self._partitions.parts()))
        return (key for key in keys if self.get(key) is not None)

    def __repr__(self) -> str:
        return f"<Table entries={len(self)} revision={self.revision}>"

    # The way in

    def apply(self, records: Iterable[Record], origin: int) -> Applied:
        """Fold records of one partition in, in offset order.

        Args:
            records: none of them below the partition's position.
            origin: `model.origin_of` the partition and timestamp type of their batch.

        Returns:
            How many records the iterable gave, and the offset of the last one (-1: none). When
            it raises, those before are applied, and `applied` tells how far it came.
        """
        if self.tailing:
            return self._tail(records, origin)
        return self._load(records, origin)

    def _load(self, records: Iterable[Record], origin: int) -> Applied:
        partition, keep_headers = partition_of(origin), self._keep_headers
        part, pack, tail = self._partitions.part(partition), META.pack, origin << ORIGIN_SHIFT
        puts = tombstones = nulls = 0
        record: Record | None = None
        try:
            for record in records:
                key, value = record.key, record.value
                if key is None:
                    nulls += 1
                elif value is None:
                    tombstones += 1
                    word = stored_of(record, origin, keep_headers=False)
                    self.revision += self._partitions.remove(partition, key, word)
                elif keep_headers:
                    puts += 1
                    part[key] = stored_of(record, origin, keep_headers=True)
                else:
                    puts += 1
                    part[key] = value + pack(record.offset, record.timestamp, tail)
        finally:
            self.revision += puts
            self._count(record, puts, tombstones, nulls)
        return self.applied

    def _tail(self, records: Iterable[Record], origin: int) -> Applied:
        """The same once the table answers.

        Where no key is known to be in several partitions (nearly always) an entry of this one
        ends in the same eight bytes: a glance at them is enough.
        """
        shards, pack, tail = self._shards, META.pack, origin << ORIGIN_SHIFT
        ending, careful = pack(0, 0, tail)[-8:], self._keep_headers or self._partitions.busy
        puts = tombstones = nulls = 0
        record: Record | None = None
        try:
            for record in records:
                key, value = record.key, record.value
                if key is None:
                    nulls += 1
                    continue
                puts, tombstones = puts + (value is not None), tombstones + (value is None)
                shard = shards[hash(key) >> _SHIFT & _MASK]
                old = shard.get(key)
                if careful or (old is not None and not old.endswith(ending)):
                    self._hear(key, stored_of(record, origin, keep_headers=self._keep_headers))
                    careful = careful or self._partitions.busy
                elif value is not None:
                    new = shard[key] = value + pack(record.offset, record.timestamp, tail)
                    self.counters.unchanged += old is not None and old[:_META_AT] == value
                    self._tell(key, old, new, new)
                elif old is not None:
                    del shard[key]
                    self._tell(key, old, None, stored_of(record, origin, keep_headers=False))
        finally:
            self._count(record, puts, tombstones, nulls)
        return self.applied

    def _hear(self, key: bytes, new: bytes) -> None:
        if self._partitions.unsettled:
            for word in self._partitions.take(key):
                self._join(key, word)
        self._change(key, new)

    def _change(self, key: bytes, new: bytes) -> None:
        """Put what a partition says now in the place of what was held, and tell of it."""
        shard = self._shards[hash(key) >> _SHIFT & _MASK]
        old, by = shard.get(key), new
        if self._partitions.share(key) or (old is not None and source_of(old) != source_of(new)):
            new = self._partitions.hear(key, old, new)
        if new is old:
            return
        if not is_tombstone(new):
            shard[key] = new
            self.counters.unchanged += old is not None and value_of(old) == value_of(new)
            self._tell(key, old, new, by)
        elif old is not None:
            del shard[key]
            self._tell(key, old, None, by)

    def _tell(
        self, key: bytes, old: bytes | None, new: bytes | None, by: bytes | None,
        why: Why = Why.RECORD,
    ) -> None:  # fmt: skip
        self.revision += 1
        if self._observers:
            change = Change(self.revision, shard_of(key), key, old, new, by, why)
            for observe in self._observers:
                observe(change)

    def _count(self, last: Record | None, puts: int, tombstones: int, nulls: int) -> None:
        self.applied = Applied(puts + tombstones + nulls, -1 if last is None else last.offset)
        self.counters.records += puts + tombstones
        self.counters.tombstones += tombstones
        self.counters.null_keys += nulls

    @property
    def settled(self) -> bool:
        """Every entry is where it stays."""
        return not self._partitions.unsettled

    def settle(self, limit: int) -> bool:
        """Move up to `limit` entries to where they stay, once the table is `tailing`.

        It changes no answer. Returns whether any are left.
        """
        assert self.tailing, "what is still being read has no place yet"  # noqa: S101
        for _ in range(limit):
            taken = self._partitions.take_any()
            if taken is None:
                return False
            self._join(*taken)
        return True

    def several_partitions(self) -> None:
        """There are more partitions than one after all."""
        self._partitions.remember = True

    def raise_floor(self, partition: int, log_start_offset: int) -> None:
        """A partition's log begins later now: what stands before that is gone at once."""
        floors = self._partitions.floors
        floors[partition] = max(log_start_offset, floors.get(partition, 0))
        self.revision += 1

    @property
    def swept(self) -> bool:
        """Nothing is hidden only."""
        return not self._partitions.floors

    def sweep(self, limit: int) -> Iterator[None]:
        """Take out what its log no longer holds, once the table is settled; in steps."""
        floors = dict(self._partitions.floors)
        for some in self.slices(limit):
            for key, stored in some:
                self._fall(key, stored)
            yield
        self._partitions.forget_fallen()
        if floors == self._partitions.floors:
            self._partitions.floors.clear()

    def _fall(self, key: bytes, old: bytes) -> None:
        shard = self._shards[hash(key) >> _SHIFT & _MASK]
        if not self._partitions.fell(old) or shard.get(key) is not old:
            return
        self.counters.expired += 1
        self._replace(key, self._partitions.weigh(key, None), Why.LOG_START)

    def _replace(self, key: bytes, new: bytes | None, why: Why) -> None:
        """Put in the place of an entry what holds now, by no record's work."""
        shard = self._shards[hash(key) >> _SHIFT & _MASK]
        old = shard.get(key)
        if new is not None and not is_tombstone(new):
            shard[key] = new
        elif shard.pop(key, None) is None:
            return
        else:
            new = None
        self._tell(key, old, new, None, why)

    def _join(self, key: bytes, word: bytes) -> None:
        """Bring in what one partition said of a key during the bootstrap."""
        shard = self._shards[hash(key) >> _SHIFT & _MASK]
        held = shard.get(key)
        if self._partitions.share(key) or (held is not None and source_of(held) != source_of(word)):
            word = self._partitions.hear(key, held, word)
        elif held is not None:
            return  # a tombstone that is older than its own partition's record
        elif self._partitions.fell(word):
            self.counters.expired += not is_tombstone(word)
            return
        if not is_tombstone(word):
            shard[key] = word
        elif held is not None:
            del shard[key]

    # The way out

    def get(self, key: bytes) -> Entry | None:
        """The entry of a key; None: there is none."""
        stored = self._shards[hash(key) >> _SHIFT & _MASK].get(key)
        if self._partitions.unsettled or self._partitions.floors:
            stored = self._partitions.weigh(key, stored)
            return None if stored is None or is_tombstone(stored) else entry_of(stored)
        return None if stored is None else entry_of(stored)

    def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """The entries of several keys at one moment, in the order asked."""
        return [self.get(key) for key in keys]

    # The words themselves, for `confirm`

    def slices(self, limit: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """The keys of a settled table with what is stored, up to `limit` at a time.

        The table may change between two steps: a key that was there throughout is given once.
        """
        for shard in range(SHARDS):
            entries = iter(self.shard_words(shard))
            while some := list(islice(entries, limit)):
                yield some

    def word(self, key: bytes, partition: int) -> bytes | None:
        """What this partition last said of a key: a record, or a tombstone of a shared key."""
        shared = self._partitions.word(key, partition)
        if shared is not None:
            return shared
        held = self._shards[hash(key) >> _SHIFT & _MASK].get(key)
        return held if held is not None and source_of(held) == partition else None

    def shared_keys(self, partition: int) -> list[bytes]:
        """The keys that several partitions hold, this one among them."""
        return self._partitions.shared_keys(partition)

    def bury(self, key: bytes, tombstone: bytes) -> None:
        """Apply a tombstone that was read once more, unless its partition has said more since."""
        said = self.word(key, source_of(tombstone))
        older = said is None or offset_of(said) < offset_of(tombstone)
        if older and key in self._shards[hash(key) >> _SHIFT & _MASK]:
            self._change(key, tombstone)

    def lose(self, key: bytes, partition: int) -> None:
        """The log no longer holds what this partition said of a key: its tombstone was missed."""
        word = self.word(key, partition)
        if word is None:
            return
        self.counters.missed_tombstones += 1
        self._partitions.retract(key, partition)
        old = self._shards[hash(key) >> _SHIFT & _MASK].get(key)
        new = self._partitions.weigh(key, None if old is word else old)
        if new is not old:
            self._replace(key, new, Why.MISSED_TOMBSTONE)

    def expire(self, key: bytes) -> None:
        """Its entry is too old, and so is what other partitions said of it: that is older."""
        self._partitions.forget(key)
        self.counters.aged += 1
        self._replace(key, None, Why.TABLE_RULE)

    @property
    def payload_bytes(self) -> int:
        """Bytes of live keys, values and kept headers: of a large table, by a sample.

        Some entries of each dict are weighed, about a thousand in all. Keeping the sum at each
        record instead would cost a seventh of a bootstrap.
        """
        dicts = [part for part in (*self._shards, *self._partitions.parts()) if part]
        most = len(self) if len(self) <= _SAMPLE else max(4, _SAMPLE // len(dicts))
        return sum(map(payload_of, dicts, repeat(most)))

    @property
    def cross_partition_keys(self) -> int:
        """Keys that several partitions hold; those not settled yet are not counted."""
        return self._partitions.several

    def shard_words(self, shard: int) -> list[tuple[bytes, bytes]]:
        """The keys of one of its dicts with what is stored, in no order; of a settled table."""
        return list(self._shards[shard].items())

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every change from now on; of a table that is `tailing`."""
        self._observers = (*self._observers, observer)

    def dismantle(self, limit: int) -> Iterator[None]:
        """Free the memory in steps of up to `limit` entries, once nobody looks any more.

        All at once, a million entries would hold up everyone for a tenth of a second.
        """
        self._observers = ()
        for entries in (*self._shards, *self._partitions.parts()):
            while entries:
                for _ in range(min(limit, len(entries))):
                    entries.popitem()
                yield

    def unobserve(self, observer: Observer) -> None:
        """Stop telling it."""
        self._observers = tuple(known for known in self._observers if known is not observer)
