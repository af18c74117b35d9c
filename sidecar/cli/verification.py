"""Whether a sidecar's table is the fold of its topic.

The sidecar states a digest at positions P. The log is folded up to P, partition by
partition; where the sums agree, the table is proved. They may differ without a fault:
once compaction has moved on, the log no longer holds every record that was its key's
last one below P. So on a mismatch keys are compared by the origin of their entry.

- The sidecar's entry at or above P: it moved on meanwhile. Not comparable.
- The log holds a newer record below P: differs.
- The log holds the record at the same offset: value, timestamp and headers must be equal.
- The log does not hold the record: it may have been compacted away, but only if the key
  has a record at or above P (it is *superseded*), or because the log's start moved past
  it; else differs.
- The log's last record below P has a value and the sidecar has no entry: differs, unless
  superseded (it may have been deleted since) or below the log's start as it is now.

What the sidecar deleted after the log's end was read looks as if it were missing. So
suspects are only that until the log has been read on from P, after the scan, and did not
supersede them, nor had its start moved past them (DeleteRecords, retention).

A key that the log has in several partitions is reported apart: which of its records wins
may rest on tombstones that are gone.

The fold is a plain dict, not `core.table`: it shall not share the faults it looks for.
This module does no I/O.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.digest import Digest, entry_hash
from ..core.model import Fetched, Headers, Record

__all__ = [
    "Claim",
    "Comparison",
    "Difference",
    "Kept",
    "LogFold",
    "Stated",
    "behind",
    "digests_agree",
]

_MODULUS = 1 << 128


class Stated(NamedTuple):
    """What the sidecar's digest says of one partition."""

    position: int
    digest: Digest


class Kept(NamedTuple):
    """A key's last record below the position; no value: a tombstone."""

    value: bytes | None
    offset: int
    timestamp: int
    headers: Headers | None


class Claim(NamedTuple):
    """One entry as the sidecar has it; no headers: the table does not keep them."""

    key: bytes
    value: bytes
    partition: int
    offset: int
    timestamp: int
    headers: Headers | None = None


class Difference(NamedTuple):
    """A key that differs, the record that tells so, and why, in words."""

    key: bytes
    partition: int
    offset: int
    why: str


class LogFold:
    """The log below the stated positions, and the keys that have records behind them.

    Args:
        positions: of the digest; a partition that it does not name counts as not begun.
        keep_headers: whether headers are compared.

    Attributes:
        kept: by partition, each key's last record below the position.
        superseded: by partition, the keys with a record at or above the position.
        reached: by partition, where the reading goes on.
        starts: by partition, the first kept offset, as the brokers last told it.
    """

    def __init__(self, positions: Mapping[int, int], *, keep_headers: bool = False) -> None:
        self.positions = positions
        self.kept: dict[int, dict[bytes, Kept]] = {}
        self.superseded: dict[int, set[bytes]] = {}
        self.reached: dict[int, int] = {}
        self.starts: dict[int, int] = {}
        self._keep_headers = keep_headers

    def add(self, fetched: Fetched) -> None:
        """Fold one part of the log in; the parts of a partition come in order."""
        number = fetched.partition
        position = self.positions.get(number, 0)
        kept = self.kept.setdefault(number, {})
        superseded = self.superseded.setdefault(number, set())
        self.begins_at({number: fetched.bounds.log_start_offset})
        for batch in fetched.batches:
            for record in batch.each():
                if record.key is None:
                    continue
                if record.offset < position:
                    kept[record.key] = self._kept(record)
                else:
                    superseded.add(record.key)
            self.reached[number] = batch.next_offset

    def begins_at(self, starts: Mapping[int, int]) -> None:
        """Note the first kept offsets; a log's start only rises."""
        for number, start in starts.items():
            self.starts[number] = max(start, self.starts.get(number, 0))

    def digest(self, number: int) -> Digest:
        """The sum of one partition's live keys."""
        total = entries = 0
        for key, kept in self.kept.get(number, {}).items():
            if kept.value is not None:
                total += entry_hash(key, kept.value, kept.offset)
                entries += 1
        return Digest(total % _MODULUS, entries)

    def partitions_of(self, key: bytes) -> int:
        """In how many partitions the log has a record of a key."""
        return sum(
            key in self.kept.get(number, ()) or key in self.superseded.get(number, ())
            for number in self.kept
        )

    def _kept(self, record: Record) -> Kept:
        headers = tuple(record.headers) if self._keep_headers else None
        return Kept(record.value, record.offset, record.timestamp, headers)


