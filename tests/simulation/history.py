"""What really happened to one partition: the oracle of every check.

A history holds each batch as it was when the high watermark passed it, uncompacted, and
the moment of that. The cleaners of the replicas add which records they removed because a
later one replaces them: a reader whose position lies between the two may rightly have
seen neither, or what came before on another replica.

When a log is cut, the history forks: what was read before stays the truth of the old
branch. Of what cleaners had removed by then, nobody knows any more what is left: the records
that replaced it may be among those that were lost.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.log import Batch, Rec, Replica

__all__ = ["Fold", "History", "Word", "word_of"]

# What is said of a key: partition, offset, timestamp, value.
Word = tuple[int, int, int, bytes | None]


class History:
    """One branch of one partition's committed log.

    Attributes:
        hw: the greatest high watermark that there ever was on this branch.
        replaced: offsets of records that a cleaner removed from some replica.
        expired: offsets of tombstones that a cleaner removed from some replica.
        scarred: offsets of `replaced` at a cut of the log: any replica may lack them for ever.
        erased: keys that ever had a tombstone.
        cut_at: when the log was cut so that this branch ended; None: it goes on.
        cut_to: the offset there.
        next: the branch on which the log went on.
    """

    def __init__(self, created: float) -> None:
        self.created = created
        self.batches: list[Batch] = []
        self.hw = 0
        self.replaced: set[int] = set()
        self.expired: set[int] = set()
        self.scarred: set[int] = set()
        self.erased: set[bytes | None] = set()
        self.cut_at: float | None = None
        self.cut_to = 0
        self.next: History | None = None
        self._epochs: list[tuple[int, int]] = []
        self._marks: list[int] = [0]
        self._moments: list[float] = [created]

    def reach(self, hw: int, now: float, leader: Replica) -> bool:
        """The leader's high watermark moved; whether further than ever."""
        if hw <= self.hw:
            return False
        for batch in leader.read(self.hw, hw):
            self.batches.append(batch)
            if not self._epochs or self._epochs[-1][0] < batch.epoch:
                self._epochs.append((batch.epoch, batch.base))
            self.erased.update(rec.key for rec in batch.recs if rec.value is None)
        self.hw = hw
        self._marks.append(hw)
        self._moments.append(now)
        return True

    def fork(self, offset: int, now: float) -> History:
        """The log is cut here: the branch on which it goes on."""
        other = History(self.created)
        self.cut_at, self.cut_to, self.next = now, offset, other
        other.batches = [batch for batch in self.batches if batch.last < offset]
        other._epochs = [each for each in self._epochs if each[1] < offset]
        other.replaced, other.expired = set(self.replaced), set(self.expired)
        other.scarred, other.erased = set(self.replaced), set(self.erased)
        keep = bisect_right(self._marks, offset)
        other._marks, other._moments = self._marks[:keep], self._moments[:keep]
        other.hw = offset
        return other

    def agrees_to(self, log: Replica) -> int:
        """Up to where a replica holds this branch: an epoch's batches are those of one leader."""
        end = min(self.hw, log.leo)
        starts = {start for _, start in (*self._epochs, *log.epochs) if start < end}
        differ = [at for at in starts if _epoch_at(self._epochs, at) != _epoch_at(log.epochs, at)]
        return min(differ, default=end)

    def first_above(self, position: int) -> float | None:
        """When the high watermark first passed a position; None: it never did."""
        at = bisect_right(self._marks, position)
        return self._moments[at] if at < len(self._moments) else None

    def hw_at(self, moment: float) -> int:
        """The high watermark at a moment."""
        at = bisect_right(self._moments, moment)
        return self._marks[at - 1] if at else 0


class Fold:
    """What a reader at a position may say of each key of one partition.

    Args:
        history: of which.
        committed: whether only committed data counts.
        misses: tombstones may go before they are read.
    """

    def __init__(self, history: History, *, committed: bool, misses: bool = False) -> None:
        self.history = history
        self.keys: dict[bytes, list[Rec]] = {}
        self._committed, self._misses = committed, misses
        self.position = 0
        self._next = (0, 0)

    def advance(self, position: int) -> None:
        """Come to a position; it never goes back."""
        self.position = position
        number, place = self._next
        batches = self.history.batches
        while number < len(batches) and batches[number].base < position:
            batch = batches[number]
            shown = batch.visible if self._committed else not batch.control
            recs = batch.recs if shown else ()
            while place < len(recs) and recs[place].offset < position:
                rec = recs[place]
                place += 1
                if rec.key is not None:
                    self.keys.setdefault(rec.key, []).append(rec)
            if batch.last >= position:
                break
            number, place = number + 1, 0
        self._next = (number, place)

    def words(self, key: bytes, floor: int) -> list[Rec | None]:
        """What may be said of a key: the latest record first.

        None stands for: nothing was ever said.
        """
        replaced, expired = self.history.replaced, self.history.expired
        if not self._misses:
            return self._words(key, floor, replaced.__contains__)
        return self._words(key, floor, lambda offset: offset in replaced or offset in expired)

    def last_words(self, key: bytes, floor: int) -> list[Rec | None]:
        """The same at rest: the latest record alone, unless a cut of the log has touched it."""
        return self._words(key, floor, self.history.scarred.__contains__)

    def _words(self, key: bytes, floor: int, gone: Callable[[int], bool]) -> list[Rec | None]:
        allowed: list[Rec | None] = []
        for rec in reversed(self.keys.get(key, ())):
            if rec.offset < floor:
                break
            allowed.append(rec)
            if not gone(rec.offset):
                return allowed
        return [*allowed, None]


def _epoch_at(epochs: list[tuple[int, int]], offset: int) -> int:
    return max((epoch for epoch, start in epochs if start <= offset), default=-1)


def word_of(number: int, rec: Rec | None) -> Word | None:
    """A partition's record as a word; None: nothing, or a tombstone."""
    if rec is None or rec.value is None:
        return None
    return number, rec.offset, rec.timestamp, rec.value
