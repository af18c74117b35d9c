"""The checks of the run as a whole: refusals, recoveries, identity, and the table at rest."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from chaos.truth import Shown, truths

if TYPE_CHECKING:
    from chaos.answers import Answer
    from chaos.history import Event, History
    from chaos.truth import Truth
    from chaos.verdict import Verdict

__all__ = ["check_end", "check_final", "check_identity", "check_log", "check_recovery",
           "check_refusals"]  # fmt: skip

_RECOVERY_S = 30.0
_IDENTITY_S = 10.0
# A client that could not connect tries again once a second.
_RECONNECT_S = 3.0
_LONGEST_START_S = 30.0
_NOT_READY = {"BOOTSTRAPPING", "TOPIC_MISSING", "TOPIC_REPLACED"}
_LOST = {"UNAVAILABLE", "CANCELLED"}


# I2: what is refused, and when


class _Lives:
    """When the sidecar's process was there, when it was not, and from when on it was ready."""

    def __init__(self, history: History) -> None:
        restarts = [one for one in history.faults if one["kind"] == "sidecar_restart"]
        self._starts = [0.0, *(one["healing"] for one in restarts)]
        self._answered = [
            event for event in history.reads if event["ok"] or event["reason"]
        ]  # fmt: skip
        first = min((event["sent"] for event in history.reads), default=0.0)
        begun = [first, *(one["began"] for one in restarts)]
        self.away = [
            (went, self._back(start) + _RECONNECT_S)
            for went, start in zip(begun, [first, *self._starts[1:]], strict=True)
        ]
        self.frozen = [
            (one["began"], one["healed"] + 1)
            for one in history.faults
            if one["kind"] == "sidecar_pause"
        ]
        self.replaced = [
            (one["began"], one["healed"] + _RECOVERY_S)
            for one in history.faults
            if one["kind"] == "recreate"
        ]
        self._ready = [
            min((e["received"] for e in history.reads if e["ok"] and e["sent"] >= start),
                default=float("inf"))
            for start in self._starts
        ]  # fmt: skip

    def _back(self, start: float) -> float:
        heard = (event["received"] for event in self._answered if event["sent"] >= start)
        return min(next(iter(sorted(heard)), float("inf")), start + _LONGEST_START_S)

    def was_ready(self, moment: float) -> bool:
        """An answer of the life at this moment had arrived before it."""
        life = bisect.bisect_right(self._starts, moment) - 1
        return self._ready[life] < moment


def _within(event: Event, spans: list[tuple[float, float]]) -> bool:
    return any(event["sent"] <= end and event["received"] >= begun for begun, end in spans)


def check_refusals(history: History, verdict: Verdict) -> None:
    """A table that is not ready says so; one that is does not unsay it; no other errors."""
    lives = _Lives(history)
    for event in history.reads:
        if event["ok"]:
            continue
        verdict.checked["refusals"] += 1
        anomaly = _wrong_refusal(event, lives)
        if anomaly:
            verdict.violate("I2", anomaly, f"{event['code']} {event['reason']}", event)


def _wrong_refusal(event: Event, lives: _Lives) -> str:
    code, reason = event["code"], event["reason"]
    if code == "UNAVAILABLE" and reason in _NOT_READY:
        lost = lives.was_ready(event["sent"]) and not _within(event, lives.replaced)
        return "lost readiness" if lost and not _within(event, lives.away) else ""
    if code == "FAILED_PRECONDITION" and reason == "NOT_FRESH":
        return "" if event.get("min") else "refusal without a bound"
    if code == "DEADLINE_EXCEEDED":
        return "" if _within(event, lives.frozen + lives.away) else "hang"
    if code in _LOST and reason in {"", "SHUTTING_DOWN"}:
        return "" if _within(event, lives.away) else "sidecar not reachable"
    return "unexpected error"


# I22: after a fault was healed


def check_recovery(history: History, verdict: Verdict) -> None:
    """Within 30 s of each healing there was a moment at which nothing was left to read.

    That is when the sidecar says of itself that it was current at a moment after the
    healing; whether it may say so is another check's (I11).
    """
    told = [
        (event["received"], event["sent"] - event["staleness_ms"] / 1000)
        for event in history.monitor
        if event["ok"] and event["staleness_ms"] is not None
        and event["state"] in {"LIVE", "STALE"}
    ]  # fmt: skip
    for fault in history.faults:
        verdict.checked["recoveries"] += 1
        healed = fault["healed"]
        current = (received for received, as_of in told if as_of >= healed)
        took = next(current, float("inf")) - healed
        verdict.recoveries.append((fault["kind"], took))
        if took > _RECOVERY_S:
            what = f"not current {_RECOVERY_S:.0f} s after {fault['kind']} was healed, but {took}"
            verdict.violate("I22", "no recovery", what, fault)


