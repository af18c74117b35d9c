"""Commands that follow a table: `watch`, and `dump`, which follows it until it has it whole.

A watch that is cut off (the sidecar is gone, or this reader was too slow) goes on behind the
last token that it was given, so nothing is missing and nothing comes twice.

A snapshot is followed by what changed behind its walk, so it is the table only where it ends;
`dump` holds it until then, and what it writes is exactly the fold of the stated positions.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import SERVER_ERROR, USAGE, Failed
from .lookup import encoding_of, parse, record_json, shown_value
from .options import (
    Connection,
    connected,
    key_format_option,
    output_option,
    raw_option,
    table_option,
)
from .output import JSONL, TABLE, VALUE, line, paint, raw
from .text import compact_json, count, escaped, escaped_text, json_bytes, timestamp

if TYPE_CHECKING:
    from .._pb.cache_pb2 import Deletion, Record, WatchEvent, WatchProgress, WatchRequest
    from ..rpc.client import CallFailed, Client

__all__ = ["dump", "watch"]

_AGAIN_S = 1.0
_ATTEMPTS = 3
_LOG_APPEND_TIME = 2
_CAUSES = ("", "tombstone", "log_start", "table_rule", "missed_tombstone")
# Where going on behind the last token is what helps.
_CUT = frozenset({"WATCH_LAGGED", "SHUTTING_DOWN", "TOO_MANY_WATCHES"})


@click.command(
    epilog="Example: sidecar watch --prefix KJ    |    sidecar watch --snapshot -o jsonl",
    short_help="Show changes as they come.",
)
@click.option("--prefix", metavar="KEY", help="Only keys that begin so.")
@click.option("--snapshot", is_flag=True, help="What there is first.")
@click.option("--resume", metavar="TOKEN", help="Go on behind this token of an earlier watch.")
@click.option("--progress", is_flag=True, help="Show progress marks too, each with its token.")
@click.option(
    "--count", "most", type=click.IntRange(min=1), metavar="N", help="End after N changes."
)
@table_option
@key_format_option
@raw_option
@output_option(TABLE, JSONL, VALUE)
@connected()
def watch(
    connection: Connection,
    *,
    prefix: str | None,
    snapshot: bool,
    resume: str | None,
    progress: bool,
    most: int | None,
    table: str,
    key_format: str,
    as_is: bool,
    form: str,
) -> None:
    """Show a table's changes as they come, until Ctrl-C.

    Where the sidecar goes away, it is waited for, and the watch goes on behind what was shown. One
    that was started anew has forgotten that: with --snapshot the watch is begun again (`reset`).
    Ctrl-C ends it with exit code 0, and says how to go on.
    """
    if snapshot and resume is not None:
        raise click.UsageError("--snapshot and --resume exclude each other")
    request = _request(table, parse(prefix or "", key_format, "--prefix"))
    if resume is not None:
        request.resume_token = resume
    elif snapshot:
        request.snapshot.SetInParent()
        request.snapshot_on_reset = True
    with connection.open() as client:
        request.encoding = encoding_of(client, table, as_is=as_is)
        following = _Following(client, request, connection.endpoint)
        try:
            _show(following.events(), form, progress=progress, most=most)
        except KeyboardInterrupt:
            token = following.token
            click.echo(f"to go on from here: --resume {token}" if token else "", err=True)


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


# Following


class _Following:
    """A watch that goes on where it was cut off.

    Attributes:
        token: where it goes on; empty: it has not been told yet.
    """

    def __init__(self, client: "Client", request: "WatchRequest", endpoint: str) -> None:
        self._client = client
        self._request = request
        self._endpoint = endpoint
        self._cut = False
        self.token = request.resume_token

    def events(self) -> "Iterator[tuple[WatchEvent, str]]":
        """Each event, with the token that goes on behind its response."""
        from ..rpc.client import CallFailed

        while True:
            try:
                for response in self._client.watch(self._request):
                    self._cut = False
                    for event in response.events:
                        yield event, response.resume_token
                    self._reached(response.resume_token)
            except CallFailed as failure:
                if not self._goes_on(failure):
                    raise
            time.sleep(_AGAIN_S)

    def _reached(self, token: str) -> None:
        if token:
            self.token = self._request.resume_token = token

    def _goes_on(self, failure: "CallFailed") -> bool:
        """Whether the same may be asked again, behind what was shown."""
        if not self.token or not (failure.unreachable or failure.code == "UNAVAILABLE"
                                  or failure.reason in _CUT):  # fmt: skip
            return False
        if not self._cut:
            why = escaped_text(failure.message)
            click.echo(f"cut off from {self._endpoint}: {why}; trying to go on", err=True)
        self._cut = True
        return True


def _request(table: str, prefix: bytes) -> "WatchRequest":
    from .._pb.cache_pb2 import VIEW_FULL, Filter, WatchRequest

    chosen = Filter(key_prefix=prefix) if prefix else None
    return WatchRequest(table=table, filter=chosen, view=VIEW_FULL)


# What is shown


def _show(
    events: "Iterator[tuple[WatchEvent, str]]", form: str, *, progress: bool, most: int | None
) -> None:
    shown = 0
    for event, token in events:
        kind = event.WhichOneof("event")
        change = kind in ("upsert", "deletion")
        if change or progress or kind == "reset":
            _SHOWN[form](event, token)
            sys.stdout.flush()
        shown += change
        if shown == most:
            break


def _show_line(event: "WatchEvent", token: str) -> None:
    kind = event.WhichOneof("event")
    if kind == "upsert":
        record = event.upsert
        at = _at(record)
        value = shown_value(record)
        line(f"{at}  {paint('set', 'green')}  {paint(escaped(record.key), 'bold')}  {value}")
    elif kind == "deletion":
        gone = event.deletion
        why = paint(_CAUSES[gone.cause], "dim")
        line(f"{_at(gone)}  {paint('del', 'red')}  {paint(escaped(gone.key), 'bold')}  {why}")
    elif kind == "reset":
        line(paint(f"reset: {event.reset.reason}", "yellow"))
    else:
        told: WatchProgress = getattr(event, kind or "progress")
        line(paint(f"{kind} at revision {told.revision}, token {token}", "dim"))


def _at(change: "Record | Deletion") -> str:
    return f"{timestamp(change.timestamp_ms)}  {change.partition}:{change.offset}"


def _show_json(event: "WatchEvent", token: str) -> None:
    kind = event.WhichOneof("event") or ""
    line(compact_json(_JSON[kind](event, token) if kind in _JSON else {"event": kind}))


def _upsert_json(event: "WatchEvent", _: str) -> dict[str, Any]:
    return {"event": "upsert"} | record_json(event.upsert) | _cause_json(event)


def _deletion_json(event: "WatchEvent", _: str) -> dict[str, Any]:
    gone = event.deletion
    return {
        "event": "deletion",
        "key": json_bytes(gone.key),
        "partition": gone.partition,
        "offset": gone.offset,
        "timestamp_ms": gone.timestamp_ms,
        "why": _CAUSES[gone.cause],
    } | _cause_json(event)


def _cause_json(event: "WatchEvent") -> dict[str, Any]:
    if not event.HasField("cause"):
        return {}
    return {"cause": {"partition": event.cause.partition, "offset": event.cause.offset}}


def _mark_json(event: "WatchEvent", token: str) -> dict[str, Any]:
    kind = event.WhichOneof("event") or ""
    told: WatchProgress = getattr(event, kind)
    return {
        "event": kind,
        "revision": told.revision,
        "positions": _positions(told),
        "staleness_ms": told.staleness_ms if told.HasField("staleness_ms") else None,
        "resume_token": token,
    }


def _reset_json(event: "WatchEvent", _: str) -> dict[str, Any]:
    return {"event": "reset", "reason": escaped_text(event.reset.reason)}


def _show_value(event: "WatchEvent", _: str) -> None:
    if event.HasField("upsert") and not event.upsert.decode_error:
        raw(event.upsert.value + b"\n")
    elif event.HasField("upsert"):
        click.echo(f"{escaped(event.upsert.key)}: {shown_value(event.upsert)}", err=True)


_SHOWN: dict[str, Callable[["WatchEvent", str], None]] = {
    TABLE: _show_line,
    JSONL: _show_json,
    VALUE: _show_value,
}
_JSON: dict[str, Callable[["WatchEvent", str], dict[str, Any]]] = {
    "upsert": _upsert_json,
    "deletion": _deletion_json,
    "snapshot_end": _mark_json,
    "progress": _mark_json,
    "reset": _reset_json,
}


def _positions(told: "WatchProgress") -> dict[str, int]:
    return {str(one.partition): one.offset for one in told.positions.next_offsets}


# Dumping


def _dumped(client: "Client", table: Any, prefix: bytes) -> Iterator[bytes]:
    """The lines of a dump."""
    from ..rpc.client import CallFailed

    request = _request(table.name, prefix)
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
        "positions": _positions(end),
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
