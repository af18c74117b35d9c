"""How far the bootstraps have come, as a line on a terminal.

For each table that is still being read: percent of its offsets, records and bytes a
second, and how long it will take at its speed so far.
"""

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from .text import bytes_size, count, duration

if TYPE_CHECKING:
    from ..app import Sidecar
    from ..core.served import Served
    from .serve import Screen

__all__ = ["progress_text", "show_bootstrap"]

_EVERY_S = 0.2
_BAR = 20


class _Seen(NamedTuple):
    at: float
    records: int
    fetched_bytes: int


async def show_bootstrap(sidecar: "Sidecar", screen: "Screen") -> None:
    """Keep the screen's line up to date until every table is ready; without a terminal, nothing."""
    if not screen.terminal:
        return
    seen: dict[str, _Seen] = {}
    while waiting := [table for table in sidecar.tables.values() if not table.ready]:
        screen.show("  ".join(_text(table, seen) for table in waiting[:2]))
        await asyncio.sleep(_EVERY_S)
    screen.show("")


def _text(table: "Served", seen: dict[str, _Seen]) -> str:
    name, built = table.definition.name, table.next or table.current
    if built is None:
        return f"{name}: {table.trouble.sentence}"
    view = built.view
    now = _Seen(time.monotonic(), view.table.counters.records, built.fetched_bytes)
    before = seen.setdefault(name, now)
    done, total = view.offsets_done()
    return progress_text(name, done, total, before, now)


def progress_text(name: str, done: int, total: int, before: _Seen, now: _Seen) -> str:
    """One table's bootstrap in a line."""
    share = done / total if total else 1.0
    bar = "█" * round(share * _BAR) + "░" * (_BAR - round(share * _BAR))
    elapsed = now.at - before.at
    if elapsed <= 0:
        return f"{name} {bar} {share:4.0%}"
    records = round((now.records - before.records) / elapsed)
    size = round((now.fetched_bytes - before.fetched_bytes) / elapsed)
    eta = duration(round(elapsed * (total - done) / done * 1000)) if done else "?"
    return (
        f"{name} {bar} {share:4.0%}  {count(records)} records/s  {bytes_size(size)}/s  {eta} to go"
    )
