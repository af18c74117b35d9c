"""What a simulated broker answers: Metadata, ListOffsets, DescribeConfigs, and Fetch in bytes.

The first three go through the sidecar's `ask`, which takes any object with the fields that
it reads. A Fetch request is taken apart from its bytes, and its response is Fetch v13 as
it comes over the wire.
"""

from __future__ import annotations

import struct
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from simulation.cluster import NAME

if TYPE_CHECKING:
    from simulation.cluster import Broker, Partition, SimulatedCluster

__all__ = [
    "Fetch",
    "answer_control",
    "answer_fetch",
    "complete",
    "encode_response",
    "parse_request",
]

NONE, OUT_OF_RANGE, UNKNOWN_PARTITION, NOT_LEADER = 0, 1, 3, 6
FENCED, UNKNOWN_EPOCH, OFFSET_NOT_AVAILABLE, UNKNOWN_TOPIC_ID = 74, 75, 78, 100
_LATEST = -1
_NO_ID = uuid.UUID(int=0)
_REQUEST = struct.Struct(">iiiibiiB16s")
_WANTED = struct.Struct(">iiqiqiB")
_ANSWER = struct.Struct(">ihqqq")
_DIVERGING = struct.Struct(">BBBiqB")
_MOST_BATCHES, _ALL_BATCHES = 6, 200


# The questions that are not fetches


def answer_control(cluster: SimulatedCluster, broker: Broker, request: Any) -> SimpleNamespace:
    """Answer a request object of `sidecar.kafka.wire`."""
    kind = type(request).__name__
    if kind == "MetadataRequest":
        return _metadata(cluster, broker)
    if kind == "ListOffsetsRequest":
        return _list_offsets(cluster, broker, request)
    options = cluster.options
    kept_ms = round(options.retention_s * 1000) if options.missed_tombstones else 86_400_000
    config = [("cleanup.policy", "compact"), ("delete.retention.ms", str(kept_ms))]
    entries = [(name, value, False, 1, False, []) for name, value in config]
    return SimpleNamespace(resources=[(NONE, "", 2, NAME, entries)])


def _metadata(cluster: SimulatedCluster, broker: Broker) -> SimpleNamespace:
    image = cluster.image(broker)
    error = UNKNOWN_PARTITION if image.topic_id is None else NONE
    partitions = [
        (NONE if node >= 0 else 5, number, node, epoch, [], [], [], {})
        for number, (node, epoch) in enumerate(image.leaders)
    ]
    topic = (error, NAME, image.topic_id or _NO_ID, False, partitions, 0, {})
    brokers = [(node, host, port, None, {}) for node, (host, port) in image.brokers.items()]
    return SimpleNamespace(brokers=brokers, cluster_id=cluster.cluster_id, topics=[topic])


def _list_offsets(cluster: SimulatedCluster, broker: Broker, request: Any) -> SimpleNamespace:
    found = []
    for number, epoch, timestamp in request._partitions:
        if number >= len(cluster.partitions):
            found.append((number, UNKNOWN_PARTITION, -1, -1, -1))
            continue
        partition = cluster.partitions[number]
        log = partition.log
        error = _leading(broker, partition, epoch)
        if not error and timestamp == _LATEST and log.hw < log.epochs[-1][1]:
            error = OFFSET_NOT_AVAILABLE
        end = log.lso if request._isolation_level else log.hw
        offset = -1 if error else end if timestamp == _LATEST else log.log_start
        found.append((number, error, -1, offset, partition.epoch))
    return SimpleNamespace(topics=[(NAME, found)])


def _leading(broker: Broker, partition: Partition, epoch: int) -> int:
    if partition.leader != broker.node:
        return NOT_LEADER
    if epoch >= 0 and epoch != partition.epoch:
        return FENCED if epoch < partition.epoch else UNKNOWN_EPOCH
    return NONE


# Fetching


class Fetch(NamedTuple):
    """A request; `wanted` holds (partition, leader epoch, offset, last epoch)."""

    correlation_id: int
    max_wait_s: float
    committed: bool
    topic_id: uuid.UUID
    wanted: list[tuple[int, int, int, int]]


class _Part(NamedTuple):
    number: int
    error: int = NONE
    bounds: tuple[int, int, int] = (-1, -1, -1)
    aborted: tuple[tuple[int, int], ...] = ()
    records: bytes = b""
    diverging: tuple[int, int] | None = None