def digests_agree(stated: Mapping[int, Stated], fold: LogFold) -> bool:
    """Every partition's sum is the log's; that proves the table."""
    return all(
        fold.digest(number) == (stated[number].digest if number in stated else Digest())
        for number in stated.keys() | fold.kept.keys()
    )


def behind(positions: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """Partitions that were not read to the log's end, and how many offsets are missing."""
    return {
        number: end - positions.get(number, 0)
        for number, end in ends.items()
        if positions.get(number, 0) < end
    }


@dataclass(slots=True)
class Comparison:
    """Entry by entry, against a fold.

    Attributes:
        fold: the log below the digest's positions.
        starts: first kept offsets, as the reading found them.
        suspects: keys that differ unless the log, read on, supersedes them.
        differing: keys that differ whatever the log holds further on.
        not_comparable: entries that moved on, or whose record is gone from the log, or grows too
            old for the table just now.
        aging: whether a record of this timestamp does so.
    """

    fold: LogFold
    starts: Mapping[int, int]
    suspects: dict[bytes, Difference] = field(default_factory=dict)
    differing: dict[bytes, Difference] = field(default_factory=dict)
    not_comparable: int = 0
    aging: Callable[[int], bool] = lambda _: False
    _seen: set[bytes] = field(default_factory=set)

    def check(self, claims: Iterable[Claim]) -> None:
        """Compare entries of the sidecar's table."""
        for claim in claims:
            self._seen.add(claim.key)
            self._check(claim)

    def _check(self, claim: Claim) -> None:
        number, offset = claim.partition, claim.offset
        if offset >= self.fold.positions.get(number, 0) or self.aging(claim.timestamp):
            self.not_comparable += 1
            return
        kept = self.fold.kept.get(number, {}).get(claim.key)
        if kept is not None and kept.offset > offset:
            what = "a tombstone" if kept.value is None else "a newer record"
            self._differs(claim, f"the log has {what} at offset {kept.offset}")
        elif kept is not None and kept.offset == offset:
            unequal = _unequal(kept, claim)
            if unequal:
                self._differs(claim, f"{unequal} not the log's at that offset")
        elif offset < self.starts.get(number, 0):
            self.not_comparable += 1
        else:
            why = f"its record at offset {offset} is not in the log"
            self.suspects[claim.key] = Difference(claim.key, number, offset, why)

    def _differs(self, claim: Claim, why: str) -> None:
        why = f"the sidecar has offset {claim.offset}; {why}"
        self.differing[claim.key] = Difference(claim.key, claim.partition, claim.offset, why)

    def finish(self, starts_now: Mapping[int, int]) -> None:
        """Every entry was checked: what the log has and the sidecar lacks is suspect.

        Args:
            starts_now: first kept offsets, asked for after the scan.
        """
        for number, keys in self.fold.kept.items():
            for key, kept in keys.items():
                if kept.value is None or key in self._seen:
                    continue
                if kept.offset < starts_now.get(number, 0) or self.aging(kept.timestamp):
                    self.not_comparable += 1
                    continue
                why = f"the sidecar lacks it; the log has it at offset {kept.offset}"
                self.suspects[key] = Difference(key, number, kept.offset, why)

    def result(self) -> tuple[list[Difference], list[Difference]]:
        """Keys that differ, and apart from them those of several partitions; by key."""
        found = dict(self.differing)
        for key, suspect in self.suspects.items():
            fell = suspect.offset < self.fold.starts.get(suspect.partition, 0)
            if not fell and key not in self.fold.superseded.get(suspect.partition, ()):
                found.setdefault(key, suspect)
        ordered = [found[key] for key in sorted(found)]
        apart = [one for one in ordered if self.fold.partitions_of(one.key) > 1]
        return [one for one in ordered if self.fold.partitions_of(one.key) <= 1], apart


def _unequal(kept: Kept, claim: Claim) -> str:
    """What of an entry is not as in its record; empty: nothing."""
    wrong = [
        name
        for name, ours, theirs in (
            ("value", kept.value, claim.value),
            ("timestamp", kept.timestamp, claim.timestamp),
            ("headers", kept.headers, claim.headers),
        )
        if ours != theirs
    ]
    return f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'}" if wrong else ""
