"""Compressed record batches, unpacked with a limit.

A zstd batch of 15 KB can unpack to a gigabyte, and no codec says beforehand how much it
will be, save snappy. So each is unpacked into memory that is set aside first: a few times
the packed size, which is enough for nearly all, and four times as much again when it was
not, up to the limit. What does not fit there is refused, and nothing was set aside
beyond it.

Snappy comes in two forms: plain, as Kafka's own C clients write it, and in the blocks of
the xerial library, as Java does. Every block says its size.
"""

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

import cramjam

__all__ = ["CODECS", "UnpackError", "unpack"]

# By the number in a batch's attributes.
CODECS: Final = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}

_Into: TypeAlias = Callable[[memoryview, memoryview], int]
_INTO: Final[dict[str, _Into]] = {
    "gzip": cramjam.gzip.decompress_into,
    "lz4": cramjam.lz4.decompress_into,
    "zstd": cramjam.zstd.decompress_into,
}
# What cramjam says when the memory was too small, and nothing else is known to be wrong.
_FULL = "failed to write whole buffer"

_FIRST_FACTOR, _GROWTH, _LEAST = 8, 4, 1 << 14
# aiokafka's decoder looks a few numbers ahead before it checks: it finds zeros there.
_BEHIND = 64

_XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
_BLOCK = struct.Struct(">i")


class UnpackError(ValueError):
    """Bytes that are not what their codec makes, or too many; says which, as a half-sentence."""


def unpack(codec: int, packed: memoryview, *, limit: int, head: bytes = b"") -> memoryview:
    """Unpack a batch's records.

    Args:
        codec: its number, of `CODECS`.
        packed: what the codec made.
        limit: bytes that it may be unpacked.
        head: to stand before them.

    Raises:
        UnpackError: it would be more than `limit`, or cannot be read.
    """
    name = CODECS.get(codec)
    if name is None:
        raise UnpackError(f"compression codec {codec} is not known")
    try:
        if name == "snappy":
            return _snappy(packed, limit, head)
        return _stream(name, packed, limit, head)
    except cramjam.DecompressionError as error:
        raise UnpackError(f"it is not what {name} makes: {error}") from error


def _stream(name: str, packed: memoryview, limit: int, head: bytes) -> memoryview:
    size = max(_LEAST, len(packed) * _FIRST_FACTOR)
    while True:
        unpacked = _try(_INTO[name], packed, min(size, limit), head)
        if unpacked is not None:
            return unpacked
        if size >= limit:
            raise _too_large(name, limit)
        size *= _GROWTH


def _try(into: _Into, packed: memoryview, size: int, head: bytes) -> memoryview | None:
    room = _room(size, head)
    try:
        return room[: len(head) + into(packed, room[len(head) : len(head) + size])]
    except cramjam.DecompressionError as error:
        if str(error) != _FULL:
            raise
    return None


def _snappy(packed: memoryview, limit: int, head: bytes) -> memoryview:
    blocks = _blocks(packed)
    sizes = [cramjam.snappy.decompress_raw_len(block) for block in blocks]
    size = sum(sizes)
    if size > limit:
        raise _too_large("snappy", limit)
    room = _room(size, head)
    at = len(head)
    for block, length in zip(blocks, sizes, strict=True):
        at += cramjam.snappy.decompress_raw_into(block, room[at : at + length])
    return room[:at]


def _blocks(packed: memoryview) -> list[memoryview]:
    if len(packed) <= len(_XERIAL) or packed[: len(_XERIAL)] != _XERIAL:
        return [packed]
    blocks, at = [], len(_XERIAL)
    while at < len(packed):
        if len(packed) - at < _BLOCK.size:
            raise UnpackError("a snappy block is cut off")
        (length,) = _BLOCK.unpack_from(packed, at)
        at += _BLOCK.size
        if not 0 < length <= len(packed) - at:
            raise UnpackError(f"a snappy block of {length} bytes makes no sense")
        blocks.append(packed[at : at + length])
        at += length
    return blocks


def _room(size: int, head: bytes) -> memoryview:
    room = bytearray(len(head) + size + _BEHIND)
    room[: len(head)] = head
    return memoryview(room)


def _too_large(name: str, limit: int) -> UnpackError:
    return UnpackError(
        f"{name} would unpack it to more than {limit} bytes (limits.batch_bytes); raise that "
        "limit, and the memory with it, if such batches are meant"
    )
