"""`sidecar verify`: read the topic and compare it with what the sidecar holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .brokers import broker_options
from .comparing import Outcome, compare
from .failure import ABSENT, NOT_READY
from .options import Connection, connected, limit_option, output_option, table_option
from .output import JSON, JSONL, TABLE, document, line, paint
from .reading import Subject, subject_of
from .text import count, escaped, escaped_text, json_bytes

if TYPE_CHECKING:
    from .verification import Difference

__all__ = ["verify"]


@click.command(
    epilog="Example: sidecar verify    |    sidecar verify --bootstrap-servers kafka:9092",
    short_help="Compare a table with its topic.",
)
@broker_options
@click.option("--topic", metavar="TOPIC", help="The topic; default: the table's.")
@limit_option
@table_option
@output_option(TABLE, JSON, JSONL)
@connected(timeout=300.0)
def verify(
    connection: Connection,
    *,
    bootstrap_servers: str | None,
    topic: str | None,
    path: Path | None,
    limit: int,
    table: str,
    form: str,
) -> None:
    """Compare a table with its topic.

    Reads the whole topic and folds it in memory. Exit code 0: equal; 1: differs; 3: equal
    as far as the sidecar has come, but it is behind.

    Secrets of the brokers come from --config or the environment
    (SIDECAR_KAFKA__SASL_PASSWORD), never from the sidecar.
    """
    from ..app import read_log

    with connection.open() as client:
        subject = subject_of(client, table, topic, path, bootstrap_servers)
        outcome = compare(client, subject, read_log)
    if form == TABLE:
        _show(subject, outcome, limit)
    else:
        shown = _json(outcome, limit)
        document(form, shown, lines=[shown])
    if outcome.differing:
        raise click.exceptions.Exit(ABSENT)
    if outcome.behind:
        raise click.exceptions.Exit(NOT_READY)


# What is shown


def _show(subject: Subject, outcome: Outcome, limit: int) -> None:
    name, topic = escaped_text(subject.table), escaped_text(subject.topic)
    if outcome.differing:
        line(paint(f"{name} differs from topic {topic}: {len(outcome.differing)} keys", "red"))
        for one in outcome.differing[:limit]:
            line(f"  {escaped(one.key)}  partition {one.partition}: {one.why}")
        if len(outcome.differing) > limit:
            line(f"  and {count(len(outcome.differing) - limit)} more (--limit)")
    else:
        how = "the digests agree" if outcome.proved else "compared entry by entry"
        verdict = f"{name} equals topic {topic}: {count(outcome.entries)} entries, {how}"
        line(paint(verdict, "green"))
    if outcome.not_comparable:
        line(f"{count(outcome.not_comparable)} entries changed meanwhile and were not compared")
    if outcome.apart:
        keys = ", ".join(escaped(one.key) for one in outcome.apart[:limit])
        line(f"{count(len(outcome.apart))} keys are in several partitions, not judged: {keys}")
    if outcome.behind:
        missing = ", ".join(f"{number}: {left}" for number, left in outcome.behind.items())
        line(paint(f"behind the log's end by (partition: offsets) {missing}", "yellow"))


def _json(outcome: Outcome, limit: int) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict,
        "proved_by_digest": outcome.proved,
        "entries": outcome.entries,
        "differing": len(outcome.differing),
        "differing_keys": [_difference_json(one) for one in outcome.differing[:limit]],
        "in_several_partitions": len(outcome.apart),
        "not_comparable": outcome.not_comparable,
        "behind": {str(number): left for number, left in outcome.behind.items()},
    }


def _difference_json(one: "Difference") -> dict[str, Any]:
    return {"key": json_bytes(one.key), "partition": one.partition, "why": one.why}
