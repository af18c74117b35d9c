"""A table's rule: what becomes of each record, and that the table is the fold of that."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.counters import Counters
from sidecar.core.model import VALUE, Batch, Fetched, LogBounds
from sidecar.core.progress import Progress
from sidecar.core.rule import Load, Rule
from sidecar.core.view import View

NOW = 10_000


def rule(**options):
    return Rule(**{"now_ms": lambda: NOW, **options})


def seen(made, *records):
    return list(made.records(records, Counters()))


def told(made, *records):
    return [(each.key, each.value) for each in seen(made, *records)]


def test_a_key_that_is_not_the_tables_belongs_to_none():
    made = rule(key=lambda key: key if key.startswith(b"a") else None)
    assert told(made, Rec(0, b"a", b"1"), Rec(1, b"b", b"2"), Rec(2, b"b", None)) == [
        (b"a", b"1"), (None, b"2"), (None, None),
    ]  # fmt: skip


def test_a_value_that_is_not_the_tables_ends_what_its_key_had():
    made = rule(value=lambda value: value.upper() if value != b"no" else None)
    first, second, third = seen(made, Rec(0, b"a", b"x"), Rec(1, b"a", b"no"), Rec(2, b"b", None))
    assert (first.value, first.turned_away) == (b"X", False)
    assert (second.value, second.turned_away) == (None, True)
    assert (third.value, third.turned_away) == (None, False)


def test_what_is_too_old_is_turned_away_and_what_has_no_timestamp_has_no_age():
    made = rule(expire_after_ms=1000)
    records = [Rec(n, b"a", b"1", timestamp) for n, timestamp in enumerate([8_999, 9_000, -1])]
    assert [each.value for each in seen(made, *records)] == [None, b"1", b"1"]


def test_offset_timestamp_and_headers_stay():
    (given_,) = seen(rule(key=bytes.lower), Rec(7, b"A", b"1", 5, [("h", b"v")]))
    assert given_[:5] == (7, 5, b"a", b"1", [("h", b"v")])


def test_a_record_without_a_key_stays_so():
    assert told(rule(key=lambda key: key[9]), Rec(0, None, b"1")) == [(None, b"1")]


def view():
    return View("t", 1, 2, [Progress(0, position=0, target=100)])


def fetched(records):
    batch = Batch(records, 0, records[0].offset, records[-1].offset + 1)
    return Fetched(0, iter([batch]), LogBounds(0, 100, 100), 1.0, None, 1)


_records = st.lists(
    st.tuples(
        st.sampled_from([None, b"a1", b"a2", b"b1"]),
        st.sampled_from([None, b"yes", b"no", b"raises"]),
        st.integers(8_500, 9_500),
    ),
    min_size=1,
    max_size=30,
)


@given(_records, st.integers(1, 8), st.booleans())
def test_the_table_is_the_fold_of_what_the_rule_leaves(given_, limit, tailing):
    records = [Rec(n, *each) for n, each in enumerate(given_)]
    made = rule(
        key=lambda key: key[1:] if key.startswith(b"a") else None,
        value=lambda value: None if value == b"no" else value + b"!",
        expire_after_ms=1000,
    )
    known, held = view(), {}
    known.table.tailing = tailing
    for record in records:
        if record.key is None or not record.key.startswith(b"a"):
            continue
        if record.value in (None, b"no") or record.timestamp < 9_000:
            held.pop(record.key[1:], None)
        else:
            held[record.key[1:]] = record.value + b"!"
    positions = []
    for _ in known.fold(made.fetched(fetched(records), known.table.counters), limit):
        positions.append(known.progress[0].position)
    assert {key: known.table.get(key)[VALUE] for key in known.table} == held
    assert known.progress[0].position == len(records)
    assert all(after - before <= limit for before, after in pairwise([0, *positions]))
    counted = known.table.counters
    assert counted.null_keys == sum(record.key is None for record in records)
    assert counted.records + counted.null_keys + counted.turned_away == len(records)


def test_a_batch_whose_fast_decoder_gives_up_is_read_by_the_other_through_the_rule_too():
    def failing():
        yield Rec(0, b"a", b"1")
        raise ValueError("no more")

    batch = Batch(failing(), 0, 0, 2, lambda: [Rec(0, b"a", b"1"), Rec(1, b"b", b"2")])
    part = Fetched(0, iter([batch]), LogBounds(0, 100, 100), 1.0, None, 1)
    known = view()
    for _ in known.fold(
        rule(value=lambda value: value.hex().encode()).fetched(part, known.table.counters), 10
    ):
        pass
    assert known.table.get(b"b")[VALUE] == b"32"


def test_what_is_wanted_is_named_in_the_same_words_whatever_the_order():
    assert not Load()
    assert str(Load()) == ""
    wanted = Load(path="$.a", key_prefix=b"x")
    assert str(wanted) == "key_prefix=b'x' path='$.a'"
    assert wanted.looks_inside
    assert not Load(expire_after_ms=1).looks_inside
