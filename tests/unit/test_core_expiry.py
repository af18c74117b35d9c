"""Entries go when they are old enough, and their followers are told why."""

from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.changes import Why
from sidecar.core.expiry import Expiry
from sidecar.core.model import VALUE, origin_of
from sidecar.core.rule import Ruled
from sidecar.core.table import Table

LIFE_MS = 600_000


def table_of(*records, partitions=1):
    table = Table(partitions=partitions)
    table.tailing = True
    for record in records:
        table.apply([record], origin_of(0, 0))
    return table


def aged(table, expiry, oldest_ms, limit=2):
    return sum(expiry.expire(oldest_ms, limit))


def test_only_what_is_older_goes_and_it_is_told_why():
    table, told = table_of(Rec(0, b"a", b"1", 999), Rec(1, b"b", b"1", 1000)), []
    expiry = Expiry(table, LIFE_MS)
    for _ in expiry.walk(1):
        pass
    table.observe(told.append)
    assert aged(table, expiry, 1000) == 1
    assert list(table) == [b"b"]
    assert [(each.key, each.new, each.why) for each in told] == [(b"a", None, Why.TABLE_RULE)]
    assert table.counters.aged == 1


def test_what_is_written_anew_lives_on():
    table = table_of(Rec(0, b"a", b"1", 1000))
    expiry = Expiry(table, LIFE_MS)
    for _ in expiry.walk(1):
        pass
    table.apply([Rec(1, b"a", b"2", 500_000)], origin_of(0, 0))
    assert aged(table, expiry, 400_000) == 0
    assert table.get(b"a")[VALUE] == b"2"
    assert aged(table, expiry, 500_001) == 1
    assert expiry._buckets == {}


def test_without_a_timestamp_there_is_no_age():
    table = table_of(Rec(0, b"a", b"1", -1))
    expiry = Expiry(table, LIFE_MS)
    for _ in expiry.walk(1):
        pass
    assert aged(table, expiry, 10**15) == 0


def test_of_a_key_in_several_partitions_nothing_older_comes_back():
    table = table_of(Rec(0, b"a", b"old", 1000), partitions=2)
    table.apply([Rec(0, b"a", b"new", 2000)], origin_of(1, 0))
    expiry = Expiry(table, LIFE_MS)
    for _ in expiry.walk(1):
        pass
    assert aged(table, expiry, 1500) == 0
    assert table.get(b"a")[VALUE] == b"new"
    assert aged(table, expiry, 2001) == 1
    assert table.get(b"a") is None
    # nor with what is turned away at once, for it is too old itself
    late = Ruled(1, 1900, b"a", None, turned_away=True)
    table.apply([late], origin_of(0, 0))
    assert table.get(b"a") is None


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3_000_000)), max_size=40),
    st.lists(st.integers(0, 3_000_000), max_size=6),
    st.integers(1, 3_000_000),
)
def test_after_each_round_nothing_is_older_and_nothing_younger_is_missing(writes, rounds, life):
    table, held, each_round = table_of(), {}, sorted(rounds)
    expiry = Expiry(table, life)
    for number, (key, timestamp) in enumerate(writes):
        table.apply([Rec(number, b"%d" % key, b"1", timestamp)], origin_of(0, 0))
        held[b"%d" % key] = timestamp
        if each_round and number % 5 == 4:
            oldest = each_round.pop(0)
            aged(table, expiry, oldest)
            held = {name: at for name, at in held.items() if at >= oldest}
            assert set(table) == set(held)
    aged(table, expiry, 3_000_001)
    assert len(table) == 0
    assert expiry._buckets == {}
