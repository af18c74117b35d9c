"""Reading a stretch of the log once more, to find the keys whose tombstones were missed.

An entry whose record the log still holds, at its own offset, was not deleted when that
was read. One whose record is gone, and which nothing has overwritten since, was deleted by
a tombstone that has been cleaned away in its turn: it goes. Tombstones that are met are
applied; records that are met create nothing, for whatever the table lacks came and went.

The table goes on changing meanwhile: what it hears from the log's end has offsets behind the
stretch, and is no matter here.
"""

from collections.abc import Iterable, Iterator, Mapping

from .counters import Counters
from .model import Record
from .rule import Rule
from .stored import is_tombstone, offset_of, source_of, stored_of
from .table import Table

__all__ = ["Confirmation"]


class Confirmation:
    """One reading of the stretches [log start, end) of some partitions.

    Args:
        table: settled.
        ends: by partition; its position when the reading began.
        rule: through which the table sees the log; None: as it is.
    """

    def __init__(self, table: Table, ends: Mapping[int, int], rule: Rule | None = None) -> None:
        self._table = table
        self._ends = dict(ends)
        self._rule = rule
        self._doubtful: dict[int, set[bytes]] = {number: set() for number in ends}

    def collect(self, limit: int) -> Iterator[None]:
        """Note what is to be met, in steps of up to `limit` keys; before anything is read."""
        for some in self._table.slices(limit):
            for key, stored in some:
                number = source_of(stored)
                if number in self._ends and offset_of(stored) < self._ends[number]:
                    self._doubtful[number].add(key)
            yield
        for number, doubtful in self._doubtful.items():
            doubtful.update(self._table.shared_keys(number))

    def meet(self, partition: int, records: Iterable[Record]) -> None:
        """Compare records of one partition, in offset order."""
        if self._rule is not None:
            records = self._rule.records(records, Counters())
        table, end, doubtful = self._table, self._ends[partition], self._doubtful[partition]
        for record in records:
            key = record.key
            if key is None or record.offset >= end:
                continue
            if record.value is None:
                table.bury(key, stored_of(record, partition << 1, keep_headers=False))
            elif key in doubtful:
                word = table.word(key, partition)
                if word is None or offset_of(word) == record.offset:
                    doubtful.discard(key)

    def finish(self, partition: int, limit: int) -> Iterator[int]:
        """Drop what was not met, in steps of up to `limit` keys; each gives how many."""
        doubtful, end = self._doubtful[partition], self._ends[partition]
        while doubtful:
            lost = [key for key in _taken(doubtful, limit) if self._lost(key, partition, end)]
            for key in lost:
                self._table.lose(key, partition)
            yield len(lost)

    def _lost(self, key: bytes, partition: int, end: int) -> bool:
        word = self._table.word(key, partition)
        return word is not None and offset_of(word) < end and not is_tombstone(word)


def _taken(keys: set[bytes], limit: int) -> list[bytes]:
    return [keys.pop() for _ in range(min(limit, len(keys)))]
