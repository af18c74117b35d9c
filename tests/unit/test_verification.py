"""Comparing a table with its log: what is a difference, and what only looks like one."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli.verification import (
    Claim,
    Comparison,
    LogFold,
    Stated,
    behind,
    digests_agree,
)
from sidecar.core.digest import Digest, DigestBuild
from sidecar.core.model import Batch, Fetched, LogBounds, origin_of
from sidecar.core.table import Table


class Rec(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1000
    headers: list = []  # noqa: RUF012


def part(records, partition=0, end=None):
    records = list(records)
    end = end if end is not None else (records[-1].offset + 1 if records else 0)
    batch = Batch(records, origin_of(partition, 0), 0, end)
    return Fetched(partition, iter([batch]), LogBounds(), 0.0, None, 0)


def folded(records, position, partition=0):
    fold = LogFold({partition: position})
    fold.add(part(records, partition))
    return fold


def claims_of(records, partition=0):
    table = {}
    for one in records:
        if one.value is None:
            table.pop(one.key, None)
        elif one.key is not None:
            table[one.key] = Claim(one.key, one.value, partition, one.offset, one.timestamp)
    return table


def judged(fold, claims, *, starts=None, starts_now=None):
    comparison = Comparison(fold, starts or {})
    comparison.check(claims)
    comparison.finish(starts_now or {})
    return comparison


def differing(fold, claims, **given):
    return [one.key for one in judged(fold, claims, **given).result()[0]]


A, B = b"a", b"b"
LOG = [Rec(0, A, b"1"), Rec(1, B, b"1"), Rec(2, A, b"2")]


def test_a_true_table_does_not_differ():
    assert differing(folded(LOG, 3), claims_of(LOG).values()) == []


def test_a_wrong_value_differs():
    claims = claims_of(LOG)
    claims[A] = claims[A]._replace(value=b"no")
    (found,) = judged(folded(LOG, 3), claims.values()).result()[0]
    assert found.key == A
    assert "value is not the log's" in found.why


def test_a_wrong_timestamp_differs():
    claims = claims_of(LOG)
    claims[B] = claims[B]._replace(timestamp=7)
    assert differing(folded(LOG, 3), claims.values()) == [B]


def test_headers_are_compared_where_they_are_kept():
    log = [Rec(0, A, b"1", headers=[("h", b"x")])]
    fold = LogFold({0: 1}, keep_headers=True)
    fold.add(part(log))
    claim = Claim(A, b"1", 0, 0, 1000, (("h", b"x"),))
    assert differing(fold, [claim]) == []
    assert differing(fold, [claim._replace(headers=())]) == [A]


def test_a_missing_key_differs():
    claims = claims_of(LOG)
    del claims[B]
    assert differing(folded(LOG, 3), claims.values()) == [B]


def test_a_key_that_the_log_never_had_differs():
    claims = [*claims_of(LOG).values(), Claim(b"x", b"1", 0, 1, 1000)]
    assert differing(folded(LOG, 3), claims) == [b"x"]


def test_an_older_record_than_the_logs_differs():
    claims = claims_of(LOG) | {A: Claim(A, b"1", 0, 0, 1000)}
    assert differing(folded(LOG, 3), claims.values()) == [A]


def test_a_deleted_key_that_stays_differs():
    log = [Rec(0, A, b"1"), Rec(1, A, None)]
    (found,) = judged(folded(log, 2), [Claim(A, b"1", 0, 0, 1000)]).result()[0]
    assert "tombstone at offset 1" in found.why


def test_a_record_that_was_compacted_away_by_a_later_one_does_not_differ():
    compacted = [Rec(1, B, b"1"), Rec(5, A, b"9")]
    assert differing(folded(compacted, 3), claims_of(LOG).values()) == []


def test_an_entry_that_moved_on_is_not_compared():
    comparison = judged(folded(LOG, 3), [*claims_of(LOG[1:2]).values(), Claim(A, b"9", 0, 3, 1)])
    assert comparison.result() == ([], [])
    assert comparison.not_comparable == 1


def test_a_key_that_was_deleted_after_the_reading_is_cleared_by_reading_on():
    fold = folded(LOG, 3)
    comparison = judged(fold, claims_of(LOG[:1] + LOG[2:]).values())
    assert [one.key for one in comparison.result()[0]] == [B]
    fold.add(part([Rec(3, B, None)]))
    assert comparison.result()[0] == []


def test_an_entry_below_the_log_start_is_not_compared():
    claims = claims_of(LOG).values()
    assert differing(folded(LOG[2:], 3), claims, starts={0: 2}) == []
    assert differing(folded(LOG, 3), list(claims)[:1], starts_now={0: 2}) == []


def test_a_key_of_several_partitions_is_reported_apart():
    fold = LogFold({0: 1, 1: 1})
    fold.add(part([Rec(0, A, b"1")], 0))
    fold.add(part([Rec(0, A, None)], 1))
    found, apart = judged(fold, []).result()
    assert found == []
    assert [one.key for one in apart] == [A]


def test_a_record_without_a_key_is_no_entry():
    assert differing(folded([Rec(0, None, b"x")], 1), []) == []


def test_a_partition_that_the_sidecar_does_not_follow_yet_is_behind():
    assert behind({0: 3}, {0: 3, 1: 2}) == {1: 2}
    assert behind({0: 3, 1: 9}, {0: 3, 1: 2}) == {}


def test_digests_of_another_number_of_partitions_do_not_agree():
    fold = folded(LOG, 3)
    right = Stated(3, fold.digest(0))
    assert digests_agree({0: right}, fold)
    assert digests_agree({0: right, 1: Stated(0, Digest())}, fold)
    assert not digests_agree({0: right, 1: Stated(4, Digest(1, 1))}, fold)
    assert not digests_agree({}, fold)


# Laws

keys = st.sampled_from([b"", b"a", b"b", b"c", b"\xff"])
values = st.one_of(st.none(), st.sampled_from([b"", b"1", b"2"]))
logs = st.lists(st.tuples(keys, values), max_size=30).map(
    lambda pairs: [Rec(offset, key, value) for offset, (key, value) in enumerate(pairs)]
)


@given(logs, st.data())
def test_the_digest_is_the_one_that_a_table_gives(log, data):
    position = data.draw(st.integers(0, len(log)))
    table = Table()
    table.apply(log[:position], origin_of(0, 0))
    table.tailing = True
    build = DigestBuild(table)
    while build.step(3):
        pass
    assert folded(log, position).digest(0) == build.digest(0)


@given(logs, st.data())
def test_a_sidecar_that_tells_the_truth_never_differs(log, data):
    """Whatever the cleaner took, however far the sidecar went on, wherever the reading ended."""
    position = data.draw(st.integers(0, len(log)), "the digest's position")
    end = data.draw(st.integers(position, len(log)), "the log's end while it was read")
    scanned = data.draw(st.integers(position, len(log)), "the sidecar's position at the scan")
    last = {one.key: one.offset for one in log[:end]}
    cleaned = set()
    for one in log[:end]:
        replaced = last[one.key] > one.offset
        if replaced and data.draw(st.booleans()):
            cleaned.add(one.offset)
    left = [one for one in log[:end] if one.offset not in cleaned]
    oldest = {one.key: one.offset for one in reversed(left)}
    seen = [
        one
        for one in left
        # A tombstone goes after all that it deletes, and after its retention.
        if one.value is not None
        or oldest[one.key] < one.offset
        or one.offset >= scanned
        or data.draw(st.booleans())
    ]
    fold = folded(seen, position)
    comparison = judged(fold, claims_of(log[:scanned]).values())
    fold.add(part(one for one in log if one.offset >= position))
    assert comparison.result() == ([], [])


@given(logs, logs)
def test_on_a_log_at_rest_exactly_the_keys_that_are_not_its_fold_differ(log, other):
    truth, told = claims_of(log), claims_of(other[: len(log)])
    wrong = {key for key in truth.keys() | told.keys() if truth.get(key) != told.get(key)}
    assert differing(folded(log, len(log)), told.values()) == sorted(wrong)