# Which topic (I19)


def check_identity(history: History, answers: list[Answer], verdict: Verdict) -> None:
    """No topic appears by itself, and no answer is of a topic that is long gone."""
    for event in history.topics:
        if event["op"] == "listed":
            verdict.checked["looks for a deleted topic"] += 1
            if event["present"]:
                verdict.violate("I19", "topic created by nobody", "it was deleted", event)
    created = [event for event in history.topics if event["op"] == "created"]
    for answer in answers:
        if "state" in answer.event:  # the monitor's: what is served is what counts
            continue
        newest = [one for one in created if one["at"] + _IDENTITY_S < answer.computed_from]
        verdict.checked["answers by incarnation"] += 1
        if newest and _age(created, answer.truth.topic_id) < _age(created, newest[-1]["id"]):
            what = f"{answer.truth.topic_id} was followed by {newest[-1]['id']}"
            verdict.violate("I19", "read of another incarnation", what, answer.event)


def _age(created: list[Event], topic_id: str) -> int:
    return [event["id"] for event in created].index(topic_id)


# At rest


def check_final(history: History, verdict: Verdict) -> None:
    """The table is the fold of the independent reader's log, to the byte."""
    tables = [event for event in history.final if event["op"] == "table"]
    logs = [event for event in history.final if event["op"] == "log"]
    if not tables or not logs:
        verdict.violate("I1", "no end", "the table was not read at rest", {})
        return
    table = {row[0]: Shown(*row) for row in tables[-1]["records"]}
    fold = _fold([Shown(*row) for row in logs[-1]["records"]])
    for key in sorted(table.keys() | fold.keys()):
        verdict.checked["entries at rest"] += 1
        served, held = table.get(key), fold.get(key)
        if served != held:
            anomaly = "lost update" if served is None or held is not None else "resurrected key"
            verdict.violate("I1", anomaly, f"served {served}, the log has {held}", {"key": key})


def _fold(log: list[Shown]) -> dict[str, Shown]:
    last: dict[str, Shown] = {}
    for record in sorted(log, key=lambda one: (one.partition, one.offset)):
        last[record.key] = record
    return {key: record for key, record in last.items() if record.value is not None}


def check_log(history: History, verdict: Verdict) -> None:
    """The brokers kept what they acknowledged: else the writer's history proves nothing."""
    read = {event["topic_id"] for event in history.final if event["op"] == "log"}
    for truth in truths(history).values():
        if truth.topic_id not in read:  # of another life of the topic, or the run broke off
            continue
        for record in truth.written:
            if record.outcome == "committed":
                verdict.checked["acknowledged records in the log"] += 1
                _check_kept(truth, record.key, record.offset, verdict)
        for place, shown in truth.log.items():
            if truth.line(shown.key).at(place[1]) is None:
                what = f"{shown} is in the log, and nobody wrote it"
                verdict.violate("harness", "phantom record", what, {})


def _check_kept(truth: Truth, key: str, offset: int, verdict: Verdict) -> None:
    line = truth.line(key)
    if (truth.owner[key], offset) in truth.log:
        return
    verdict.checked["records compacted away"] += 1
    record = line.at(offset)
    followed = line.committed[-1].offset > offset or any(truth.possible(key, offset, float("inf")))
    if not followed and record is not None and record.value is not None:
        what = f"offset {offset} of {key!r} was acknowledged and is not in the log"
        verdict.violate("harness", "lost update by the brokers", what, {})


def check_end(history: History, verdict: Verdict) -> None:
    """The process ended when it was told to, and in order."""
    for event in history.final:
        if event["op"] == "ended":
            verdict.violate("I26", "sidecar ended", f"by itself, with {event['code']}", event)
        if event["op"] == "exit":
            verdict.checked["orderly ends"] += 1
            if event["code"] != 0 or event["traceback"]:
                verdict.violate("I23", "disorderly end", "an exit code or a traceback", event)
    for fault in history.faults:
        if fault["told"].get("exit", 0) != 0:
            verdict.violate("I23", "disorderly end", "after SIGTERM", fault)
