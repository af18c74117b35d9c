"""Commands about readiness: `status` and `wait`.

The sidecar says in a sentence why a table stands where it stands. What to do about it
depends on what its partitions wait for, and that is said here.
"""

import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from .failure import CANNOT_CONNECT, DEADLINE, NOT_READY, Failed
from .options import Connection, connected, output_option, table_option
from .output import JSON, JSONL, TABLE, document, line, paint
from .tables import STATES, paint_state, staleness, table_json
from .text import count, duration, escaped_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._pb.admin_pb2 import TableInfo
    from ..rpc.client import CallFailed, Client

__all__ = ["advice", "status", "wait"]

# By ``PartitionWait``.
_ADVICE_BY_WAIT = {
    1: "look at the brokers: a partition has no leader until one of its replicas is up",
    2: "look at the broker and the network between it and this pod",
    3: "end the open transaction, or let the producer's transaction timeout pass",
    4: "look at the sidecar's log: a batch cannot be read, and what follows it is not applied",
    5: "raise the client's quota on the brokers, or give it time",
    6: "give it time: the log is read once more, so that no deleted key comes back",
    7: "grant READ on the topic to the sidecar's user",
}
_ADVICE_BEFORE_READING = "mend that; the sidecar goes on trying and needs no restart"
_ADVICE_BY_STATE = {
    "BOOTSTRAPPING": "give it time: `sidecar wait --ready` returns when it is done",
    "STALE": "see `sidecar describe {table}` for the partition that is behind",
    "FAILED": "mend what the reason says; the sidecar tries again by itself",
    "REPLACED": "create the topic again, if that is not meant; the sidecar waits for it",
}
_PASSING = frozenset({"BOOTSTRAPPING", "TOPIC_MISSING", "TOPIC_REPLACED", "SHUTTING_DOWN"})
_PAUSE_S = 0.2


@click.command(
    epilog="Example: sidecar status    |    sidecar status -o json | jq .ready",
    short_help="Say what is not ready, why, and what to do.",
)
@table_option
@output_option(TABLE, JSON, JSONL)
@connected()
def status(connection: Connection, *, table: str, form: str) -> None:
    """Say what is not ready, why, and what to do.

    Exit code 3: a table that readiness needs does not answer, or is not known to be
    current.
    """
    with connection.open() as client:
        server = client.server_info()
        known = [client.table(table)] if table else client.tables()
    wanting = [one for one in known if one.required and STATES[one.state] != "LIVE"]
    ready = bool(known) and not any(STATES[one.state] != "STALE" for one in wanting)
    if form == TABLE:
        age = duration(server.uptime_ms)
        verdict = _verdict(known, wanting)
        line(f"sidecar {server.version} at {connection.endpoint}, up {age}: {verdict}")
        if server.config_fault:
            line(
                f"  its configuration has changed, and runs on as it was: "
                f"{escaped_text(server.config_fault)}"
            )
        if server.registry_fault:
            line(f"  values cannot be decoded: {escaped_text(server.registry_fault)}")
        _show(known)
    else:
        shown = {
            "ready": ready,
            "fresh": bool(known) and not wanting,
            "version": server.version,
            "uptime_ms": server.uptime_ms,
            "config_fault": escaped_text(server.config_fault),
            "registry_fault": escaped_text(server.registry_fault),
            "tables": [table_json(one) for one in known],
        }
        document(form, shown, lines=[shown])
    if wanting or not known:
        raise click.exceptions.Exit(NOT_READY)


class _Wanted(NamedTuple):
    """What `wait` waits for, beside ready: by partition, the next offset to read."""

    table: str
    positions: dict[int, int]


class _Position(click.ParamType[tuple[int, int]]):
    """A partition and an offset, as P:O."""

    name = "P:O"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        partition, _, offset = str(value).partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is no PARTITION:OFFSET, such as 3:1207", param, ctx)
        return int(partition), int(offset)


@click.command(
    epilog="Example: sidecar wait --ready --timeout 60 && exec my-app",
    short_help="Block until the sidecar is ready.",
)
@click.option("--ready", is_flag=True, help="Until every required table (or --table) answers.")
@click.option(
    "--position",
    "positions",
    type=_Position(),
    multiple=True,
    metavar="P:O",
    help="Until partition P of the table was read to offset O (the next to read); repeatable.",
)
@table_option
@connected(timeout=300.0)
def wait(
    connection: Connection, *, ready: bool, positions: tuple[tuple[int, int], ...], table: str
) -> None:
    """Block until the sidecar is ready, or has read so far.

    A sidecar that is not there yet is waited for. Exit code 5: --timeout passed, and 4 if
    no sidecar was there to the end; 3: it cannot become ready without an operator.
    """
    if not ready and not positions:
        raise click.UsageError("say what to wait for: --ready, or --position P:O")
    wanted = _Wanted(table, dict(positions))
    deadline = time.monotonic() + connection.timeout
    with connection.open() as client:
        _wait(client, wanted, deadline, connection)


