"""Record batches: from the bytes of a fetch response to records of committed data.

A response's bytes are whole batches, save that the last may be cut off: that one is
asked for again. Every batch's CRC is checked before any of it is believed, by a
library that uses the processor's own instruction: aiokafka's check takes fourteen times
as long, a quarter of a whole bootstrap at 1 KB values.

Under read_committed, what aborted transactions wrote is left out, by Kafka's own
rule: the response lists (producer id, first offset) of each aborted transaction that
overlaps it; from that offset on the producer's transactional batches are dropped,
until its abort marker. Dropped batches and markers still move the position.
"""

import struct
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from heapq import heapify, heappop
from typing import NamedTuple

import cramjam
import google_crc32c
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch

from ..core.model import Batch, origin_of
from .errors import LogFault

__all__ = ["UNDECODABLE", "Span", "decode_batches", "find_batches"]

# What aiokafka's decoder raises for bytes that it cannot read.
UNDECODABLE = (
    CorruptRecordException,
    UnsupportedCodecError,
    cramjam.DecompressionError,
    BadGzipFile,
    zlib.error,
    EOFError,
    struct.error,
    UnicodeDecodeError,
    OverflowError,
)

# The header's fields that we use, in the order in which `find_batches` names them.
_LOG_HEADER = struct.Struct(">qi")
_HEADER = struct.Struct(">i1xIhi16xq")
_CRC_FROM = 21
_MAGIC_AT = 16
_OVERHEAD = 12
_SMALLEST = 61
_TIMESTAMP_TYPE, _TRANSACTIONAL, _CONTROL = 0x08, 0x10, 0x20
_ABORT = b"\0\0\0\0"  # a control record's key: version 0, type 0


class Span(NamedTuple):
    """Where one whole batch stands in a response, and what its header says."""

    data: memoryview
    base_offset: int
    next_offset: int
    leader_epoch: int
    crc: int
    attributes: int
    producer_id: int


def find_batches(partition: int, records: memoryview) -> list[Span]:
    """The whole batches in a response's bytes for one partition.

    Raises:
        LogFault: a batch of an older format, or a header that makes no sense.
    """
    spans: list[Span] = []
    at, end = 0, len(records)
    while end - at > _MAGIC_AT:
        base, length = _LOG_HEADER.unpack_from(records, at)
        magic = records[at + _MAGIC_AT]
        if magic != 2 and spans:
            break  # what stands before it is read first
        if magic != 2:
            raise LogFault(
                f"partition {partition}: the batch at offset {base} has message format v{magic}; "
                "v2 (Kafka 0.11 and newer) is needed: have the topic written anew"
            )
        if end - at < _SMALLEST:
            break
        epoch, crc, attributes, last_delta, producer = _HEADER.unpack_from(records, at + _OVERHEAD)
        if length < _SMALLEST - _OVERHEAD or last_delta < 0:
            if spans:
                break
            raise LogFault(
                f"partition {partition}: the batch at offset {base} has a senseless header"
            )
        behind = at + _OVERHEAD + length
        if behind > end:
            break
        next_offset = base + last_delta + 1
        spans.append(Span(records[at:behind], base, next_offset, epoch, crc, attributes, producer))
        at = behind
    return spans


def decode_batches(
    partition: int, spans: list[Span], aborted: list[tuple[int, int]]
) -> Iterator[Batch]:
    """Decode batches one by one, without the records of aborted transactions.

    Args:
        partition: that they belong to.
        spans: as `find_batches` gives them.
        aborted: (producer id, first offset); empty under read_uncommitted.

    Raises:
        LogFault: a batch's CRC is wrong. Iterating a batch's records may raise `UNDECODABLE`.
    """
    upcoming = [(first_offset, producer) for producer, first_offset in aborted]
    heapify(upcoming)
    aborting: set[int] = set()
    for span in spans:
        batch = DefaultRecordBatch(span.data)
        if google_crc32c.value(bytes(span.data[_CRC_FROM:])) != span.crc:
            raise LogFault(
                f"partition {partition}: the batch at offset {span.base_offset} has a wrong CRC"
            )
        while upcoming and upcoming[0][0] < span.next_offset:
            aborting.add(heappop(upcoming)[1])
        dropped = bool(span.attributes & _TRANSACTIONAL) and span.producer_id in aborting
        if span.attributes & _CONTROL:
            dropped = True
            if _is_abort(batch):
                aborting.discard(span.producer_id)
        origin = origin_of(partition, bool(span.attributes & _TIMESTAMP_TYPE))
        yield Batch(() if dropped else batch, origin, span.base_offset, span.next_offset)


def _is_abort(batch: DefaultRecordBatch) -> bool:
    return any(record.key is not None and record.key[:4] == _ABORT for record in batch)
