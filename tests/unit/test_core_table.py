"""The fold of a log: its rules by example, then as laws against a plain dict."""

import sys
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.changes import SHARDS, Why, shard_of
from sidecar.core.model import (
    HEADERS,
    OFFSET,
    ORIGIN,
    TIMESTAMP,
    VALUE,
    origin_of,
    partition_of,
    timestamp_type_of,
)
from sidecar.core.stored import is_of_another, offset_of, source_of, stored_of
from sidecar.core.table import Table


def table_of(*pairs, **options):
    table = Table(**options)
    table.apply([Rec(offset, *pair) for offset, pair in enumerate(pairs)], 0)
    return table


def contents(table):
    keys = list(table)
    assert len(keys) == len(set(keys))
    assert not table.settled or len(keys) == len(table)
    return {key: table.get(key)[:4] for key in keys}


def values(table):
    return {key: entry[VALUE] for key, entry in contents(table).items()}


# By example


def test_a_later_record_of_a_key_replaces_an_earlier_one():
    table = table_of((b"k", b"old"), (b"k", b"new"))
    assert values(table) == {b"k": b"new"}
    assert table.get(b"k")[OFFSET] == 1


def test_a_tombstone_removes_its_key():
    table = table_of((b"k", b"v"), (b"other", b"v"), (b"k", None))
    assert values(table) == {b"other": b"v"}
    assert table.get(b"k") is None
    assert table.counters.tombstones == 1


def test_a_key_comes_back_after_its_tombstone():
    assert values(table_of((b"k", b"1"), (b"k", None), (b"k", b"2"))) == {b"k": b"2"}


def test_a_tombstone_of_an_unknown_key_is_counted_and_changes_nothing():
    table = table_of((b"k", None))
    assert (len(table), table.revision, table.payload_bytes) == (0, 0, 0)
    assert (table.counters.records, table.counters.tombstones) == (1, 1)


@pytest.mark.parametrize("value", [b"v", b"", None])
def test_a_record_without_a_key_is_only_counted(value):
    table = table_of((None, value))
    assert (len(table), table.revision) == (0, 0)
    counters = table.counters
    assert (counters.null_keys, counters.records, counters.tombstones) == (1, 0, 0)


def test_an_empty_value_is_a_value_and_an_empty_key_a_key():
    table = table_of((b"", b"v"), (b"k", b""), (b"gone", b""), (b"gone", None))
    assert values(table) == {b"": b"v", b"k": b""}


def test_an_entry_names_its_record():
    table = Table()
    table.apply([Rec(41, b"k", b"v", 1_700_000_000_123)], origin_of(7, 1))
    entry = table.get(b"k")
    assert (entry[VALUE], entry[OFFSET], entry[TIMESTAMP]) == (b"v", 41, 1_700_000_000_123)
    assert (partition_of(entry[ORIGIN]), timestamp_type_of(entry[ORIGIN])) == (7, 1)


@pytest.mark.parametrize("number", [0, -1, 1, (1 << 63) - 1, -(1 << 63)])
def test_offsets_and_timestamps_keep_64_bits(number):
    table = Table()
    table.apply([Rec(abs(number) >> 1, b"k", b"", number)], 0)
    assert table.get(b"k")[OFFSET : TIMESTAMP + 1] == (abs(number) >> 1, number)


def test_headers_are_kept_in_order_and_with_repeats_where_they_are_wanted():
    headers = [("a", b"1"), ("b", None), ("a", b""), ("ü", b"\xff" * 300), ("\udcff", b"")]
    table = Table(keep_headers=True)
    table.apply([Rec(0, b"k", b"v", 0, headers), Rec(1, b"plain", b"v")], 0)
    assert list(table.get(b"k")[HEADERS]) == headers
    assert table.get(b"k")[VALUE] == b"v"
    assert not any(table.get(b"plain")[HEADERS:])


def test_headers_are_left_out_where_they_are_not_wanted():
    table = Table()
    table.apply([Rec(0, b"k", b"v", 0, [("a", b"1")])], 0)
    assert len(table.get(b"k")) == 4


