"""Each check finds the anomaly that it is for, in a history made by hand, and only that.

The good history is that of one key `k` in partition 0 and one key `q` in partition 1:

    offset    0      1      2           3       4        5
    k         a      b      x, aborted  marker  deleted  c
    written   at 1   2      3                   4        5   (heard of 0.1 s later)

with a fault from 3 to 5, and another key `u` of which nobody knows whether it was written.
"""

from __future__ import annotations

import copy

import pytest
from chaos.checks import check
from chaos.faults import FAULTS, IDENTITY_FAULTS, schedule
from chaos.history import History, Recorder, data_of, text_of

GENERATION, INCARNATION = 17, 11
A, B, C = ("found", "k", "a", 0, 0, 1), ("found", "k", "b", 0, 1, 2), ("found", "k", "c", 0, 5, 5)
GONE = ("absent", "k")
Q = ("found", "q", "v", 1, 0, 1)
ENDS = {0: 6, 1: 1}


def write(key, value, partition, offset, at, outcome="committed", **more):
    return {
        "op": "write", "topic_id": "T1", "key": key, "value": value, "partition": partition,
        "offset": offset, "ts": at, "sent": at, "acked": at + 0.1, "outcome": outcome,
        "commit_from": at, "decided": at + 0.1, **more,
    }  # fmt: skip


def read(at, *results, op="Get", positions=None, staleness_ms=50, revision=None, **more):
    """A call of 10 ms; the revision is the sum of positions unless given."""
    told = None if positions is None else {str(n): offset for n, offset in positions.items()}
    if revision is None:
        revision = sum((positions or {}).values())
    return {
        "op": op, "client": 0, "sent": at, "received": at + 0.01, "ok": True,
        "keys": [row[1] for row in results], "results": [list(row) for row in results],
        "staleness_ms": staleness_ms, "incarnation": INCARNATION, "generation": GENERATION,
        "revision": revision, "positions": told, **more,
    }  # fmt: skip


def refused(at, code, reason="", seconds=0.01, **more):
    return {
        "op": "Get", "client": 0, "sent": at, "received": at + seconds, "ok": False,
        "keys": ["k"], "code": code, "reason": reason, "message": "", **more,
    }  # fmt: skip


def told(at, staleness_ms=50, incarnation=INCARNATION, topic_id="T1", **positions):
    return {
        "op": "table", "sent": at, "received": at + 0.01, "ok": True, "state": "LIVE",
        "topic_id": topic_id, "incarnation": incarnation, "generation": GENERATION,
        "staleness_ms": staleness_ms,
        "partitions": [[0, positions.get("p0", 6)], [1, positions.get("p1", 1)]],
    }  # fmt: skip


def fault(kind, began, applied, healing, healed, **more):
    return {
        "op": "fault", "kind": kind, "node": 1, "began": began, "applied": applied,
        "healing": healing, "healed": healed, "told": more,
    }  # fmt: skip


def listed(at, *results, **more):
    return read(at, *results, op="List", prefix="", more=False, positions=ENDS, **more)


@pytest.fixture
def good():
    return History(
        writes=[
            write("k", "a", 0, 0, 1),
            write("q", "v", 1, 0, 1),
            write("k", "b", 0, 1, 2),
            write("k", "x", 0, 2, 3, "aborted", tx="t1"),
            write("k", None, 0, 4, 4),
            write("k", "c", 0, 5, 5, tx="t2"),
            write("u", "w", 1, None, 6, "unknown"),
        ],
        reads=[
            refused(0.2, "UNAVAILABLE"),
            refused(0.3, "UNAVAILABLE", "BOOTSTRAPPING"),
            read(1.5, A, Q, op="MultiGet", positions={0: 1, 1: 1}),
            read(2.5, B, positions={0: 2, 1: 1}, min=[[0, 1]], min_topic_id="T1"),
            read(3.5, B, Q, op="MultiGet", positions={0: 4, 1: 1}),
            read(4.5, GONE, positions={0: 5, 1: 1}),
            read(5.15, GONE, positions={0: 5, 1: 1}, staleness_ms=400),
            read(5.5, C, positions=ENDS),
            listed(6.6, C, Q),
        ],
        faults=[fault("broker_kill", 3, 3.1, 4, 5)],
        monitor=[told(5.6), told(40)],
        topics=[{"op": "created", "id": "T1", "began": 0, "at": 0.1, "ordinal": 0}],
        final=[
            {"op": "table", "records": [list(C[1:]), list(Q[1:])], "positions": {}},
            {"op": "log", "topic_id": "T1", "records": [list(C[1:]), list(Q[1:])]},
            {"op": "exit", "code": 0, "traceback": 0},
        ],
    )


