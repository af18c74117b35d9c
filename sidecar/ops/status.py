"""The state of the tables as plain data: what the pages show, and no record data.

The follower writes a `Served` on the loop's thread, and the pages are made on another.
So they look at a copy that stands still. Copying a dict is one step of the interpreter;
walking one is not, not even in C, where each new object may start a garbage collection
that lets the other thread go on. What lies below is replaced, never changed, except for
the entries and counters, which go on moving under the copy.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.counters import Counters
from ..core.progress import Progress, Wait
from ..core.served import Generation, Served, Source
from ..core.view import View
from .heartbeat import Heartbeat
from .recorder import Recorder

__all__ = ["Observed", "partition_status", "still", "table_status"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What metrics and pages look at.

    Attributes:
        tables: by name; not changed while the sidecar runs.
        recorder: counts of calls and faults.
        heartbeat: of the loop that serves.
        clock: seconds, CLOCK_BOOTTIME.
        version: of the sidecar.
        memory_limit: bytes that the process may take; None: no limit.
    """

    tables: Mapping[str, Served]
    recorder: Recorder
    heartbeat: Heartbeat
    clock: Callable[[], float]
    version: str
    memory_limit: int | None = None


def still(served: Served) -> Served:
    """A copy that no other thread changes, except for the table's entries and counters."""
    copied = copy.copy(served)
    copied.current, copied.next = _still(copied.current), _still(copied.next)
    return copied


def _still(generation: Generation | None) -> Generation | None:
    if generation is None:
        return None
    view = copy.copy(generation.view)
    view.progress = dict(view.progress)
    return replace(generation, view=view)


def table_status(served: Served, now: float) -> dict[str, Any]:
    """One table, ready for JSON; None where something is not known.

    Args:
        served: also one that another thread writes.
        now: seconds, CLOCK_BOOTTIME.
    """
    table = still(served)
    definition, view, source = table.definition, table.view, table.source or Source("", "", 0)
    done, total = view.offsets_done() if view else (0, 0)
    return {
        "name": definition.name,
        "topic": definition.topic,
        "dump": definition.dump,
        "state": table.state(now).name,
        "reason": table.reason(now),
        "required": definition.required,
        "format": definition.format,
        "definition_hash": definition.hash,
        "cluster_id": source.cluster_id,
        "topic_id": source.topic_id,
        "incarnation": source.incarnation,
        "cleanup_policy": source.cleanup_policy,
        "delete_retention_ms": source.delete_retention_ms,
        "generation": view.identity[1] if view else 0,
        "generations": table.generations,
        "entries": len(view.table) if view else 0,
        "payload_bytes": view.table.payload_bytes if view else 0,
        "memory_bytes": table.memory_bytes(),
        "staleness_ms": view.staleness_ms(now) if view else None,
        "bootstrap_ms": table.bootstrap_ms(),
        "bootstrap_offsets": {"done": done, "total": total},
        "eta_ms": table.eta_ms(now),
        "counters": _counters(view.table.counters if view else Counters(), table.fetched_bytes),
        "partitions": _partitions(view, now),
        "next_partitions": _partitions(table.next.view if table.next else None, now),
    }


def partition_status(progress: Progress, now: float) -> dict[str, Any]:
    """One partition, ready for JSON; offsets are -1 while they are not known."""
    bounds, waiting = progress.bounds, progress.waiting
    waits = waiting.wait is not Wait.NOTHING
    fresh = progress.fresh_as_of
    return {
        "partition": progress.partition,
        "leader": progress.leader.node,
        "leader_epoch": progress.leader.epoch,
        "log_start_offset": bounds.log_start_offset,
        "position": progress.position,
        "target": progress.target,
        "high_watermark": bounds.high_watermark,
        "last_stable_offset": bounds.last_stable_offset,
        "lag": progress.lag,
        "staleness_ms": None if fresh is None else max(0, round((now - fresh) * 1000)),
        "caught_up": progress.caught_up,
        "wait": waiting.wait.name,
        "waiting_ms": max(0, round((now - waiting.since) * 1000)) if waits else 0,
        "detail": waiting.detail,
    }


def _partitions(view: View | None, now: float) -> list[dict[str, Any]]:
    known = sorted(view.progress.values(), key=_number) if view else []
    return [partition_status(progress, now) for progress in known]


def _number(progress: Progress) -> int:
    return progress.partition


def _counters(counters: Counters, fetched_bytes: int) -> dict[str, int]:
    return {
        "records": counters.records,
        "tombstones": counters.tombstones,
        "null_keys": counters.null_keys,
        "unchanged": counters.unchanged,
        "expired": counters.expired,
        "skipped_batches": counters.skipped_batches,
        "missed_tombstones": counters.missed_tombstones,
        "turned_away": counters.turned_away,
        "aged": counters.aged,
        "fetched_bytes": fetched_bytes,
    }
