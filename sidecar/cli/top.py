"""The command `top`: the tables as they change, until Ctrl-C."""

import sys
import time
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from .options import Connection, connected
from .output import Grid, line, paint
from .tables import STATES, staleness
from .text import bytes_size, count, duration, escaped_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._pb.admin_pb2 import GetServerInfoResponse, TableInfo

__all__ = ["top"]

_BARS = "▁▂▃▄▅▆▇█"
_DRAWN = 24


@click.command(
    epilog="Example: sidecar top    |    sidecar top --interval 5 --count 12",
    short_help="Show the tables as they change.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between two looks.",
)
@click.option("--count", "most", type=click.IntRange(min=1), metavar="N", help="End after N looks.")
@connected()
def top(connection: Connection, *, interval: float, most: int | None) -> None:
    """Show the tables as they change, until Ctrl-C.

    APPLIED/S is what came from the topic since the look before, and RECENT the same over time. A
    terminal is redrawn; else each look follows the one before.
    """
    rates, looks = _Rates(), 0
    with connection.open() as client, suppress(KeyboardInterrupt):
        while True:
            server, known = client.server_info(), client.tables()
            rates.take(known, time.monotonic())
            if sys.stdout.isatty():
                click.echo("\x1b[H\x1b[J", nl=False)
            elif looks:
                line("")
            _show(connection.endpoint, server, known, rates)
            sys.stdout.flush()
            looks += 1
            if looks == most:
                break
            time.sleep(interval)


class _Look(NamedTuple):
    """What a table had applied at a moment (seconds)."""

    generation: int
    records: int
    at: float


class _Rates:
    """Records a second, by table; a generation that is new begins anew."""

    def __init__(self) -> None:
        self._last: dict[str, _Look] = {}
        self._rates: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_DRAWN))

    def take(self, known: "Sequence[TableInfo]", now: float) -> None:
        """Look at the tables."""
        for table in known:
            look = _Look(table.generation, table.counters.records, now)
            last = self._last.get(table.name)
            if last is not None and last.generation == look.generation and now > last.at:
                rate = (look.records - last.records) / (now - last.at)
                self._rates[table.name].append(rate)
            self._last[table.name] = look

    def newest(self, name: str) -> str:
        """In words."""
        known = self._rates[name]
        return count(round(known[-1])) if known else "-"

    def drawn(self, name: str) -> str:
        """The latest ones, each a bar; the greatest is the highest."""
        known = self._rates[name]
        greatest = max(known, default=0) or 1
        return "".join(_BARS[round(rate / greatest * (len(_BARS) - 1))] for rate in known)


def _show(
    endpoint: str, server: "GetServerInfoResponse", known: "Sequence[TableInfo]", rates: _Rates
) -> None:
    memory = bytes_size(server.resident_bytes)
    head = f"sidecar {server.version} at {endpoint}, up {duration(server.uptime_ms)}, {memory}"
    line(paint(head, "bold"))
    for fault in (server.config_fault, server.registry_fault):
        if fault:
            line(paint(escaped_text(fault), "red"))
    grid = Grid("NAME", "STATE", "ENTRIES", "MEMORY", "STALENESS", "APPLIED/S", "RECENT")
    grid.write([_row(table, rates) for table in known])
    for table in known:
        if table.reason:
            line(paint(f"{escaped_text(table.name)}: {escaped_text(table.reason)}", "yellow"))


def _row(table: "TableInfo", rates: _Rates) -> tuple[str, ...]:
    return (
        escaped_text(table.name),
        STATES[table.state],
        count(table.entries),
        bytes_size(table.memory_bytes),
        staleness(table),
        rates.newest(table.name),
        rates.drawn(table.name),
    )
