"""What formats, rules and indexes cost: at the bootstrap, and at a Get."""

from typing import Any

from bench import loader
from bench.context import Context
from bench.machine import median
from bench.report import Table, micros, rate, ratio
from bench.servers import TABLE, sidecar

__all__ = ["measure"]

_TABLES: dict[str, dict[str, Any]] = {
    "no format": {},
    "json": {"format": "json"},
    "json, one index": {"format": "json", "indexes": {"city": "$.city"}},
    "json, filter by path": {"format": "json", "filter_path": "$.city"},
    "json, projection of two fields": {"format": "json", "project": ["$.id", "$.city"]},
}


def measure(context: Context) -> Table:
    """Measure a bootstrap with each, in turn, and a Get of a value as it is and as JSON."""
    data = context.topics.objects
    table = Table(
        f"Formats, rules and indexes: {data}",
        ["table", "bootstrap rec/s", "of no format", "Get keys/s", "p50 us", "as JSON keys/s",
         "p50 us"],
    )  # fmt: skip
    topic = context.topics.written(data)
    loader.run("consume", servers=context.servers, topic=topic)
    seconds: dict[str, list[float]] = {}
    gets: dict[str, list[dict[str, Any]]] = {}
    tables = dict(_TABLES)
    if context.before:
        tables = {"no format, before": {}, **tables}
    for _ in range(context.pairs):
        for name, settings in tables.items():
            python = {"python": context.before} if name.endswith("before") else {}
            context.quiet.wait()
            with sidecar(context.servers, topic, settings, **python) as running:
                known = running.wait_until_ready()
                if known.counters.records != data.records:
                    raise RuntimeError(f"{topic}: {known.counters.records} of {data.records}")
                seconds.setdefault(name, []).append(known.bootstrap_ms / 1e3)
                if len(seconds[name]) == context.pairs:
                    gets[name] = _gets(context, running.addresses.unix, settings)
    plain = median(seconds["no format"])
    for name, took in seconds.items():
        row = [name, rate(data.records / median(took)), ratio(plain, median(took))]
        for found in gets[name]:
            row += [rate(found["keys_per_s"]), micros(found["p50_us"])]
        table.rows.append(row + ["-"] * (7 - len(row)))
    table.note(f"""Medians of {context.pairs} bootstraps, each table in turn; ready: an index is
        built behind that. One round of {context.length_s:g} s of Get, 16 in flight, Unix socket, of
        keys at random: seldom of one whose value was decoded before.""")
    return table


def _gets(context: Context, target: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    how = {
        "target": target, "table": TABLE, "mode": "get", "in_flight": 16,
        "distinct": context.topics.objects.distinct, "length": f"{context.length_s}s",
        "warmup": f"{context.warmup_s}s",
    }  # fmt: skip
    forms = [False, True] if settings else [False]
    return [loader.run("lookups", json=form, **how) for form in forms]