def test_a_value_written_again_is_counted_as_unchanged_and_is_a_change_of_its_record():
    table = table_of((b"k", b"v"), (b"k", b"v"))
    assert table.counters.unchanged == 0  # not yet: it is counted while tailing
    table.tailing = True
    table.apply([Rec(2, b"k", b"v"), Rec(3, b"k", b"vv"), Rec(4, b"k", b"v")], 0)
    assert table.counters.unchanged == 1
    assert (table.revision, table.get(b"k")[OFFSET]) == (5, 4)


def test_get_many_answers_in_the_order_asked():
    table = table_of((b"a", b"1"), (b"b", b"2"))
    answers = table.get_many([b"b", b"none", b"a", b"b"])
    assert [entry and entry[VALUE] for entry in answers] == [b"2", None, b"1", b"2"]


def test_apply_tells_how_many_records_it_saw_and_the_last_offset():
    table = Table()
    assert table.apply([], 0) == (0, -1)
    assert table.apply([Rec(5, b"k", b"v"), Rec(9, None, b"v")], 0) == (2, 9)
    assert table.applied == (2, 9)


def test_records_before_one_that_cannot_be_decoded_are_applied_and_counted():
    def records():
        yield Rec(3, b"a", b"1")
        yield Rec(4, b"b", b"2")
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header key")

    table = Table()
    with pytest.raises(UnicodeDecodeError):
        table.apply(records(), 0)
    assert values(table) == {b"a": b"1", b"b": b"2"}
    assert (table.applied, table.revision, table.counters.records) == ((2, 4), 2, 2)
    assert table.payload_bytes == 4


def test_a_record_that_cannot_be_decoded_at_once_leaves_no_trace():
    def records():
        yield from ()
        raise OverflowError

    table = table_of((b"a", b"1"))
    with pytest.raises(OverflowError):
        table.apply(records(), 0)
    assert table.applied == (0, -1)
    assert (values(table), table.revision, table.counters.records) == ({b"a": b"1"}, 1, 1)


def test_an_observer_is_told_of_each_change_in_order_and_of_nothing_else():
    table = table_of((b"a", b"1"))
    table.tailing = True
    seen = []

    def observer(change):
        assert change.shard == shard_of(change.key)
        assert (change.revision, change.why) == (table.revision, Why.RECORD)
        assert offset_of(change.by) == (change.new[OFFSET] if change.new else 14)
        seen.append((change.key, change.old and change.old[:4], change.new and change.new[:4]))

    table.observe(observer)
    pairs = [(b"a", b"2"), (b"none", None), (None, b"x"), (b"b", b"3"), (b"a", None)]
    table.apply([Rec(10 + n, *pair) for n, pair in enumerate(pairs)], 2)
    assert seen == [
        (b"a", (b"1", 0, 0, 0), (b"2", 2, 10, 0)),
        (b"b", None, (b"3", 2, 13, 0)),
        (b"a", (b"2", 2, 10, 0), None),
    ]
    table.unobserve(observer)
    table.apply([Rec(20, b"a", b"4")], 2)
    assert len(seen) == 3


def test_repr_shows_counts_and_no_keys_or_values():
    assert repr(table_of((b"secret", b"hidden"))) == "<Table entries=1 revision=1>"


# As laws

keys = st.none() | st.sampled_from([b"", b"a", b"b", b"\xff", b"a\0"])
payloads = st.none() | st.sampled_from([b"", b"1", b"11", b"\0" * 24, b"1" + b"\0" * 24])


@st.composite
def logs(draw, key=keys):
    """One partition's records: offsets rise, with holes."""
    offset, log = 0, []
    for pair in draw(st.lists(st.tuples(key, payloads), max_size=30)):
        offset += draw(st.integers(1, 3))
        log.append(Rec(offset, *pair, draw(st.integers(-1, 5))))
    return log


def dict_fold(log, origin=0):
    entries = {}
    for record in log:
        if record.key is not None:
            entries.pop(record.key, None)
        if record.key is not None and record.value is not None:
            entries[record.key] = (record.value, origin, record.offset, record.timestamp)
    return entries


def compact(log, keep_tombstone):
    """What a cleaner may leave: each key's last record, or nothing where it is a tombstone."""
    last = {record.key: record for record in log if record.key is not None}
    return [
        record
        for record in log
        if last.get(record.key) is record and (record.value is not None or keep_tombstone(record))
    ]


