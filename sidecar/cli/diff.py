"""`sidecar diff`: compare the tables of two running sidecars."""

from typing import Any

import click

from .diffing import Diff, Side, diff_tables
from .failure import ABSENT, NOT_READY
from .options import Connection, connected, limit_option, output_option, table_option
from .output import JSON, JSONL, TABLE, document, line, paint
from .text import count, escaped, json_bytes

__all__ = ["diff"]

_COLOURS = {"equal": "green", "not_comparable": "yellow"}


@click.command(
    epilog="Example: sidecar diff 10.0.0.7:50051 10.0.0.8:50051    |    "
    "sidecar diff unix:///run/a.sock localhost:50052 -t users",
    short_help="Compare a table of two sidecars.",
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@limit_option
@table_option
@output_option(TABLE, JSON, JSONL)
@connected(timeout=300.0, endpoint=False)
def diff(connection: Connection, *, a: str, b: str, limit: int, table: str, form: str) -> None:
    """Compare a table of two sidecars, A and B: host:port or unix:///path each.

    Both may go on reading: a key differs only if no record that one of them has yet to
    read can explain it. Exit code 0: equal; 1: differs; 3: one is behind the other, and
    what lies between cannot be compared yet, or one is not ready.

    The JSON's `verdict` is equal, differs, other_incarnation or not_comparable.
    """
    sides = Side(connection.to(a), "A"), Side(connection.to(b), "B")
    with sides[0], sides[1]:
        found = diff_tables(*sides, table)
    if form == TABLE:
        _show(found, (a, b), limit)
    else:
        shown = _json(found, limit)
        document(form, shown, lines=[shown])
    if found.verdict != "equal":
        raise click.exceptions.Exit(NOT_READY if found.verdict == "not_comparable" else ABSENT)


def _show(found: Diff, endpoints: tuple[str, str], limit: int) -> None:
    pairing = found.pairing
    line(f"A: {endpoints[0]}   B: {endpoints[1]}")
    line(paint(_sentence(found), _COLOURS.get(found.verdict, "red")))
    _show_keys(pairing.differing, limit)
    if pairing.apart:
        line(f"{count(len(pairing.apart))} keys are in several partitions, not judged:")
        _show_keys(pairing.apart, limit)
    _show_notes(found)
    if found.several and pairing.differing:
        line(
            f"the topic has {count(found.several)} keys in several partitions; which of their "
            "records holds may rest on what a sidecar remembers: `sidecar explain KEY` tells"
        )
    if found.verdict == "differs":
        line("which of the two is wrong: `sidecar verify -e A`, `sidecar verify -e B`")


def _show_keys(keys: dict[bytes, str], limit: int) -> None:
    for key in sorted(keys)[:limit]:
        line(f"  {escaped(key)}: {keys[key]}")
    if len(keys) > limit:
        line(f"  and {count(len(keys) - limit)} more (--limit)")


def _show_notes(found: Diff) -> None:
    pairing = found.pairing
    if pairing.moving:
        line(f"{count(pairing.moving)} keys change all the time; both sidecars follow them")
    if pairing.gone:
        line(f"{count(pairing.gone)} entries are below the log's start by now, not compared")
    for name, left in found.behind.items():
        missing = ", ".join(f"{number}: {offsets}" for number, offsets in left.items())
        line(paint(f"{name} is behind the other by (partition: offsets) {missing}", "yellow"))


def _sentence(found: Diff) -> str:
    pairing, entries = found.pairing, count(found.entries)
    if found.verdict == "other_incarnation":
        return (
            "they differ: A and B read different lives of the topic (it was re-created, or they "
            f"read from different clusters): {found.incarnations[0]}, {found.incarnations[1]}"
        )
    if found.verdict == "differs":
        return f"they differ: {count(len(pairing.differing))} keys"
    if found.verdict == "not_comparable":
        left = count(len(pairing.open))
        return f"{left} keys cannot be compared yet, {count(pairing.compared)} were; none differs"
    how = "the digests agree" if found.proved else "compared entry by entry"
    return f"equal: {entries} entries, {how}"


def _json(found: Diff, limit: int) -> dict[str, Any]:
    pairing = found.pairing
    return {
        "verdict": found.verdict,
        "proved_by_digest": found.proved,
        "incarnations": list(found.incarnations),
        "entries": found.entries,
        "differing": len(pairing.differing),
        "differing_keys": _keys_json(pairing.differing, limit),
        "in_several_partitions": len(pairing.apart),
        "several_partitions_keys": _keys_json(pairing.apart, limit),
        "not_comparable": len(pairing.open),
        "moving": pairing.moving,
        "below_log_start": pairing.gone,
        "behind": {
            name: {str(number): offsets for number, offsets in left.items()}
            for name, left in found.behind.items()
        },
    }


def _keys_json(keys: dict[bytes, str], limit: int) -> list[dict[str, Any]]:
    return [{"key": json_bytes(key), "why": keys[key]} for key in sorted(keys)[:limit]]
