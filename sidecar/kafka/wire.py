"""The few requests that we speak, in the versions that carry what we must know.

Metadata v12 gives the topic id, the cluster id and the leader epochs, and creates
nothing. ListOffsets v5 gives the ends of a log under a leader epoch. Both are structs
on aiokafka's own classes and go over its connections.

Fetch v13 asks by topic id, so a topic that was deleted or re-created cannot be taken
for the one that was being read. It is encoded and parsed by hand, because its
response is most of what is ever read: record batches are passed on as slices of the
receive buffer, not copied.

KIP-516: "topic IDs ... uniquely identify topics"; KIP-595: "DivergingEpoch: in case
divergence is detected based on the `LastFetchedEpoch` and `FetchOffset` in the
request, this field indicates the largest epoch and its end offset such that
subsequent records are known to diverge".
"""

import struct
import uuid
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from ..core.model import LogBounds
from .errors import BrokerFault

__all__ = [
    "EARLIEST",
    "FETCH",
    "LATEST",
    "NEEDED",
    "DescribeConfigsRequest",
    "FetchAnswer",
    "FetchResponse",
    "ListOffsetsRequest",
    "MetadataRequest",
    "Wanted",
    "encode_fetch",
    "parse_fetch",
]

FETCH, LIST_OFFSETS, METADATA = 1, 2, 3
FETCH_VERSION = 13

# API key → (name, version, the first Kafka release that has it).
NEEDED = {
    METADATA: ("Metadata", 12, "3.1"),
    FETCH: ("Fetch", FETCH_VERSION, "3.1"),
    LIST_OFFSETS: ("ListOffsets", 5, "2.2"),
}

LATEST, EARLIEST = -1, -2


class _Uuid(AbstractType[uuid.UUID]):
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _MetadataResponse(Response):
    API_KEY = METADATA
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class MetadataRequest(Request[_MetadataRequest]):
    """Ask about one topic by name, creating nothing."""

    API_KEY = METADATA

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        """The struct in the version that the broker speaks."""
        return request_struct_class([(uuid.UUID(int=0), self._topic, {})], False, False, {})  # noqa: FBT003


class _ListOffsetsResponse(Response):
    API_KEY = LIST_OFFSETS
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String()),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("timestamp", Int64),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class _ListOffsetsRequest(RequestStruct):
    # aiokafka's own struct of this version writes the leader epoch in eight bytes, not four.
    API_KEY = LIST_OFFSETS
    API_VERSION = 5
    RESPONSE_TYPE = _ListOffsetsResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("isolation_level", Int8),
        (
            "topics",
            Array(
                ("topic", String()),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("timestamp", Int64),
                    ),
                ),
            ),
        ),
    )


class ListOffsetsRequest(Request[_ListOffsetsRequest]):
    """Ask one leader for an end of each of its partitions.

    Args:
        topic: by name.
        partitions: (partition, leader epoch) pairs.
        timestamp: `LATEST` or `EARLIEST`.
        committed: under read_committed the latest is the last stable offset; otherwise it is
            the high watermark.
    """

    API_KEY = LIST_OFFSETS

    def __init__(
        self,
        topic: str,
        partitions: Sequence[tuple[int, int]],
        timestamp: int,
        *,
        committed: bool = False,
    ) -> None:
        self._topic = topic
        self._partitions = [(number, epoch, timestamp) for number, epoch in partitions]
        self._isolation_level = int(committed)

    def build(self, request_struct_class: type[_ListOffsetsRequest]) -> _ListOffsetsRequest:
        """The struct in the version that the broker speaks."""
        return request_struct_class(-1, self._isolation_level, [(self._topic, self._partitions)])


class Wanted(NamedTuple):
    """What a fetch asks of one partition."""

    partition: int
    leader_epoch: int
    offset: int
    last_fetched_epoch: int


class FetchAnswer(NamedTuple):
    """What a fetch response says of one partition.

    `diverging` is (epoch, end offset); `aborted` holds (producer id, first offset);
    `records` is a slice of the receive buffer: valid until the response after the next.
    """

    partition: int
    error_code: int
    bounds: LogBounds
    aborted: list[tuple[int, int]]
    preferred_read_replica: int
    records: memoryview
    diverging: tuple[int, int] | None


