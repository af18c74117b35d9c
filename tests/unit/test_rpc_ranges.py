"""What is read in order, a part at a time, while the table changes between two parts.

A record that was there throughout is met exactly once, whatever came or went around it, by its
key or by an index; and what is met is in order, none of it twice.
"""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.index import Index, word_range
from sidecar.core.model import VALUE, origin_of
from sidecar.core.ordered import OrderedKeys, prefix_end
from sidecar.core.table import Table
from sidecar.rpc.ranges import _take

KEYS = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"ab", b"b", b"\xff", *(b"k%d" % n for n in range(8))]
VALUES = [b"x", b"y", b"x,y", b"xy", b"x,xy,y", b"", None]


def texts_of(value):
    return value.decode().split(",") if value else []


changes = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=6)
# How much is looked at, how much of it fits, and what happens behind it.
parts = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), changes), max_size=12)


class Reading:
    """A table in an order, read from `first` to `end`; `places` finds where an entry stands."""

    def __init__(self, written, make, places, bounds):
        self.table, self._offsets = Table(), count()
        self.table.tailing = True
        self.write(written)
        self.order, self.places = make(self.table), places
        self.first, self.end = bounds
        while not self.order.built:
            self.order.build_one()

    def write(self, pairs):
        for key, value in pairs:
            self.table.apply([Rec(next(self._offsets), key, value)], origin_of(0, 0))

    def standing(self):
        """Where each entry stands in what is read."""
        places = {key: self.places(key, self.table.get(key)[VALUE]) for key in self.table}
        chosen = {
            key: [w for w in words if self.first <= w and (not self.end or w < self.end)]
            for key, words in places.items()
        }
        return {key: words for key, words in chosen.items() if words}

    def read(self, parts):
        """The words and keys that are met, and those that stood where they are throughout."""
        met, start, still = [], self.first, self.standing()
        while True:
            limit, fits, changes = parts.pop(0) if parts else (3, 3, [])
            part = _take(self.table, self.order, (self.first, start, self.end), limit)
            filled = min(fits, len(part.found))
            met += [(word, key) for word, key, _ in part.found[:filled]]
            start = part.behind(filled)
            if not start:
                return met, still
            self.write(changes)
            now = self.standing()
            still = {key: words for key, words in still.items() if now.get(key) == words}


def check(reading, parts):
    met, still = reading.read(list(parts))
    words, keys = [word for word, _ in met], [key for _, key in met]
    assert words == sorted(set(words))
    assert {key: keys.count(key) for key in still} == dict.fromkeys(still, 1)


@given(changes, parts, st.sampled_from([b"", b"a", b"k", b"\xff"]))
def test_by_their_keys_records_that_were_there_throughout_are_met_once(written, parts, prefix):
    bounds = prefix, prefix_end(prefix)
    check(Reading(written, OrderedKeys, lambda key, _: [key], bounds), parts)


@given(changes, parts, st.sampled_from(["", "x", "xy"]), st.booleans())
def test_by_an_index_records_that_kept_their_texts_are_met_once(written, parts, text, prefix):
    def places(key, value):
        words = (word_range(each, prefix=False)[0] + key for each in texts_of(value))
        return sorted(words)

    def make(table):
        return Index(table, texts_of, several=True)

    check(Reading(written, make, places, word_range(text, prefix=prefix)), parts)
