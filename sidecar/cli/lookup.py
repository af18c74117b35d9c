"""Commands that look records up: `get` and `list`."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ..core.ordered import prefix_end
from .failure import ABSENT, SERVER_ERROR, USAGE, Failed
from .options import (
    Connection,
    connected,
    key_format_option,
    output_option,
    raw_option,
    table_option,
)
from .output import JSON, JSONL, TABLE, VALUE, Grid, document, line, paint, raw
from .text import (
    compact_json,
    duration,
    escaped,
    escaped_text,
    json_bytes,
    parse_key,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._pb.cache_pb2 import Encoding, Filter, ListResponse, LookupResult, Record, State
    from ..rpc.client import Client

__all__ = [
    "encoding_of",
    "get",
    "list_records",
    "parse",
    "record_json",
    "shown_value",
    "state_json",
]

_TIMESTAMP_TYPES = ("UNSPECIFIED", "CREATE_TIME", "LOG_APPEND_TIME")
_PRESENCES = ("UNSPECIFIED", "FOUND", "ABSENT", "UNKNOWN")


@click.command(
    epilog="Example: sidecar get KJFK    |    sidecar get KJFK -o value | jq .name",
    short_help="Look keys up.",
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@table_option
@key_format_option
@raw_option
@output_option()
@connected()
def get(
    connection: Connection,
    *,
    keys: tuple[str, ...],
    table: str,
    key_format: str,
    as_is: bool,
    form: str,
) -> None:
    """Look keys up, all of them at one position of the log.

    Exit code 1: a key is absent (named on standard error). `-o value` writes one key's
    value, byte for byte and nothing else.
    """
    if form == VALUE and len(keys) > 1:
        raise click.UsageError("-o value writes one value and takes one KEY; use -o jsonl")
    wanted = [parse(text, key_format, "KEY") for text in keys]
    with connection.open() as client:
        answer = client.get(table, wanted, encoding_of(client, table, as_is=as_is))
    found = list(zip(wanted, answer.results, strict=True))
    if form == TABLE:
        _show_found(found, answer.state)
    elif form == VALUE:
        raw(_value(answer.results[0].record))
    else:
        results = [_result_json(key, result) for key, result in found]
        document(form, {"results": results, "state": state_json(answer.state)}, lines=results)
    missing = [key for key, result in found if not result.HasField("record")]
    for key in missing:
        click.echo(f"absent: {escaped(key)}", err=True)
    if missing:
        raise click.exceptions.Exit(ABSENT)


@click.command(
    "list",
    epilog="Example: sidecar list --prefix KJ    |    sidecar list --range KA:KB -o jsonl",
    short_help="List records in key order.",
)
@click.option(
    "--prefix", metavar="KEY", help="Only keys that begin so; with --index: texts that do."
)
@click.option(
    "--index", metavar="NAME", help="By a secondary index: in order of its text, then of the key."
)
@click.option("--equals", metavar="TEXT", help="With --index: only this text.")
@click.option(
    "--range",
    "key_range",
    metavar="START:END",
    help="Only keys from START on and before END; either may be empty. A colon within a "
    "key: use --key-format.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many records.")
@table_option
@key_format_option
@raw_option
@output_option()
@connected()
def list_records(
    connection: Connection,
    *,
    prefix: str | None,
    index: str | None,
    equals: str | None,
    key_range: str | None,
    limit: int | None,
    table: str,
    key_format: str,
    as_is: bool,
    form: str,
) -> None:
    """List records in the order of their keys' bytes, or of an index.

    `-o value` writes each value and a newline.
    """
    if index is None and equals is not None:
        raise click.UsageError("--equals goes with --index")
    chosen = (
        _filter(*_bounds(prefix, key_range, key_format))
        if index is None
        else _by_index(index, equals, prefix, key_range)
    )
    with connection.open() as client:
        encoding = encoding_of(client, table, as_is=as_is)
        pages = client.pages(table, chosen=chosen, page_size=limit or 0, encoding=encoding)
        _show_pages(form, pages, limit)


def parse(text: str, key_format: str, what: str) -> bytes:
    """The bytes of a key that was typed as `what`; one that is not of the format fails."""
    try:
        return parse_key(text, key_format)
    except ValueError as error:
        raise Failed(f"{what} {text!r} is not {key_format}: {error}", USAGE) from error


def _bounds(prefix: str | None, key_range: str | None, key_format: str) -> tuple[bytes, bytes]:
    """First key, and the key before which to end (empty: no end)."""
    if prefix is not None and key_range is not None:
        raise click.UsageError("--prefix and --range exclude each other")
    if prefix is not None:
        start = parse(prefix, key_format, "--prefix")
        return start, prefix_end(start)
    first, colon, last = (key_range if key_range is not None else ":").partition(":")
    if not colon or ":" in last:
        raise click.UsageError(
            f"--range {key_range!r}: write START:END; keys with a colon as --key-format hex"
        )
    return parse(first, key_format, "--range"), parse(last, key_format, "--range")


def _by_index(
    index: str, equals: str | None, prefix: str | None, key_range: str | None
) -> "Filter":
    from .._pb.cache_pb2 import Filter, IndexQuery

    if key_range is not None or (equals is not None and prefix is not None):
        raise click.UsageError("--index goes with --equals or --prefix, and with no --range")
    if equals is not None:
        return Filter(index=IndexQuery(index=index, equals=equals))
    return Filter(index=IndexQuery(index=index, prefix=prefix or ""))


def _filter(start: bytes, end: bytes) -> "Filter | None":
    from .._pb.cache_pb2 import Filter, KeyRange

    return Filter(key_range=KeyRange(start=start, end=end)) if start or end else None


# What is shown


def _show_found(found: "Iterable[tuple[bytes, LookupResult]]", state: "State") -> None:
    age = (
        f"current {duration(state.staleness_ms)} ago"
        if state.HasField("staleness_ms")
        else "age not known"
    )
    for key, result in found:
        if result.HasField("record"):
            record = result.record
            origin = (
                f"partition {record.partition}, offset {record.offset}, "
                f"{timestamp(record.timestamp_ms)}, {age}"
            )
            line(f"{paint(escaped(key), 'bold')}  {paint(origin, 'dim')}")
            line(shown_value(record))


def _show_pages(form: str, pages: "Iterator[ListResponse]", limit: int | None) -> None:
    """Write page by page, so that a long list needs no memory."""
    state: State | None = None
    grid = Grid("KEY", "PARTITION", "OFFSET", "TIMESTAMP", "VALUE")
    left, separator = limit, ""
    if form == JSON:
        line('{"records": [')
    for page in pages:
        state = page.state
        records = list(islice(page.records, left))
        left = None if left is None else left - len(records)
        if form == TABLE:
            grid.write([_row(record) for record in records])
        for record in records if form != TABLE else ():
            separator = _show_record(form, record, separator)
        if left == 0:
            break
    if form == JSON and state is not None:
        line(f'\n], "state": {compact_json(state_json(state))}}}')


def _show_record(form: str, record: "Record", separator: str) -> str:
    """Write one record; what must stand before the next one."""
    if form == VALUE:
        raw(_value(record) + b"\n")
    elif form == JSONL:
        line(compact_json(record_json(record)))
    else:
        raw(f"{separator}{compact_json(record_json(record))}".encode())
    return ",\n"


def _row(record: "Record") -> tuple[str, ...]:
    return (
        escaped(record.key),
        str(record.partition),
        str(record.offset),
        timestamp(record.timestamp_ms),
        shown_value(record),
    )


def _result_json(key: bytes, result: "LookupResult") -> dict[str, Any]:
    shown = {"presence": _PRESENCES[result.presence]}
    if result.HasField("record"):
        return record_json(result.record) | shown
    return {"key": json_bytes(key)} | shown


def encoding_of(client: "Client", table: str, *, as_is: bool) -> "Encoding":
    """How to ask for a table's values, of which people shall see what they mean."""
    from .._pb.cache_pb2 import ENCODING_RAW

    return ENCODING_RAW if as_is else client.encoding_of(table)