def parse_request(data: bytes) -> Fetch:
    """Take a Fetch v13 request with its length apart."""
    (correlation_id,) = struct.unpack_from(">i", data, 8)
    (length,) = struct.unpack_from(">h", data, 12)
    at = 14 + length + 1
    _, wait_ms, _, _, isolation, _, _, _, topic = _REQUEST.unpack_from(data, at)
    at += _REQUEST.size
    count, at = data[at] - 1, at + 1
    wanted = []
    for _ in range(count):
        number, epoch, offset, last_epoch, _, _, _ = _WANTED.unpack_from(data, at)
        at += _WANTED.size
        wanted.append((number, epoch, offset, last_epoch))
    return Fetch(correlation_id, wait_ms / 1000, bool(isolation), uuid.UUID(bytes=topic), wanted)


def answer_fetch(cluster: SimulatedCluster, broker: Broker, fetch: Fetch) -> list[_Part]:
    """Answer with what there is now."""
    parts: list[_Part] = []
    room = True
    for number, epoch, offset, last_epoch in fetch.wanted:
        error = broker.refusal or _refusal(cluster, broker, fetch.topic_id, number, epoch)
        if error:
            parts.append(_Part(number, error))
            continue
        partition = cluster.partitions[number]
        part = _read(cluster, partition, offset, last_epoch, committed=fetch.committed, room=room)
        room = room and not (broker.starved and part.records)
        parts.append(part)
    return parts


def complete(parts: list[_Part]) -> bool:
    """Whether there is anything that ends a long poll."""
    return any(part.error or part.records or part.diverging for part in parts)


def _refusal(
    cluster: SimulatedCluster, broker: Broker, topic_id: uuid.UUID, number: int, epoch: int
) -> int:
    topic = cluster.find(topic_id)
    if topic is None:
        return UNKNOWN_TOPIC_ID
    if number >= len(topic.partitions):
        return UNKNOWN_PARTITION
    return _leading(broker, topic.partitions[number], epoch)


def _read(
    cluster: SimulatedCluster,
    partition: Partition,
    offset: int,
    last_epoch: int,
    *,
    committed: bool,
    room: bool,
) -> _Part:
    log = partition.log
    bounds = (log.hw, log.lso, log.log_start)
    if last_epoch >= 0:
        epoch, end = log.epoch_end(last_epoch)
        if epoch < 0:
            return _Part(partition.number, OUT_OF_RANGE)
        if epoch < last_epoch or end < offset:
            return _Part(partition.number, bounds=bounds, diverging=(epoch, end))
    if not log.log_start <= offset <= log.leo:
        return _Part(partition.number, OUT_OF_RANGE)
    found = log.read(offset, log.lso if committed else log.hw)
    most = _ALL_BATCHES if cluster.healed else _MOST_BATCHES
    chosen = found[: cluster.world.random.randint(1, most)] if found and room else []
    data = [batch.encoded() for batch in chosen]
    if len(data) > 1 and cluster.world.random.random() < 0.1:
        data[-1] = data[-1][: cluster.world.random.randrange(len(data[-1]))]
    aborted = ()
    if committed and chosen:
        aborted = tuple(
            (pid, first)
            for pid, first, last in log.aborted
            if last >= offset and first <= chosen[-1].last
        )
    return _Part(partition.number, NONE, bounds, aborted, b"".join(data))


def encode_response(
    correlation_id: int, topic_id: uuid.UUID, parts: list[_Part], throttle_ms: int
) -> bytearray:
    """A Fetch v13 response without its length."""
    out = bytearray(struct.pack(">iBihi", correlation_id, 0, throttle_ms, 0, 0))
    if not parts:
        return out + b"\x01\x00"
    out += b"\x02" + topic_id.bytes
    _count(out, len(parts) + 1)
    for part in parts:
        high_watermark, last_stable, log_start = part.bounds
        out += _ANSWER.pack(part.number, part.error, high_watermark, last_stable, log_start)
        _count(out, len(part.aborted) + 1)
        for pid, first in part.aborted:
            out += struct.pack(">qqB", pid, first, 0)
        out += struct.pack(">i", -1)
        _count(out, len(part.records) + 1)
        out += part.records
        if part.diverging is None:
            out.append(0)
        else:
            out += _DIVERGING.pack(1, 0, 13, *part.diverging, 0)
    return out + b"\x00\x00"


def _count(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