def _wait(client: "Client", wanted: _Wanted, deadline: float, connection: Connection) -> None:
    from ..rpc.client import CallFailed

    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            client.wait_until(wanted.table, timeout=left, positions=wanted.positions)
        except CallFailed as failure:
            if not _passes(failure):
                raise
            reason = failure.message if failure.reason else reason
            time.sleep(min(_PAUSE_S, max(0.0, deadline - time.monotonic())))
        else:
            return
    _out_of_time(client, wanted, reason, connection)


def _passes(failure: "CallFailed") -> bool:
    """A later call may do better, or the time is over."""
    return (
        failure.unreachable
        or failure.reason in _PASSING
        or (not failure.reason and failure.code == "DEADLINE_EXCEEDED")
    )


def _out_of_time(
    client: "Client", wanted: _Wanted, reason: str, connection: Connection
) -> NoReturn:
    from ..rpc.client import CallFailed

    waited = f"after {connection.timeout:g} s"
    try:
        known = [client.table(wanted.table)] if wanted.table else client.tables()
    except CallFailed as failure:
        if failure.unreachable:
            raise Failed(
                f"no sidecar at {connection.endpoint} {waited}: {escaped_text(failure.message)}",
                CANNOT_CONNECT,
            ) from failure
        raise Failed(
            f"not ready {waited}: {escaped_text(reason or failure.message)}", DEADLINE
        ) from failure
    answering = {"LIVE", "STALE"}
    open_ends = [
        f"{escaped_text(one.name)} is {STATES[one.state]}: {escaped_text(one.reason)}"
        for one in known
        if (one.required or wanted.table) and STATES[one.state] not in answering
    ]
    open_ends += [
        f"{escaped_text(one.name)}: partition {part.partition} is at {part.position}, not at "
        f"{wanted.positions[part.partition]}"
        for one in known
        for part in one.partitions
        if part.position < wanted.positions.get(part.partition, 0)
    ]
    raise Failed(f"not ready {waited}: {'; '.join(open_ends) or escaped_text(reason)}", DEADLINE)


# What is shown


def _verdict(known: "Sequence[TableInfo]", wanting: "Sequence[TableInfo]") -> str:
    if not known:
        return paint("not ready: no table is served", "red")
    silent = [escaped_text(one.name) for one in wanting if STATES[one.state] != "STALE"]
    if silent:
        return paint(f"not ready: {', '.join(silent)}", "red")
    if wanting:
        stale = ", ".join(escaped_text(one.name) for one in wanting)
        return paint(f"ready, but not known to be current: {stale}", "yellow")
    return paint("ready", "green")


def _show(known: "Sequence[TableInfo]") -> None:
    for table in known:
        state = STATES[table.state]
        optional = "" if table.required else ", not required"
        line()
        line(
            f"{paint(escaped_text(table.name), 'bold')}  {paint_state(state)}{optional}  "
            f"{count(table.entries)} entries, staleness {staleness(table)}"
        )
        if table.dump:
            line(f"  from: the dump {escaped_text(table.dump)}, and no topic")
        if state == "LIVE":
            continue
        left = f", about {duration(table.eta_ms)} left" if table.HasField("eta_ms") else ""
        line(f"  why:  {escaped_text(table.reason) or 'the sidecar does not say'}{left}")
        for one in advice(table):
            line(f"  do:   {one}")


def advice(table: "TableInfo") -> list[str]:
    """What to do about a table that is not LIVE."""
    state = STATES[table.state]
    waits = sorted({one.wait for one in table.partitions if one.wait in _ADVICE_BY_WAIT})
    if waits:
        return [_ADVICE_BY_WAIT[one] for one in waits]
    if state == "BOOTSTRAPPING" and not table.partitions and not table.dump:
        return [_ADVICE_BEFORE_READING]
    if state == "REPLACED" and table.next_partitions:
        return ["give it time: the topic that has its name now is being read"]
    known = _ADVICE_BY_STATE.get(state, "see the sidecar's log")
    return [known.format(table=escaped_text(table.name))]
