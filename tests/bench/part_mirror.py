"""The Python client's mirror beside what else a Python application could ask."""

import random
import time
from collections.abc import Callable

import kafka_cache_client
from bench.context import Context
from bench.loader import MissingError
from bench.machine import median
from bench.report import Table, ratio
from bench.servers import TABLE, redis, sidecar

__all__ = ["measure"]

_CALLS = {"mirror": 500_000, "near-cache": 100_000, "redis-py": 20_000, "client": 5_000}
_MIRROR_S = 600


def measure(context: Context) -> Table:
    """Measure one lookup, in turn round by round, in one process."""
    table = Table(
        "One lookup from Python",
        ["of", "us (median)", "best", "worst", "redis-py/this"],
    )
    data = context.topics.small
    try:
        with (
            sidecar(context.servers, context.topics.written(data)) as running,
            redis(data.distinct, data.value_size, install=context.install_redis) as peer,
            kafka_cache_client.connect(running.addresses.unix, table=TABLE, timeout=10) as client,
        ):
            running.wait_until_ready()
            before, begun = _resident(), time.monotonic()
            with client.mirror() as mirror:
                mirror.wait_until_ready(_MIRROR_S)
                seconds = time.monotonic() - begun
                bytes_each = (_resident() - before) / len(mirror)
                asked = {
                    "mirror": mirror.get,
                    "near-cache": _near(client),
                    "redis-py": _redis(peer.unix),
                    "client": client.get,
                }
                found = _rounds(context, asked, data.distinct)
        for name, times in found.items():
            figures = [f"{each:.2f}" for each in (median(times), min(times), max(times))]
            table.rows.append([name, *figures, ratio(median(found["redis-py"]), median(times))])
        table.note(f"""{data}: the mirror held {data.distinct:,} records after {seconds:.1f} s, at
            {bytes_each:,.0f} resident bytes each in the application's process.""")
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""Medians of {context.rounds} rounds in one thread, keys at random, a Unix socket
        to Redis and the sidecar; the loop around them is counted. near-cache: keys that it has.""")
    return table


def _near(client: kafka_cache_client.Client) -> Callable[[bytes], object]:
    from kafka_cache_client.near import NearCache

    near = NearCache(client, maxsize=2_000, ttl=3600)
    return lambda key: near.get(key[:-9] + b"000000" + key[-3:])


def _redis(address: str) -> Callable[[bytes], object]:
    try:
        import redis as peer
    except ImportError:
        raise MissingError("redis-py is not installed: pip install redis") from None
    return peer.Redis(unix_socket_path=address.removeprefix("unix://")).get


def _rounds(
    context: Context, asked: dict[str, Callable[[bytes], object]], distinct: int
) -> dict[str, list[float]]:
    chosen = random.Random(7)
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(context.rounds):
        for name, get in asked.items():
            keys = [b"key-%012d" % chosen.randrange(distinct) for _ in range(_CALLS[name])]
            if get(keys[0]) is None:
                raise RuntimeError(f"{name}: a key was not found")
            if name == "near-cache":
                for key in keys:
                    get(key)
            context.quiet.wait()
            begun = time.perf_counter()
            for key in keys:
                get(key)
            found[name].append((time.perf_counter() - begun) / len(keys) * 1e6)
    return found


def _resident() -> int:
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096
