"""A table's entries in order of a text that is found in their values, then of their keys.

Each text of an entry becomes a *word*, the text and then the key, so that words in order of
their bytes are what is asked for, and those of one text, or of texts with a prefix, stand
together. Between the two stands what no text holds, because a zero byte in a text is written
as two. The words of each of the table's dicts are a sorted run, as in `ordered`.

Finding the text in a value takes long, so a run is built in steps while the table changes:
within the dict that is looked at, `_seen` holds the keys that are in the run, because a change
may come before the walk meets its key. A run is of what is stored, also where that is hidden
(the log's start has moved past it): the change that takes it out finds its words.

What is found in a value is told from outside; a value in which nothing is found has no words.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from .changes import SHARDS, Change
from .model import VALUE, Entry
from .ordered import page_of, prefix_end
from .stored import value_of
from .table import Table

__all__ = ["Index", "Texts", "word_range"]

# The texts that are found in a value.
Texts = Callable[[bytes], Iterable[str]]

_SETTLED_AT_ONCE = 4096
_AT_ONCE = 128
_ZERO, _ESCAPED, _END = b"\0", b"\0\xff", b"\0\0"


def word_range(text: str, *, prefix: bool) -> tuple[bytes, bytes]:
    """From which word to which (exclusive; empty: no end) those of a text, or of all with it."""
    start = _escaped(text) + (b"" if prefix else _END)
    return start, prefix_end(start)


def _escaped(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(_ZERO, _ESCAPED)


class Index:
    """One index over one table.

    Args:
        table: which; it may still be read.
        texts: finds the texts in a value.
        several: whether it may find more than one.
    """

    def __init__(self, table: Table, texts: Texts, *, several: bool) -> None:
        self._table = table
        self._texts = texts
        self._several = several
        self._runs: list[list[bytes]] = []
        self._pending: list[tuple[bytes, bytes]] = []
        self._seen: set[bytes] = set()
        table.observe(self)

    def __len__(self) -> int:
        """Words so far."""
        return sum(map(len, self._runs))

    def __repr__(self) -> str:
        return f"<Index words={len(self)} runs={len(self._runs)}>"

    def __call__(self, change: Change) -> None:
        """Keep the run of a changed entry in step."""
        _, shard, key, held, stored, _, _ = change
        last = len(self._runs) - 1
        if shard > last:
            return
        built = self.built
        known = built or shard < last or key in self._seen
        before = self._words(key, held) if known else set()
        after = self._words(key, stored)
        run = self._runs[shard]
        for word in before - after:
            del run[bisect_left(run, word)]
        for word in after - before:
            insort(run, word)
        if shard == last and not built:
            self._seen.add(key)

    def _words(self, key: bytes, stored: bytes | None) -> set[bytes]:
        return set() if stored is None else self._words_of(key, value_of(stored))

    def _words_of(self, key: bytes, value: bytes) -> set[bytes]:
        return {_escaped(text) + _END + key for text in self._texts(value)}

    @property
    def memory_bytes(self) -> int:
        """Estimate of what it holds: a word is a bytes object and a place in a run."""
        some = [word for run in self._runs[:1] for word in run[:64]]
        each = sum(map(len, some)) // len(some) if some else 0
        return len(self) * (each + 33 + 8)

    @property
    def built(self) -> bool:
        """Every run is there."""
        return len(self._runs) == SHARDS and not self._pending and not self._seen

    def build_one(self) -> None:
        """Look at some entries more; before that, settle a part of the table."""
        if self.built or self._table.settle(_SETTLED_AT_ONCE):
            return
        if not self._pending:
            if len(self._runs) == SHARDS:
                self._seen.clear()
                return
            self._seen.clear()
            self._pending = self._table.shard_words(len(self._runs))
            self._runs.append([])
        chunk, self._pending = self._pending[-_AT_ONCE:], self._pending[:-_AT_ONCE]
        for key, stored in chunk:
            if key not in self._seen:
                for word in self._words(key, stored):
                    insort(self._runs[-1], word)
                self._seen.add(key)

    def page(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        """Up to `limit` words with start <= word < end, in order; an empty end is no end."""
        return page_of(self._runs, start, end, limit)

    def key_of(self, word: bytes) -> bytes:
        """The key of a word's entry."""
        return word[word.index(_END) + len(_END) :]

    def repeats(self, word: bytes, key: bytes, entry: Entry, start: bytes) -> bool:
        """The entry has an earlier word from `start` on, by which it was found already."""
        if not self._several:
            return False
        return any(start <= each < word for each in self._words_of(key, entry[VALUE]))
