"""From entries to the contract's messages.

For each view there is one function that fills a record in place: setting the fields of
a message that is part of the response already costs half of building one and copying
it in. It returns how many payload bytes it put there, so that the size of a response
is known while it is built, without serializing it.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from .._pb import cache_pb2 as pb
from ..core.model import HEADERS, OFFSET, ORIGIN, TIMESTAMP, VALUE, Entry
from ..core.progress import Progress
from ..core.view import Reading
from ..formats import Decoder

__all__ = [
    "FILLS",
    "RECORD_OVERHEAD_BYTES",
    "Fill",
    "fill_positions",
    "fill_state",
    "json_fill",
]

# Fills a record from a key and its entry, and returns the payload bytes in it.
Fill: TypeAlias = Callable[[pb.Record, bytes, Entry], int]

# At most this many bytes of a record, or of a result that holds one, are not payload.
RECORD_OVERHEAD_BYTES: Final = 80
_HEADER_OVERHEAD_BYTES: Final = 24
_MAX_U32: Final = (1 << 32) - 1


def _fill_key(record: pb.Record, key: bytes, _: Entry) -> int:
    record.key = key
    return len(key)


def _fill_meta(record: pb.Record, key: bytes, entry: Entry) -> int:
    record.key = key
    origin = entry[ORIGIN]
    record.partition = origin >> 1
    record.offset = entry[OFFSET]
    record.timestamp_ms = entry[TIMESTAMP]
    record.timestamp_type = (origin & 1) + 1  # type: ignore[assignment]  # Kafka: 0 is create time
    return len(key)


def _fill_record(record: pb.Record, key: bytes, entry: Entry) -> int:
    value = entry[VALUE]
    record.value = value
    return _fill_meta(record, key, entry) + len(value)


def _fill_full(record: pb.Record, key: bytes, entry: Entry) -> int:
    return _fill_record(record, key, entry) + _fill_headers(record, entry)


def _fill_headers(record: pb.Record, entry: Entry) -> int:
    size = 0
    for name, value in entry[HEADERS] if len(entry) > HEADERS else ():
        header = record.headers.add(key=name.encode("utf-8", "surrogateescape"))
        if value is not None:
            header.value = value
        size += _HEADER_OVERHEAD_BYTES + header.ByteSize()
    return size


# By the number of ``View``.
FILLS: Final[Mapping[int, Fill]] = {
    pb.VIEW_UNSPECIFIED: _fill_record,
    pb.VIEW_KEY: _fill_key,
    pb.VIEW_META: _fill_meta,
    pb.VIEW_RECORD: _fill_record,
    pb.VIEW_FULL: _fill_full,
}


def json_fill(view: int, decoder: Decoder, generation: int) -> Fill:
    """Fill a view's record, its value as JSON.

    A value that is not of the table's format stays readable: the record has the reason
    and the raw bytes instead.
    """
    if view in (pb.VIEW_KEY, pb.VIEW_META):
        return FILLS[view]

    def fill(record: pb.Record, key: bytes, entry: Entry) -> int:
        size = _fill_meta(record, key, entry)
        decoded = decoder(generation, entry)
        if decoded.json is not None:
            record.value = decoded.json
            size += len(decoded.json)
        else:
            record.decode_error = decoded.error
            record.raw_value = entry[VALUE]
            size += len(decoded.error) + len(entry[VALUE])
        return size + _fill_headers(record, entry) if view == pb.VIEW_FULL else size

    return fill


def fill_state(state: pb.State, reading: Reading) -> None:
    """Say of what an answer is the truth."""
    if reading.staleness_ms is not None:
        state.staleness_ms = min(reading.staleness_ms, _MAX_U32)
    state.incarnation = reading.incarnation
    state.generation = reading.generation
    state.revision = reading.revision


def fill_positions(
    positions: pb.Positions, incarnation: int, progresses: Mapping[int, Progress]
) -> None:
    """Say how far a table has been read."""
    positions.incarnation = incarnation
    for progress in sorted(progresses.values(), key=lambda known: known.partition):
        slot = positions.next_offsets.add(partition=progress.partition, offset=progress.position)
        if progress.leader.epoch >= 0:
            slot.leader_epoch = progress.leader.epoch
