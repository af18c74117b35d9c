"""How soon an acknowledged update is seen by a lookup."""

from typing import Any

from bench import loader
from bench.context import Context
from bench.loader import MissingError
from bench.report import Table
from bench.servers import TABLE, sidecar

__all__ = ["measure"]

_LENGTH_S = 8


def measure(context: Context) -> Table:
    """Measure from a record's acknowledgement to the first lookup that shows it."""
    table = Table(
        "Visible: from a producer's acknowledgement to the first lookup that shows it, in ms",
        ["updates/s asked", "done", "samples", "p50", "p99", "max", "unseen",
         "error p50", "error p99", "lookup p50", "by 1st lookup"],
    )  # fmt: skip
    data = context.topics.small
    try:
        topic = context.topics.written(data)
        with sidecar(context.servers, topic) as running:
            running.wait_until_ready()
            for asked in context.rates:
                context.quiet.wait()
                result = loader.run(
                    "visible", servers=context.servers, topic=topic, target=running.addresses.unix,
                    table=TABLE, rate=asked, distinct=data.distinct, length=f"{_LENGTH_S}s",
                )  # fmt: skip
                table.rows.append(_visible_row(asked, result))
    except MissingError as missing:
        table.note(f"no figures: {missing}")
    table.note(f"""{_LENGTH_S} s at each rate after 1 s of warmup, acks=all, no linger, one broker;
        200 updates a second are sampled by schedule, whether or not earlier ones were seen.""")
    table.note("""One process produces and looks up, so one monotonic clock times both ends. All
        samples that are waited for are looked up in one MultiGet on a stream, again and again, one
        round at a time, and not at all when there are none.""")
    table.note("""The figure is the arrival of the first answer that shows the update. It can only
        be too high, by no more than the time since the last lookup that missed it was sent (given
        as the error), or since the acknowledgement where the first lookup showed it. The
        acknowledgement is when the producer's callback runs.""")
    return table


def _visible_row(asked: int, result: dict[str, Any]) -> list[str]:
    names = ("p50_ms", "p99_ms", "max_ms")
    errors = ("error_p50_ms", "error_p99_ms", "lookup_p50_ms")
    return [
        f"{asked:,}",
        f"{result['updates_per_s']:,.0f}",
        f"{result['samples']:,}",
        *(f"{result[name]:.2f}" for name in names),
        str(result["unseen"]),
        *(f"{result[name]:.2f}" for name in errors),
        f"{result['seen_by_first_lookup']:.0%}",
    ]
