"""Commands that show tables: `tables` and `describe`."""

from typing import TYPE_CHECKING, Any

import click

from .options import Connection, connected, output_option
from .output import JSON, JSONL, TABLE, VALUE, Grid, document, line, paint
from .text import bytes_size, count, duration, escaped_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._pb.admin_pb2 import PartitionInfo, TableInfo

__all__ = ["STATES", "describe", "paint_state", "staleness", "table_json", "tables"]

STATES = ("UNSPECIFIED", "BOOTSTRAPPING", "LIVE", "STALE", "FAILED", "REPLACED")
_WAITS = (
    "",
    "LEADER",
    "BROKER",
    "OPEN_TRANSACTION",
    "BAD_BATCH",
    "QUOTA",
    "CONFIRMING",
    "AUTHORIZATION",
)
_COLOURS = {"LIVE": "green", "BOOTSTRAPPING": "yellow", "STALE": "yellow"}


@click.command(
    epilog="Example: sidecar tables    |    sidecar tables -o jsonl | jq -r .state",
    short_help="List the tables and how they stand.",
)
@output_option()
@connected()
def tables(connection: Connection, *, form: str) -> None:
    """List the tables and how they stand.

    `-o value` writes their names. Exit code 0 whatever their state; see `status`.
    """
    with connection.open() as client:
        known = client.tables()
    if form == VALUE:
        for table in known:
            line(escaped_text(table.name))
    elif form == TABLE:
        grid = Grid("NAME", "STATE", "ENTRIES", "MEMORY", "STALENESS", "TOPIC", "REASON")
        grid.write([_row(table) for table in known])
    else:
        shown = [table_json(table) for table in known]
        document(form, {"tables": shown}, lines=shown)


@click.command(
    epilog="Example: sidecar describe airports    |    sidecar describe airports -o json",
    short_help="Show one table and each of its partitions.",
)
@click.argument("table", default="", metavar="[TABLE]")
@output_option(TABLE, JSON, JSONL)
@connected()
def describe(connection: Connection, *, table: str, form: str) -> None:
    """Show one table and each of its partitions.

    TABLE may be left out where one is served. Exit code 0 whatever its state.
    """
    with connection.open() as client:
        known = client.table(table)
    if form != TABLE:
        document(form, table_json(known), lines=[table_json(known)])
        return
    pairs = _pairs(known)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        line(f"{paint(name.ljust(width), 'dim')}  {value}")
    _show_partitions("partitions", known.partitions)
    _show_partitions("the next generation's partitions", known.next_partitions)


def staleness(known: "TableInfo | PartitionInfo") -> str:
    """Staleness in words."""
    return duration(known.staleness_ms) if known.HasField("staleness_ms") else "not known"


def paint_state(state: str) -> str:
    """A state's name in its colour."""
    return paint(state, _COLOURS.get(state, "red"))


def table_json(table: "TableInfo") -> dict[str, Any]:
    """Everything about a table, by the contract's field names; null: not known."""
    shown = _fields(table)
    shown["state"] = STATES[table.state]
    for name in ("partitions", "next_partitions"):
        shown[name] = [_partition_json(one) for one in getattr(table, name)]
    shown["counters"] = _fields(table.counters)
    shown["indexes"] = list(table.indexes)
    return shown


def _partition_json(partition: "PartitionInfo") -> dict[str, Any]:
    return _fields(partition) | {"wait": _WAITS[partition.wait] or None}


def _fields(message: Any) -> dict[str, Any]:
    """A message's fields by name, in the contract's order; unset optional ones are None."""
    return {
        field.name: None
        if field.has_presence and not message.HasField(field.name)
        else getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
    }


def _row(table: "TableInfo") -> tuple[str, ...]:
    return (
        escaped_text(table.name),
        STATES[table.state],
        count(table.entries),
        bytes_size(table.memory_bytes),
        staleness(table),
        escaped_text(table.topic),
        escaped_text(table.reason) or "-",
    )


def _pairs(table: "TableInfo") -> list[tuple[str, str]]:
    counted = table.counters
    return [
        ("table", paint(escaped_text(table.name), "bold")),
        ("state", paint_state(STATES[table.state])),
        ("reason", escaped_text(table.reason) or "-"),
        *_source(table),
        ("format", table.format or "bytes"),
        ("indexes", ", ".join(map(escaped_text, table.indexes)) or "none"),
        ("required", "yes" if table.required else "no"),
        ("entries", f"{count(table.entries)}, {bytes_size(table.payload_bytes)} of payload"),
        ("memory", f"about {bytes_size(table.memory_bytes)}"),
        ("staleness", staleness(table)),
        ("bootstrap", _bootstrap(table)),
        ("records applied", count(counted.records)),
        ("tombstones among them", count(counted.tombstones)),
        ("changed nothing", count(counted.unchanged)),
        ("records without a key", count(counted.null_keys)),
        ("records turned away", count(counted.turned_away)),
        ("fetched", bytes_size(counted.fetched_bytes)),
        ("keys in several partitions", count(counted.cross_partition_keys)),
        ("undecodable values", count(counted.undecodable)),
        ("expired entries", count(counted.expired)),
        ("entries that grew too old", count(counted.aged)),
        ("deleted by missed tombstones", count(counted.missed_tombstones)),
        ("batches skipped", count(counted.skipped_batches)),
        ("incarnation", str(table.incarnation)),
        ("generation", f"{table.generation} (number {table.generations} since the start)"),
        ("definition", table.definition_hash),
    ]


def _source(table: "TableInfo") -> list[tuple[str, str]]:
    """Where it is read from."""
    topic = escaped_text(table.topic)
    if table.dump:
        return [("dump", escaped_text(table.dump)), ("of topic", f"{topic}, which is not read")]
    retention = table.HasField("delete_retention_ms")
    kept = duration(table.delete_retention_ms) if retention else "not known"
    return [
        ("topic", f"{topic} (id {table.topic_id or 'not known yet'})"),
        ("cluster", escaped_text(table.cluster_id) or "not known"),
        ("cleanup policy", table.cleanup_policy or "not known"),
        ("delete retention", kept),
    ]


def _bootstrap(table: "TableInfo") -> str:
    if table.bootstrap_ms:
        return f"took {duration(table.bootstrap_ms)}"
    return f"about {duration(table.eta_ms)} left" if table.HasField("eta_ms") else "not done"


def _show_partitions(title: str, partitions: "Sequence[PartitionInfo]") -> None:
    if not partitions:
        return
    line()
    line(paint(f"{title}:", "bold"))
    ends = ("START", "POSITION", "TARGET", "END", "LAG")
    grid = Grid("PARTITION", "LEADER", *ends, "STALENESS", "WAIT")
    grid.write([_partition_row(partition) for partition in partitions])


def _partition_row(partition: "PartitionInfo") -> tuple[str, ...]:
    wait = _WAITS[partition.wait] or ("-" if partition.caught_up else "reading")
    if partition.wait:
        wait += f" for {duration(partition.waiting_ms)}"
    detail = f": {escaped_text(partition.detail)}" if partition.detail else ""
    leader = f"{partition.leader} (epoch {partition.leader_epoch})"
    return (
        str(partition.partition),
        leader if partition.leader >= 0 else "none",
        _offset(partition.log_start_offset),
        _offset(partition.position),
        _offset(partition.target),
        _offset(partition.high_watermark),
        count(partition.lag) if partition.lag >= 0 else "?",
        staleness(partition),
        wait + detail,
    )


def _offset(offset: int) -> str:
    return str(offset) if offset >= 0 else "?"