def shown_value(record: "Record") -> str:
    """A record's value for people; in red why there is none."""
    if record.decode_error:
        return paint(f"cannot be decoded: {escaped_text(record.decode_error)}", "red")
    return escaped(record.value)


def _value(record: "Record") -> bytes:
    if record.decode_error:
        raise Failed(
            f"{escaped(record.key)}: its value cannot be decoded: "
            f"{escaped_text(record.decode_error)}; --raw shows it as it is",
            SERVER_ERROR,
        )
    return record.value


def record_json(record: "Record") -> dict[str, Any]:
    """A record, with its origin."""
    shown: dict[str, Any] = {"key": json_bytes(record.key), "value": json_bytes(record.value)}
    if record.decode_error:
        shown["value"] = None
        shown["decode_error"] = escaped_text(record.decode_error)
        shown["raw_value"] = json_bytes(record.raw_value)
    return shown | {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "timestamp_type": _TIMESTAMP_TYPES[record.timestamp_type],
    }


def state_json(state: "State") -> dict[str, Any]:
    """Of what an answer is the truth; null: not known."""
    return {
        "staleness_ms": state.staleness_ms if state.HasField("staleness_ms") else None,
        "incarnation": state.incarnation,
        "generation": state.generation,
        "revision": state.revision,
    }
