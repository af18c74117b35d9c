"""One replica's log: batches with their bytes, leader epochs, transactions, and its cleaner.

A batch never changes once it is made, so replicas share it; a cleaner puts another one,
with fewer records, in its place in one replica. Whether a transaction was committed is
known by the `Txn` that its batches share.

The support package's `FakePartition` is one list of raw bytes with what Metadata says of
it. Here each replica has a log of its own and knows the records in it, for a cleaner and
an election need both.
"""

from __future__ import annotations

import gzip
import struct
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c
from support.batches import varint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Batch", "Rec", "Replica", "Txn"]

_TAIL = struct.Struct(">hiqqqhii")
_HEAD = struct.Struct(">qiibI")
_GZIP, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 1, 8, 16, 32
_NONE = varint(-1)


class Rec(NamedTuple):
    """A record; a value of None is a tombstone. The timestamp is in ms."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Txn:
    """A transaction; `committed` is None while it is open."""

    __slots__ = ("committed", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.committed: bool | None = None


class Batch:
    """Records that were written together; their offsets stay when some are cleaned away."""

    __slots__ = ("_data", "base", "control", "epoch", "flags", "horizon", "last", "recs", "txn")

    def __init__(
        self,
        recs: Sequence[Rec],
        *,
        base: int,
        last: int,
        epoch: int,
        txn: Txn | None = None,
        control: bool = False,
        flags: int = 0,
    ) -> None:
        self.recs, self.base, self.last, self.epoch = tuple(recs), base, last, epoch
        self.txn, self.control, self.flags = txn, control, flags
        self.horizon: float | None = None
        self._data: bytes | None = None

    @property
    def visible(self) -> bool:
        """Its records are those of committed data."""
        return not self.control and (self.txn is None or self.txn.committed is True)

    def with_records(self, recs: Sequence[Rec], horizon: float) -> Batch:
        """What a cleaner leaves of it; from `horizon` on its tombstones may go."""
        left = Batch(
            recs, base=self.base, last=self.last, epoch=self.epoch,
            txn=self.txn, control=self.control, flags=self.flags,
        )  # fmt: skip
        left.horizon = horizon if self.horizon is None else self.horizon
        return left

    def encoded(self) -> bytes:
        """Its bytes in format v2."""
        if self._data is None:
            self._data = _encode(self)
        return self._data


def _encode(batch: Batch) -> bytes:
    if batch.control:
        stamp, count = 0, 1
        body = _record(0, 0, struct.pack(">hh", 0, int(bool(batch.txn.committed))), b"\0" * 6)
        greatest = stamp
    else:
        recs, count = batch.recs, len(batch.recs)
        stamp = recs[0].timestamp if recs else 0
        greatest = max((rec.timestamp for rec in recs), default=0)
        body = b"".join(
            _record(rec.timestamp - stamp, rec.offset - batch.base, rec.key, rec.value)
            for rec in recs
        )
    attributes = batch.flags
    if attributes & _GZIP:
        body = gzip.compress(body, 1)
    pid = -1
    if batch.txn is not None:
        pid, attributes = batch.txn.pid, attributes | _TRANSACTIONAL
    if batch.control:
        attributes |= _CONTROL
    tail = _TAIL.pack(
        attributes, batch.last - batch.base, stamp, greatest, pid, 0 if pid >= 0 else -1, -1, count
    ) + body  # fmt: skip
    return _HEAD.pack(batch.base, len(tail) + 9, batch.epoch, 2, google_crc32c.value(tail)) + tail


def _record(stamp: int, delta: int, key: bytes | None, value: bytes | None) -> bytes:
    body = b"".join((
        b"\0", varint(stamp), varint(delta),
        _NONE if key is None else varint(len(key)) + key,
        _NONE if value is None else varint(len(value)) + value,
        b"\0",
    ))  # fmt: skip
    return varint(len(body)) + body


class Replica:
    """A log on one broker.

    Attributes:
        leo: where the next batch goes.
        hw: the high watermark as far as this broker knows it.
        epochs: (leader epoch, its first offset), rising.
        open: first offset of each transaction that is open, or ended by a marker in `ended`
            which the high watermark has not passed.
        aborted: (producer id, first offset, the marker's offset).
        cleaned_to: how far its cleaner ever came.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.log_start = self.leo = self.hw = 0
        self.epochs: list[tuple[int, int]] = []
        self.open: dict[Txn, int] = {}
        self.ended: dict[Txn, int] = {}
        self.aborted: list[tuple[int, int, int]] = []
        self.cleaned_to = 0

    @property
    def lso(self) -> int:
        """The last stable offset."""
        for txn in [txn for txn, marker in self.ended.items() if marker < self.hw]:
            del self.ended[txn], self.open[txn]
        return min([self.hw, *self.open.values()])

    def begin_epoch(self, epoch: int) -> None:
        """A leader's term begins here."""
        if not self.epochs or self.epochs[-1][0] < epoch:
            self.epochs.append((epoch, self.leo))

    def append(self, batch: Batch) -> None:
        """Write a batch at the end."""
        self.batches.append(batch)
        self.leo = batch.last + 1
        if self.epochs and self.epochs[-1][0] < batch.epoch:
            self.epochs.append((batch.epoch, batch.base))
        if batch.txn is None:
            return
        if not batch.control:
            self.open.setdefault(batch.txn, batch.base)
        elif batch.txn in self.open:
            self.ended[batch.txn] = batch.base
            if not batch.txn.committed:
                self.aborted.append((batch.txn.pid, self.open[batch.txn], batch.base))

    def copy_from(self, leader: Replica) -> None:
        """Fetch all that the leader has and we have not."""
        if self.leo < leader.log_start:
            self.forget(leader.log_start)
        for batch in leader.batches[self._index(leader, self.leo) :]:
            self.append(batch)
        self.leo, self.log_start = leader.leo, leader.log_start
        self.cleaned_to = max(self.cleaned_to, leader.cleaned_to)
        self.epochs = list(leader.epochs)
        self._drop_below(self.log_start)

    def forget(self, start: int) -> None:
        """Begin anew, as on another disk."""
        self.__init__()
        self.leo = start

    def follow(self, leader: Replica) -> None:
        """Cut off what the leader does not have, as Kafka's `AbstractFetcherThread` does.

        The leader names the greatest epoch that it knows, not above ours, and where that ends;
        ours may end before, and a batch of the next one stand in its place.
        """
        while self.epochs:
            known, end = leader.epoch_end(self.epochs[-1][0])
            own, own_end = self.epoch_end(known)
            if known < 0 or own < 0:
                self.cut(max(0, end))
                return
            self.cut(min(own_end, end) if own == known else own_end)
            if own == known:
                return
            self.epochs = [each for each in self.epochs if each[0] <= own]

    def cut(self, offset: int) -> None:
        """Lose all from an offset on."""
        if offset >= self.leo:
            return
        self.batches = [batch for batch in self.batches if batch.last < offset]
        self.leo, self.hw = offset, min(self.hw, offset)
        self.cleaned_to = min(self.cleaned_to, offset)
        self.log_start = min(self.log_start, offset)
        self.epochs = [each for each in self.epochs if each[1] < offset]
        self.aborted = [each for each in self.aborted if each[2] < offset]
        self.ended = {txn: marker for txn, marker in self.ended.items() if marker < offset}
        marked = {batch.txn for batch in self.batches if batch.control} - self.ended.keys()
        self.open = {}
        for batch in self.batches:
            if batch.txn is not None and batch.txn not in marked and not batch.control:
                self.open.setdefault(batch.txn, batch.base)
        self.ended = {txn: marker for txn, marker in self.ended.items() if txn in self.open}

    def raise_start(self, offset: int) -> None:
        """Forget what stands before an offset."""
        self.log_start = max(self.log_start, min(offset, self.leo))
        self._drop_below(self.log_start)

    def epoch_end(self, epoch: int) -> tuple[int, int]:
        """The greatest epoch not above this one, and where it ends: (-1, -1) if unknown.

        As Kafka's `LeaderEpochFileCache.endOffsetFor`.
        """
        if self.epochs and self.epochs[-1][0] == epoch:
            return epoch, self.leo
        higher = [each for each in self.epochs if each[0] > epoch]
        if not higher:
            return -1, -1
        known = max((each for each, _ in self.epochs if each <= epoch), default=epoch)
        return known, higher[0][1]

    def read(self, offset: int, end: int) -> list[Batch]:
        """Batches from the one that holds an offset on, wholly below `end`."""
        at, found = self._index(self, offset), []
        while at < len(self.batches) and self.batches[at].last < end:
            found.append(self.batches[at])
            at += 1
        return found

    @staticmethod
    def _index(log: Replica, offset: int) -> int:
        return bisect_left(log.batches, offset, key=lambda batch: batch.last)

    def _drop_below(self, offset: int) -> None:
        self.batches = self.batches[self._index(self, offset) :]
        self.aborted = [each for each in self.aborted if each[2] >= offset]

    # The cleaner

    def clean(
        self,
        end: int,
        now: float,
        retention_s: float,
        may_expire: Callable[[int], bool],
        keeps_empty: Callable[[], bool],
    ) -> tuple[set[int], set[int]]:
        """Compact the batches below an offset.

        Args:
            end: none that reach it are touched.
            now: seconds.
            retention_s: how long a tombstone stays once it was cleaned.
            may_expire: whether the tombstone at an offset may go when its time has come.
            keeps_empty: whether a batch without records stays, as that of a producer's last.

        Returns:
            The offsets of records that later ones replace, and of tombstones that went.
        """
        self.cleaned_to = max(self.cleaned_to, end)
        latest = {
            rec.key: rec.offset
            for batch in self.batches if batch.last < end and batch.visible
            for rec in batch.recs
        }  # fmt: skip
        replaced: set[int] = set()
        expired: set[int] = set()
        kept: list[Batch] = []
        for batch in self.batches:
            if batch.last >= end or batch.control:
                kept.append(batch)
                continue
            left = []
            for rec in batch.recs if batch.visible else ():
                old = batch.horizon is not None and batch.horizon <= now
                if rec.key is None or latest[rec.key] != rec.offset:
                    replaced.add(rec.offset)
                elif rec.value is None and old and may_expire(rec.offset):
                    expired.add(rec.offset)
                else:
                    left.append(rec)
            if left or keeps_empty():
                same = len(left) == len(batch.recs) and batch.horizon is not None
                kept.append(batch if same else batch.with_records(left, now + retention_s))
        self.batches = kept
        self._clean_markers(end, keeps_empty)
        return replaced, expired

    def _clean_markers(self, end: int, keeps: Callable[[], bool]) -> None:
        """Markers of transactions that left nothing else may go too."""
        holding = {id(batch.txn) for batch in self.batches if not batch.control}
        gone = {
            batch.base
            for batch in self.batches
            if batch.control and batch.last < end and id(batch.txn) not in holding and not keeps()
        }
        self.batches = [batch for batch in self.batches if batch.base not in gone]
        self.aborted = [each for each in self.aborted if each[2] not in gone]
