"""One key, served and on the topic: what is said of it."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli.explaining import Asked, Held, KeyFold, Verdict, judge
from sidecar.core.model import Batch, Fetched, LogBounds, origin_of
from sidecar.core.rule import Ruled

KEY = b"KJFK"


class Rec(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1000


def fold(*records, partition=0, bounds=LogBounds(), into=None):  # noqa: B008
    known = into or KeyFold(KEY)
    end = records[-1].offset + 1 if records else 0
    batch = Batch(records, origin_of(partition, 0), 0, end)
    known.add(Fetched(partition, iter([batch]), bounds, 0.0, None, 0))
    return known


def asked(held, position, reached=None):
    positions = position if isinstance(position, dict) else {0: position}
    return Asked(held, positions, reached or positions)


def verdict(held, position, known):
    return judge(asked(held, position), known).verdict


ONE, TWO = Rec(0, KEY, b"1"), Rec(1, KEY, b"2")


def test_the_last_record_below_the_position_is_the_same():
    assert verdict(Held(0, 1, 1000, b"2"), 2, fold(ONE, TWO)) == Verdict.SAME


def test_a_newer_record_above_the_position_is_behind_by_its_offsets():
    found = judge(asked(Held(0, 0, 1000, b"1"), 1), fold(ONE, Rec(7, KEY, b"2")))
    assert (found.verdict, found.behind) == (Verdict.BEHIND, {0: 7})
    assert "a newer record" in found.why


def test_a_tombstone_above_the_position_is_behind_too():
    found = judge(asked(Held(0, 0, 1000, b"1"), 1), fold(ONE, Rec(7, KEY, None)))
    assert found.verdict == Verdict.BEHIND
    assert "a tombstone" in found.why


def test_a_newer_record_below_the_position_differs():
    found = judge(asked(Held(0, 0, 1000, b"1"), 2), fold(ONE, TWO))
    assert found.verdict == Verdict.DIFFERS
    assert "read on to 2 without taking it" in found.why


def test_a_deleted_key_that_is_served_differs():
    found = judge(asked(Held(0, 0, 1000, b"1"), 2), fold(ONE, Rec(1, KEY, None)))
    assert found.verdict == Verdict.DIFFERS
    assert "a tombstone at offset 1" in found.why


def test_another_value_or_timestamp_at_the_same_offset_differs():
    assert "same value as" in judge(asked(Held(0, 0, 1000, b"X"), 1), fold(ONE)).why
    assert "value and timestamp" in judge(asked(Held(0, 0, 1, b"X"), 1), fold(ONE)).why


def test_a_key_that_the_sidecar_lacks_differs():
    assert verdict(None, 1, fold(ONE)) == Verdict.DIFFERS


def test_a_record_that_the_topic_never_had_differs():
    assert verdict(Held(0, 0, 1000, b"1"), 5, fold(Rec(3, b"other", b"1"))) == Verdict.DIFFERS


def test_a_record_that_compaction_took_for_a_newer_one_is_only_behind():
    assert verdict(Held(0, 0, 1000, b"1"), 5, fold(Rec(7, KEY, b"2"))) == Verdict.BEHIND


def test_absent_in_both_says_why():
    assert judge(asked(None, 5), fold()).why == "the topic has no record of it"
    found = judge(asked(None, 2), fold(ONE, Rec(1, KEY, None)))
    assert found.verdict == Verdict.ABSENT
    assert "tombstone at offset 1 of partition 0" in found.why


def test_a_record_that_the_tables_definition_turns_away_is_no_tombstone():
    away = Ruled(7, 1000, KEY, None, turned_away=True)
    absent = judge(asked(None, 8), fold(away))
    assert absent.verdict == Verdict.ABSENT
    assert "turns away the record at offset 7 of partition 0" in absent.why
    behind = judge(asked(Held(0, 0, 1000, b"1"), 1), fold(ONE, away))
    assert "a record that the table's definition turns away" in behind.why


def test_a_record_below_the_logs_start_is_absent():
    known = fold(ONE, Rec(5, b"x", b"1"), bounds=LogBounds(3, 6, 6))
    assert verdict(None, 6, known) == Verdict.ABSENT
    assert verdict(Held(0, 0, 1000, b"1"), 6, known) == Verdict.UNSETTLED


def test_a_record_between_the_two_positions_settles_nothing():
    held = Held(0, 1, 1000, b"2")
    assert judge(asked(held, {0: 1}, {0: 2}), fold(ONE, TWO)).verdict == Verdict.UNSETTLED
    assert judge(asked(None, {0: 1}, {0: 2}), fold(ONE, TWO)).verdict == Verdict.UNSETTLED


def several(second):
    return fold(second, partition=1, into=fold(ONE))


def test_of_several_partitions_the_greatest_timestamp_holds():
    known, ends = several(Rec(4, KEY, b"3", 2000)), {0: 1, 1: 5}
    found = judge(asked(Held(1, 4, 2000, b"3"), ends), known)
    assert found.verdict == Verdict.SAME
    assert "partitions 0, 1 hold it" in found.why
    assert verdict(Held(0, 0, 1000, b"1"), ends, known) == Verdict.SEVERAL


def test_a_tombstone_of_another_partition_holds_by_the_same_rule():
    ends = {0: 1, 1: 5}
    assert verdict(None, ends, several(Rec(4, KEY, None, 2000))) == Verdict.ABSENT
    older = several(Rec(4, KEY, None, 500))
    assert verdict(Held(0, 0, 1000, b"1"), ends, older) == Verdict.SAME
    assert verdict(None, ends, older) == Verdict.SEVERAL


def test_keys_that_look_alike_are_noted_while_they_live():
    known = fold(
        Rec(0, b"kjfk", b"1"), Rec(1, b"KJFK\n", b"1"), Rec(2, b'"KJFK"', b"1"),
        Rec(3, b"kjfk", None), Rec(4, b"KJF", b"1"), Rec(5, None, b"1"),
    )  # fmt: skip
    assert known.similar == {b"KJFK\n": (0, 1), b'"KJFK"': (0, 2)}


def test_what_an_open_transaction_hides_is_noted_until_it_ends():
    known = fold(ONE, bounds=LogBounds(0, 9, 4))
    assert known.held_back == {0: (4, 9)}
    assert fold(TWO, bounds=LogBounds(0, 9, 9), into=known).held_back == {}


values = st.lists(st.one_of(st.none(), st.sampled_from([b"", b"1"])), max_size=12)


@given(values, st.data())
def test_a_sidecar_that_tells_the_truth_never_differs(log, data):
    """Whatever the cleaner took, and however far the sidecar and the reading have come."""
    records = [Rec(offset, KEY, value) for offset, value in enumerate(log)]
    position = data.draw(st.integers(0, len(log)))
    last = records[position - 1] if position else None
    held = Held(0, last.offset, 1000, last.value) if last and last.value is not None else None
    left = [one for one in records if one.offset == len(log) - 1 or data.draw(st.booleans())]
    found = judge(asked(held, position), fold(*left)).verdict
    assert found in {Verdict.SAME, Verdict.ABSENT, Verdict.BEHIND}
