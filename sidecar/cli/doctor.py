"""`sidecar doctor`: whether a topic can be served as a table, how well, and what it takes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from .brokers import broker_options, brokers_of, check_has_topic, served_config
from .failure import ABSENT, CANNOT_CONNECT
from .findings import FAIL, OK, WARN, Finding, findings
from .options import Connection, connected, output_option, table_option
from .output import JSON, JSONL, TABLE, document, line, paint
from .sizing import Facts, Pod, Size, pod_for, size_of
from .text import bytes_size, duration, escaped_text

if TYPE_CHECKING:
    from .._pb.admin_pb2 import GetServerInfoResponse, TableInfo
    from ..kafka.examine import Examined
    from ..ops.config import Config

__all__ = ["doctor"]

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
_OPEN_TRANSACTION_WAIT_MS = 75_000


class _Examination(NamedTuple):
    """One topic's facts and what they come to."""

    facts: Facts
    found: list[Finding]
    size: Size | None

    @property
    def name(self) -> str:
        """The table's, or the topic's where there is no sidecar."""
        return self.facts.table.name if self.facts.table else self.facts.examined.topic


@click.command(
    epilog="Example: sidecar doctor    |    "
    "sidecar doctor --bootstrap-servers kafka:9092 --topic users",
    short_help="Examine a topic and what serving it takes.",
)
@broker_options
@click.option("--topic", metavar="TOPIC", help="Examine this topic, without a sidecar.")
@table_option
@output_option(TABLE, JSON, JSONL)
@connected(timeout=30.0)
def doctor(
    connection: Connection,
    *,
    bootstrap_servers: str | None,
    path: Path | None,
    topic: str | None,
    table: str,
    form: str,
) -> None:
    """Examine a topic and what serving it takes.

    The topics are those of a running sidecar's tables (or of --table), or --topic with
    --bootstrap-servers and no sidecar. Only reads: nothing is created or committed.

    Each line is `ok`, `warn` or `fail`, and says what to do; at the end stand the pod's
    `resources` and `startupProbe`. Exit code 0: nothing fails; 1: something does; 4: no
    sidecar, or no broker, answers.
    """
    server = None
    if topic is not None:
        _check_alone(table)
        facts = _facts_alone(
            topic, brokers_of({}, path, bootstrap_servers, {topic: topic}), connection.timeout
        )
    else:
        server, facts = _facts_of_sidecar(connection, table, path, bootstrap_servers)
    results = [_Examination(one, findings(one), size_of(one)) for one in facts]
    if form == TABLE and server is not None:
        _show_server(connection, server)
    _show(results, _pod(results, server), form)
    _exit(results)


def _check_alone(table: str) -> None:
    given = click.get_current_context().get_parameter_source("endpoint")
    if table or given is ParameterSource.COMMANDLINE:
        raise click.UsageError("--topic is without a sidecar: leave --table and --endpoint out")


# Gathering


def _facts_alone(topic: str, config: "Config", limit_s: float) -> list[Facts]:
    (examined,) = _examine(config, [topic], limit_s)
    return [_facts(config, examined, None, _OPEN_TRANSACTION_WAIT_MS)]


def _facts_of_sidecar(
    connection: Connection, table: str, path: Path | None, servers: str | None
) -> "tuple[GetServerInfoResponse, list[Facts]]":
    with connection.open() as client:
        server, served = client.server_info(), served_config(client)
        known = [client.table(table)] if table else list(client.tables())
    for one in known:
        check_has_topic(one, path, servers)
    config = brokers_of(served, path, servers, {one.name: one.topic for one in known})
    examined = _examine(config, [one.topic for one in known], connection.timeout)
    return server, [
        _facts(config, each, one, _wait_ms(served, one.name))
        for each, one in zip(examined, known, strict=True)
    ]


