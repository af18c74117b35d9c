"""Counts of what happens often: plain integers, made into metrics when somebody asks.

A lookup is counted on the way of every call, so counting is one dict access and one
addition; a library's locks and label look-ups would cost more than the lookup itself.
All of it is written by the loop's thread. Another thread copies a dict before it walks
it, which is one step of the interpreter.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Final

__all__ = ["BUCKETS", "Histogram", "Recorder"]

# Upper bounds in seconds: a lookup takes tens of microseconds, a wait for freshness seconds.
BUCKETS: Final = (
    *(0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Histogram:
    """How often a duration fell under each bound, and the sum of all (seconds)."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many were not longer), as Prometheus writes them."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        below, pairs = 0, []
        for bound, count in zip(bounds, tuple(self.counts), strict=True):
            below += count
            pairs.append((bound, float(below)))
        return pairs


class Recorder:
    """What the RPCs and the Kafka side report.

    Attributes:
        lookups: (table, presence number of the contract) → keys.
        rpcs: method → durations.
        undecodables: table → values.
        broker_errors: error name → times.
        reloads: "taken" or "refused" → newer configurations.
        config_fault: why the newest was not taken; empty: it was, or there is none.
        registry_fault: why schemas are missing; empty: none is.
        registry_errors: requests to the schema registry that failed.
    """

    __slots__ = (
        "broker_errors",
        "config_fault",
        "lookups",
        "registry_errors",
        "registry_fault",
        "reloads",
        "rpcs",
        "undecodables",
    )

    def __init__(self) -> None:
        self.lookups: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.rpcs: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.undecodables: defaultdict[str, int] = defaultdict(int)
        self.broker_errors: defaultdict[str, int] = defaultdict(int)
        self.reloads: defaultdict[str, int] = defaultdict(int)
        self.config_fault = self.registry_fault = ""
        self.registry_errors = 0

    def lookup(self, table: str, presence: int, count: int = 1) -> None:
        """`count` keys of a served table were answered with this presence."""
        self.lookups[table, presence] += count

    def rpc(self, method: str, seconds: float) -> None:
        """A call of a method of the contract took so long."""
        self.rpcs[method].observe(seconds)

    def undecodable(self, table: str) -> None:
        """A value could not be decoded by the table's format."""
        self.undecodables[table] += 1

    def reload(self, fault: str = "") -> None:
        """A newer configuration was taken, or why it was not."""
        self.reloads["refused" if fault else "taken"] += 1
        self.config_fault = fault

    def registry(self, fault: str) -> None:
        """The schema registry failed; or, with "", has given all that was missing."""
        self.registry_errors += bool(fault)
        self.registry_fault = fault

    def broker_error(self, name: str) -> None:
        """A broker, or the way to it, failed; `name` is one of a fixed set."""
        self.broker_errors[name] += 1