def test_a_good_history_has_no_violation_and_everything_is_looked_at(good):
    verdict = check(good)
    assert verdict.violations == []
    assert verdict.recoveries == [("broker_kill", pytest.approx(0.61))]


def adds(*reads):
    """More calls, in the order of their answers."""

    def change(history):
        history.reads.extend(reads)
        history.reads.sort(key=lambda event: event["received"])

    return change


def puts(section, place, **fields):
    """Another value of some fields of one event."""
    return lambda history: getattr(history, section)[place].update(fields)


def extends(section, *events):
    return lambda history: getattr(history, section).extend(events)


def both(*changes):
    def change(history):
        for each in changes:
            each(history)

    return change


X = ("found", "k", "x", 0, 2, 3)
CREATED_AGAIN = {"op": "created", "id": "T2", "began": 50, "at": 51, "ordinal": 1}
PAUSED = fault("sidecar_pause", 20, 20, 30, 30)
BAD = {
    "an aborted record": (
        adds(read(3.6, X, positions={0: 4, 1: 1})), "I4 aborted read (G1a)"),
    "an aborted tombstone": (
        both(puts("writes", 3, value=None), adds(read(3.6, GONE, positions={0: 4, 1: 1}))),
        "I1 aborted read (G1a) of a tombstone"),
    "a record before its commit": (
        puts("writes", 5, commit_from=5.6, decided=5.7), "I4 dirty read (G1b)"),
    "a record that nobody wrote": (
        adds(read(6, ("found", "k", "?", 0, 7, 5), positions={0: 9, 1: 1})), "I1 phantom read"),
    "other bytes": (
        adds(read(6, ("found", "k", "C", 0, 5, 5), positions=ENDS)), "I1 corrupt read"),
    "another timestamp": (
        adds(read(6, ("found", "k", "c", 0, 5, 6), positions=ENDS)), "I1 corrupt read"),
    "another partition": (
        adds(read(6, ("found", "k", "c", 1, 5, 5), positions=ENDS)), "I1 phantom read"),
    "absent though written": (
        adds(read(6, GONE, positions=ENDS)), "I1 lost update"),
    "older than its positions": (
        adds(read(3.6, A, positions={0: 4, 1: 1})), "I1 stale read (below its positions)"),
    "older than its positions, and too soon for compaction": (
        adds(read(6.8, A, positions={0: 4, 1: 1}, staleness_ms=7000, generation=18)),
        "I1 stale read (below its positions)"),
    "newer than its positions": (
        adds(read(5.6, C, positions={0: 5, 1: 1}, staleness_ms=900)),
        "I1 read of the future (beyond its positions)"),
    "a deleted key": (
        adds(read(4.6, B, positions={0: 5, 1: 1})), "I1 deleted key came back"),
    "two positions in one MultiGet": (
        adds(read(3.6, A, Q, op="MultiGet", positions={0: 4, 1: 1})),
        "I12 stale read (below its positions)"),
    "a page without an entry": (adds(listed(7, C)), "I1 lost update"),
    "a page out of order": (adds(listed(7, Q, C)), "I12 page out of order"),
    "a page with a stranger": (
        adds(listed(7, C, Q) | {"prefix": "k"}), "I12 page beyond its prefix"),
    "a presence not asked for": (
        adds(read(6, ("unknown", "k"))), "I2 unknown presence"),
    "an age below the true one, by position": (
        adds(read(6, Q, positions={0: 5, 1: 1})), "I11 stale read (understated age)"),
    "an age below the true one, by key": (
        adds(read(6, GONE)), "I11 stale read (understated age)"),
    "an age that forgets a partition": (
        adds(read(6, C, positions={0: 6})), "I11 stale read (understated age)"),
    "an age that forgets a pause": (
        both(extends("faults", PAUSED), extends("writes", write("q", "late", 1, 1, 25)),
             adds(read(24, Q, positions=ENDS, staleness_ms=4800, received=30.1))),
        "I11 stale read (understated age)"),
    "an age told by the status that is too low": (
        extends("monitor", told(6, p0=5)), "I11 stale read (understated age)"),
    "an own write not seen": (
        adds(read(5.16, GONE, min=[[0, 5]], min_topic_id="T1", positions={0: 5, 1: 1},
                  staleness_ms=900)), "I10 stale read of an own write"),
    "an older record than one's own": (
        puts("reads", 3, results=[list(A)]), "I10 stale read of an own write"),
    "an offset that goes back": (
        adds(read(3.6, A, staleness_ms=5000)), "I9 non-monotonic read"),
    "a position that goes back": (
        adds(read(6, positions={0: 5, 1: 1}, staleness_ms=5000)), "I9 non-monotonic positions"),
    "a partition that is gone": (
        adds(read(6, positions={0: 6}, staleness_ms=9000)), "I9 non-monotonic positions"),
    "a revision that goes back": (
        adds(read(6, C, revision=1)), "I9 non-monotonic revision"),
    "two tables of one revision": (
        adds(read(5.6, C, revision=7), read(5.7, GONE, revision=7)),
        "I9 two tables of one revision"),
    "unready again": (
        adds(refused(6, "UNAVAILABLE", "BOOTSTRAPPING")), "I2 lost readiness"),
    "a refusal that nobody asked for": (
        adds(refused(6, "FAILED_PRECONDITION", "NOT_FRESH")), "I2 refusal without a bound"),
    "no answer in time": (
        adds(refused(6, "DEADLINE_EXCEEDED", seconds=10)), "I2 hang"),
    "nobody there": (adds(refused(6, "UNAVAILABLE")), "I2 sidecar not reachable"),
    "an error that is none of ours": (adds(refused(6, "INTERNAL")), "I2 unexpected error"),
    "never current again": (
        extends("faults", fault("slow", 41, 41, 42, 42)), "I22 no recovery"),
    "current again too late": (
        both(extends("faults", fault("slow", 41, 41, 42, 42)), extends("monitor", told(80))),
        "I22 no recovery"),
    "a topic that came by itself": (
        extends("topics", {"op": "listed", "sent": 1, "received": 1, "present": True}),
        "I19 topic created by nobody"),
    "an answer of the topic before": (
        both(extends("topics", CREATED_AGAIN), adds(read(62, C, positions=ENDS))),
        "I19 read of another incarnation"),
    "an answer of no topic": (
        adds(read(6, C, incarnation=99)), "I19 unknown incarnation"),
    "an entry that is missing at rest": (
        puts("final", 0, records=[list(C[1:])]), "I1 lost update"),
    "an entry too many at rest": (
        puts("final", 0, records=[list(C[1:]), list(Q[1:]), ["z", "1", 0, 3, 3]]),
        "I1 resurrected key"),
    "another offset at rest": (
        puts("final", 0, records=[["k", "c", 0, 4, 5], list(Q[1:])]), "I1 lost update"),
    "a table that was not read": (
        lambda history: history.final.pop(0), "I1 no end"),
    "a record that the brokers lost": (
        both(puts("final", 0, records=[list(C[1:])]), puts("final", 1, records=[list(C[1:])])),
        "harness lost update by the brokers"),
    "a record in the log that nobody wrote": (
        both(puts("final", 0, records=[list(C[1:]), list(Q[1:]), ["z", "1", 0, 9, 9]]),
             puts("final", 1, records=[list(C[1:]), list(Q[1:]), ["z", "1", 0, 9, 9]])),
        "harness phantom record"),
    "an end by itself": (
        extends("final", {"op": "ended", "code": 6, "tail": []}), "I26 sidecar ended"),
    "an end with a traceback": (puts("final", 2, traceback=1), "I23 disorderly end"),
    "a restart with an exit code": (
        extends("faults", fault("sidecar_restart", 20, 20, 21, 21, exit=1)),
        "I23 disorderly end"),
    "nothing to look at": (
        lambda history: history.reads.clear(), "harness nothing to check"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_found_out(good, name):
    change, anomaly = BAD[name]
    change(good)
    assert anomaly in check(good).anomalies


# What is no violation


ALLOWED = {
    "a record of unknown fate, shown": both(
        puts("monitor", 1, partitions=[[0, 6], [1, 2]]),
        adds(read(7, ("found", "u", "w", 1, 1, 6), positions={0: 6, 1: 2}, revision=8)),
    ),
    "a record of unknown fate, not shown": both(
        puts("monitor", 1, partitions=[[0, 6], [1, 2]]),
        adds(read(7, ("absent", "u"), positions={0: 6, 1: 2})),
    ),
    "a record compacted away before it was read": both(
        puts("monitor", 0, sent=8.4, received=8.41),
        # At 8.2 b is gone from the log, for c is there since 5: a is still shown.
        adds(read(8.2, A, positions={0: 4, 1: 1}, staleness_ms=7000, generation=18)),
    ),
    "an unknown age": adds(read(6, GONE, positions={0: 5, 1: 1}, staleness_ms=None, sent=4.45,
                                received=4.46)),
    "two calls at the same time, answered in the other order": adds(
        read(5.14, GONE, positions={0: 5, 1: 1}, staleness_ms=900, received=5.6)
    ),
    "a call that outlasts a pause": both(
        extends("faults", PAUSED), extends("monitor", told(30.2)),
        adds(refused(19.5, "DEADLINE_EXCEEDED", seconds=10)),
    ),
    "an own write that does not come in time": adds(
        refused(6, "FAILED_PRECONDITION", "NOT_FRESH", min=[[0, 9]])
    ),
    "a new life": both(
        extends("faults", fault("sidecar_restart", 20, 20.1, 25, 25)),
        adds(
            refused(20.2, "UNAVAILABLE"),
            refused(26, "UNAVAILABLE", "BOOTSTRAPPING"),
            read(27, C, positions=ENDS, revision=2, generation=18),
        ),
    ),
    "the topic before, for ten seconds": both(
        extends("topics", CREATED_AGAIN), adds(read(60, C, positions=ENDS))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_what_may_be_is_no_violation(good, name):
    ALLOWED[name](good)
    violations = check(good).violations
    assert violations == []


def test_the_fate_of_a_transaction_is_found_in_the_log(good):
    """Its commit was not heard of, but one record of it is in the log: all of it counts."""
    good.monitor.pop()
    for event in good.writes[-2:-1]:
        event.update(outcome="unknown", offset=None, acked=None)
    good.writes.append(write("k2", "in", 1, 2, 5, "unknown", tx="t2"))
    good.writes.append(write("k2", "later", 1, 4, 6.99))
    for event in good.final[:2]:
        event["records"].append(["k2", "later", 1, 4, 6.99])
    shown = ("found", "k2", "in", 1, 2, 5)
    assert check(good).violations == []
    lacking = copy.deepcopy(good)
    adds(read(7, ("absent", "k2"), positions={0: 6, 1: 3}))(lacking)
    assert "I1 lost update" in check(lacking).anomalies
    adds(read(7, shown, positions={0: 6, 1: 3}))(good)
    assert check(good).violations == []


# Histories and schedules


def test_a_history_is_read_as_it_was_written(tmp_path):
    value = bytes(range(256))
    with Recorder(tmp_path, "writes") as record:
        record.note(value=text_of(value), none=text_of(None))
    for number in (1, 0):
        with Recorder(tmp_path, f"reads-{number}") as record:
            record.note(received=number)
    history = History.load(tmp_path)
    assert data_of(history.writes[0]["value"]) == value
    assert data_of(history.writes[0]["none"]) is None
    assert [event["received"] for event in history.reads] == [0, 1]
    assert history.faults == []


def test_a_schedule_is_its_seeds_and_deals_every_kind():
    def first(seed, kinds=FAULTS):
        dealt = schedule(seed, kinds)
        return [next(dealt) for _ in range(2 * len(kinds))]

    assert first(1) == first(1) != first(2)
    kinds = [fault.kind for fault in first(3)]
    assert sorted(kinds) == sorted([*FAULTS, *FAULTS])
    assert set(kinds[: len(FAULTS)]) == set(FAULTS)
    assert not IDENTITY_FAULTS & FAULTS
