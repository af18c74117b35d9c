"""The state of a table as the contract tells it."""

from math import ceil

from .._pb import admin_pb2 as pb
from ..core.progress import Progress, Wait
from ..core.served import Served
from ..core.view import View

__all__ = ["partition_info", "table_info"]

_MAX_U32 = (1 << 32) - 1


def table_info(served: Served, now: float, undecodable: int) -> pb.TableInfo:
    """One table.

    Args:
        served: the table.
        now: seconds, CLOCK_BOOTTIME.
        undecodable: values of its generation that its format could not decode.
    """
    definition = served.definition
    info = pb.TableInfo(
        name=definition.name,
        topic=definition.topic,
        state=served.state(now).value,  # type: ignore[arg-type]  # the contract's number
        reason=served.reason(now),
        memory_bytes=served.memory_bytes(),
        bootstrap_ms=served.bootstrap_ms(),
        eta_ms=served.eta_ms(now),
        generations=served.generations,
        format=definition.format,
        definition_hash=definition.hash,
        indexes=[name for name, _ in definition.indexes],
        required=definition.required,
        dump=definition.dump,
    )
    if served.source is not None:
        info.cluster_id = served.source.cluster_id
        info.topic_id = served.source.topic_id
        info.incarnation = served.source.incarnation
        info.cleanup_policy = served.source.cleanup_policy
        if served.source.delete_retention_ms is not None:
            info.delete_retention_ms = served.source.delete_retention_ms
    if served.view is not None:
        _add_view(info, served.view, now)
        info.counters.fetched_bytes = served.fetched_bytes
        info.counters.undecodable = undecodable
    if served.next is not None:
        info.next_partitions.extend(_partitions(served.next.view, now))
    return info


def _add_view(info: pb.TableInfo, view: View, now: float) -> None:
    staleness_ms = view.staleness_ms(now)
    if staleness_ms is not None:
        info.staleness_ms = min(staleness_ms, _MAX_U32)
    info.generation = view.identity[1]
    info.entries = len(view.table)
    info.payload_bytes = view.table.payload_bytes
    counters = view.table.counters
    info.counters.records = counters.records
    info.counters.tombstones = counters.tombstones
    info.counters.null_keys = counters.null_keys
    info.counters.unchanged = counters.unchanged
    info.counters.expired = counters.expired
    info.counters.cross_partition_keys = view.table.cross_partition_keys
    info.counters.skipped_batches = counters.skipped_batches
    info.counters.missed_tombstones = counters.missed_tombstones
    info.counters.turned_away = counters.turned_away
    info.counters.aged = counters.aged
    info.partitions.extend(_partitions(view, now))


def _partitions(view: View, now: float) -> list[pb.PartitionInfo]:
    by_number = sorted(view.progress.values(), key=lambda progress: progress.partition)
    return [partition_info(progress, now) for progress in by_number]


def partition_info(progress: Progress, now: float) -> pb.PartitionInfo:
    """One partition's progress."""
    info = pb.PartitionInfo(
        partition=progress.partition,
        leader=progress.leader.node,
        leader_epoch=progress.leader.epoch,
        log_start_offset=progress.bounds.log_start_offset,
        position=progress.position,
        target=progress.target,
        high_watermark=progress.bounds.high_watermark,
        last_stable_offset=progress.bounds.last_stable_offset,
        lag=progress.lag,
        caught_up=progress.caught_up,
        wait=progress.waiting.wait.value,  # type: ignore[arg-type]  # the contract's number
        detail=progress.waiting.detail,
    )
    if progress.waiting.wait is not Wait.NOTHING:
        waiting_ms = max(0, round((now - progress.waiting.since) * 1000))
        info.waiting_ms = min(waiting_ms, _MAX_U32)
    if progress.fresh_as_of is not None:
        age_ms = max(0, ceil((now - progress.fresh_as_of) * 1000))
        info.staleness_ms = min(age_ms, _MAX_U32)
    return info