def _examine(config: "Config", topics: Sequence[str], limit_s: float) -> "list[Examined]":
    from ..app import examine

    async def side_by_side() -> "list[Examined]":
        return await asyncio.gather(*(examine(config, topic, limit_s=limit_s) for topic in topics))

    return asyncio.run(side_by_side())


def _facts(
    config: "Config", examined: "Examined", table: "TableInfo | None", wait_ms: int
) -> Facts:
    return Facts(
        examined=examined,
        table=table,
        servers=",".join(f"{host}:{port}" for host, port in config.kafka.bootstrap),
        login=config.kafka.sasl_username or "",
        committed=config.kafka.isolation_level == "read_committed",
        open_transaction_wait_ms=wait_ms,
    )


def _wait_ms(served: dict[str, Any], table: str) -> int:
    known = served.get("tables", {}).get(table, {})
    return int(known.get("open_transaction_wait_ms", _OPEN_TRANSACTION_WAIT_MS))


def _pod(results: list[_Examination], server: "GetServerInfoResponse | None") -> Pod | None:
    """None: what some table takes is not known."""
    sizes = [one.size for one in results if one.size is not None]
    if not sizes or len(sizes) < len(results):
        return None
    return pod_for(
        sizes,
        resident_bytes=server.resident_bytes if server else 0,
        wait_ms=max(one.facts.open_transaction_wait_ms for one in results),
    )


# What is shown


def _show_server(connection: Connection, server: "GetServerInfoResponse") -> None:
    line(
        f"sidecar {escaped_text(server.version)} at {connection.endpoint}, up "
        f"{duration(server.uptime_ms)}, {bytes_size(server.resident_bytes)} resident"
    )


def _show(results: list[_Examination], pod: Pod | None, form: str) -> None:
    if form != TABLE:
        shown = [_examination_json(one) for one in results]
        whole = {
            "verdict": _verdict(results),
            "tables": shown,
            "kubernetes": pod.manifest() if pod else None,
        }
        lines = [
            {"table": one["table"], "topic": one["topic"], **finding}
            for one in shown
            for finding in one["findings"]
        ]
        document(form, whole, lines=lines)
        return
    for one in results:
        line(paint(escaped_text(one.name), "bold"))
        width = max(len(finding.check) for finding in one.found)
        for finding in one.found:
            line(_finding_line(finding, width))
    if pod is not None:
        _show_pod(pod, measured=all(one.size and one.size.measured for one in results))


def _finding_line(finding: Finding, width: int) -> str:
    level = paint(finding.level.ljust(4), _COLOURS[finding.level])
    text = f"  {level}  {finding.check.ljust(width)}  {escaped_text(finding.found)}"
    return f"{text}; do: {escaped_text(finding.advice)}" if finding.advice else text


def _show_pod(pod: Pod, *, measured: bool) -> None:
    import yaml

    line()
    basis = "what was measured" if measured else "an estimate"
    line(f"# For the sidecar's container: {basis}, with headroom (k8s/README.md).")
    line("# The probe needs `http: 0.0.0.0:9464` in the sidecar's configuration.")
    for text in yaml.safe_dump(pod.manifest(), sort_keys=False).splitlines():
        line(text)


def _examination_json(one: _Examination) -> dict[str, Any]:
    return {
        "table": one.name if one.facts.table else None,
        "topic": one.facts.examined.topic,
        "findings": [finding._asdict() for finding in one.found],
        "size": one.size._asdict() if one.size else None,
    }


def _verdict(results: list[_Examination]) -> str:
    levels = {finding.level for one in results for finding in one.found}
    return next((level for level in (FAIL, WARN) if level in levels), OK)


def _exit(results: list[_Examination]) -> None:
    for one in results:
        examined = one.facts.examined
        if examined.error_code is None and not any(each.too_old for each in examined.brokers):
            raise click.exceptions.Exit(CANNOT_CONNECT)
    if _verdict(results) == FAIL:
        raise click.exceptions.Exit(ABSENT)
