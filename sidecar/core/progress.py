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

Just after an election the new leader's high watermark may be below what was
acknowledged (KIP-207), so reaching it would prove nothing. ListOffsets answers
OFFSET_NOT_AVAILABLE for so long: only requests sent after it told the end count. It
is asked for at each new term, so a mark of an older term never counts either,
whenever its answer is folded. A high watermark below the position is then no
truncation; the log itself may have been cut, though, and while the partition is not
caught up the target becomes the lesser of itself and the new leader's end.

An open transaction holds the last stable offset below the target. That is a wait
with a name, and it is bounded: `without_open_transaction` takes the last stable
offset for the target. The high watermark is not reached by that, so staleness stays
unknown until the transaction ends. `held_since` outlasts other waits that come in
between, so the bound is one on the whole.

The log's cleaner takes a record away once a later one of its key stands below the log's
stable end. Whoever reads on past such a *hole* holds an older value of that key until the
later record comes, or none: the state is that of no moment. So at a hole the log's end is
noted (`whole_at`): until the position is there no mark is reached, no bound is met, and
nothing is caught up. Near its end a log has no holes, so this ends.

The log's cleaner takes tombstones away some time after it has taken away what they
deleted. Whoever was fresh at a moment and reads on within that time (`keep_s`) meets them
all. Whoever comes later may have missed some, and so may a bootstrap that changed leaders,
for each replica is cleaned on its own: that is a *doubt*. Until it is settled by reading the
log once more, the partition is only as fresh as it was before.

This module does no I/O and reads no clock.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf
from typing import NamedTuple

from .model import LogBounds

__all__ = ["Cleaning", "Doubt", "Freshness", "Leader", "Mark", "Progress", "Wait", "Waiting"]


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


class Doubt(NamedTuple):
    """Tombstones may have been missed; seconds.

    Attributes:
        as_of: when the partition was last fresh without a doubt; None: never yet.
        raised_at: what was read up to then is doubtful.
    """

    as_of: float | None
    raised_at: float


class Cleaning(NamedTuple):
    """What the log's cleaner may have taken away unseen.

    Attributes:
        keep_s: seconds for which it keeps tombstones; inf: not known; None: nothing is cleaned.
        began: when the reading began (seconds).
        doubt: None: none.
    """

    keep_s: float | None = None
    began: float = 0.0
    doubt: Doubt | None = None


class Freshness(NamedTuple):
    """As of when a partition is fresh, and what may make it fresher; seconds.

    Attributes:
        as_of: None: not known.
        marks: not reached yet; the oldest and the newest.
        counts_from: answers to requests sent before make no mark; inf: none does.
        cleaning: tombstones that may be gone.
        whole_at: the position from which on the state is that of a moment.
        heard: a fetch was answered: by topic id, so it is this topic whose log is read.
    """

    as_of: float | None = None
    marks: tuple[Mark, ...] = ()
    counts_from: float = -inf
    cleaning: Cleaning = Cleaning()
    whole_at: int = 0
    heard: bool = True

    @property
    def complete_until(self) -> float:
        """What arrives later may have come behind tombstones that are gone (seconds)."""
        keep_s = self.cleaning.keep_s
        if keep_s is None:
            return inf
        if self.as_of is None:
            return self.cleaning.began + keep_s
        return self.as_of + max(keep_s, _LEAST_KEPT_S)

    def marked(self, mark: Mark) -> "Freshness":
        """The leader told its high watermark."""
        if mark.sent_at < self.counts_from:
            return self
        return self._replace(marks=(*self.marks[:1], mark))

    def reached(self, position: int) -> "Freshness":
        """Drop the marks that the position has reached; the newest of them is the freshness."""
        if position < self.whole_at:
            return self
        reached = [mark.sent_at for mark in self.marks if mark.high_watermark <= position]
        if not reached:
            return self
        left = tuple(mark for mark in self.marks if mark.high_watermark > position)
        newest = max(reached) if self.as_of is None else max(self.as_of, *reached)
        return self._replace(as_of=newest, marks=left)


# A tombstone outlives at least a round of the cleaner, however short it is to be kept: one that
# tails the log sees it.
_LEAST_KEPT_S = 2.0