def slices(log, size):
    records = iter(log)
    while part := list(islice(records, size)):
        yield part


@given(logs())
def test_a_table_is_the_fold_of_its_log_and_counts_it_right(log):
    table = Table()
    table.tailing = True
    table.apply(log, 6)
    model = dict_fold(log, 6)
    assert contents(table) == model
    assert table.payload_bytes == sum(len(key) + len(entry[VALUE]) for key, entry in model.items())

    keyed = [record for record in log if record.key is not None]
    before = [dict_fold(log[:place]) for place in range(len(log))]
    unknown = sum(
        record.value is None and record.key not in before[place]
        for place, record in enumerate(log)
        if record.key is not None
    )
    unchanged = sum(
        record.value is not None and before[place].get(record.key, (None,))[VALUE] == record.value
        for place, record in enumerate(log)
        if record.key is not None
    )
    assert table.revision == len(keyed) - unknown
    assert table.counters.records == len(keyed)
    assert table.counters.null_keys == len(log) - len(keyed)
    assert table.counters.tombstones == sum(record.value is None for record in keyed)
    assert table.counters.unchanged == unchanged


@given(logs(), st.data())
def test_the_fold_of_a_log_is_the_fold_of_the_compacted_log(log, data):
    cleaned_to = data.draw(st.integers(0, len(log)))
    kept = compact(log[:cleaned_to], lambda _: data.draw(st.booleans())) + log[cleaned_to:]
    whole, compacted = Table(), Table()
    whole.apply(log, 0)
    compacted.apply(kept, 0)
    assert contents(whole) == contents(compacted)


@given(logs(), st.integers(1, 7))
def test_slicing_changes_nothing(log, size):
    whole, sliced = Table(), Table()
    whole.apply(log, 0)
    for part in slices(log, size):
        sliced.apply(part, 0)
    assert contents(whole) == contents(sliced)
    assert (whole.revision, whole.counters) == (sliced.revision, sliced.counters)
    assert whole.payload_bytes == sliced.payload_bytes


@given(logs(st.sampled_from([b"", b"0a", b"0b"])), logs(st.sampled_from([b"1a", b"1b"])), st.data())
def test_the_fold_does_not_depend_on_the_order_in_which_partitions_are_read(left, right, data):
    one_by_one, mixed = Table(), Table()
    one_by_one.apply(left, origin_of(0, 0))
    one_by_one.apply(right, origin_of(1, 0))
    waiting = [(iter(left), origin_of(0, 0)), (iter(right), origin_of(1, 0))]
    while waiting:
        turn = data.draw(st.sampled_from(waiting))
        if not mixed.apply(islice(turn[0], data.draw(st.integers(1, 4))), turn[1]).records:
            waiting.remove(turn)
    assert contents(one_by_one) == contents(mixed)
    assert one_by_one.revision == mixed.revision


header_lists = st.lists(st.tuples(st.text("aü", max_size=2), st.sampled_from([None, b"", b"\xff"])))


@given(logs(), header_lists)
def test_observers_told_of_every_change_can_rebuild_the_table(log, headers):
    table, mirror = Table(keep_headers=True), {}
    table.tailing = True

    def observer(change):
        key, old, new = change.key, change.old, change.new
        assert mirror.get(key) == old
        assert (old, new) != (None, None)
        mirror[key] = new

    table.observe(observer)
    table.apply([record._replace(headers=headers) for record in log], 0)
    assert {key: entry for key, entry in mirror.items() if entry is not None} == {
        key: table.get(key) for key in contents(table)
    }
    assert all([*entry[HEADERS:]] in ([tuple(headers)], []) for entry in mirror.values() if entry)


def test_keys_spread_over_all_of_the_tables_dicts():
    assert sys.hash_info.width == 64
    assert {shard_of(b"%d" % number) for number in range(20_000)} == set(range(SHARDS))


# Keys that several partitions hold

shared = st.sampled_from([b"a", b"b", None])


def of_all_partitions(histories):
    """What holds by the rule: of each partition's last word the greatest (timestamp, partition)."""
    last = {}
    for partition, log in enumerate(histories):
        for record in log:
            if record.key is not None:
                last.setdefault(record.key, {})[partition] = record
    entries = {}
    for key, words in last.items():
        partition, record = max(words.items(), key=lambda word: (word[1].timestamp, word[0]))
        if record.value is not None:
            place = (origin_of(partition, 0), record.offset, record.timestamp)
            entries[key] = (record.value, *place)
    return entries


