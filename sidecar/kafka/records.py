"""The records of one batch, read without trusting a byte of them.

aiokafka's decoder is many times faster and reads nearly every batch. Where it gives up,
this one reads on and has the last word: header keys that are no UTF-8 are kept, as
``surrogateescape`` spells them, for Kafka itself does not care; what makes no sense is
named.

Kafka's documentation gives the form (numbers are zig-zag varints)::

    Record => length attributes:int8 timestampDelta offsetDelta
              keyLength key valueLength value headersCount [Header]
    Header => keyLength key valueLength value
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["Frame", "ParsedRecord", "RecordError", "parse_records"]

_MOST_BITS: Final = 63
_U64: Final = 1 << 64
_I64: Final = 1 << 63
_SMALLEST_HEADER: Final = 2


class RecordError(ValueError):
    """Bytes that are not the records that their batch promises."""


class ParsedRecord(NamedTuple):
    """A `core.model.Record`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Frame(NamedTuple):
    """What a batch's header says of its records.

    `append_timestamp` is that of all of them where the log's append time counts.
    """

    records: int
    base_offset: int
    next_offset: int
    base_timestamp: int
    append_timestamp: int | None


def parse_records(data: memoryview, frame: Frame) -> Iterator[ParsedRecord]:
    """Read a batch's records.

    Args:
        data: all of them, not compressed.
        frame: the header's part.

    Raises:
        RecordError: while iterating, behind all that is good.
    """
    at = 0
    for place in range(frame.records):
        try:
            at, end = _bounds(data, at)
            yield _record(data, at, end, frame)
        except RecordError as error:
            raise RecordError(f"record {place + 1} of {frame.records}: {error}") from error
        at = end
    if frame.records < 0 or at != len(data):
        raise RecordError(f"{len(data) - at} bytes are left behind {frame.records} records")


def _bounds(data: memoryview, at: int) -> tuple[int, int]:
    length, at = _varint(data, at, len(data))
    if not 0 <= length <= len(data) - at:
        raise RecordError(f"its length ({length}) makes no sense")
    return at, at + length


def _record(data: memoryview, at: int, end: int, frame: Frame) -> ParsedRecord:
    at += 1  # attributes: none are in use
    timestamp_delta, at = _varint(data, at, end)
    offset_delta, at = _varint(data, at, end)
    offset = frame.base_offset + offset_delta
    if not frame.base_offset <= offset < frame.next_offset:
        raise RecordError(f"offset {offset} is not one of its batch")
    timestamp = frame.append_timestamp
    if timestamp is None:
        timestamp = frame.base_timestamp + timestamp_delta
    if not -_I64 <= timestamp < _I64:
        raise RecordError("its timestamp makes no sense")
    key, at = _sized(data, at, end)
    value, at = _sized(data, at, end)
    headers, at = _headers(data, at, end)
    if at != end:
        raise RecordError(f"{end - at} bytes are left in it")
    return ParsedRecord(offset, timestamp, key, value, headers)


def _headers(data: memoryview, at: int, end: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = _varint(data, at, end)
    if not 0 <= count <= (end - at) // _SMALLEST_HEADER:
        raise RecordError(f"it cannot have {count} headers")
    headers = []
    for _ in range(count):
        key, at = _sized(data, at, end)
        if key is None:
            raise RecordError("a header has no key")
        value, at = _sized(data, at, end)
        headers.append((key.decode("utf-8", "surrogateescape"), value))
    return headers, at


def _sized(data: memoryview, at: int, end: int) -> tuple[bytes | None, int]:
    """Bytes behind their length; a negative one stands for null."""
    length, at = _varint(data, at, end)
    if length < 0:
        return None, at
    if length > end - at:
        raise RecordError(f"{length} bytes do not fit into it")
    return bytes(data[at : at + length]), at + length


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    number = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte <= 0x7F:
            if number >= _U64:
                break
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > _MOST_BITS:
            break
    raise RecordError("it ends inside a number, or a number is too long")
