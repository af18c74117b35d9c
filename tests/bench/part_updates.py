"""What lookups cost while updates pour in.

Broker, producer, sidecar and client share the cores, so a call waits for a core more often
while there are updates, whoever answers it. How much of it is that, a server with empty
handlers tells that is asked in the same moments, beside the sidecar that takes them in.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench import loader
from bench.context import Context
from bench.loader import MissingError
from bench.machine import median
from bench.part_lookups import Call, call_sidecar, figures_of
from bench.report import Table, micros, rate, ratio
from bench.servers import Sidecar, empty_server, sidecar

__all__ = ["measure"]

_UPDATES_PER_S = 50_000
_CELLS = [("get", 1), ("get", 16), ("stream", 1), ("stream", 16)]


def measure(context: Context) -> Table:
    """Measure lookups on an idle table, then while updates come in."""
    table = Table(
        f"Lookups while {_UPDATES_PER_S:,} updates a second are written",
        ["lookup", "in flight", "applied/s",
         "sidecar idle p50", "p99 us", "busy p50", "p99 us", "p99 busy/idle",
         "empty idle p99 us", "busy p99 us", "p99 busy/idle",
         "busy p99 sidecar/empty"],
    )  # fmt: skip
    topic = context.topics.written(context.topics.small)
    try:
        with (
            sidecar(context.servers, topic) as running,
            empty_server(context.empty_options) as empty,
        ):
            running.wait_until_ready()
            calls = [call_sidecar(context, running.addresses), call_sidecar(context, empty)]
            for mode, in_flight in _CELLS:
                table.rows.append(_row(context, topic, running, calls, mode, in_flight))
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""Medians of {context.rounds} rounds, over a Unix socket; in each the two servers
        are asked one after the other, idle and then busy; the sidecar takes the updates in while
        either is asked. Broker, producer, sidecar and client share the cores: what the empty
        server's p99 grows by is the machine's. applied/s: by TableCounters.records.""")
    return table


def _row(
    context: Context, topic: str, running: Sidecar, calls: list[Call], mode: str, in_flight: int
) -> list[str]:
    idle: list[list[dict[str, Any]]] = [[] for _ in calls]
    busy: list[list[dict[str, Any]]] = [[] for _ in calls]
    applied = []
    for _ in range(context.rounds):
        for number, call in enumerate(calls):
            context.quiet.wait()
            idle[number].append(call("unix", mode, in_flight))
            with _updates(context, topic):
                time.sleep(0.5)  # the producer connects
                begun, records = time.monotonic(), running.table().counters.records
                busy[number].append(call("unix", mode, in_flight))
                more = running.table().counters.records - records
                applied.append(more / (time.monotonic() - begun))
    (_, p50, p99), (_, _, empty) = map(figures_of, idle)
    (_, busy_p50, busy_p99), (_, _, busy_empty) = map(figures_of, busy)
    row = [mode, str(in_flight), rate(median(applied))]
    row += [micros(p50), micros(p99), micros(busy_p50), micros(busy_p99), ratio(busy_p99, p99)]
    row += [micros(empty), micros(busy_empty), ratio(busy_empty, empty)]
    return [*row, ratio(busy_p99, busy_empty)]


@contextmanager
def _updates(context: Context, topic: str) -> Iterator[None]:
    """Keep updates coming in; they end by themselves a little after the measurement."""
    data = context.topics.small
    seconds = context.length_s + context.warmup_s + 4
    line = loader.command(
        "produce", servers=context.servers, topic=topic, rate=_UPDATES_PER_S, seed=2,
        records=int(_UPDATES_PER_S * seconds), distinct=data.distinct, value_size=data.value_size,
    )  # fmt: skip
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as producer:
        try:
            yield
        finally:
            producer.terminate()
