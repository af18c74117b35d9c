"""A table in the application's own memory, without any I/O: what a Watch tells, put together.

The sidecar sends what there is, then that this is the end of it, then each change as it was
made. So the records are, after each change, exactly the table at one of its revisions. A
snapshot is put together beside what answers, and takes its place as a whole where it ends: half
of one never answers.

How old that is cannot be told from when a message came, for it may have waited in a socket. So
the sidecar is asked now and then of which revision it is and how fresh: once the replica has come
to that revision, it is as fresh as that was when the question was sent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from . import _wire
from ._pb import cache_pb2
from .errors import NotFresh, NotReady, SidecarError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .model import Positions, Record

__all__ = ["Change", "Replica", "Wanted", "now"]

GONE = frozenset({"TOPIC_REPLACED", "TOPIC_MISSING"})
DELIVERY = cache_pb2.DELIVERY_EVERY_CHANGE


class Change(NamedTuple):
    """A key's record was `old` and is `new`; None: there was, or is, none."""

    key: bytes
    old: Record | None
    new: Record | None


class Wanted(NamedTuple):
    """What is mirrored: a table, keys with a prefix, how often progress is told (seconds)."""

    table: str
    prefix: bytes
    encoding: int
    progress: float
    max_staleness: float | None


def now() -> float:
    """Seconds that go on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Replica:
    """The records, and of what they are the truth.

    Attributes:
        records: by key; None: nothing answers, and `failure` says why.
        failure: the last one; None: there was none since something was heard.
        positions: of the last mark; None: none came yet.
        marks: how many came.
    """

    def __init__(self, wanted: Wanted, clock: Callable[[], float] = now) -> None:
        self.wanted = wanted
        self.records: dict[bytes, Record] | None = None
        self.failure: SidecarError | None = NotReady("nothing was read yet", reason="NOT_READY")
        self.positions: Positions | None = None
        self.marks = 0
        self._clock = clock
        self._last: dict[bytes, Record] = {}
        self._building: dict[bytes, Record] | None = None
        self._token = ""
        self._at = (0, 0)  # generation and revision of the last mark
        self._generation = 0
        self._fresh_as_of: float | None = None
        self._asked: tuple[tuple[int, int], float] | None = None

    # What goes in

    def request(self) -> cache_pb2.WatchRequest:
        """How to go on: behind the last token, or with a snapshot."""
        wanted = self.wanted
        request = cache_pb2.WatchRequest(
            table=wanted.table,
            view=cache_pb2.VIEW_FULL,
            encoding=wanted.encoding,  # type: ignore[arg-type]  # the number
            delivery=DELIVERY,
            progress_interval_ms=max(1, round(wanted.progress * 1000)),
        )
        if wanted.prefix:
            request.filter.key_prefix = wanted.prefix
        if self._token:
            request.resume_token = self._token
            self._building = None
        else:
            request.snapshot.SetInParent()
            self._building = {}
        return request

    def take(self, response: cache_pb2.WatchResponse) -> Iterable[Change]:
        """What a response changes."""
        self.failure = None
        self._generation = response.generation or self._generation
        changes: list[Change] = []
        for event in response.events:
            changes += self._event(event)
        self._token = response.resume_token or self._token
        return changes

    def _event(self, event: cache_pb2.WatchEvent) -> Iterable[Change]:
        kind = event.WhichOneof("event")
        if kind == "upsert":
            return self._put(event.upsert.key, _wire.record(event.upsert))
        if kind == "deletion":
            return self._put(event.deletion.key, None)
        if kind == "snapshot_end":
            changes = self._whole()
            self._mark(event.snapshot_end)
            return changes
        if kind == "progress":
            self._mark(event.progress)
            return ()
        raise Unsupported(f"the sidecar sends events that this client does not know ({kind})")

    def _put(self, key: bytes, record: Record | None) -> Iterable[Change]:
        held = self.records if self._building is None else self._building
        assert held is not None, "changes come behind a snapshot"  # noqa: S101
        old = held.get(key) if record is not None else held.pop(key, None)
        if record is not None:
            held[key] = record
        return () if self._building is not None else (Change(key, old, record),)

    def _whole(self) -> list[Change]:
        """The snapshot takes the place of what was there; the difference."""
        before, after = self._last, self._building or {}
        changes = [
            Change(key, before.get(key), record)
            for key, record in after.items()
            if before.get(key) != record
        ]
        changes += [Change(key, old, None) for key, old in before.items() if key not in after]
        self.records = self._last = after
        self._building = self._fresh_as_of = None
        return changes

    def _mark(self, progress: cache_pb2.WatchProgress) -> None:
        self.positions = _wire.positions(progress.positions)
        self._at = (self._generation, progress.revision)
        self.marks += 1
        self._refresh()

    def answered(self, state: cache_pb2.State, asked_at: float) -> None:
        """The sidecar told of which revision it is, and how fresh, when it was asked."""
        waiting = self._asked
        if waiting is not None and waiting[0][0] == state.generation:
            return  # asked of one that is behind all the time: a later answer would never be met
        if state.HasField("staleness_ms"):
            as_of = asked_at - state.staleness_ms / 1000
            self._asked = (state.generation, state.revision), as_of
            self._refresh()

    def _refresh(self) -> None:
        asked = self._asked
        if asked is None:
            return
        (generation, revision), as_of = asked
        if self.records is not None and self._at[0] == generation and self._at[1] >= revision:
            self._fresh_as_of = max(as_of, self._fresh_as_of or as_of)
            self._asked = None

    def fail(self, error: SidecarError) -> None:
        """It cannot go on for now; or not behind the token, or not at all with what it has."""
        self.failure = error
        if error.reason in {"RESUME_EXPIRED", "BAD_TOKEN"}:
            self._token = ""
        if error.reason in GONE:
            self._token, self.records, self._fresh_as_of = "", None, None

    # What comes out

    def held(self) -> dict[bytes, Record]:
        """The records; raises where nothing answers, or not what is fresh enough."""
        records = self.records
        if records is None:
            raise self.failure or NotReady("the snapshot is not whole yet", reason="NOT_READY")
        most = self.wanted.max_staleness
        if most is not None:
            age = self.staleness()
            if age is None or age > most:
                told = "is not known" if age is None else f"is {age:.3f} s"
                raise NotFresh(f"staleness {told}, the bound is {most} s", reason="NOT_FRESH")
        return records

    def staleness(self) -> float | None:
        """Seconds since the records were known to be the topic's newest; None: not known."""
        as_of = self._fresh_as_of
        return None if as_of is None else max(0.0, self._clock() - as_of)

    def reached(self, positions: Mapping[int, int]) -> bool:
        """All before these positions (by partition, the next offset) is in the records."""
        if self.positions is None or self.records is None:
            return False
        known = {slot.partition: slot.offset for slot in self.positions.next_offsets}
        return all(known.get(number, -1) >= offset for number, offset in positions.items())
