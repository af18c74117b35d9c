"""What an entry costs in memory: the sidecar, tuples in a Python dict, a Go map."""

import json
import subprocess
import sys
import time
from pathlib import Path

from bench import loader
from bench.context import Context
from bench.loader import MissingError
from bench.report import Table, ratio
from bench.servers import sidecar

__all__ = ["measure"]

_SETTLE_S = 2


def measure(context: Context) -> Table:
    """Compare resident memory with the entries and without."""
    data = context.topics.small
    columns = ["memory", "B an entry", "of which key + value", "ratio to the sidecar"]
    table = Table(
        f"Memory an entry: {data.distinct:,} entries of 16 + {data.value_size} B", columns
    )
    payload = 16 + data.value_size
    python, go = _tuples(data.distinct, data.value_size), _go(data.distinct, data.value_size)
    ours = None
    try:
        ours, estimate = _ours(context)
        table.note(f"sidecar: its own estimate (TableInfo.memory_bytes) is {estimate:.0f} B.")
    except MissingError as missing:
        table.note(f"no sidecar row: {missing}")
    for name, each in (("sidecar", ours), ("Python tuples in one dict", python), ("Go map", go)):
        cells = ["-", "-"] if each is None else [f"{each:.0f}", f"{payload / each:.0%}"]
        table.rows.append([name, *cells, ratio(each, ours)])
    table.note(f"""sidecar: resident_bytes {_SETTLE_S} s after it was ready, less that of a sidecar
        on an empty topic, over the entries. It includes what reading two records a key left.""")
    table.note("""tuples: (value, partition, offset, timestamp), resident memory before and after,
        in a process of its own.""")
    table.note("""Go map: the same in a struct, after a collection that gave all garbage back; a
        live one needs up to as much again (GOGC=100).""")
    return table


def _ours(context: Context) -> tuple[float, float]:
    with sidecar(context.servers, context.topics.written(context.topics.empty)) as running:
        running.wait_until_ready()
        time.sleep(_SETTLE_S)
        before = running.resident_bytes()
    with sidecar(context.servers, context.topics.written(context.topics.small)) as running:
        running.wait_until_ready()
        time.sleep(_SETTLE_S)
        after, table = running.resident_bytes(), running.table()
    return (after - before) / table.entries, table.memory_bytes / table.entries


def _tuples(entries: int, value_size: int) -> float:
    program = str(Path(__file__).with_name("tuples.py"))
    done = subprocess.run(
        [sys.executable, program, str(entries), str(value_size)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["bytes_per_entry"]


def _go(entries: int, value_size: int) -> float:
    return loader.run("memory", entries=entries, value_size=value_size)["bytes_per_entry"]
