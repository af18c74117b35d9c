"""How fast a topic is read into memory: the sidecar, and franz-go into a Go map."""

from bench import loader
from bench.context import Context, Data
from bench.loader import MissingError
from bench.machine import median
from bench.report import Table, rate, ratio
from bench.servers import sidecar

__all__ = ["measure"]


def measure(context: Context) -> Table:
    """Measure in pairs, one after the other, so that a slow minute of the machine hits both."""
    table = Table(
        "Bootstrap: a topic into memory",
        [
            "topic",
            "sidecar rec/s",
            "franz-go rec/s",
            "sidecar s",
            "franz-go s",
            "ratio",
            "each pair",
        ],
    )
    for data in context.topics.all:
        _measure_one(context, data, table)
    table.note(f"""Medians of {context.pairs} pairs, sidecar then franz-go, after one unmeasured
        franz-go run (page cache). Ratio: above 1 the sidecar is faster. Both must have read all
        records that were written.""")
    table.note(f"""{context.topics.partitions} partitions; values of words and hex, seed 1;
        batches as franz-go's producer makes them, up to 1 MB.""")
    table.note("""sidecar: `sidecar serve`, its own clock (TableInfo.bootstrap_ms and
        counters.records).""")
    table.note("""franz-go: from NewClient to the high watermark, into map[string]struct{value,
        partition, offset, timestamp}; CRC checked, read_committed, its default fetch sizes, values
        not copied out of the fetched batch.""")
    return table


def _measure_one(context: Context, data: Data, table: Table) -> None:
    topic = context.topics.written(data)
    loader.run("consume", servers=context.servers, topic=topic)
    ours: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []
    missing = ""
    for _ in range(context.pairs):
        missing = missing or _run_ours(context, topic, ours)
        context.quiet.wait()
        result = loader.run("consume", servers=context.servers, topic=topic)
        theirs.append((result["records"], result["seconds"]))
    if missing:
        table.note(missing)
    counts = {records for records, _ in [*ours, *theirs]}
    if counts != {data.records}:
        raise RuntimeError(f"{topic} holds {data.records} records, but what was read: {counts}")
    our_s, their_s = (median([seconds for _, seconds in runs]) for runs in (ours, theirs))
    each = [ratio(their[1], our[1]) for our, their in zip(ours, theirs, strict=False)]
    table.rows.append([
        str(data),
        rate(data.records / our_s if ours else None),
        rate(data.records / their_s),
        f"{our_s:.2f}" if ours else "-",
        f"{their_s:.2f}",
        ratio(their_s, our_s),
        " ".join(each) or "-",
    ])  # fmt: skip


def _run_ours(context: Context, topic: str, runs: list[tuple[int, float]]) -> str:
    """Add one run of the sidecar's; give the reason where there is none."""
    context.quiet.wait()
    try:
        runs.append(_served(context.servers, topic))
    except MissingError as missing:
        return f"no sidecar rows: {missing}"
    return ""


def _served(servers: str, topic: str) -> tuple[int, float]:
    with sidecar(servers, topic) as running:
        table = running.wait_until_ready()
    return table.counters.records, table.bootstrap_ms / 1e3
