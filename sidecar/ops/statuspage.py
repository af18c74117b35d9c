"""The status page: one self-contained document that loads itself again.

It works without scripts and without anything from elsewhere, so that it can be read
through a port-forward and in a locked-down browser. Everything that comes from outside
(names, reasons, broker ids) is escaped.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

__all__ = ["render"]

_REFRESH_SECONDS: Final = 2

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b82c4; --good: #2e9e5b;
  --warn: #c98a12; --bad: #c8432f; }
body { font: 15px/1.45 system-ui, sans-serif;
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
.state { font-size: .8rem; padding: .1rem .5rem; border-radius: 1rem; color: #fff;
  background: var(--bad); vertical-align: middle; }
.LIVE { background: var(--good); } .STALE, .BOOTSTRAPPING { background: var(--warn); }
.bar { height: .6rem; background: var(--line); border-radius: .3rem; overflow: hidden; }
.bar div { height: 100%; background: var(--bar); }
.facts { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin: .4rem 0; padding: 0; }
.facts div { white-space: nowrap; } dt, dd { display: inline; margin: 0; }
dt { opacity: .65; } dd { font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin-top: .6rem; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th { font-weight: 500; opacity: .65; } td.text, th.text { text-align: left; }
td .bar { width: 7rem; }
"""


def render(status: Mapping[str, Any]) -> str:
    """The page of a status as ``/status.json`` gives it."""
    tables = "".join(map(_table, status["tables"]))
    ready = "ready" if status["ready"] else "not ready"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Sidecar: {ready}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Kafka cache sidecar: {ready}</h1>"
        + _facts(
            {
                "version": status["version"],
                "up": _duration(status["uptime_ms"]),
                "loop lag": _duration(status["loop_lag_ms"]),
            }
        )
        + f"{tables}</body></html>\n"
    )


def _table(table: Mapping[str, Any]) -> str:
    offsets = table["bootstrap_offsets"]
    reason = f"<p>{escape(table['reason'])}</p>" if table["reason"] else ""
    bar = "" if table["bootstrap_ms"] else _bar(offsets["done"], offsets["total"], table["name"])
    facts = {
        "topic": table["topic"],
        "from the dump": table["dump"],
        "entries": _number(table["entries"]),
        "payload": _size(table["payload_bytes"]),
        "memory, about": _size(table["memory_bytes"]),
        "staleness": _duration(table["staleness_ms"]),
        "records": _number(table["counters"]["records"]),
        "tombstones": _number(table["counters"]["tombstones"]),
        "generations": _number(table["generations"]),
        "bootstrap": _duration(table["bootstrap_ms"] or None),
        "ready in": _duration(table["eta_ms"]),
        "": "required" if table["required"] else "not required",
    }
    state = escape(table["state"])
    return (
        f'<h2>{escape(table["name"])} <span class="state {state}">{state}</span></h2>'
        f"{reason}{bar}{_facts(facts)}{_partitions(table['partitions'])}"
    )


def _partitions(partitions: list[Mapping[str, Any]]) -> str:
    if not partitions:
        return ""
    names = ("partition", "leader", "position", "target", "high watermark", "lag", "staleness")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(map(_partition, partitions))
    return (
        f'<div class="wide"><table><tr>{head}<th class="text">progress</th>'
        f'<th class="text">waits for</th></tr>{rows}</table></div>'
    )


def _partition(partition: Mapping[str, Any]) -> str:
    numbers = (
        str(partition["partition"]),
        "none" if partition["leader"] < 0 else str(partition["leader"]),
        _number(partition["position"]),
        _number(partition["target"]),
        _number(partition["high_watermark"]),
        _number(partition["lag"]),
        _duration(partition["staleness_ms"]),
    )
    start = max(0, partition["log_start_offset"])
    bar = _bar(
        partition["position"] - start,
        partition["target"] - start,
        f"partition {partition['partition']}",
    )
    wait = ""
    if partition["wait"] != "NOTHING":
        name = partition["wait"].lower().replace("_", " ")
        wait = f"{name} for {_duration(partition['waiting_ms'])}"
    why = ": ".join(part for part in (wait, partition["detail"]) if part)
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    return f'<tr>{cells}<td class="text">{bar}</td><td class="text">{escape(why)}</td></tr>'


def _bar(done: int, total: int, name: str) -> str:
    """How much of `total` is done; nothing to do is done."""
    percent = 100 if total <= 0 else max(0, min(100, 100 * done // total))
    return (
        f'<div class="bar" role="progressbar" aria-label="{escape(name)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" title="{percent} %">'
        f'<div style="width:{percent}%"></div></div>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    cells = "".join(
        f"<div><dt>{escape(name)}</dt> <dd>{escape(fact)}</dd></div>"
        for name, fact in facts.items()
        if fact
    )
    return f'<dl class="facts">{cells}</dl>'


def _number(value: int) -> str:
    return "unknown" if value < 0 else f"{value:,}".replace(",", "\u202f")


def _size(size: int) -> str:
    number = float(size)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
