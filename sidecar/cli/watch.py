"""The command `watch`: a table's changes as they come.

A watch that is cut off (the sidecar is gone, or this reader was too slow) goes on behind the
last token that it was given, so nothing is missing and nothing comes twice. So does who ends it
with Ctrl-C, and begins another one with the token that it tells.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from .interrupt import Interrupt
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
from .text import compact_json, escaped, escaped_text, json_bytes, timestamp

if TYPE_CHECKING:
    from .._pb.cache_pb2 import (
        Deletion,
        Record,
        WatchEvent,
        WatchProgress,
        WatchRequest,
        WatchResponse,
    )
    from ..rpc.client import CallFailed, Client

__all__ = ["positions_json", "request_for", "watch"]

_AGAIN_S = 1.0
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
    request = request_for(table, parse(prefix or "", key_format, "--prefix"))
    if resume is not None:
        request.resume_token = resume
    elif snapshot:
        request.snapshot.SetInParent()
        request.snapshot_on_reset = True
    with connection.open() as client:
        request.encoding = encoding_of(client, table, as_is=as_is)
        following = _Following(client, request, connection.endpoint)
        try:
            with Interrupt() as interrupt:
                _show(following, _SHOWN[form], interrupt, progress=progress, most=most)
        except KeyboardInterrupt:
            token = following.token
            click.echo(f"to go on from here: --resume {token}" if token else "", err=True)


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

    def responses(self) -> "Iterator[WatchResponse]":
        """Each response; what was shown of it is told to `reached`."""
        from ..rpc.client import CallFailed

        while True:
            try:
                for response in self._client.watch(self._request):
                    self._cut = False
                    yield response
            except CallFailed as failure:
                if not self._goes_on(failure):
                    raise
            time.sleep(_AGAIN_S)

    def reached(self, token: str) -> None:
        """All before this token was shown; empty: there is none here."""
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


def request_for(table: str, prefix: bytes) -> "WatchRequest":
    """A watch of a table, or of the keys that begin so; where it begins is left open."""
    from .._pb.cache_pb2 import VIEW_FULL, Filter, WatchRequest

    chosen = Filter(key_prefix=prefix) if prefix else None
    return WatchRequest(table=table, filter=chosen, view=VIEW_FULL)


# What is shown


def _show(
    following: _Following,
    show: Callable[["WatchEvent", str], None],
    interrupt: Interrupt,
    *,
    progress: bool,
    most: int | None,
) -> None:
    left = most
    for response in following.responses():
        with interrupt.held():
            left = _show_events(response, show, progress=progress, left=left)
            following.reached(response.resume_token)
        if left == 0:
            break


def _show_events(
    response: "WatchResponse",
    show: Callable[["WatchEvent", str], None],
    *,
    progress: bool,
    left: int | None,
) -> int | None:
    """Show the events of a response, up to `left` changes; how many are left to show."""
    for event in response.events:
        kind = event.WhichOneof("event")
        change = kind in ("upsert", "deletion")
        if change or progress or kind == "reset":
            show(event, response.resume_token)
            sys.stdout.flush()
        left = left if left is None else left - change
        if left == 0:
            break
    return left


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
        "positions": positions_json(told),
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


def positions_json(told: "WatchProgress") -> dict[str, int]:
    """Where a mark stands: by partition, the next offset to read."""
    return {str(one.partition): one.offset for one in told.positions.next_offsets}
