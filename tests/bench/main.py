"""The whole benchmark, or parts of it, in one run; tests/bench/run starts it."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import (
    loader,
    part_bootstrap,
    part_formats,
    part_lookups,
    part_memory,
    part_mirror,
    part_updates,
    part_visible,
    part_watch,
)
from bench.context import Context, Topics
from bench.machine import Quiet, describe
from bench.report import Table

# In this order: visible and what follows add records to the topic that the first ones read.
_PARTS: dict[str, Callable[[Context], Table]] = {
    "bootstrap": part_bootstrap.measure,
    "formats": part_formats.measure,
    "memory": part_memory.measure,
    "lookups": part_lookups.measure,
    "mirror": part_mirror.measure,
    "visible": part_visible.measure,
    "updates": part_updates.measure,
    "watch": part_watch.measure,
    "scan": part_watch.measure_scans,
}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description="Measures the sidecar beside its peers, on loopback, in one run.",
        epilog="Needs go, a JVM and Maven (for the broker), and the sidecar installed in the Python"
        " that $PYTHON names (default: .venv, then python3). A quick look: tests/bench/run --quick",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("parts", nargs="*", default=list(_PARTS), metavar="PART", help=", ".join(_PARTS))
    add("--quick", action="store_true", help="a tenth of the records, one run of each: a trial")
    add("--scale", type=float, default=1.0, help="of the numbers of records and keys")
    add("--partitions", type=int, default=4, help="of each topic")
    add("--pairs", type=int, default=5, help="of bootstraps")
    add("--rounds", type=int, default=3, help="of lookups")
    add("--length", type=float, default=2.0, help="of a round, seconds")
    add("--warmup", type=float, default=0.5, help="of a round, seconds")
    add("--in-flight", type=_numbers, default=[1, 16, 64], help="calls in flight")
    add("--rates", type=_numbers, default=[1_000, 10_000], help="updates a second, for visible")
    add("--empty", default="", metavar="OPTIONS", help="options of empty_server.py, in one string")
    add("--install-redis", action="store_true", help="apt-get install redis-server if missing")
    add("--patience", type=float, default=15.0, help="seconds to wait for an idle machine")
    add("--before", default="", metavar="PYTHON", help="with an older sidecar, for formats")
    add("--bootstrap-servers", help="brokers to use instead of starting one")
    return parser


def _context(options: argparse.Namespace, servers: str) -> Context:
    if options.quick:
        options.scale, options.pairs, options.rounds = options.scale / 10, 1, 1
    return Context(
        topics=Topics(servers, options.partitions, options.scale),
        quiet=Quiet(options.patience),
        pairs=options.pairs,
        rounds=options.rounds,
        length_s=options.length,
        warmup_s=options.warmup,
        in_flight=options.in_flight,
        rates=options.rates,
        empty_options=shlex.split(options.empty),
        install_redis=options.install_redis,
        before=options.before,
    )


@contextmanager
def _brokers(servers: str | None) -> Iterator[str]:
    if servers:
        yield servers
        return
    from support.kafka import KafkaCluster

    # The tests' brokers are made to start fast; one that is measured must run fast.
    os.environ.setdefault("_JAVA_OPTIONS", "-XX:TieredStopAtLevel=4")
    with KafkaCluster(heap="1g") as cluster:
        yield cluster.bootstrap_servers


def main() -> int:
    """Run the parts that were asked for and print a table for each."""
    parser = _arguments()
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    try:
        versions = loader.build()
    except loader.MissingError as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    print(f"{describe()}\n{versions}", flush=True)
    with _brokers(options.bootstrap_servers) as servers:
        context = _context(options, servers)
        for part, measure in _PARTS.items():
            if part in options.parts:
                print(measure(context), flush=True)
        print(f"\n{context.quiet}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
