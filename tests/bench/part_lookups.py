"""Lookups: the sidecar, a server of the same kind with empty handlers, and a local Redis."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bench import loader
from bench.context import Context
from bench.loader import MissingError
from bench.machine import median
from bench.report import Table, micros, rate, ratio
from bench.servers import TABLE, Addresses, empty_server, redis, sidecar

__all__ = ["call_sidecar", "figures_of", "measure"]

_MODES = {"get": "Get", "stream": "Lookup stream", "multiget": "MultiGet of 100"}
_REDIS_MODES = {"get": "get", "stream": "pipeline", "multiget": "mget"}
_FIGURES = ("keys_per_s", "p50_us", "p99_us")

Call = Callable[[str, str, int], dict[str, Any]]


def measure(context: Context) -> Table:
    """Measure each kind of lookup on all servers in turn, round by round."""
    table = Table(
        "Lookups: a Go client on one connection",
        ["lookup", "in flight",
         "sidecar keys/s", "p50 us", "p99 us",
         "empty keys/s", "p50 us", "p99 us",
         "Redis keys/s", "p50 us", "p99 us",
         "sidecar/empty", "sidecar/Redis"],
    )  # fmt: skip
    with ExitStack() as stack:
        calls = _start(context, stack, table)
        for transport, mode, in_flight in _cells(context):
            found = _rounds(context, calls, transport, mode, in_flight)
            table.rows.append(_row(f"{_MODES[mode]}, {transport}", in_flight, found))
    table.note(f"""Medians of {context.rounds} rounds of {context.length_s:g} s, each after
        {context.warmup_s:g} s of warmup; in each round the three are measured one after the other.
        Rates are of keys, latencies of calls. The client uses the same cores as the servers.""")
    table.note(f"""empty: empty_server.py makes a FOUND record of 100 B for each key and does
        nothing else (options: {" ".join(context.empty_options) or "none: grpc.aio on uvloop"}).""")
    table.note("""Redis: go-redis, a connection for each call in flight, GET and MGET of 100; beside
        the Lookup stream, that many GETs in one pipeline (the latency is the whole pipeline's).""")
    return table


def _cells(context: Context) -> list[tuple[str, str, int]]:
    unix = [("unix", mode, number) for mode in _MODES for number in context.in_flight]
    return unix + [("tcp", "get", number) for number in context.in_flight]


def _start(context: Context, stack: ExitStack, table: Table) -> dict[str, Call]:
    data = context.topics.small
    calls: dict[str, Call] = {}
    try:
        running = stack.enter_context(sidecar(context.servers, context.topics.written(data)))
        running.wait_until_ready()
        calls["sidecar"] = call_sidecar(context, running.addresses)
    except MissingError as missing:
        table.note(f"no sidecar figures: {missing}")
    empty = stack.enter_context(empty_server(context.empty_options))
    calls["empty"] = call_sidecar(context, empty)
    try:
        peer = stack.enter_context(
            redis(data.distinct, data.value_size, install=context.install_redis)
        )
        calls["redis"] = _call_redis(context, peer)
    except MissingError as missing:
        table.note(f"no Redis figures: {missing}")
    return calls


def _timing(context: Context) -> dict[str, Any]:
    return {
        "distinct": context.topics.small.distinct,
        "length": f"{context.length_s}s",
        "warmup": f"{context.warmup_s}s",
    }


def call_sidecar(context: Context, addresses: Addresses) -> Call:
    """Give a function that measures one kind of lookup on a server of the contract."""

    def call(transport: str, mode: str, in_flight: int) -> dict[str, Any]:
        what = {"target": getattr(addresses, transport), "table": TABLE, "mode": mode}
        return loader.run("lookups", in_flight=in_flight, **what, **_timing(context))

    return call


def _call_redis(context: Context, addresses: Addresses) -> Call:
    def call(transport: str, mode: str, in_flight: int) -> dict[str, Any]:
        what = {"target": getattr(addresses, transport), "mode": _REDIS_MODES[mode]}
        return loader.run("redis", in_flight=in_flight, **what, **_timing(context))

    return call


def _rounds(
    context: Context, calls: dict[str, Call], transport: str, mode: str, in_flight: int
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in calls}
    for _ in range(context.rounds):
        for name, call in calls.items():
            context.quiet.wait()
            result = call(transport, mode, in_flight)
            if result["missing"]:
                raise RuntimeError(f"{name}: {result['missing']} keys were not found")
            found[name].append(result)
    return found


def figures_of(results: list[dict[str, Any]]) -> list[float | None]:
    """Give the medians of rate, p50 and p99."""
    if not results:
        return [None] * len(_FIGURES)
    return [median([result[figure] for result in results]) for figure in _FIGURES]


def _row(lookup: str, in_flight: int, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    row = [lookup, str(in_flight)]
    rates = {}
    for name in ("sidecar", "empty", "redis"):
        keys_per_s, p50, p99 = figures_of(found.get(name, []))
        rates[name] = keys_per_s
        row += [rate(keys_per_s), micros(p50), micros(p99)]
    return [*row, ratio(rates["sidecar"], rates["empty"]), ratio(rates["sidecar"], rates["redis"])]
