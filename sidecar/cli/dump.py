"""The command `dump`: a table as a file, of one moment, while it goes on changing.

A snapshot is followed by what changed behind its walk, so it is the table only where it ends;
`dump` holds it until then, and what it writes is exactly the fold of the stated positions.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import SERVER_ERROR, USAGE, Failed
from .lookup import parse
from .options import Connection, connected, key_format_option, table_option
from .output import raw
from .text import compact_json, count, json_bytes
from .watch import positions_json, request_for

if TYPE_CHECKING:
    from .._pb.cache_pb2 import Record, WatchProgress, WatchRequest
    from ..rpc.client import Client

__all__ = ["dump"]

_ATTEMPTS = 3
_LOG_APPEND_TIME = 2


@click.command(
    epilog="Example: sidecar dump -f users.jsonl    |    sidecar dump | jq .key",
    short_help="Write a table to a file, one line a record.",
)
@click.option(
    "-f", "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Default: stdout."
)
@click.option("--prefix", metavar="KEY", help="Only keys that begin so.")
@table_option
@key_format_option
@connected()
def dump(
    connection: Connection, *, path: Path | None, prefix: str | None, table: str, key_format: str
) -> None:
    """Write a table as JSON lines: what it is, a line a record, and an end.

    It is the fold of the positions in the first line, exactly, whatever was written meanwhile. Text
    that is not UTF-8 is {"base64": …}. A file is there as a whole, or not at all.
    """
    with connection.open() as client:
        start = parse(prefix or "", key_format, "--prefix")
        lines = _dumped(client, client.table(table), start)
        if path is None:
            for each in lines:
                raw(each)
            return
        try:
            _write(path, lines)
        except OSError as error:
            raise Failed(f"-f {path}: cannot be written: {error.strerror}", USAGE) from error


def _dumped(client: "Client", table: Any, prefix: bytes) -> Iterator[bytes]:
    """The lines of a dump."""
    from ..rpc.client import CallFailed

    request = request_for(table.name, prefix)
    request.snapshot.SetInParent()
    for _ in range(_ATTEMPTS - 1):
        try:
            held, end = _snapshot(client, request)
            break
        except CallFailed as failure:
            if failure.reason != "RESUME_EXPIRED":
                raise
    else:
        held, end = _snapshot(client, request)
    first = {
        "dump": 1,
        "table": table.name,
        "topic": table.topic,
        "format": table.format,
        "incarnation": end.positions.incarnation,
        "positions": positions_json(end),
        "prefix": json_bytes(prefix),
    }
    yield _line(first)
    yield from (held[key] for key in sorted(held))
    yield _line({"end": True, "entries": len(held)})


def _snapshot(
    client: "Client", request: "WatchRequest"
) -> "tuple[dict[bytes, bytes], WatchProgress]":
    """The lines of all records by their keys, and of which positions they are the fold."""
    held: dict[bytes, bytes] = {}
    for response in client.watch(request):
        for event in response.events:
            if event.HasField("upsert"):
                held[event.upsert.key] = _line(_dump_json(event.upsert))
            elif event.HasField("deletion"):
                held.pop(event.deletion.key, None)
            elif event.HasField("snapshot_end"):
                return held, event.snapshot_end
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{count(len(held))} records", nl=False, err=True)
    raise Failed("the sidecar ended the snapshot before it was whole", SERVER_ERROR)


def _dump_json(record: "Record") -> dict[str, Any]:
    shown: dict[str, Any] = {
        "key": json_bytes(record.key),
        "value": json_bytes(record.value),
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }
    if record.timestamp_type == _LOG_APPEND_TIME:
        shown["timestamp_type"] = "LOG_APPEND_TIME"
    if record.headers:
        shown["headers"] = [
            [json_bytes(header.key), json_bytes(header.value) if header.HasField("value") else None]
            for header in record.headers
        ]
    return shown


def _line(shown: dict[str, Any]) -> bytes:
    return f"{compact_json(shown)}\n".encode()


def _write(path: Path, lines: Iterator[bytes]) -> None:
    """A file that is there as a whole, or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(lines)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
