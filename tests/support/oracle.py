"""The independent reader: what a topic holds, as librdkafka sees it.

It shares no code with the sidecar. A partition is read to its end once
librdkafka says so (the partition-EOF event), never by counting offsets: the
slots before the end may hold a transaction marker, an aborted record, or
nothing at all. Under read_committed the end is the last stable offset.

An EOF alone is not enough, though: for a moment after an election the new
leader serves a high watermark below what was acknowledged, and the EOF at it
is true and too early. ListOffsets answers OFFSET_NOT_AVAILABLE meanwhile, so
it is asked first, and an EOF counts from the offset that it gave.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Folded", "Record", "fold", "read_topic"]

_PASSING = {
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
}
_TYPES = {TIMESTAMP_CREATE_TIME: "create", TIMESTAMP_LOG_APPEND_TIME: "append"}


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log; a `value` of None is a tombstone."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    timestamp_type: str
    """`create`, `append`, or `none`."""
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Folded(NamedTuple):
    """What the fold keeps of a key's winning record."""

    value: bytes
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: str


def read_topic(
    bootstrap: str,
    topic: str,
    isolation: str = "read_committed",
    *,
    timeout: float = 60,
    **settings: str,
) -> dict[int, list[Record]]:
    """Read every partition from its log start to its end; each in offset order.

    More librdkafka settings go with underscores (`security_protocol="SSL"`).
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "oracle",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            **{key.replace("_", "."): value for key, value in settings.items()},
        }
    )
    deadline = time.monotonic() + timeout
    try:
        listed = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if listed.error is not None:
            raise KafkaException(listed.error)
        records: dict[int, list[Record]] = {each: [] for each in sorted(listed.partitions)}
        ends = {each: _end(consumer, topic, each, deadline) for each in records}
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in records])
        _read_to_ends(consumer, records, ends, deadline)
    finally:
        consumer.close()
    return records


def _end(consumer: Consumer, topic: str, partition: int, deadline: float) -> int:
    while True:
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)[1])
        except KafkaException as error:
            # KafkaError.retriable() says no to these: it speaks of transactions.
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _read_to_ends(
    consumer: Consumer, records: dict[int, list[Record]], ends: dict[int, int], deadline: float
) -> None:
    unfinished = set(records)
    while unfinished:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no end of partitions {sorted(unfinished)}")
        for message in consumer.consume(10_000, timeout=0.2):
            partition = message.partition()
            error = message.error()
            if error is None and partition in unfinished:
                records[partition].append(_record(message))
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                if message.offset() >= ends[partition]:
                    unfinished.discard(partition)
            elif error is not None and error.code() not in _PASSING:
                raise KafkaException(error)


def _record(message: Message) -> Record:
    kind, timestamp_ms = message.timestamp()
    return Record(
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        timestamp_ms=timestamp_ms,
        timestamp_type=_TYPES.get(kind, "none"),
        headers=tuple(message.headers() or ()),
    )


def fold(records: Mapping[int, Iterable[Record]]) -> dict[bytes, Folded]:
    """Give the table that the log describes.

    In one partition a key's later offset wins. Of a key's last records (or
    tombstones) in several partitions, the greatest (timestamp, partition)
    wins. A record with a null key is no entry.
    """
    last: dict[bytes, dict[int, Record]] = {}
    for partition, each in records.items():
        for record in each:
            if record.key is not None:
                last.setdefault(record.key, {})[partition] = record
    table: dict[bytes, Folded] = {}
    for key, candidates in last.items():
        winner = max(candidates.values(), key=lambda r: (r.timestamp_ms, r.partition))
        if winner.value is not None:
            table[key] = Folded(
                winner.value, winner.partition, winner.offset,
                winner.timestamp_ms, winner.timestamp_type,
            )  # fmt: skip
    return table
