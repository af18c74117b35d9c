"""What watches cost, those who watch and everybody else; and what scans do."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench import loader
from bench.context import Context, Data
from bench.loader import MissingError
from bench.machine import median
from bench.part_lookups import call_sidecar, figures_of
from bench.report import Table, micros, rate, ratio
from bench.servers import TABLE, Sidecar, sidecar

__all__ = ["measure", "measure_scans"]

_UPDATES_PER_S, _SCANNED_UPDATES_PER_S = 10_000, 20_000
_PREFIXES, _WHOLE = 500, 5
# Behind what is kept of the past for those who come back.
_LEAVE_S = 35.0


def measure(context: Context) -> Table:
    """Measure lookups under updates, alone and beside watches, and memory."""
    table = Table(
        f"Lookups under {_UPDATES_PER_S:,} updates a second, alone and beside watches",
        ["beside", "lookup p50 us", "p99 us", "p99 beside/alone", "applied/s",
         "events/s told", "ended equal", "cut", "memory MB", "after MB"],
    )  # fmt: skip
    data = Data(name="watched", records=_PREFIXES * 100, distinct=_PREFIXES * 100, value_size=100)
    try:
        topic = context.topics.written(data)
        with sidecar(context.servers, topic) as running:
            running.wait_until_ready()
            at = _At(context, running, topic, data, _UPDATES_PER_S)
            alone = _round(at, "watch", None)
            table.rows.append(
                ["nobody", *_figures(alone, alone), "-", "-", "-", alone["memory"], ""]
            )
            for title, options in (
                (f"{_PREFIXES} of a prefix, {_WHOLE} of all", {}),
                ("the same, and 3 that never read", {"stalled": 3}),
            ):
                found = _round(at, "watch", options)
                time.sleep(_LEAVE_S)
                told = found["told"]
                table.rows.append(
                    [title, *_figures(found, alone), rate(told["events"] / found["seconds"]),
                     f"{told['equal']} of {told['watches']}", ", ".join(told["cut"]) or "none",
                     found["memory"], _megabytes(running)]
                )  # fmt: skip
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""{data}; medians of {context.rounds} rounds of Get, one call in flight, over a
        Unix socket. Broker, producer, sidecar, the watches (a Go process, a connection each) and
        the lookups share the cores.""")
    table.note(f"""Each watch began with a snapshot and takes every change; when nothing is
        written any more it is compared, key by key, with a Scan. after MB:
        {_LEAVE_S:g} s after they left.""")
    return table


def measure_scans(context: Context) -> Table:
    """Measure scans of a whole table while it changes, and lookups beside them."""
    table = Table(
        f"Scans of a whole table under {_SCANNED_UPDATES_PER_S:,} updates a second",
        [
            "beside",
            "lookup p50 us",
            "p99 us",
            "p99 beside/alone",
            "applied/s",
            "scans",
            "records/s",
        ],
    )
    data = context.topics.small
    try:
        topic = context.topics.written(data)
        with sidecar(context.servers, topic) as running:
            running.wait_until_ready()
            at = _At(context, running, topic, data, _SCANNED_UPDATES_PER_S)
            alone = _round(at, "scan", None)
            table.rows.append(["nobody", *_figures(alone, alone), "-", "-"])
            found = _round(at, "scan", {"distinct": data.distinct})
            told = found["told"]
            row = [str(told["scans"]), rate(told["records_per_s"])]
            table.rows.append(["one scan after the other", *_figures(found, alone), *row])
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""{data}. Every key is there throughout: a scan that does not meet each exactly
        once, in order, ends the run. Keys and origins are scanned, without values.""")
    return table


class _At(NamedTuple):
    """Where it is measured."""

    context: Context
    running: Sidecar
    topic: str
    data: Data
    updates_per_s: int


def _round(at: _At, command: str, options: dict[str, Any] | None) -> dict[str, Any]:
    """Look keys up while updates come in, beside a load command with these options, if any."""
    context, running = at.context, at.running
    seconds = context.rounds * (context.length_s + context.warmup_s + 1) + 1
    call = call_sidecar(context, running.addresses)
    length = f"{seconds + 3:g}s"
    found: dict[str, Any] = {"seconds": seconds}
    with _beside(running, command, options, length) as finish:
        context.quiet.wait()
        with _updates(at, seconds):
            time.sleep(1)  # the producer connects
            begun, records = time.monotonic(), running.table().counters.records
            found["lookups"] = [call("unix", "get", 1) for _ in range(context.rounds)]
            more = running.table().counters.records - records
            found["applied"] = more / (time.monotonic() - begun)
            found["memory"] = _megabytes(running)
        found["told"] = finish()
    return found


@contextmanager
def _beside(
    running: Sidecar, command: str, options: dict[str, Any] | None, length: str
) -> Iterator[Callable[[], Any]]:
    if options is None:
        yield lambda: None
        return
    line = loader.command(
        command, target=running.addresses.unix, table=TABLE, length=length, **options
    )
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None

        def finish() -> Any:
            told, _ = process.communicate(timeout=300)
            if process.returncode:
                raise RuntimeError(f"load {command} ended with {process.returncode}")
            return json.loads(told)

        try:
            if command == "watch":
                begun = time.monotonic()
                process.stdout.readline()  # all have their snapshot
                print(f"  snapshots after {time.monotonic() - begun:.1f} s", flush=True)
            yield finish
        finally:
            if process.poll() is None:
                process.terminate()


@contextmanager
def _updates(at: _At, seconds: float) -> Iterator[None]:
    data, per_s = at.data, at.updates_per_s
    line = loader.command(
        "produce", servers=at.context.servers, topic=at.topic, rate=per_s, seed=2, shuffled=True,
        records=int(per_s * seconds), distinct=data.distinct, value_size=data.value_size,
    )  # fmt: skip
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as producer:
        try:
            yield
        finally:
            producer.terminate()


def _figures(found: dict[str, Any], alone: dict[str, Any]) -> list[str]:
    _, p50, p99 = figures_of(found["lookups"])
    _, _, before = figures_of(alone["lookups"])
    return [micros(p50), micros(p99), ratio(p99, before), rate(median([found["applied"]]))]


def _megabytes(running: Sidecar) -> str:
    return f"{running.resident_bytes() / 1e6:,.0f}"
