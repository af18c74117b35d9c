"""`sidecar explain`: what is served for a key, against what the topic holds."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .brokers import broker_options
from .explaining import Asked, Finding, Held, KeyFold, Verdict, judge
from .failure import ABSENT, NOT_READY, Failed, exit_code
from .lookup import parse, record_json, state_json
from .options import Connection, connected, key_format_option, output_option, table_option
from .output import JSON, JSONL, TABLE, document, line, paint
from .reading import ReadLog, Subject, read, subject_of
from .tables import STATES
from .text import count, duration, escaped, escaped_text, json_bytes, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._pb.admin_pb2 import TableInfo
    from .._pb.cache_pb2 import LookupResult, State
    from ..rpc.client import CallFailed, Client

__all__ = ["explain"]

_ROUNDS = 3
_GRACE_S = 2.0
_PAUSE_S = 0.1
_SHOWN = 200
_EXITS = {
    Verdict.SAME: 0,
    Verdict.ABSENT: 0,
    Verdict.DIFFERS: ABSENT,
    Verdict.SEVERAL: ABSENT,
    Verdict.OTHER_TOPIC: ABSENT,
    Verdict.BEHIND: NOT_READY,
    Verdict.NOT_READY: NOT_READY,
    Verdict.UNSETTLED: NOT_READY,
}
_WORDS = {
    Verdict.SAME: ("same", "green"),
    Verdict.ABSENT: ("absent in both", "green"),
    Verdict.BEHIND: ("the sidecar is behind", "yellow"),
    Verdict.DIFFERS: ("differs", "red"),
    Verdict.SEVERAL: ("several partitions", "yellow"),
    Verdict.OTHER_TOPIC: ("another topic", "red"),
    Verdict.NOT_READY: ("not ready", "yellow"),
    Verdict.UNSETTLED: ("not settled", "yellow"),
}
_ADVICE = {
    Verdict.BEHIND: "see `sidecar status`; run this again when it has caught up",
    Verdict.DIFFERS: "a fault of the sidecar's, or --topic names another topic: `sidecar verify` "
    "tells whether other keys differ too, and a restart reads the topic anew",
    Verdict.SEVERAL: "write each key to one partition: producers that hash differently, or a "
    "topic that was given partitions, do this",
    Verdict.NOT_READY: "see `sidecar status`",
    Verdict.UNSETTLED: "run this again",
}


class _Lookup(NamedTuple):
    """The sidecar's side; `refused`: why it does not answer, in a sentence."""

    known: "TableInfo"
    result: "LookupResult | None"
    state: "State | None"
    asked: Asked
    refused: str = ""


class _Shown(NamedTuple):
    """All that is told."""

    subject: Subject
    key: bytes
    lookup: _Lookup
    fold: KeyFold
    finding: Finding


@click.command(
    epilog="Example: sidecar explain KJFK    |    sidecar explain KJFK -o json | jq -r .verdict",
    short_help="Say why a key is served as it is.",
)
@click.argument("key", metavar="KEY")
@broker_options
@click.option("--topic", metavar="TOPIC", help="The topic; default: the table's.")
@table_option
@key_format_option
@output_option(TABLE, JSON, JSONL)
@connected(timeout=30.0)
def explain(
    connection: Connection,
    *,
    key: str,
    bootstrap_servers: str | None,
    topic: str | None,
    path: Path | None,
    table: str,
    key_format: str,
    form: str,
) -> None:
    """Say why a key is served as it is.

    Asks the sidecar, then reads the whole topic, and says what each has of the key and why
    they differ. Exit code 0: they agree, also that there is no such key; 1: they differ;
    3: the sidecar is behind, or does not answer yet.

    The JSON's `verdict` is same, absent_in_both, behind, differs, several_partitions,
    other_incarnation, not_ready or unsettled (the key changes too quickly to be compared).
    """
    from ..app import read_log

    wanted = parse(key, key_format, "KEY")
    with connection.open() as client:
        subject = subject_of(client, table, topic, path, bootstrap_servers)
        shown = _explain(client, subject, wanted, read_log, form)
    if form == TABLE:
        _show_rest(shown)
    else:
        told = _json(shown)
        document(form, told, lines=[told])
    if _EXITS[shown.finding.verdict]:
        raise click.exceptions.Exit(_EXITS[shown.finding.verdict])


