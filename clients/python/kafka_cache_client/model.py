"""What the sidecar answers, as frozen values.

Keys and values are bytes, as on the topic. Offsets belong to a partition; times are
milliseconds. A `repr` shows keys and positions, never values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "Answer",
    "Page",
    "PartitionOffset",
    "Positions",
    "Presence",
    "Record",
    "State",
    "Table",
    "TableState",
]


class Presence(StrEnum):
    """What is known of a key. UNKNOWN only ever comes where the call allows partial answers."""

    FOUND = "FOUND"
    ABSENT = "ABSENT"
    UNKNOWN = "UNKNOWN"


class TableState(StrEnum):
    """Where a table stands. LIVE and STALE answer lookups; UNSPECIFIED is one we do not know."""

    UNSPECIFIED = "UNSPECIFIED"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    LIVE = "LIVE"
    STALE = "STALE"
    FAILED = "FAILED"
    REPLACED = "REPLACED"


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One live entry of a table, and the place on the topic that it came from.

    value: as on the topic, or UTF-8 JSON with ``encoding="json"``; None where the view leaves it
        out, and where it could not be decoded.
    headers: with ``view="full"``; a header's value may be null.
    decode_error: why the value could not be decoded; empty when it was, or needed not be.
    raw_value: the bytes that could not be decoded.
    """

    key: bytes
    value: bytes | None
    partition: int
    offset: int
    timestamp_ms: int
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    decode_error: str = ""
    raw_value: bytes | None = None

    def json(self) -> Any:
        """The value, read as JSON; ValueError where there is none, or it is not JSON."""
        if self.value is None:
            raise ValueError(self.decode_error or "the record was asked for without its value")
        return json.loads(self.value)

    def __repr__(self) -> str:
        value = "None" if self.value is None else f"<{len(self.value)} bytes>"
        return (
            f"Record(key={self.key!r}, value={value}, partition={self.partition}, "
            f"offset={self.offset}, timestamp_ms={self.timestamp_ms})"
        )


@dataclass(frozen=True, slots=True)
class PartitionOffset:
    """One slot of a topic-partition."""

    partition: int
    offset: int
    leader_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Positions:
    """One point in the topic: for every partition, the next offset to read."""

    next_offsets: tuple[PartitionOffset, ...]
    incarnation: int


@dataclass(frozen=True, slots=True)
class State:
    """Of what an answer is the truth.

    staleness_ms: since when the answer is known to be the topic's newest; None: not known.
    generation: the build of the table; another one after a rebuild or a restart.
    revision: changes since the generation began: both equal means the same table.
    incarnation: which life of the topic, by cluster and topic id.
    positions: only where the call asks for them.
    """

    staleness_ms: int | None
    generation: int
    revision: int
    incarnation: int
    positions: Positions | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one key; the record is there exactly when it was found."""

    presence: Presence
    record: Record | None
    state: State


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in key order, and of what they are the truth.

    Every page is read when it is asked for: two pages may show two revisions.
    """

    records: tuple[Record, ...]
    state: State
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the sidecar.

    reason: why it is in this state and what to do, in a sentence.
    staleness_ms, eta_ms: None while not known.
    required: whether the sidecar's readiness needs it.
    """

    name: str
    topic: str
    state: TableState
    reason: str
    entries: int
    staleness_ms: int | None
    eta_ms: int | None
    required: bool

    @property
    def ready(self) -> bool:
        """Whether it answers lookups."""
        return self.state in {TableState.LIVE, TableState.STALE}
