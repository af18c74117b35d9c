"""Ordered pages are slices of the sorted keys, however building and writing interleave."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.changes import SHARDS, shard_of
from sidecar.core.ordered import OrderedKeys, prefix_end
from sidecar.core.table import Table


def built(table):
    ordered = OrderedKeys(table)
    while not ordered.built:
        ordered.build_one()
    return ordered


def table_of(*keys):
    table = Table()
    table.apply([Rec(offset, key, b"") for offset, key in enumerate(keys)], 0)
    table.tailing = True
    return table


def keys_in(shard, number):
    found = (key for key in map(b"%d".__mod__, count()) if shard_of(key) == shard)
    return [next(found) for _ in range(number)]


KEYS = [b"", b"\0", b"\xff", b"\xff\xff", *keys_in(0, 5), *keys_in(1, 3), *keys_in(SHARDS - 1, 3)]
writes = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([b"v", None])), max_size=6)
ends = st.sampled_from(KEYS) | st.binary(max_size=2)


@given(
    st.lists(st.tuples(writes, st.sampled_from([0, 1, 3, 253])), max_size=8),
    writes,
    writes,
    st.data(),
)
def test_a_page_is_a_slice_of_the_sorted_keys(rounds, first, last, data):
    table, model, offsets = Table(), set(), count()

    def write(pairs):
        for key, value in pairs:
            table.apply([Rec(next(offsets), key, value)], 0)
            (model.discard if value is None else model.add)(key)

    write(first)  # is still to be settled when the runs are asked for
    table.tailing = True
    ordered = OrderedKeys(table)
    for pairs, more in rounds:
        write(pairs)
        for _ in range(min(more, SHARDS - len(ordered._runs))):
            ordered.build_one()
    while not ordered.built:
        ordered.build_one()
    write(last)
    start, end, limit = data.draw(ends), data.draw(ends), data.draw(st.integers(1, 20))
    whole = sorted(key for key in model if start <= key and (not end or key < end))
    assert ordered.page(start, end, limit) == whole[:limit]
    assert ordered.page(b"", b"", 1000) == sorted(model)


def test_keys_are_ordered_by_unsigned_bytes():
    keys = [b"", b"\0", b"A", b"a", b"a\0", b"a\xff", b"b", b"\x7f", b"\x80", b"\xff"]
    assert built(table_of(*keys)).page(b"", b"", 100) == sorted(keys)


def test_pages_one_after_another_are_the_whole_and_none_twice():
    ordered = built(table_of(*KEYS))
    pages, start = [], b""
    while page := ordered.page(start, b"", 4):
        assert len(page) <= 4
        pages += page
        start = page[-1] + b"\0"
    assert pages == sorted(KEYS)


def test_the_start_is_within_a_page_and_the_end_is_not():
    ordered = built(table_of(b"a", b"b", b"c"))
    assert ordered.page(b"a", b"c", 10) == [b"a", b"b"]
    assert ordered.page(b"b", b"b", 10) == []
    assert ordered.page(b"c", b"a", 10) == []


def test_a_table_without_keys_has_empty_pages():
    assert built(table_of()).page(b"", b"", 10) == []


def test_a_key_that_is_overwritten_stands_once():
    table = table_of(b"a")
    ordered = built(table)
    table.apply([Rec(9, b"a", b"again"), Rec(10, b"b", None)], 0)
    assert ordered.page(b"", b"", 10) == [b"a"]


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"", b""),
        (b"a", b"b"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b""),
        (b"\xff\xff", b""),
        (b"\xffa", b"\xffb"),
        (b"a\0", b"a\1"),
        (b"a\xfe", b"a\xff"),
    ],
)
def test_the_end_of_a_prefix(prefix, end):
    assert prefix_end(prefix) == end


few = st.lists(st.sampled_from([0x00, 0x61, 0xFE, 0xFF]), max_size=4).map(bytes)


@given(few, few)
def test_a_key_is_within_a_prefix_exactly_if_it_begins_with_it(prefix, key):
    end = prefix_end(prefix)
    assert key.startswith(prefix) == (prefix <= key and (not end or key < end))