# What is compared


def _explain(
    client: "Client", subject: Subject, key: bytes, read_log: ReadLog, form: str
) -> _Shown:
    for left in reversed(range(_ROUNDS)):
        lookup, fold = _look_up(client, subject.table, key), KeyFold(key)
        try:
            span = read(read_log, subject, fold, {})
        except Failed:
            if form == TABLE:
                _show_served(subject, key, lookup)
            raise
        fold.starts = {**span.starts, **fold.starts}
        finding = _judge(lookup, fold, span.incarnation, subject.topic)
        if finding.verdict != Verdict.UNSETTLED or not left:
            break
        time.sleep(_PAUSE_S)
    if form == TABLE:
        _show_served(subject, key, lookup)
    if finding.verdict == Verdict.BEHIND and _catches_up(client, subject.table, lookup, finding):
        why = "the key changed just now; the sidecar has read past its newest record since"
        finding = Finding(Verdict.SAME, why)
    return _Shown(subject, key, lookup, fold, finding)


def _look_up(client: "Client", table: str, key: bytes) -> _Lookup:
    from ..rpc.client import CallFailed

    known = client.table(table)
    positions = _positions(known)
    try:
        answer = client.get(table, [key])
    except CallFailed as failure:
        if not _is_not_ready(failure):
            raise
        asked = Asked(None, positions, positions)
        return _Lookup(known, None, None, asked, f"{failure.message} ({failure.reason})")
    (result,) = answer.results
    found = result.record
    held = (
        Held(found.partition, found.offset, found.timestamp_ms, found.value)
        if result.HasField("record")
        else None
    )
    asked = Asked(held, positions, _positions(client.table(table)))
    return _Lookup(known, result, answer.state, asked)


def _is_not_ready(failure: "CallFailed") -> bool:
    ending = exit_code(failure.code, failure.reason, unreachable=failure.unreachable)
    return bool(failure.reason) and ending == NOT_READY


def _positions(known: "TableInfo") -> dict[int, int]:
    return {one.partition: one.position for one in known.partitions}


def _judge(lookup: _Lookup, fold: KeyFold, incarnation: int, topic: str) -> Finding:
    of = lookup.state.incarnation if lookup.state is not None else lookup.known.incarnation
    if of and of != incarnation:
        why = (
            f"the table is of another incarnation of topic {topic!r} ({of}, the brokers have "
            f"{incarnation}): it was re-created, or these are the brokers of another cluster"
        )
        return Finding(Verdict.OTHER_TOPIC, escaped_text(why))
    if lookup.state is None:
        return Finding(Verdict.NOT_READY, "the sidecar does not answer lookups yet")
    return judge(lookup.asked, fold)


def _catches_up(client: "Client", table: str, lookup: _Lookup, finding: Finding) -> bool:
    """Whether it reaches, within a moment, what it was behind by."""
    ends = {number: lookup.asked.positions.get(number, 0) for number in finding.behind}
    ends = {number: start + finding.behind[number] for number, start in ends.items()}
    deadline = time.monotonic() + _GRACE_S
    while True:
        reached = _positions(client.table(table))
        if all(reached.get(number, 0) >= end for number, end in ends.items()):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)


# What is shown


def _show_served(subject: Subject, key: bytes, lookup: _Lookup) -> None:
    name, topic = escaped_text(subject.table), escaped_text(subject.topic)
    line(f"{paint(escaped(key), 'bold')} in table {name} of topic {topic}")
    line()
    held, state = lookup.asked.held, STATES[lookup.known.state]
    if lookup.state is None:
        _say("served", f"no answer: {escaped_text(lookup.refused)}")
    elif held is None:
        _say("served", f"absent; {state}, {_current(lookup.state)}")
    else:
        at = f"partition {held.partition}, offset {held.offset}, {timestamp(held.timestamp)}"
        _say("served", f"{at}; {state}, {_current(lookup.state)}")
        _say("", _short(held.value))
    shown = {number: str(position) for number, position in lookup.asked.positions.items()}
    if shown:
        _say("read to", f"(partition: next offset) {_listed(shown)}")


