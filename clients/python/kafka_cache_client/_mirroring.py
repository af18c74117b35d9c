"""What the mirrors for threads and for asyncio have in common: all but waiting and sending."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from ._pb import cache_pb2
from ._replica import Change, Replica, Wanted
from .errors import InvalidRequest, NotReady, Outdated, SidecarError, TooLarge
from .model import Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .model import Record

__all__ = ["Bound", "Mirroring", "wanted"]

log = logging.getLogger("kafka_cache_client")

LEAST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
ENCODINGS = {"raw": cache_pb2.ENCODING_RAW, "json": cache_pb2.ENCODING_JSON}


def wanted(
    table: str, prefix: bytes | str | None, encoding: str, progress: float, most: float | None
) -> Wanted:
    """Checked, or ValueError."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding: must be raw or json, not {encoding!r}")
    if progress <= 0:
        raise ValueError("progress: must be greater than 0")
    start = prefix.encode() if isinstance(prefix, str) else prefix or b""
    return Wanted(table, start, ENCODINGS[encoding], progress, most)


class Bound(NamedTuple):
    """By partition, the next offset; of which incarnation of the topic, 0: not known."""

    offsets: Mapping[int, int]
    incarnation: int


class Mirroring:
    """The records of a table, or of its keys with a prefix, in this process.

    One thread, or task, writes; any thread may read, and reading takes no lock.

    Attributes:
        callback_errors: how often `on_change` raised; each is logged, and the mirror goes on.
    """

    def __init__(self, what: Wanted, on_change: Callable[[Change], object] | None) -> None:
        self.callback_errors = 0
        self._replica = Replica(what)
        self._on_change = on_change
        self._pause = 0.0
        self._ended: SidecarError | None = None
        self._closed = False

    def __repr__(self) -> str:
        records = self._replica.records
        held = "none" if records is None else len(records)
        return f"<{type(self).__name__} records={held} staleness={self.staleness}>"

    # Lookups

    def get(self, key: bytes | str) -> Record | None:
        """The key's record; None means that the topic holds none.

        Raises:
            NotReady, Unavailable: nothing answers yet, or the topic is gone.
            NotFresh: it is older than max_staleness, or how old is not known.
            RuntimeError: it is closed.
        """
        return self._held().get(key.encode() if isinstance(key, str) else key)

    def __contains__(self, key: object) -> bool:
        """Whether the topic holds the key; raises as `get`."""
        return (key.encode() if isinstance(key, str) else key) in self._held()

    def __len__(self) -> int:
        """How many records there are; raises as `get`."""
        return len(self._held())

    def records(self) -> list[Record]:
        """All records as they are in one moment, in no order; raises as `get`."""
        return list(self._held().values())

    def _held(self) -> dict[bytes, Record]:
        if self._closed:
            raise RuntimeError("the mirror is closed")
        return self._replica.held()

    # How it stands

    @property
    def ready(self) -> bool:
        """Lookups are answered."""
        return self._replica.records is not None and not self._closed

    @property
    def staleness(self) -> float | None:
        """Seconds since the records were known to be the topic's newest; None: not known.

        While the sidecar is gone it grows.
        """
        return self._replica.staleness()

    @property
    def positions(self) -> Positions | None:
        """How far the topic is in the records for certain, as of the last progress mark."""
        return self._replica.positions

    @property
    def failure(self) -> SidecarError | None:
        """Why nothing new comes; None: it does."""
        return self._replica.failure

    # What the writer does

    def _take(self, response: cache_pb2.WatchResponse) -> None:
        if self._replica.failure is not None and self._pause:
            log.info("mirror of table %r goes on", self._replica.wanted.table)
        self._pause = 0.0
        for change in self._replica.take(response):
            self._tell(change)

    def _tell(self, change: Change) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(change)
        except Exception:
            self.callback_errors += 1
            log.exception("mirror: on_change failed")

    def _failed(self, error: SidecarError) -> float | None:
        """Seconds after which to try again; None: that cannot help, or is not wanted any more."""
        if self._closed:
            return None
        self._replica.fail(error)
        if isinstance(error, InvalidRequest | TooLarge):
            self._end(error)
            return None
        if not self._pause:
            log.warning("mirror of table %r: %s", self._replica.wanted.table, error)
        self._pause = min(LONGEST_PAUSE, max(LEAST_PAUSE, 2 * self._pause))
        return self._pause * random.uniform(0.5, 1)  # noqa: S311 (no secret)

    def _broke(self, error: Exception) -> None:
        """A fault of our own: what is here may not be the table."""
        log.error("mirror of table %r broke", self._replica.wanted.table, exc_info=error)
        failure = SidecarError(f"the mirror itself is at fault: {error!r}")
        self._replica.fail(failure)
        self._end(failure)

    def _end(self, error: SidecarError) -> None:
        self._replica.records, self._ended = None, error
        log.error("mirror of table %r ends: %s", self._replica.wanted.table, error)

    def _question(self) -> Any:
        """What is asked to know how fresh the records are."""
        return cache_pb2.GetRequest(
            table=self._replica.wanted.table, key=b"", view=cache_pb2.VIEW_KEY
        )

    def _why(self, timeout: float, what: str) -> SidecarError:
        """Why a wait was given up."""
        failure = self._replica.failure
        told = f": {failure.message}" if failure else ""
        return NotReady(
            f"{what} after {timeout:g} s{told}", reason=failure.reason if failure else "NOT_READY"
        )

    def _bound(self, positions: Positions | Mapping[int, int]) -> Bound:
        """What is waited for; offsets alone belong to the topic as it is known now."""
        if isinstance(positions, Positions):
            slots = {slot.partition: slot.offset for slot in positions.next_offsets}
            return Bound(slots, positions.incarnation)
        known = self._replica.positions
        return Bound(positions, known.incarnation if known else 0)

    def _reached(self, bound: Bound) -> bool:
        self._fatal()
        known = self._replica.positions
        if known and bound.incarnation and known.incarnation != bound.incarnation:
            raise Outdated(
                f"the mirror holds incarnation {known.incarnation} of the topic, the positions "
                f"belong to {bound.incarnation}: they say nothing of this one",
                reason="INCARNATION_MISMATCH",
            )
        return self._replica.reached(bound.offsets)

    def _answers(self) -> bool:
        self._fatal()
        try:
            self._replica.held()
        except SidecarError:
            return False
        return True

    def _fatal(self) -> None:
        if self._closed:
            raise RuntimeError("the mirror is closed")
        if self._ended is not None:
            raise self._ended