class FetchResponse(NamedTuple):
    """A whole fetch response."""

    correlation_id: int
    throttle_ms: int
    error_code: int
    answers: list[FetchAnswer]


_REQUEST = struct.Struct(">iiiibiiB16s")
_PARTITION = struct.Struct(">iiqiqiB")
_RESPONSE = struct.Struct(">ihi")
_ANSWER = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_DIVERGING = struct.Struct(">iq")
_I32 = struct.Struct(">i")


def encode_fetch(
    correlation_id: int,
    client_id: str,
    topic_id: uuid.UUID,
    wanted: Sequence[Wanted],
    *,
    committed: bool,
    max_wait_ms: int,
    max_bytes: int,
    partition_max_bytes: int,
) -> bytes:
    """A Fetch v13 request with its length in front; no fetch session, no rack."""
    name = client_id.encode()
    parts = [
        struct.pack(
            f">hhih{len(name)}sB", FETCH, FETCH_VERSION, correlation_id, len(name), name, 0
        ),
        _REQUEST.pack(-1, max_wait_ms, 1, max_bytes, committed, 0, -1, 2, topic_id.bytes),
        _uvarint(len(wanted) + 1),
    ]
    for number, leader_epoch, offset, last_epoch in wanted:
        parts.append(
            _PARTITION.pack(number, leader_epoch, offset, last_epoch, -1, partition_max_bytes, 0)
        )
    parts.append(b"\0\1\1\0")  # the topic's tags; no forgotten topics; rack id ""; tags
    body = b"".join(parts)
    return _I32.pack(len(body)) + body


def parse_fetch(frame: memoryview) -> FetchResponse:
    """Parse a Fetch v13 response without its length.

    Raises:
        BrokerFault: it is cut short or makes no sense.
    """
    try:
        return _Parser(frame).response()
    except (struct.error, IndexError, ValueError) as error:
        raise BrokerFault(
            f"a fetch response of {len(frame)} bytes makes no sense: {error}"
        ) from error


class _Parser:
    """A position in a response."""

    def __init__(self, frame: memoryview) -> None:
        self._frame = frame
        self._at = 0

    def response(self) -> FetchResponse:
        (correlation_id,) = self._take(_I32)
        self._tags()
        throttle_ms, error_code, _ = self._take(_RESPONSE)
        answers: list[FetchAnswer] = []
        for _ in range(self._uvarint() - 1):
            self._skip(16)
            answers.extend(self._answer() for _ in range(self._uvarint() - 1))
            self._tags()
        self._tags()
        return FetchResponse(correlation_id, throttle_ms, error_code, answers)

    def _answer(self) -> FetchAnswer:
        partition, error_code, high_watermark, last_stable, log_start = self._take(_ANSWER)
        aborted = []
        for _ in range(self._uvarint() - 1):
            aborted.append(self._take(_ABORTED))
            self._tags()
        (preferred,) = self._take(_I32)
        records = self._skip(max(0, self._uvarint() - 1))
        diverging = self._tags().get(0)
        return FetchAnswer(
            partition,
            error_code,
            LogBounds(log_start, high_watermark, last_stable),
            aborted,
            preferred,
            records,
            _DIVERGING.unpack_from(diverging) if diverging is not None else None,
        )

    def _take(self, layout: struct.Struct) -> tuple[Any, ...]:
        values = layout.unpack_from(self._frame, self._at)
        self._at += layout.size
        return values

    def _skip(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._frame):
            raise ValueError(f"{size} bytes at {self._at} pass its end")
        part, self._at = self._frame[self._at : end], end
        return part

    def _uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self._frame[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 28:
                raise ValueError(f"no varint of 32 bits at {self._at}")

    def _tags(self) -> dict[int, memoryview]:
        fields = {}
        for _ in range(self._uvarint()):
            tag = self._uvarint()
            fields[tag] = self._skip(self._uvarint())
        return fields


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