def _show_rest(shown: _Shown) -> None:
    title, held = "topic", shown.lookup.asked.held
    for number in sorted(shown.fold.words):
        last = shown.fold.last(number)
        assert last is not None  # noqa: S101 (a partition has an entry from its first word on)
        at = f"partition {number}, offset {last.offset}, {timestamp(last.timestamp)}"
        same = held == (number, *last[:3])
        told = f": a {last.ends_it}" if last.value is None else ": this" if same else ""
        _say(title, at + told)
        if last.value is not None and not same:
            _say("", _short(last.value))
        title = ""
    if not shown.fold.words:
        _say(title, "no record of it")
    for number, (stable, end) in _held_back(shown).items():
        text = (
            f"partition {number}: an open transaction hides offsets {stable} to {end - 1} until "
            "it ends; if the record is among them, neither side shows it"
        )
        _say("hidden", text)
    for key, (number, offset) in shown.fold.similar.items():
        _say("similar", f"'{escaped(key)}': partition {number}, offset {offset}")
    line()
    word, colour = _WORDS[shown.finding.verdict]
    _say("verdict", f"{paint(word, colour)}: {shown.finding.why}")
    if shown.finding.verdict == Verdict.ABSENT and shown.fold.similar:
        _say("do", "look for the similar key, as its producer writes it (--key-format hex)")
    if shown.finding.verdict in _ADVICE:
        _say("do", _ADVICE[shown.finding.verdict])


def _say(title: str, text: str) -> None:
    line(f"{paint(title.ljust(8), 'dim')}{text}")


def _current(state: "State") -> str:
    if not state.HasField("staleness_ms"):
        return "how old is not known"
    return f"current {duration(state.staleness_ms)} ago"


def _short(value: bytes) -> str:
    text = escaped(value[: _SHOWN * 4])
    if len(value) <= _SHOWN * 4 and len(text) <= _SHOWN:
        return text or "(an empty value)"
    return f"{text[:_SHOWN]}… ({count(len(value))} bytes)"


def _listed(shown: "Mapping[int, str]") -> str:
    first = list(shown.items())[:16]
    more = f" and {len(shown) - 16} more" if len(shown) > 16 else ""
    return ", ".join(f"{number}: {text}" for number, text in first) + more


def _held_back(shown: _Shown) -> dict[int, tuple[int, int]]:
    """What open transactions hide: as the reading saw it, else as the sidecar did."""
    if shown.subject.config.kafka.isolation_level != "read_committed":
        return {}
    told = {
        one.partition: (one.last_stable_offset, one.high_watermark)
        for one in shown.lookup.known.partitions
        if 0 <= one.last_stable_offset < one.high_watermark
        and one.partition not in shown.fold.reached
    }
    return dict(sorted({**told, **shown.fold.held_back}.items()))


def _json(shown: _Shown) -> dict[str, Any]:
    lookup, fold = shown.lookup, shown.fold
    found = lookup.result is not None and lookup.result.HasField("record")
    return {
        "key": json_bytes(shown.key),
        "table": shown.subject.table,
        "topic": shown.subject.topic,
        "verdict": str(shown.finding.verdict),
        "why": shown.finding.why,
        "behind": {str(number): left for number, left in shown.finding.behind.items()},
        "served": record_json(lookup.result.record) if lookup.result and found else None,
        "refused": lookup.refused or None,
        "state": state_json(lookup.state) if lookup.state is not None else None,
        "table_state": STATES[lookup.known.state],
        "positions": {str(number): at for number, at in lookup.asked.positions.items()},
        "topic_records": [
            {
                "partition": number,
                "offset": last.offset,
                "timestamp_ms": last.timestamp,
                "tombstone": last.value is None and not last.turned_away,
                "turned_away": last.turned_away,
                "value": None if last.value is None else json_bytes(last.value),
            }
            for number in sorted(fold.words)
            if (last := fold.last(number)) is not None
        ],
        "hidden_by_transactions": {
            str(number): {"from": stable, "to": end - 1}
            for number, (stable, end) in _held_back(shown).items()
        },
        "similar_keys": [
            {"key": json_bytes(key), "partition": number, "offset": offset}
            for key, (number, offset) in fold.similar.items()
        ],
    }
