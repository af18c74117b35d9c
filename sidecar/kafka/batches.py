"""Record batches: from the bytes of a fetch response to records of committed data.

A response's bytes are whole batches, save that the last may be cut off: that one is
asked for again. Every batch's CRC is checked before any of it is believed, by a
library that uses the processor's own instruction: aiokafka's check takes fourteen times
as long, a quarter of a whole bootstrap at 1 KB values.

Compressed batches are unpacked by `unpack`, which has a limit, and go to aiokafka's
decoder as if they had come uncompressed. It decodes in C. Where it gives up on a record,
`records` reads the batch again, gives what is good and names what is not.

Under read_committed, what aborted transactions wrote is left out, by Kafka's own
rule: the response lists (producer id, first offset) of each aborted transaction that
overlaps it; from that offset on the producer's transactional batches are dropped,
until its abort marker. Dropped batches and markers still move the position.
"""

import struct
from collections.abc import Iterator
from functools import partial
from heapq import heapify, heappop
from itertools import zip_longest
from typing import NamedTuple

import google_crc32c
from aiokafka.record.default_records import DefaultRecordBatch

from ..core.model import Batch, Record, origin_of
from .errors import BadBatch
from .records import Frame, RecordError, parse_records
from .settings import BATCH_BYTES
from .unpack import UnpackError, unpack

__all__ = ["Span", "decode_batches", "find_batches"]

# The header's fields that we use, in the order in which `find_batches` names them.
_LOG_HEADER = struct.Struct(">qi")
_HEADER = struct.Struct(">i1xIhi16xq")
_CRC_FROM = 21
_MAGIC_AT = 16
_OVERHEAD = 12
_SMALLEST = 61
_LAST_OFFSET = (1 << 63) - 1
_CODEC, _TIMESTAMP_TYPE, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
# Those that only reading the records needs: attributes, the two timestamps, and the count.
_ATTRIBUTES = struct.Struct(">h")
_STAMPS = struct.Struct(">qq")
_COUNT = struct.Struct(">i")
_STAMPS_AT, _COUNT_AT = 27, 57
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
        BadBatch: a batch of an older format, or a header that makes no sense.
    """
    spans: list[Span] = []
    at, end = 0, len(records)
    while end - at > _MAGIC_AT:
        base, length = _LOG_HEADER.unpack_from(records, at)
        magic = records[at + _MAGIC_AT]
        if magic != 2 and spans:
            break  # what stands before it is read first
        if magic != 2:
            raise BadBatch(
                f"has message format v{magic}; v2 (Kafka 0.11 and newer) is needed: have the topic "
                "written anew",
                partition=partition,
                offset=base,
            )
        if end - at < _SMALLEST:
            break
        epoch, crc, attributes, last_delta, producer = _HEADER.unpack_from(records, at + _OVERHEAD)
        if length < _SMALLEST - _OVERHEAD or not _fits(base, last_delta):
            if spans:
                break
            raise BadBatch("has a senseless header", partition=partition, offset=base)
        behind = at + _OVERHEAD + length
        if behind > end:
            break
        next_offset = base + last_delta + 1
        spans.append(Span(records[at:behind], base, next_offset, epoch, crc, attributes, producer))
        at = behind
    return spans


def _fits(base_offset: int, last_delta: int) -> bool:
    return 0 <= base_offset < _LAST_OFFSET - last_delta and last_delta >= 0


def decode_batches(
    partition: int,
    spans: list[Span],
    aborted: list[tuple[int, int]],
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[Batch]:
    """Decode batches one by one, without the records of aborted transactions.

    Args:
        partition: that they belong to.
        spans: as `find_batches` gives them.
        aborted: (producer id, first offset); empty under read_uncommitted.
        batch_bytes: how large the records of a compressed batch may be, unpacked.

    Raises:
        BadBatch: a batch cannot be read; all before it have been given. Where it is one of a
            batch's records, reading them again raises it, behind those that are good.
    """
    upcoming = [(first_offset, producer) for producer, first_offset in aborted]
    heapify(upcoming)
    aborting: set[int] = set()
    for span, following in zip_longest(spans, spans[1:]):
        if google_crc32c.value(bytes(span.data[_CRC_FROM:])) != span.crc:
            # Its own word on where it ends is not to be trusted.
            behind = following.base_offset if following else span.next_offset
            raise _bad(partition, span._replace(next_offset=behind), "has a wrong CRC")
        while upcoming and upcoming[0][0] < span.next_offset:
            aborting.add(heappop(upcoming)[1])
        dropped = bool(span.attributes & _TRANSACTIONAL) and span.producer_id in aborting
        if span.attributes & _CONTROL:
            dropped = True
            if _is_abort(partition, span, batch_bytes):
                aborting.discard(span.producer_id)
        origin = origin_of(partition, bool(span.attributes & _TIMESTAMP_TYPE))
        if dropped:
            yield Batch((), origin, span.base_offset, span.next_offset)
            continue
        data = _data_of(partition, span, batch_bytes)
        again = partial(_parsed, partition, data, span)
        holes = _COUNT.unpack_from(data, _COUNT_AT)[0] < span.next_offset - span.base_offset
        yield Batch(
            DefaultRecordBatch(data), origin, span.base_offset, span.next_offset, again, holes
        )


def _is_abort(partition: int, span: Span, batch_bytes: int) -> bool:
    records = _parsed(partition, _data_of(partition, span, batch_bytes), span)
    return any(record.key is not None and record.key[:4] == _ABORT for record in records)


# The records of one batch


def _data_of(partition: int, span: Span, batch_bytes: int) -> memoryview:
    if span.attributes & _CODEC:
        return _unpacked(partition, span, batch_bytes)
    return span.data


def _parsed(partition: int, data: memoryview, span: Span) -> Iterator[Record]:
    (count,) = _COUNT.unpack_from(data, _COUNT_AT)
    base_timestamp, greatest = _STAMPS.unpack_from(data, _STAMPS_AT)
    stamped = greatest if span.attributes & _TIMESTAMP_TYPE else None
    frame = Frame(count, span.base_offset, span.next_offset, base_timestamp, stamped)
    try:
        yield from parse_records(data[_SMALLEST:], frame)
    except RecordError as error:
        raise _unreadable(partition, span, error) from error


def _unpacked(partition: int, span: Span, batch_bytes: int) -> memoryview:
    """The batch as it would be had it not been compressed, save for lengths and CRC."""
    head = bytearray(span.data[:_SMALLEST])
    _ATTRIBUTES.pack_into(head, _CRC_FROM, span.attributes & ~_CODEC)
    packed, codec = span.data[_SMALLEST:], span.attributes & _CODEC
    try:
        return unpack(codec, packed, limit=batch_bytes, head=bytes(head))
    except UnpackError as error:
        raise _unreadable(partition, span, error) from error


def _unreadable(partition: int, span: Span, error: ValueError) -> BadBatch:
    return _bad(partition, span, f"cannot be read: {error}")


def _bad(partition: int, span: Span, problem: str) -> BadBatch:
    return BadBatch(
        problem, partition=partition, offset=span.base_offset, next_offset=span.next_offset
    )
