"""The topics of a fake cluster: partitions as lists of raw batches."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.batches import Rec, batch, batch_range, marker, rebased

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FakePartition", "FakeTopic"]


@dataclass
class FakePartition:
    """A log, and what Metadata says of it. Every attribute may be set by a test."""

    leader: int = 1
    leader_epoch: int = 0
    batches: list[bytes] = field(default_factory=list)
    next_offset: int = 0
    """Where the next batch goes; raise it to leave a hole."""
    log_start_offset: int = 0
    replicas: list[int] = field(default_factory=lambda: [1])
    metadata_error: int = 0
    aborted: list[tuple[int, int, int]] = field(default_factory=list)
    """Aborted transactions: producer id, first offset, the marker's offset."""
    open_transactions: dict[int, int] = field(default_factory=dict)
    """First offset by producer id."""
    held_high_watermark: int | None = None
    held_last_stable_offset: int | None = None

    def __repr__(self) -> str:
        return f"FakePartition({self.log_start_offset}..{self.next_offset}, leader {self.leader})"

    @property
    def high_watermark(self) -> int:
        """The next offset, unless a test holds it at another (`held_high_watermark`)."""
        held = self.held_high_watermark
        return self.next_offset if held is None else held

    @property
    def last_stable_offset(self) -> int:
        """The first offset of the oldest open transaction, or as held by a test."""
        held = self.held_last_stable_offset
        if held is not None:
            return held
        return min([self.high_watermark, *self.open_transactions.values()])

    def append(self, data: bytes) -> int:
        """Append a raw batch with the offsets that it has; give its last offset."""
        _first, last = batch_range(data)
        self.batches.append(data)
        self.next_offset = max(self.next_offset, last + 1)
        return last

    def write(
        self, records: Iterable[Rec | tuple[bytes | None, bytes | None]], **options: Any
    ) -> int:
        """Append a batch at the next offset; give its first. Options are those of `batch`."""
        first = self.next_offset
        options.setdefault("leader_epoch", self.leader_epoch)
        self.append(batch(records, base_offset=first, **options))
        if options.get("transactional"):
            self.open_transactions.setdefault(options["producer_id"], first)
        return first

    def commit(self, producer_id: int) -> int:
        """Append a commit marker; give its offset."""
        return self._end(producer_id, commit=True)[1]

    def abort(self, producer_id: int) -> int:
        """Append an abort marker, and list the transaction as aborted; give its offset."""
        first, last = self._end(producer_id, commit=False)
        if first is not None:
            self.aborted.append((producer_id, first, last))
        return last

    def truncate(self, offset: int, leader_epoch: int | None = None) -> None:
        """Cut the log at an offset that begins a batch, as an unclean election may."""
        self.batches = [data for data in self.batches if batch_range(data)[1] < offset]
        self.next_offset = offset
        self.leader_epoch = self.leader_epoch + 1 if leader_epoch is None else leader_epoch

    def delete_before(self, offset: int) -> None:
        """Move the log start, and drop the batches wholly below it."""
        self.log_start_offset = offset
        self.batches = [data for data in self.batches if batch_range(data)[1] >= offset]

    def epoch_end(self, epoch: int) -> tuple[int, int]:
        """Give the greatest epoch not above this one, and where it ends: (-1, -1) if unknown."""
        starts = {self.leader_epoch: self.next_offset}
        for data in reversed(self.batches):
            starts[_epoch(data)] = batch_range(data)[0]
        if epoch > max(starts):
            return -1, -1
        known = max((each for each in starts if each <= epoch), default=epoch)
        end = min((first for each, first in starts.items() if each > known), default=None)
        return known, self.next_offset if end is None else end

    def between(self, offset: int, end: int, max_bytes: int, *, whole: bool) -> bytes:
        """Give the batches from the one that holds `offset` up to `end`.

        The last may be cut off at `max_bytes`. The first never is: where it is larger it
        is given for all that if `whole`, and nothing is otherwise.
        """
        found = bytearray()
        for data in self.batches:
            first, last = batch_range(data)
            if last < offset or first >= end:
                continue
            if not found and len(data) > max_bytes:
                return data if whole else b""
            found += data
            if len(found) >= max_bytes:
                break
        return bytes(found[:max_bytes])

    def _end(self, producer_id: int, *, commit: bool) -> tuple[int | None, int]:
        data = rebased(marker(producer_id, commit=commit), self.next_offset, self.leader_epoch)
        return self.open_transactions.pop(producer_id, None), self.append(data)


def _epoch(data: bytes) -> int:
    return int.from_bytes(data[12:16], "big", signed=True)


class FakeTopic:
    """A topic: its id, partitions and settings, and an error for Metadata to tell."""

    def __init__(self, name: str, partitions: int, config: dict[str, str]) -> None:
        self.name, self.config = name, config
        self.topic_id = uuid.uuid4()
        self.partitions = [FakePartition() for _ in range(partitions)]
        self.metadata_error = 0

    def __repr__(self) -> str:
        return f"FakeTopic({self.name}, {len(self.partitions)} partitions)"

    def __getitem__(self, partition: int) -> FakePartition:
        return self.partitions[partition]

    def grow(self, total: int) -> None:
        """Add partitions, up to so many."""
        while len(self.partitions) < total:
            self.partitions.append(FakePartition())