def read_in_any_order(table, histories, data):
    waiting = [(iter(log), origin_of(number, 0)) for number, log in enumerate(histories)]
    while waiting:
        log, origin = turn = data.draw(st.sampled_from(waiting))
        if not table.apply(islice(log, data.draw(st.integers(1, 4))), origin).records:
            waiting.remove(turn)


@given(st.lists(logs(shared), min_size=3, max_size=3), st.data())
def test_which_partition_counts_does_not_depend_on_the_order_of_reading(histories, data):
    table = Table(partitions=3)
    read_in_any_order(table, histories, data)
    expected = of_all_partitions(histories)
    asked = [b"a", b"b"]
    assert [table.get(key) for key in asked] == [expected.get(key) for key in asked]
    table.tailing = True
    revision = table.revision
    while table.settle(data.draw(st.integers(1, 3))):
        assert [table.get(key) for key in asked] == [expected.get(key) for key in asked]
    assert contents(table) == expected
    assert (table.settled, table.revision) == (True, revision)


@given(
    st.lists(logs(shared), min_size=2, max_size=2),
    st.lists(st.tuples(st.integers(0, 1), shared, payloads, st.integers(-1, 5)), max_size=12),
    st.data(),
)
def test_settling_amid_new_records_ends_as_settling_before_them(histories, tail, data):
    early, late = Table(partitions=2), Table(partitions=2)
    for table in (early, late):
        for number, log in enumerate(histories):
            table.apply(log, origin_of(number, 0))
        table.tailing = True
    while early.settle(100):
        pass
    for offset, (number, *record) in enumerate(tail, start=1000):
        late.settle(data.draw(st.integers(0, 2)))
        for table in (early, late):
            table.apply([Rec(offset, *record)], origin_of(number, 0))
        assert [late.get(key) for key in (b"a", b"b")] == [early.get(key) for key in (b"a", b"b")]
    while late.settle(1):
        pass
    assert contents(early) == contents(late)


def test_a_later_record_of_another_partition_counts_by_its_timestamp():
    table = Table(partitions=2)
    table.tailing = True
    table.apply([Rec(0, b"k", b"old", 5)], origin_of(0, 0))
    table.apply([Rec(0, b"k", b"older", 4)], origin_of(1, 0))
    assert (values(table), table.revision, table.cross_partition_keys) == ({b"k": b"old"}, 1, 1)
    table.apply([Rec(1, b"k", None, 6)], origin_of(1, 0))
    assert (values(table), table.revision) == ({}, 2)
    table.apply([Rec(1, b"k", b"late", 5)], origin_of(0, 0))
    assert (values(table), table.revision) == ({}, 2)
    table.apply([Rec(2, b"k", b"new", 7)], origin_of(0, 0))
    assert (values(table), table.revision, table.cross_partition_keys) == ({b"k": b"new"}, 3, 1)


def test_a_tombstone_of_one_partition_outlasts_an_older_record_of_another():
    table = Table(partitions=2)
    table.apply([Rec(0, b"k", None, 9)], origin_of(0, 0))
    table.apply([Rec(0, b"k", b"old", 5), Rec(1, b"other", b"v", 5)], origin_of(1, 0))
    assert values(table) == {b"other": b"v"}
    table.tailing = True
    while table.settle(1):
        pass
    assert (values(table), len(table)) == ({b"other": b"v"}, 1)


def test_a_table_that_is_being_read_cannot_be_settled():
    with pytest.raises(AssertionError):
        table_of((b"k", b"v")).settle(1)


# A log start that moves


