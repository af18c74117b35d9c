"""The values that travel from the log to a lookup.

A fetch response gives one `Fetched` a partition, which holds `Batch`es, which hold
records; the fold leaves at most one `Entry` a key.

`origin` packs the partition and the timestamp type into one integer.
"""

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final, NamedTuple, Protocol, TypeAlias

__all__ = [
    "HEADERS",
    "OFFSET",
    "ORIGIN",
    "TIMESTAMP",
    "VALUE",
    "Batch",
    "Entry",
    "Fetched",
    "Headers",
    "LogBounds",
    "Record",
    "origin_of",
    "partition_of",
    "timestamp_type_of",
    "weight_of",
]

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

# (value, origin, offset, timestamp in ms since the epoch) and, where the record has headers
# and the table keeps them, (..., headers).
Entry: TypeAlias = tuple[bytes, int, int, int] | tuple[bytes, int, int, int, Headers]

VALUE: Final = 0
ORIGIN: Final = 1
OFFSET: Final = 2
TIMESTAMP: Final = 3
HEADERS: Final = 4


def weight_of(entry: Entry) -> int:
    """Bytes of its value and of its kept headers."""
    headers = entry[HEADERS] if len(entry) > HEADERS else ()
    return len(entry[VALUE]) + sum(len(name) + len(value or b"") for name, value in headers)


def origin_of(partition: int, timestamp_type: int) -> int:
    """Pack a partition and Kafka's timestamp type (0 create time, 1 log append time)."""
    return partition << 1 | timestamp_type


def partition_of(origin: int) -> int:
    """The partition that an origin names."""
    return origin >> 1


def timestamp_type_of(origin: int) -> int:
    """Kafka's timestamp type that an origin names: 0 create time, 1 log append time."""
    return origin & 1


class Record(Protocol):
    """One record of the log, as the decoder yields it."""

    @property
    def offset(self) -> int:
        """Its slot in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the Unix epoch."""

    @property
    def key(self) -> bytes | None:
        """Key bytes; None: the record has no key and belongs to no table."""

    @property
    def value(self) -> bytes | None:
        """Value bytes; None: a tombstone."""

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """Header pairs; keys may repeat."""


class Batch(NamedTuple):
    """Records that stand together in one partition's log.

    `next_offset` is where the log goes on behind the batch, and may be past the last
    record: a batch keeps its offsets when compaction empties it, and the batches of
    transaction markers and of aborted transactions come with no records at all.

    `holes` tells that there were more records in it, which compaction has taken away.

    `records` comes from a fast decoder, which gives up on some that are sound. Where iterating
    it raises, `again` gives them all by a reader that has the last word.
    """

    records: Iterable[Record]
    origin: int
    base_offset: int
    next_offset: int
    again: Callable[[], Iterable[Record]] | None = None
    holes: bool = False

    def each(self) -> Iterator[Record]:
        """All records in order, by whichever reader can."""
        reached = self.base_offset
        try:
            for record in self.records:
                reached = record.offset + 1
                yield record
        except Exception:
            if self.again is None:
                raise
            yield from (record for record in self.again() if record.offset >= reached)


class LogBounds(NamedTuple):
    """The ends of one partition's log, as its leader told them; -1: not known."""

    log_start_offset: int = -1
    high_watermark: int = -1
    last_stable_offset: int = -1


class Fetched(NamedTuple):
    """One partition's part of a fetch response.

    Attributes:
        partition: which.
        batches: in offset order; decoded while they are iterated.
        bounds: the ends of the log when the leader answered.
        sent_at: when the request was sent (seconds, CLOCK_BOOTTIME).
        nothing_before: proof that [position, this) will never show a record; else None.
        size: bytes of the batches.
        arrived_at: when the response came (seconds, CLOCK_BOOTTIME).
    """

    partition: int
    batches: Iterator[Batch]
    bounds: LogBounds
    sent_at: float
    nothing_before: int | None
    size: int
    arrived_at: float = -inf
