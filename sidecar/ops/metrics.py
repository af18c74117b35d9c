"""What Prometheus reads, made at scrape time from the tables and the recorder.

`METRICS` documents each family once, and the families are built from it: what is not
in the table cannot be emitted, and a test holds that all of it is. `process_…` come
from prometheus_client and are documented beside them.

Nothing is registered globally: each `registry_of` is a registry of its own. A table's
counters begin again with each generation, which Prometheus takes for a restart, as it
should. What is not known has no sample: a staleness of NaN or infinity would be a
guess, and alerts on staleness should also look at `sidecar_table_state`.
"""

import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..core.progress import Wait
from ..core.served import Served, TableState
from ..core.view import View
from .recorder import Recorder
from .status import Observed, still

__all__ = ["METRICS", "PROCESS_METRICS", "Family", "markdown", "registry_of"]

_Labels: TypeAlias = Sequence[str]
# Family name → its samples.
_Samples: TypeAlias = defaultdict[str, list[tuple[_Labels, float]]]


class Family(NamedTuple):
    """The document of one metric; an empty unit: a number of things."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str


_TABLE: Final = ("table",)

METRICS: Final = (
    Family("sidecar_build_info", "gauge", ("version", "python"), "", "Always 1."),
    Family(
        "sidecar_config_reloads_total",
        "counter",
        ("result",),
        "",
        "Newer configurations that were seen while running: taken, or refused (the log and "
        "`sidecar status` say why).",
    ),
    Family(
        "sidecar_config_refused",
        "gauge",
        (),
        "",
        "1 while the newest configuration is refused and an older one runs on.",
    ),
    Family(
        "sidecar_schema_registry_errors_total",
        "counter",
        (),
        "",
        "Requests to the schema registry that failed.",
    ),
    Family(
        "sidecar_schemas_missing",
        "gauge",
        (),
        "",
        "1 while values name schemas that the registry has not given (`sidecar status` says why).",
    ),
    Family("sidecar_table_entries", "gauge", _TABLE, "", "Live entries."),
    Family(
        "sidecar_table_payload_bytes",
        "gauge",
        _TABLE,
        "bytes",
        "Bytes of live keys and values; of a large table, by a sample.",
    ),
    Family(
        "sidecar_table_memory_bytes", "gauge", _TABLE, "bytes", "Estimate of the memory it holds."
    ),
    Family(
        "sidecar_memory_limit_bytes",
        "gauge",
        (),
        "bytes",
        "What the process may take (limits.memory, or the container's limit); no sample: no limit.",
    ),
    Family(
        "sidecar_table_lag_offsets",
        "gauge",
        _TABLE,
        "offsets",
        "Offsets between position and high watermark, summed over the partitions.",
    ),
    Family(
        "sidecar_table_staleness_seconds",
        "gauge",
        _TABLE,
        "seconds",
        "Age of the oldest part of an answer; no sample while it is not known.",
    ),
    Family(
        "sidecar_table_state",
        "gauge",
        ("table", "state"),
        "",
        "1 for the state the table is in, 0 for the others.",
    ),
    Family(
        "sidecar_table_waiting_partitions",
        "gauge",
        ("table", "wait"),
        "",
        "Partitions that wait, by what for: leader, broker, open_transaction, bad_batch, quota, "
        "confirming, authorization.",
    ),
    Family(
        "sidecar_bootstrap_seconds",
        "gauge",
        _TABLE,
        "seconds",
        "How long the bootstrap of the served generation took; no sample before it is done.",
    ),
    Family(
        "sidecar_generations_total",
        "counter",
        ("table", "reason"),
        "",
        "Generations begun since the start, by why: start, log_cut, topic_replaced, unsupported, "
        "bug, memory, definition.",
    ),
    Family(
        "sidecar_records_applied_total",
        "counter",
        ("table", "kind"),
        "",
        "Records read by the served generation: change, unchanged (told apart once it is ready), "
        "tombstone, null_key (left out), turned_away (the table's filter or expiry has no use for "
        "it).",
    ),
    Family(
        "sidecar_entries_dropped_total",
        "counter",
        ("table", "reason"),
        "",
        "Entries that went without a tombstone: expired (the log begins behind them now), "
        "missed_tombstone (it was compacted away before it was read), aged (the table's "
        "expire_after_ms).",
    ),
    Family(
        "sidecar_batches_skipped_total",
        "counter",
        _TABLE,
        "",
        "Batches that could not be read and were passed over, as the table's definition says.",
    ),
    Family(
        "sidecar_undecodable_total", "counter", _TABLE, "", "Values that are not of the format."
    ),
    Family(
        "sidecar_fetch_bytes_total",
        "counter",
        _TABLE,
        "bytes",
        "Bytes of record batches read for the served generation.",
    ),
    Family(
        "sidecar_broker_errors_total",
        "counter",
        ("error",),
        "",
        "Failures of or on the way to brokers.",
    ),
    Family(
        "sidecar_lookups_total",
        "counter",
        ("table", "presence"),
        "",
        "Keys looked up, by answer: found, absent, unknown.",
    ),
    Family("sidecar_rpc_seconds", "histogram", ("method",), "seconds", "Duration of calls."),
    Family("sidecar_watch_active", "gauge", _TABLE, "", "Watches of the served generation."),
    Family(
        "sidecar_watch_queued_bytes",
        "gauge",
        _TABLE,
        "bytes",
        "What waits for the watches of the served generation, about.",
    ),
    Family(
        "sidecar_loop_lag_seconds",
        "gauge",
        (),
        "seconds",
        "Longest time in the last 30 s for which the event loop did not come round.",
    ),
)

_PROCESS: Final = {
    "process_virtual_memory_bytes": ("gauge", "bytes", "Virtual memory."),
    "process_resident_memory_bytes": ("gauge", "bytes", "Resident memory."),
    "process_start_time_seconds": ("gauge", "seconds", "When it started, since the epoch."),
    "process_cpu_seconds_total": ("counter", "seconds", "User and system CPU time."),
    "process_open_fds": ("gauge", "", "Open file descriptors."),
    "process_max_fds": ("gauge", "", "Most file descriptors it may open."),
}
PROCESS_METRICS: Final = tuple(
    Family(name, "counter" if kind == "counter" else "gauge", (), unit, meaning)
    for name, (kind, unit, meaning) in _PROCESS.items()
)

_PRESENCES: Final = {1: "found", 2: "absent", 3: "unknown"}


def registry_of(observed: Observed) -> CollectorRegistry:
    """A registry that reads `observed` at each scrape, from any thread."""
    registry = CollectorRegistry()
    registry.register(_Tables(observed))
    ProcessCollector(registry=registry)
    return registry


def markdown() -> str:
    """The families as the documents list them."""
    lines = ["| metric | type | labels | unit | meaning |", "| --- | --- | --- | --- | --- |"]
    for family in (*METRICS, *PROCESS_METRICS):
        labels = ", ".join(family.labels)
        cells = (f"`{family.name}`", family.kind, labels, family.unit, family.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


class _Tables(Collector):
    """Everything but the process metrics."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        observed = self._observed
        samples: _Samples = defaultdict(list)
        labels = (observed.version, platform.python_version())
        samples["sidecar_build_info"].append((labels, 1))
        samples["sidecar_loop_lag_seconds"].append(((), observed.heartbeat.lag()))
        samples["sidecar_config_refused"].append(((), bool(observed.recorder.config_fault)))
        recorder = observed.recorder
        samples["sidecar_schema_registry_errors_total"].append(((), recorder.registry_errors))
        samples["sidecar_schemas_missing"].append(((), bool(recorder.registry_fault)))
        if observed.memory_limit is not None:
            samples["sidecar_memory_limit_bytes"].append(((), observed.memory_limit))
        now = observed.clock()
        for name, served in sorted(observed.tables.items()):
            _add_table(samples, name, still(served), now)
        _add_counts(samples, observed.recorder)
        for family in METRICS:
            if family.kind == "histogram":
                yield _durations(family, observed.recorder)
            else:
                yield _family(family, samples.pop(family.name, ()))
        if samples:
            raise LookupError(f"not in METRICS: {', '.join(samples)}")


