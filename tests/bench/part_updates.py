"""What lookups cost while updates pour in."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import loader
from bench.context import Context
from bench.loader import MissingError
from bench.machine import median
from bench.part_lookups import Call, call_sidecar, figures_of
from bench.report import Table, micros, rate, ratio
from bench.servers import Sidecar, sidecar

__all__ = ["measure"]

_UPDATES_PER_S = 50_000
_CELLS = [("get", 1), ("get", 16), ("stream", 1), ("stream", 16)]


def measure(context: Context) -> Table:
    """Measure lookups on an idle table, then while updates come in."""
    table = Table(
        f"Lookups while {_UPDATES_PER_S:,} updates a second are written",
        ["lookup", "in flight", "idle keys/s", "p50 us", "p99 us",
         "busy keys/s", "p50 us", "p99 us", "p99 busy/idle", "applied/s"],
    )  # fmt: skip
    topic = context.topics.written(context.topics.small)
    try:
        with sidecar(context.servers, topic) as running:
            running.wait_until_ready()
            call = call_sidecar(context, running.addresses)
            for mode, in_flight in _CELLS:
                table.rows.append(_row(context, topic, running, call, mode, in_flight))
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""Medians of {context.rounds} rounds, idle then busy, over a Unix socket; broker,
        producer, sidecar and client share the cores. applied/s: by TableCounters.records.""")
    return table


def _row(
    context: Context, topic: str, running: Sidecar, call: Call, mode: str, in_flight: int
) -> list[str]:
    idle, busy, applied = [], [], []
    for _ in range(context.rounds):
        context.quiet.wait()
        idle.append(call("unix", mode, in_flight))
        with _updates(context, topic):
            time.sleep(0.5)  # the producer connects
            begun, records = time.monotonic(), running.table().counters.records
            busy.append(call("unix", mode, in_flight))
            more = running.table().counters.records - records
            applied.append(more / (time.monotonic() - begun))
    quiet, loaded = figures_of(idle), figures_of(busy)
    row = [mode, str(in_flight)]
    for keys_per_s, p50, p99 in (quiet, loaded):
        row += [rate(keys_per_s), micros(p50), micros(p99)]
    return [*row, ratio(loaded[2], quiet[2]), rate(median(applied))]


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
