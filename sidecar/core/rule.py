"""Which records a table takes, and how much of each.

A rule turns each record of the log into one other, and the table is the fold of those:
``fold(map(rule, log))``. So everything that holds of a fold holds of a table with a rule, and
whoever reads the log to compare it with the table looks at it through the same rule.

======================================  ============================================
the record                              what the table is told
======================================  ============================================
its key is not the table's              a record without a key, which belongs to none
its value is, or was too long ago,      a tombstone: what the key had before is no
not the table's                         longer true either
else                                    the record, with the part of the value that
                                        the table keeps
======================================  ============================================

A rule looks at one record and at the time, at nothing else: every sidecar decides the same.
What a value is, `formats` knows; here it is told by a function.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from math import inf
from typing import NamedTuple

from .counters import Counters
from .model import Batch, Fetched, Record

__all__ = ["Load", "Rule", "Ruled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a table's owner wants of its topic.

    Attributes:
        strip_schema_id: the five bytes that a schema registry's serializer puts before a key
            are no part of it.
        key_prefix: only keys that begin so (without those bytes).
        path: only values in which this JSON path finds something; empty: any.
        any_of: and finds one of these, as JSON.
        project: only these fields of the value, as JSON paths; none: the value as it is.
        expire_after_ms: only records that are younger; None: of any age.
    """

    strip_schema_id: bool = False
    key_prefix: bytes = b""
    path: str = ""
    any_of: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    expire_after_ms: int | None = None

    def __bool__(self) -> bool:
        """It wants anything but all as it is."""
        return self != Load()

    @property
    def looks_inside(self) -> bool:
        """What a table holds depends on the format of its values."""
        return bool(self.path or self.project)

    def __str__(self) -> str:
        """All that differs from the default, always in the same words."""
        default = Load()
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return " ".join(f"{n}={v!r}" for n, v in values if v != getattr(default, n))


class Ruled(NamedTuple):
    """A record as a rule leaves it.

    Attributes:
        turned_away: its key had a value, which is not for the table.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012 (never changed)
    turned_away: bool = False


class Rule:
    """One table's rule.

    Args:
        key: the table's key of a record's; None: it is not the table's.
        value: what the table keeps of a value; None: it is not the table's.
        expire_after_ms: records that are older are not the table's; None: of any age are.
        now_ms: the time, milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        *,
        key: Callable[[bytes], bytes | None] | None = None,
        value: Callable[[bytes], bytes | None] | None = None,
        expire_after_ms: int | None = None,
        now_ms: Callable[[], int],
    ) -> None:
        self._key = key
        self._value = value
        self._now_ms = now_ms
        self.expire_after_ms = expire_after_ms

    def fetched(self, fetched: Fetched, counters: Counters) -> Fetched:
        """A part of the log as the table is told it; `counters`: of what is turned away."""
        batches = (self._batch(batch, counters) for batch in fetched.batches)
        return fetched._replace(batches=batches)

    def _batch(self, batch: Batch, counters: Counters) -> Batch:
        again = batch.again
        return batch._replace(
            records=self.records(batch.records, counters),
            again=None if again is None else lambda: self.records(again(), counters),
        )

    def records(self, records: Iterable[Record], counters: Counters) -> Iterator[Record]:
        """Records of one batch as the table is told them; as many, at the same offsets.

        The table counts what it is told: of what is turned away that is taken back here.
        """
        oldest, of_key, of_value = self.oldest_ms(), self._key, self._value
        for record in records:
            key, value = record.key, record.value
            if key is not None and of_key is not None:
                key = of_key(key)
                if key is None:
                    counters.turned_away += 1
                    counters.null_keys -= 1
            if key is not None and value is not None:
                old = 0 <= record.timestamp < oldest
                value = None if old else of_value(value) if of_value else value
                if value is None:
                    counters.turned_away += 1
                    counters.records -= 1
                    counters.tombstones -= 1
                    yield Ruled(record.offset, record.timestamp, key, None, turned_away=True)
                    continue
            yield Ruled(record.offset, record.timestamp, key, value, record.headers)

    def ages_within(self, timestamp: int, span_ms: int) -> bool:
        """A record of this time is too old, or will be so within a span."""
        return 0 <= timestamp < self.oldest_ms() + span_ms

    def oldest_ms(self) -> float:
        """A record's timestamp may not be below this; one that has none is of no age."""
        return -inf if self.expire_after_ms is None else self._now_ms() - self.expire_after_ms
