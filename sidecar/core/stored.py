"""How a table keeps an entry: as one bytes object.

It is the value, then where it came from (offset, timestamp, origin) in 24 bytes. Beside a
tuple of the same parts that is a third less memory an entry (265 B instead of 394 B at
16 B keys and 100 B values), and faster to fold, because an entry that is overwritten is
one object to free, not four. Taking it apart again costs a third of a microsecond. Kept
headers stand between the two, marshalled.

A tombstone has the same form, with a mark and no value. It is kept only where another
partition may hold the same key.
"""

import marshal
import struct
from itertools import islice
from typing import Final

from .model import Entry, Record, partition_of

__all__ = [
    "META",
    "ORIGIN_SHIFT",
    "entry_of",
    "is_of_another",
    "is_tombstone",
    "is_turned_away",
    "offset_of",
    "payload_of",
    "place_of",
    "rank_of",
    "source_of",
    "stored_of",
    "timestamp_of",
    "value_of",
]

# Offset, timestamp, and in one integer: origin, whether it is a tombstone, size of the headers.
META: Final = struct.Struct("<qqq")
ORIGIN_SHIFT: Final = 32
_TOMBSTONE: Final = 1 << 31
_SIZE_MASK: Final = _TOMBSTONE - 1
# Of a tombstone: the record has a value, which is not for the table.
_TURNED_AWAY: Final = 1 << 30
# Where that mark's byte stands, for a glance at it.
_MARK_AT, _TOMBSTONE_BYTE = -5, 0x7F
_ORIGIN_AT = -4


def stored_of(record: Record, origin: int, *, keep_headers: bool) -> bytes:
    """A record that has a key, as it is kept."""
    tail = origin << ORIGIN_SHIFT
    if record.value is None:
        turned_away = _TURNED_AWAY if getattr(record, "turned_away", False) else 0
        return META.pack(record.offset, record.timestamp, tail | _TOMBSTONE | turned_away)
    if not keep_headers or not record.headers:
        return record.value + META.pack(record.offset, record.timestamp, tail)
    headers = marshal.dumps(tuple(record.headers))
    return record.value + headers + META.pack(record.offset, record.timestamp, tail | len(headers))


def entry_of(stored: bytes) -> Entry:
    """Take apart what is no tombstone."""
    behind = len(stored) - META.size
    offset, timestamp, tail = META.unpack_from(stored, behind)
    origin, size = tail >> ORIGIN_SHIFT, tail & _SIZE_MASK
    if not size:
        return stored[:behind], origin, offset, timestamp
    headers = marshal.loads(stored[behind - size : behind])  # noqa: S302 (our own)
    return stored[: behind - size], origin, offset, timestamp, headers


def value_of(stored: bytes) -> bytes:
    """The value of what is no tombstone."""
    size = META.unpack_from(stored, len(stored) - META.size)[2] & _SIZE_MASK
    return stored[: len(stored) - META.size - size]


def is_tombstone(stored: bytes) -> bool:
    """Whether it stands for a key's removal."""
    return stored[_MARK_AT] > _TOMBSTONE_BYTE


def is_turned_away(stored: bytes) -> bool:
    """Whether it stands for a record whose value is not for the table."""
    tail: int = META.unpack_from(stored, len(stored) - META.size)[2]
    return is_tombstone(stored) and bool(tail & _TURNED_AWAY)


def timestamp_of(stored: bytes) -> int:
    """The timestamp of its record, milliseconds since the Unix epoch."""
    timestamp: int = META.unpack_from(stored, len(stored) - META.size)[1]
    return timestamp


def source_of(stored: bytes) -> int:
    """The partition that it came from."""
    tail: int = META.unpack_from(stored, len(stored) - META.size)[2]
    return partition_of(tail >> ORIGIN_SHIFT)


def is_of_another(stored: bytes | None, other: bytes) -> bool:
    """Whether it came from another partition than `other`; nothing comes from none."""
    # The last four bytes are the origin: where they are equal there is no need to look closer.
    if stored is None or stored[_ORIGIN_AT:] == other[_ORIGIN_AT:]:
        return False
    return source_of(stored) != source_of(other)


def place_of(stored: bytes) -> tuple[int, int, int]:
    """Partition, offset and timestamp of its record."""
    offset, timestamp, tail = META.unpack_from(stored, len(stored) - META.size)
    return partition_of(tail >> ORIGIN_SHIFT), offset, timestamp


def rank_of(stored: bytes) -> tuple[int, int]:
    """What decides between partitions: timestamp, then partition; the greatest holds."""
    _, timestamp, tail = META.unpack_from(stored, len(stored) - META.size)
    return timestamp, partition_of(tail >> ORIGIN_SHIFT)


def offset_of(stored: bytes) -> int:
    """The offset of its record."""
    offset: int = META.unpack_from(stored, len(stored) - META.size)[0]
    return offset


def payload_of(entries: dict[bytes, bytes], most: int) -> int:
    """Bytes of keys, values and kept headers, by a sample of `most` entries."""
    sample = list(islice(entries.items(), most))  # in one step, for other threads ask too
    weighed = sum(len(key) + len(stored) - META.size for key, stored in sample)
    return weighed * len(entries) // max(1, len(sample))
