"""A table's keys in order, by unsigned bytes.

Sorting a large table in one go would hold the loop for a tenth of a second a
300 k keys. So each of the table's dicts has a sorted run of its own, built one a step
on first use, and a page is a merge of the runs. A run that is built is kept in step
from then on: a new key is inserted by bisection, a removed one taken out. A table
whose order nobody asks for pays nothing.
"""

from bisect import bisect_left, insort
from heapq import merge
from itertools import islice

from .changes import SHARDS, Change
from .table import Table

__all__ = ["OrderedKeys", "page_of", "prefix_end"]

_SETTLED_AT_ONCE = 4096


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`; empty: there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""


class OrderedKeys:
    """Sorted runs over one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._runs: list[list[bytes]] = []
        table.observe(self)

    def __call__(self, change: Change) -> None:
        """Keep the run of a changed key in step."""
        if change.shard >= len(self._runs):
            return
        run = self._runs[change.shard]
        if change.held is None:
            insort(run, change.key)
        elif change.stored is None:
            del run[bisect_left(run, change.key)]

    @property
    def built(self) -> bool:
        """Every run is there."""
        return len(self._runs) == SHARDS

    def build_one(self) -> None:
        """Sort one more of the table's dicts; before that, settle a part of the table."""
        if self._table.settle(_SETTLED_AT_ONCE):
            return
        self._runs.append(sorted(dict(self._table.shard_words(len(self._runs)))))

    def page(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        """Up to `limit` keys with start <= key < end, in order; an empty end is no end."""
        return page_of(self._runs, start, end, limit)

    def of_shard(self, shard: int, start: bytes, end: bytes) -> list[bytes]:
        """The keys of one of the table's dicts with start <= key < end, in order; once built."""
        run = self._runs[shard]
        return run[bisect_left(run, start) : bisect_left(run, end) if end else len(run)]

    def key_of(self, word: bytes) -> bytes:
        """Of which key a word of a page is: here they are the keys."""
        return word

    def repeats(self, *_: object) -> bool:
        """Whether an entry has a word before this one: each has one only."""
        return False


def page_of(runs: list[list[bytes]], start: bytes, end: bytes, limit: int) -> list[bytes]:
    """Up to `limit` words of sorted runs with start <= word < end, in order."""
    parts = []
    for run in runs:
        low = bisect_left(run, start)
        high = bisect_left(run, end) if end else len(run)
        if low < high:
            parts.append(map(run.__getitem__, range(low, high)))
    return list(islice(merge(*parts), limit))
