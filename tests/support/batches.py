"""Record batches of format v2, built byte by byte, right ones and wrong ones.

    baseOffset 0..8 | batchLength ..12 | partitionLeaderEpoch ..16 | magic ..17
    crc ..21 | attributes ..23 | lastOffsetDelta ..27 | baseTimestamp ..35
    maxTimestamp ..43 | producerId ..51 | producerEpoch ..53 | baseSequence ..57
    recordCount ..61 | records

The CRC-32C covers everything after itself, so the base offset and the leader
epoch may be changed in a finished batch, as brokers do.
"""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["CODECS", "Rec", "batch", "batch_range", "crc32c", "marker", "rebased", "varint"]

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_TAIL = struct.Struct(">hiqqqhii")


class Rec(NamedTuple):
    """A record to put into a batch; header keys are bytes, so they may be no UTF-8."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    timestamp_ms: int | None = None
    delta: int | None = None
    """Its offset less the base offset; its place in the batch unless given."""


def batch(
    records: Iterable[Rec | tuple[bytes | None, bytes | None]],
    *,
    base_offset: int = 0,
    leader_epoch: int = 0,
    codec: str = "none",
    compress: Callable[[bytes], bytes] | None = None,
    timestamp_ms: int = 1_700_000_000_000,
    append_time: bool = False,
    producer_id: int = -1,
    producer_epoch: int | None = None,
    base_sequence: int = -1,
    transactional: bool = False,
    control: bool = False,
    last_offset_delta: int | None = None,
    record_count: int | None = None,
    wrong_crc: bool = False,
) -> bytes:
    """Build a batch. `compress` packs for codecs other than gzip; a count may be a lie."""
    listed = [Rec(*record) for record in records]
    deltas = [place if rec.delta is None else rec.delta for place, rec in enumerate(listed)]
    stamps = [timestamp_ms if rec.timestamp_ms is None else rec.timestamp_ms for rec in listed]
    body = b"".join(
        _record(rec, delta, stamp - timestamp_ms)
        for rec, delta, stamp in zip(listed, deltas, stamps, strict=True)
    )
    if codec != "none":
        body = (compress or gzip.compress)(body)
    last = last_offset_delta if last_offset_delta is not None else max(deltas, default=0)
    attributes = CODECS[codec] | append_time << 3 | transactional << 4 | control << 5
    epoch = producer_epoch if producer_epoch is not None else (0 if producer_id >= 0 else -1)
    count = len(listed) if record_count is None else record_count
    tail = _TAIL.pack(
        attributes, last, timestamp_ms, max(stamps, default=timestamp_ms),
        producer_id, epoch, base_sequence, count,
    ) + body  # fmt: skip
    crc = crc32c(tail) ^ (0xFFFF if wrong_crc else 0)
    return struct.pack(">qiibI", base_offset, len(tail) + 9, leader_epoch, 2, crc) + tail


def marker(producer_id: int, *, commit: bool, base_offset: int = 0, leader_epoch: int = 0) -> bytes:
    """Build the control batch that ends a transaction."""
    record = Rec(struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, 0))
    return batch(
        [record], base_offset=base_offset, leader_epoch=leader_epoch,
        producer_id=producer_id, transactional=True, control=True,
    )  # fmt: skip


def batch_range(data: bytes) -> tuple[int, int]:
    """Give a batch's first and last offset."""
    base, last = struct.unpack_from(">q", data)[0], struct.unpack_from(">i", data, 23)[0]
    return base, base + last


def rebased(data: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """Give the batch with another base offset and leader epoch."""
    return struct.pack(">q", base_offset) + data[8:12] + struct.pack(">i", leader_epoch) + data[16:]


def varint(number: int) -> bytes:
    """Zig-zag encode a number."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def _record(rec: Rec, delta: int, stamp_delta: int) -> bytes:
    headers = b"".join(_sized(key) + _sized(value) for key, value in rec.headers)
    body = (
        b"\0" + varint(stamp_delta) + varint(delta) + _sized(rec.key) + _sized(rec.value)
        + varint(len(rec.headers)) + headers
    )  # fmt: skip
    return varint(len(body)) + body


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC, which v2 batches carry."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