_UNKNOWN = LogBounds()
_NOBODY = Leader()
_NOTHING = Waiting()
_NEVER = Freshness()


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition's way to its target and along the log's end.

    Attributes:
        position: the next offset to fetch.
        held_since: when an open transaction was first seen to hold it (seconds).
    """

    partition: int
    position: int
    target: int
    bounds: LogBounds = _UNKNOWN
    leader: Leader = _NOBODY
    waiting: Waiting = _NOTHING
    freshness: Freshness = _NEVER
    held_since: float | None = None

    @property
    def fresh_as_of(self) -> float | None:
        """When its state was the newest there was (seconds); None: not known."""
        doubt = self.freshness.cleaning.doubt
        return self.freshness.as_of if doubt is None else doubt.as_of

    @property
    def doubt(self) -> Doubt | None:
        """Tombstones may have been missed; None: none."""
        return self.freshness.cleaning.doubt

    @property
    def confirmable(self) -> bool:
        """Reading the log once more would end the doubt.

        It has come far enough, and its present leader has shown that it holds what was read.
        """
        doubt, freshness = self.doubt, self.freshness
        if doubt is None or freshness.as_of is None or not self.caught_up:
            return False
        shown = freshness.as_of >= freshness.counts_from
        return shown and freshness.complete_until > doubt.raised_at

    def doubted(self, now: float) -> "Progress":
        """What was read up to now may lack tombstones: it is fresh only as of before that."""
        cleaning = self.freshness.cleaning._replace(doubt=Doubt(self.fresh_as_of, now))
        return replace(self, freshness=self.freshness._replace(cleaning=cleaning))

    def confirmed(self, began: float) -> "Progress":
        """The log was read once more, from `began` (seconds) on, and says the same."""
        doubt = self.doubt
        if doubt is None or doubt.raised_at > began:
            return self
        cleaning = self.freshness.cleaning._replace(doubt=None)
        return replace(self, freshness=self.freshness._replace(cleaning=cleaning))

    @property
    def end_known(self) -> bool:
        """The leader has told the end of its log in its present term."""
        return self.freshness.counts_from < inf

    @property
    def waits_for_leader(self) -> bool:
        """What it waits for holds up the leader's end, although what it fetches may come."""
        waits = self.waiting.wait not in (Wait.NOTHING, Wait.OPEN_TRANSACTION)
        return waits and not self.end_known

    @property
    def caught_up(self) -> bool:
        """The position has reached the target, and the state is that of a moment of this log."""
        return self.position >= self.target and self.whole and self.freshness.heard

    @property
    def whole(self) -> bool:
        """What compaction took out of what was read has been made up for by what came after."""
        return self.position >= self.freshness.whole_at

    def holed(self, bounds: LogBounds) -> "Progress":
        """Records are missing from what is read now: others below the log's end stand for them."""
        end = bounds.last_stable_offset if bounds.last_stable_offset >= 0 else bounds.high_watermark
        if end <= self.freshness.whole_at:
            return self
        return replace(self, freshness=self.freshness._replace(whole_at=end))

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
        position = max(self.position, position)
        return replace(self, position=position, freshness=self.freshness.reached(position))

    def answered(self, bounds: LogBounds, sent_at: float) -> "Progress":
        """The leader told the ends of the log in a fetch, asked at `sent_at` (seconds)."""
        if bounds.high_watermark < 0:  # not known: nothing can be as new as that
            return replace(self, bounds=bounds)
        marked = self.freshness.marked(Mark(bounds.high_watermark, sent_at))._replace(heard=True)
        return replace(self, bounds=bounds, freshness=marked.reached(self.position))

    def led_by(self, leader: Leader) -> "Progress":
        """Another leader, or another term of one: nothing counts until it has told its end.

        What the one before was waited for is over, unless there is nobody now.
        """
        if leader == self.leader:
            return self
        waiting = self.waiting if leader.node < 0 else _NOTHING
        freshness = self.freshness._replace(marks=(), counts_from=inf)
        led = replace(self, leader=leader, waiting=waiting, freshness=freshness)
        moved = -1 not in (leader.node, self.leader.node) and leader.node != self.leader.node
        doubtful = moved and not self.caught_up and freshness.cleaning.keep_s is not None
        return led.doubted(freshness.cleaning.began) if doubtful else led

    def leader_ends_at(self, leader: Leader, end: int, told_at: float) -> "Progress":
        """A new leader answered ListOffsets at `told_at` (seconds); from then on it counts.

        An end below the position is that of a cut log, which the next fetch tells; until
        then it does not make the partition caught up.
        """
        if leader != self.leader:
            return self
        target = end if self.position <= end < self.target else self.target
        return replace(self, target=target, freshness=self.freshness._replace(counts_from=told_at))

    def waits(self, wait: Wait, now: float, detail: str = "") -> "Progress":
        """The partition waits, from now on unless it did so already."""
        if wait is self.waiting.wait:
            if detail == self.waiting.detail:
                return self
            return replace(self, waiting=self.waiting._replace(detail=detail))
        return replace(self, waiting=Waiting(wait, now, detail))

    def held(self, now: float) -> "Progress":
        """Note since when an open transaction holds it, or that it does so no longer.

        A leader that does not know its end yet does not know of the transaction either.
        """
        if self.held_by_transaction:
            return replace(self, held_since=now) if self.held_since is None else self
        over = self.end_known and self.held_since is not None
        return replace(self, held_since=None) if over else self

    def without_open_transaction(self) -> "Progress":
        """Take the last stable offset for the target."""
        return replace(self, target=min(self.target, self.bounds.last_stable_offset))
