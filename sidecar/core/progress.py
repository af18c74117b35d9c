"""How far one partition's view has come.

The *target* is the high watermark as it stood when the generation began. The
partition is caught up once its *position* (the next offset to fetch) reaches it.
Comparing the last record's offset instead would never finish: the slots before the
end may hold a transaction marker, an aborted record, or nothing at all after
compaction.

A partition is *fresh as of* the send time of the latest request whose high watermark
the position has since reached: at that moment the leader had nothing more to give.
The send time, not the arrival: a response may have waited in the socket of a process
that was paused. Two marks are enough to know it, without keeping one a response: the
oldest that is not reached yet, and the newest. What lies between them could only have
made the answer fresher than stated, never staler.

An open transaction holds the last stable offset below the target. That is a wait
with a name, and it is bounded: `without_open_transaction` takes the last stable
offset for the target. The high watermark is not reached by that, so staleness stays
unknown until the transaction ends.

This module does no I/O and reads no clock.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from .model import LogBounds

__all__ = ["Leader", "Mark", "Progress", "Wait", "Waiting"]


class Wait(IntEnum):
    """What a partition waits for; the numbers are those of ``PartitionWait``."""

    NOTHING = 0
    LEADER = 1
    BROKER = 2
    OPEN_TRANSACTION = 3
    BAD_BATCH = 4
    QUOTA = 5
    CONFIRMING = 6
    AUTHORIZATION = 7


class Waiting(NamedTuple):
    """A wait, since when (seconds), and the sentence that explains it."""

    wait: Wait = Wait.NOTHING
    since: float = 0.0
    detail: str = ""


class Leader(NamedTuple):
    """Who leads a partition; -1: nobody, or not known."""

    node: int = -1
    epoch: int = -1


class Mark(NamedTuple):
    """A high watermark and when the request that told it was sent (seconds)."""

    high_watermark: int
    sent_at: float


_UNKNOWN = LogBounds()
_NOBODY = Leader()
_NOTHING = Waiting()


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition's way to its target and along the log's end."""

    partition: int
    position: int
    target: int
    bounds: LogBounds = _UNKNOWN
    leader: Leader = _NOBODY
    waiting: Waiting = _NOTHING
    marks: tuple[Mark, ...] = ()
    fresh_as_of: float | None = None

    @property
    def caught_up(self) -> bool:
        """The position has reached the target."""
        return self.position >= self.target

    @property
    def lag(self) -> int:
        """Offsets between the position and the high watermark: an upper bound on records."""
        return max(0, self.bounds.high_watermark - self.position)

    @property
    def held_by_transaction(self) -> bool:
        """All below the last stable offset is read; an open transaction holds back the rest."""
        _, high_watermark, last_stable = self.bounds
        return 0 <= last_stable <= self.position and last_stable < high_watermark

    def advanced(self, position: int) -> "Progress":
        """The position moved; it never goes back."""
        return _settle(replace(self, position=max(self.position, position)))

    def answered(self, bounds: LogBounds, sent_at: float) -> "Progress":
        """The leader told the ends of the log, asked at `sent_at` (seconds)."""
        if bounds.high_watermark < 0:  # not known: nothing can be as new as that
            return replace(self, bounds=bounds)
        newest = Mark(bounds.high_watermark, sent_at)
        return _settle(replace(self, bounds=bounds, marks=(*self.marks[:1], newest)))

    def led_by(self, leader: Leader) -> "Progress":
        """Another leader, or another term of one: what an older one marked no longer counts."""
        return self if leader == self.leader else replace(self, leader=leader, marks=())

    def waits(self, wait: Wait, now: float, detail: str = "") -> "Progress":
        """The partition waits, from now on unless it did so already."""
        if wait is self.waiting.wait:
            if detail == self.waiting.detail:
                return self
            return replace(self, waiting=self.waiting._replace(detail=detail))
        return replace(self, waiting=Waiting(wait, now, detail))

    def without_open_transaction(self) -> "Progress":
        """Take the last stable offset for the target."""
        return replace(self, target=min(self.target, self.bounds.last_stable_offset))


def _settle(progress: Progress) -> Progress:
    """Drop the marks that the position has reached; the newest of them is the freshness."""
    position, fresh_as_of = progress.position, progress.fresh_as_of
    reached = [mark.sent_at for mark in progress.marks if mark.high_watermark <= position]
    if not reached:
        return progress
    left = tuple(mark for mark in progress.marks if mark.high_watermark > position)
    newest = max(reached) if fresh_as_of is None else max(fresh_as_of, *reached)
    return replace(progress, marks=left, fresh_as_of=newest)
