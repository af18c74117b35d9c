"""How much memory and time a topic takes, and what a pod should be given for it.

Of a table that is ready both are measured. Before that they are estimates: of records
there are at most as many as offsets between log start and high watermark, each as large
as those at the log's head, read at the speed that one core reaches. Compaction leaves
holes and keys repeat, so a table is smaller than that, never larger.

This module does no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .._pb.admin_pb2 import TableInfo
    from ..kafka.examine import Examined

__all__ = ["ENTRY_BYTES", "Facts", "Pod", "Size", "pod_for", "size_of"]

ENTRY_BYTES = 146  # beside key and value, as `Served.memory_bytes` counts
_RECORDS_PER_S = 700_000
_BYTES_PER_S = 250_000_000

# The formula of k8s/README.md, which explains it.
_POD_BYTES = 128 << 20
_POD_FACTOR = 1.5
_POD_ENTRY_BYTES = 180
_MEMORY_STEP = 128 << 20
_BOOTSTRAPS = 4
_STARTUP_STEP_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All that is judged of one topic.

    Attributes:
        examined: what the brokers tell.
        table: what the running sidecar tells; None: there is none.
        servers: the bootstrap addresses, for commands to paste.
        login: the user's name at the brokers; empty: not known.
        committed: isolation.level is read_committed.
        open_transaction_wait_ms: for so long an open transaction holds readiness up.
    """

    examined: "Examined"
    table: "TableInfo | None" = None
    servers: str = "HOST:PORT"
    login: str = ""
    committed: bool = True
    open_transaction_wait_ms: int = 75_000


class Size(NamedTuple):
    """What one table takes.

    Attributes:
        entries: in it; an upper bound where not measured.
        payload_bytes: of keys and values.
        memory_bytes: that the table holds.
        bootstrap_ms: from the first fetch until ready.
        measured: by a running sidecar.
    """

    entries: int
    payload_bytes: int
    memory_bytes: int
    bootstrap_ms: int
    measured: bool = False


def size_of(facts: Facts) -> Size | None:
    """What a table takes; None: too little is known."""
    table, sample = facts.table, facts.examined.sample
    if table is not None and table.bootstrap_ms:
        held = (table.entries, table.payload_bytes, table.memory_bytes)
        return Size(*held, table.bootstrap_ms, measured=True)
    parts = facts.examined.partitions
    if not parts or any(part.fault or part.high_watermark < 0 for part in parts):
        return None
    records = sum(part.high_watermark - part.log_start_offset for part in parts)
    if records and (sample is None or not sample.records):
        return None
    mean = sample.payload_bytes / sample.records if sample and sample.records else 0.0
    payload = round(records * mean)
    seconds = max(records / _RECORDS_PER_S, payload / _BYTES_PER_S)
    return Size(records, payload, records * ENTRY_BYTES + payload, max(1, round(seconds * 1000)))


class Pod(NamedTuple):
    """What a pod gives the sidecar: its memory, request and limit, and time to start."""

    memory_bytes: int
    startup_s: int

    def manifest(self) -> dict[str, Any]:
        """The two sections of a container."""
        memory = f"{self.memory_bytes >> 20}Mi"
        return {
            "resources": {
                "requests": {"cpu": "500m", "memory": memory},
                "limits": {"memory": memory},
            },
            "startupProbe": {
                "httpGet": {"path": "/startupz", "port": 9464},
                "periodSeconds": 1,
                "timeoutSeconds": 2,
                "failureThreshold": self.startup_s,
            },
        }


def pod_for(sizes: Sequence[Size], *, resident_bytes: int = 0, wait_ms: int = 75_000) -> Pod:
    """What tables of these sizes need, with headroom.

    Args:
        sizes: of all tables of one sidecar.
        resident_bytes: of the running process; 0: there is none.
        wait_ms: for so long an open transaction may hold readiness up.
    """
    held = sum(size.payload_bytes + _POD_ENTRY_BYTES * size.entries for size in sizes)
    memory = _POD_BYTES + _POD_FACTOR * held
    # Tables that were measured were read side by side, so the slowest tells of all.
    measured = [size.bootstrap_ms for size in sizes if size.measured]
    estimated = [size.bootstrap_ms for size in sizes if not size.measured]
    bootstrap_ms = max(measured, default=0) + sum(estimated)
    startup_s = (_BOOTSTRAPS * bootstrap_ms + wait_ms) / 1000
    return Pod(
        _up(max(memory, _POD_FACTOR * resident_bytes), _MEMORY_STEP),
        _up(startup_s, _STARTUP_STEP_S),
    )


def _up(amount: float, step: int) -> int:
    return -int(-amount // step) * step
