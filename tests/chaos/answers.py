"""The checks of single answers: that each is the fold of the prefix and of the age that it states.

The anomalies have the names by which Jepsen and Adya call them. Every bound is taken on
the side on which an answer cannot be wronged: an answer was computed no sooner than its
request was sent (or, where the sidecar was frozen then, than it was woken), and a record
counts no later than its writer heard of it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.truth import Shown, truths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.history import Event, History
    from chaos.truth import Truth, Written
    from chaos.verdict import Verdict

__all__ = [
    "Answer",
    "answers",
    "check_min_offsets",
    "check_promise",
    "check_staleness",
    "check_visible",
]

_ROUNDING_S = 0.002


@dataclass(frozen=True)
class Answer:
    """One answer, with the truth that it is to be measured by.

    Attributes:
        computed_from: the earliest moment at which it can have been computed.
    """

    event: Event
    truth: Truth
    shown: list[Shown]
    positions: dict[int, int] | None
    computed_from: float


def answers(history: History, verdict: Verdict) -> list[Answer]:
    """Every answer of the clients; what the monitor was told counts as one without keys."""
    known = truths(history)
    ids = {event["incarnation"]: event["topic_id"] for event in history.monitor if event["ok"]}
    pauses = [
        (fault["applied"], fault["healing"])
        for fault in history.faults
        if fault["kind"] == "sidecar_pause"
    ]
    found = []
    for event in (*history.reads, *filter(_told_of_ready, history.monitor)):
        if not event["ok"]:
            continue
        truth = known.get(ids.get(event["incarnation"], ""))
        if truth is None:
            verdict.violate("I19", "unknown incarnation", "no topic of the run has it", event)
            continue
        shown = [Shown(*row[1:]) for row in event.get("results", ())]
        woken = [end for begun, end in pauses if begun <= event["sent"] <= end]
        computed_from = max([event["sent"], *woken])
        found.append(Answer(event, truth, shown, _positions(event), computed_from))
    return found


def _told_of_ready(event: Event) -> bool:
    return event["ok"] and event["state"] in {"LIVE", "STALE"}


def _positions(event: Event) -> dict[int, int] | None:
    if "partitions" in event:
        return {row[0]: row[1] for row in event["partitions"]}
    told = event["positions"]
    return None if told is None else {int(number): offset for number, offset in told.items()}


# What is shown was written, counts, and is whole (I4)


def check_visible(answer: Answer, verdict: Verdict) -> None:
    """Each record that is shown was committed, before it was shown, with these very bytes."""
    truth, event = answer.truth, answer.event
    for row in event.get("results", ()):
        if row[0] not in {"found", "absent"}:
            verdict.violate("I2", "unknown presence", f"{row[0]} was never asked for", event)
    for shown in answer.shown:
        if shown.absent:
            continue
        verdict.checked["records shown"] += 1
        record = truth.line(shown.key).at(shown.offset)
        if record is None or record.partition != shown.partition:
            _judge_stranger(shown, answer, verdict)
        elif (record.value, record.ts) != (shown.value, shown.ts):
            verdict.violate("I1", "corrupt read", f"{shown} is {record}", event)
        elif event["received"] < record.commit_from:
            verdict.violate("I4", "dirty read (G1b)", f"{shown} was not committed yet", event)


def _judge_stranger(shown: Shown, answer: Answer, verdict: Verdict) -> None:
    aborted = answer.truth.aborted.get((shown.key, shown.value, shown.ts))
    if aborted is not None and aborted.offset in {-1, shown.offset}:
        verdict.violate("I4", "aborted read (G1a)", f"{shown} was aborted", answer.event)
    elif not any(_same(shown, one) for one in answer.truth.line(shown.key).possible):
        verdict.violate("I1", "phantom read", f"{shown} was never written there", answer.event)
    else:
        verdict.checked["records of unknown fate shown"] += 1


def _same(shown: Shown, record: Written) -> bool:
    same = (record.value, record.ts, record.partition) == (shown.value, shown.ts, shown.partition)
    return same and record.offset in {-1, shown.offset}


# The promise: the fold of the stated prefix


def check_promise(answer: Answer, verdict: Verdict) -> None:
    """All that is shown is the fold of the log up to the one set of positions stated."""
    if answer.positions is None or "results" not in answer.event:
        return
    if answer.event["op"] == "List":
        _check_order(answer, verdict)
    for shown in _all_shown(answer):
        position = answer.positions.get(answer.truth.owner.get(shown.key, -1), 0)
        verdict.checked["results against the fold"] += 1
        expected = answer.truth.line(shown.key).below(position)
        if _is(shown, expected) or answer.truth.may_be(shown, position):
            continue
        if answer.truth.compacted_over(shown, position, answer.event["received"]):
            verdict.checked["results amid compacted records"] += 1
            continue
        anomaly = _name(shown, expected, position, answer)
        what = f"{shown} at position {position}, where the fold has {expected}"
        invariant = "I12" if answer.event["op"] == "MultiGet" else "I1"
        verdict.violate(invariant, anomaly, what, answer.event)


def _is(shown: Shown, expected: Written | None) -> bool:
    if expected is None or expected.value is None:
        return shown.absent
    same = (expected.value, expected.partition, expected.offset, expected.ts)
    return same == (shown.value, shown.partition, shown.offset, shown.ts)


def _name(shown: Shown, expected: Written | None, position: int, answer: Answer) -> str:
    latest = expected.offset if expected else -1
    if shown.absent:
        gone = answer.truth.aborted_tombstone(shown.key, latest, position)
        return "aborted read (G1a) of a tombstone" if gone else "lost update"
    if shown.offset >= position:
        return "read of the future (beyond its positions)"
    if shown.offset < latest:
        deleted = expected is not None and expected.value is None
        return "deleted key came back" if deleted else "stale read (below its positions)"
    return "wrong read"


def _all_shown(answer: Answer) -> Iterator[Shown]:
    """What is shown; of a page also the keys that it does not list, as absent ones."""
    yield from answer.shown
    if answer.event["op"] != "List":
        return
    prefix, listed = answer.event["prefix"], {shown.key for shown in answer.shown}
    last = max(listed, default="") if answer.event["more"] else None
    for key in answer.truth.lines:
        if key.startswith(prefix) and key not in listed and (last is None or key <= last):
            yield Shown(key, None)


def _check_order(answer: Answer, verdict: Verdict) -> None:
    keys = [shown.key for shown in answer.shown]
    if any(one >= other for one, other in itertools.pairwise(keys)):
        verdict.violate("I12", "page out of order", str(keys), answer.event)
    if any(not key.startswith(answer.event["prefix"]) for key in keys):
        verdict.violate("I12", "page beyond its prefix", str(keys), answer.event)


# The stated age (I11)


def check_staleness(answer: Answer, verdict: Verdict) -> None:
    """Nothing is missing that counted already at the moment of which the answer is the truth."""
    stated = answer.event["staleness_ms"]
    if stated is None:
        verdict.checked["answers of unknown age"] += 1
        return
    verdict.checked["stated ages"] += 1
    as_of = answer.computed_from - stated / 1000 - _ROUNDING_S
    if answer.positions is not None:
        for number, partition in answer.truth.partitions.items():
            counted = partition.first_missing(answer.positions.get(number, 0))
            if counted is not None and counted < as_of:
                what = (
                    f"partition {number} lacks a record that counted {as_of - counted:.3f} s "
                    f"before the answer claims to be current"
                )
                verdict.violate("I11", "stale read (understated age)", what, answer.event)
    for shown in answer.shown:
        line = answer.truth.line(shown.key)
        due = line.decided_by(as_of)
        if shown.offset >= due or (shown.absent and _deleted(answer.truth, shown.key, due)):
            continue
        what = f"{shown}, though offset {due} counted before the answer claims to be current"
        verdict.violate("I11", "stale read (understated age)", what, answer.event)


def _deleted(truth: Truth, key: str, since: int) -> bool:
    """A tombstone at or after an offset may have ended the key."""
    line = truth.line(key)
    if any(one.value is None and one.offset >= since for one in line.committed):
        return True
    return any(one.value is None for one in truth.possible(key, since, float("inf")))


# Read your writes (I10)


def check_min_offsets(answer: Answer, verdict: Verdict) -> None:
    """An answer that was asked to hold certain records does."""
    least = answer.event.get("min", ())
    if not least or answer.event["min_topic_id"] != answer.truth.topic_id:
        return
    for partition, offset in least:
        verdict.checked["reads of own writes"] += 1
        at = (answer.positions or {}).get(partition, 0)
        if at <= offset:
            what = f"position {at} of partition {partition} does not hold offset {offset}"
            verdict.violate("I10", "stale read of an own write", what, answer.event)
        for shown in answer.shown:
            deleted = shown.absent and _deleted(answer.truth, shown.key, offset)
            if shown.offset < offset and not deleted:
                what = f"{shown} is older than offset {offset}"
                verdict.violate("I10", "stale read of an own write", what, answer.event)