def _add_table(samples: _Samples, name: str, table: Served, now: float) -> None:
    state = table.state(now)
    for known in TableState:
        samples["sidecar_table_state"].append(((name, known.name.lower()), known is state))
    for reason, times in table.begun.items():
        samples["sidecar_generations_total"].append(((name, reason), times))
    samples["sidecar_fetch_bytes_total"].append(((name,), table.fetched_bytes))
    samples["sidecar_table_memory_bytes"].append(((name,), table.memory_bytes()))
    if table.ready:
        samples["sidecar_bootstrap_seconds"].append(((name,), table.bootstrap_ms() / 1000))
    if table.view is not None:
        _add_view(samples, name, table.view, now)
    watches = table.current.watches if table.current else None
    samples["sidecar_watch_active"].append(((name,), len(watches or ())))
    queued = watches.queued_bytes if watches else 0
    samples["sidecar_watch_queued_bytes"].append(((name,), queued))


def _add_view(samples: _Samples, name: str, view: View, now: float) -> None:
    table, counters = view.table, view.table.counters
    lag = sum(progress.lag for progress in view.progress.values())
    samples["sidecar_table_entries"].append(((name,), len(table)))
    samples["sidecar_table_payload_bytes"].append(((name,), table.payload_bytes))
    samples["sidecar_table_lag_offsets"].append(((name,), lag))
    staleness_ms = view.staleness_ms(now)
    if staleness_ms is not None:
        samples["sidecar_table_staleness_seconds"].append(((name,), staleness_ms / 1000))
    waits = Counter(progress.waiting.wait for progress in view.progress.values())
    for wait in Wait:
        if wait is not Wait.NOTHING:
            labels = (name, wait.name.lower())
            samples["sidecar_table_waiting_partitions"].append((labels, waits[wait]))
    dropped = {
        "expired": counters.expired,
        "missed_tombstone": counters.missed_tombstones,
        "aged": counters.aged,
    }
    for reason, count in dropped.items():
        samples["sidecar_entries_dropped_total"].append(((name, reason), count))
    samples["sidecar_batches_skipped_total"].append(((name,), counters.skipped_batches))
    kinds = {
        "change": counters.records - counters.tombstones - counters.unchanged,
        "unchanged": counters.unchanged,
        "tombstone": counters.tombstones,
        "null_key": counters.null_keys,
        "turned_away": counters.turned_away,
    }
    for kind, count in kinds.items():
        samples["sidecar_records_applied_total"].append(((name, kind), max(0, count)))


def _add_counts(samples: _Samples, recorder: Recorder) -> None:
    for (table, presence), count in dict(recorder.lookups).items():
        labels = (table, _PRESENCES.get(presence, str(presence)))
        samples["sidecar_lookups_total"].append((labels, count))
    for table, count in dict(recorder.undecodables).items():
        samples["sidecar_undecodable_total"].append(((table,), count))
    for result, count in dict(recorder.reloads).items():
        samples["sidecar_config_reloads_total"].append(((result,), count))
    for error, count in dict(recorder.broker_errors).items():
        samples["sidecar_broker_errors_total"].append(((error,), count))


def _family(family: Family, samples: Iterable[tuple[_Labels, float]]) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.meaning, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, float(value))
    return metric


def _durations(family: Family, recorder: Recorder) -> Metric:
    metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    for method, histogram in dict(recorder.rpcs).items():
        metric.add_metric((method,), histogram.cumulative(), sum_value=histogram.total)
    return metric