@given(
    st.lists(logs(shared), min_size=2, max_size=2),
    st.tuples(st.integers(0, 60), st.integers(0, 60)),
    st.data(),
)
def test_what_the_log_no_longer_holds_is_gone_at_once_and_then_taken_out(histories, starts, data):
    table = Table(partitions=2)
    early = data.draw(st.booleans())
    if early:
        for number, start in enumerate(starts):
            table.raise_floor(number, start)
    read_in_any_order(table, histories, data)
    table.tailing = True
    for _ in range(data.draw(st.integers(0, 4))):
        table.settle(1)
    for number, start in enumerate(starts):
        table.raise_floor(number, start)
    expected = of_all_partitions(
        [
            [r for r in log if r.offset >= start]
            for log, start in zip(histories, starts, strict=True)
        ]
    )
    asked = [b"a", b"b"]
    assert [table.get(key) for key in asked] == [expected.get(key) for key in asked]
    while table.settle(1):
        assert [table.get(key) for key in asked] == [expected.get(key) for key in asked]
    mirror = {key: table.get(key) for key in asked}
    for _ in table.sweep(1):
        assert [table.get(key) for key in asked] == [expected.get(key) for key in asked]
    assert table.swept
    assert contents(table) == expected
    assert {key: entry for key, entry in mirror.items() if entry} == expected


def test_an_entry_that_fell_is_counted_and_told():
    table = table_of((b"a", b"1"), (b"b", b"2"))
    table.tailing = True
    while table.settle(1):
        pass
    seen = []
    table.observe(seen.append)
    table.raise_floor(0, 1)
    assert (table.get(b"a"), len(table), table.revision) == (None, 2, 3)
    list(table.sweep(10))
    assert (values(table), table.revision, table.counters.expired) == ({b"b": b"2"}, 4, 1)
    (change,) = seen
    assert (change.key, change.old, change.new) == (b"a", (b"1", 0, 0, 0), None)
    assert (change.by, change.why) == (None, Why.LOG_START)


def test_a_change_by_another_partitions_record_names_that_record():
    """Partition 1 takes back what it said last, and what partition 0 said holds again."""
    table = Table(partitions=2)
    table.apply([Rec(5, b"k", b"of 0", timestamp=10)], origin_of(0, 0))
    table.apply([Rec(7, b"k", b"of 1", timestamp=20)], origin_of(1, 0))
    table.tailing = True
    while table.settle(1):
        pass
    seen = []
    table.observe(seen.append)
    table.apply([Rec(8, b"k", b"older", timestamp=5)], origin_of(1, 0))
    (change,) = seen
    assert (change.old[VALUE], change.new[VALUE], change.new[OFFSET]) == (b"of 1", b"of 0", 5)
    assert (source_of(change.by), offset_of(change.by), change.why) == (1, 8, Why.RECORD)


def test_a_lost_entry_is_told_as_such():
    table = table_of((b"a", b"1"))
    table.tailing = True
    while table.settle(1):
        pass
    seen = []
    table.observe(seen.append)
    table.lose(b"a", 0)
    (change,) = seen
    assert (change.key, change.old, change.new) == (b"a", (b"1", 0, 0, 0), None)
    assert (change.by, change.why) == (None, Why.MISSED_TOMBSTONE)


def test_an_entry_that_falls_before_it_is_settled_is_counted_too():
    table = table_of((b"a", b"1"), (b"b", b"2"))
    table.tailing = True
    table.raise_floor(0, 1)
    while table.settle(1):
        pass
    assert (values(table), table.counters.expired) == ({b"b": b"2"}, 1)


def test_a_record_that_comes_after_its_keys_fall_is_served():
    table = table_of((b"a", b"1"))
    table.tailing = True
    table.raise_floor(0, 1)
    table.apply([Rec(1, b"a", b"2")], 0)
    assert values(table) == {b"a": b"2"}
    while table.settle(1):
        pass
    list(table.sweep(1))
    assert (values(table), table.counters.expired) == ({b"a": b"2"}, 1)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (origin_of(3, 0), origin_of(3, 0), False),
        (origin_of(3, 0), origin_of(3, 1), False),
        (origin_of(3, 0), origin_of(4, 0), True),
        (origin_of(0, 1), origin_of(1 << 20, 1), True),
    ],
)
def test_words_of_two_partitions_are_told_apart_whoever_set_their_timestamps(one, other, told):
    word, tombstone = (
        stored_of(Rec(5, b"k", value, timestamp=7), origin, keep_headers=False)
        for value, origin in ((b"v", one), (None, other))
    )
    assert is_of_another(word, tombstone) is told
    assert is_of_another(tombstone, word) is told
    assert not is_of_another(None, word)
