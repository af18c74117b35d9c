"""An index: what it finds, in which order, and that it is in step with its table."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core import index as index_module
from sidecar.core.changes import SHARDS, shard_of
from sidecar.core.index import Index, word_range
from sidecar.core.model import VALUE, origin_of
from sidecar.core.table import Table

ORIGIN = origin_of(0, 0)


def texts_of(value):
    return value.decode().split(",") if value else []


def indexed(*pairs):
    table = Table()
    table.tailing = True
    table.apply([Rec(n, *pair) for n, pair in enumerate(pairs)], ORIGIN)
    return table, Index(table, texts_of, several=True)


def built(index):
    while not index.built:
        index.build_one()
    return index


def found(index, text, *, prefix=False):
    words = index.page(*word_range(text, prefix=prefix), 1000)
    return [index.key_of(word) for word in words]


def test_what_is_equal_is_found_in_order_of_the_keys():
    _, index = indexed((b"b", b"x"), (b"a", b"x"), (b"c", b"xx"), (b"d", b""))
    assert found(built(index), "x") == [b"a", b"b"]
    assert found(index, "y") == found(index, "") == []
    many = [b"%02d" % number for number in range(40)]
    _, index = indexed(*((key, b"x") for key in reversed(many)))
    assert found(built(index), "x") == many


def test_what_begins_so_is_found_in_order_of_the_text_then_of_the_key():
    _, index = indexed((b"1", b"b"), (b"3", b"ab"), (b"2", b"ab"), (b"4", b"a"))
    assert found(built(index), "a", prefix=True) == [b"4", b"2", b"3"]
    assert found(index, "", prefix=True) == [b"4", b"2", b"3", b"1"]


@pytest.mark.parametrize("key", [b"", b"\0", b"\0\0", b"\xff\0"])
@pytest.mark.parametrize("text", ["a", "a\0", "\0", "\0\0", "a\0b", "\ud800", "é"])
def test_zero_bytes_mix_neither_texts_nor_keys(key, text):
    table = Table()
    table.tailing = True
    index = built(Index(table, lambda _: [text], several=False))
    table.apply([Rec(0, key, b"1")], ORIGIN)
    assert found(index, text) == [key]
    assert found(index, text + "\0") == []
    assert found(index, "", prefix=True) == [key]


@given(st.lists(st.text(st.sampled_from("\0a\x01\xff"), max_size=3), unique=True, max_size=6))
def test_words_are_ordered_as_their_texts_and_those_with_a_prefix_stand_together(texts):
    table = Table()
    table.tailing = True
    index = built(Index(table, lambda value: [value.decode()], several=False))
    for number, text in enumerate(texts):
        table.apply([Rec(number, b"%d" % number, text.encode())], ORIGIN)
    ordered = sorted(texts, key=str.encode)
    for prefix in ["", *texts]:
        keys = found(index, prefix, prefix=True)
        assert [texts[int(key)] for key in keys] == [t for t in ordered if t.startswith(prefix)]


def keys_in(shard, number):
    found = (key for key in map(b"%d".__mod__, count()) if shard_of(key) == shard)
    return [next(found) for _ in range(number)]


_changes = st.lists(
    st.tuples(
        # Several in one of the table's dicts: they meet while that is looked at.
        st.sampled_from([*keys_in(0, 4), *keys_in(1, 4), *keys_in(SHARDS - 1, 4)]),
        st.sampled_from([None, b"", b"x", b"y", b"x,y", b"xy,x"]),
    ),
    max_size=60,
)


@given(_changes, _changes, st.data())
def test_it_is_in_step_with_its_table_whenever_that_changes(before, after, data):
    """Also while it is built, in steps of one entry."""
    at_once, index_module._AT_ONCE = index_module._AT_ONCE, 1
    try:
        table, index = indexed(*before)
        changes = list(enumerate(after, len(before)))
        while changes or not (index.built and table.swept):
            if changes and data.draw(st.booleans()):
                number, pair = changes.pop(0)
                table.apply([Rec(number, *pair)], ORIGIN)
                if data.draw(st.sampled_from([False, False, True])):
                    table.raise_floor(0, data.draw(st.integers(0, number)))
            elif data.draw(st.sampled_from([False, False, True])):
                for _ in table.sweep(1):
                    pass
            else:
                for _ in range(data.draw(st.sampled_from([1, 2, 60]))):
                    index.build_one()
    finally:
        index_module._AT_ONCE = at_once
    for text in ("x", "y", "xy"):
        held = [key for key in table if text in texts_of(table.get(key)[VALUE])]
        assert found(index, text) == sorted(held)


def test_what_is_hidden_only_while_it_is_built_takes_nothing_else_with_it():
    first, second = keys_in(0, 2)
    table, index = indexed((first, b"x"), (second, b"y"))
    table.raise_floor(0, 1)  # the first one is gone, and not taken out yet
    built(index)
    for _ in table.sweep(10):
        pass
    assert (found(index, "x"), found(index, "y")) == ([], [second])


@pytest.mark.parametrize("shard", [0, 1, SHARDS - 1])
def test_once_built_it_stays_so_and_is_in_step_with_each_change_after_another(shard):
    first, second = keys_in(shard, 2)
    table, index = indexed((first, b"x"), (second, b"x"))
    built(index)
    table.apply([Rec(2, first, b"y")], ORIGIN)
    assert index.built
    table.apply([Rec(3, second, b"y")], ORIGIN)
    assert (found(index, "x"), found(index, "y")) == ([], sorted([first, second]))


def test_of_an_entry_with_several_words_the_first_in_the_range_is_its_place():
    table, index = indexed((b"k", b"a,b,c"))
    entry = table.get(b"k")
    built(index)
    words = index.page(b"", b"", 10)
    assert [index.repeats(word, b"k", entry, b"") for word in words] == [False, True, True]
    start, _ = word_range("b", prefix=True)
    assert [index.repeats(word, b"k", entry, start) for word in words[1:]] == [False, True]
