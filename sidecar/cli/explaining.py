"""What one key's lookup says, against what the topic says of the key.

The sidecar is asked for its positions before the lookup and after it, and the topic is
read after that, so the reading covers the answer. The answer is the fold of the log up
to the positions if the key has no record between the first and the second ones; if it
has, all is asked again.

- The log's last record below the position is what must be served; served may also be one
  that the log has lost since, but only to a record above the position (compaction) or to
  the log's start.
- Records above the position are what the sidecar is behind by.
- Where several partitions hold the key, the greatest (timestamp, partition) holds. What a
  sidecar serves instead may rest on a tombstone that compaction took away, so it is told
  apart.

This module does no I/O.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from ..core.model import Fetched

__all__ = ["Asked", "Finding", "Held", "KeyFold", "Verdict", "Word", "judge"]

_MOST_WORDS = 1000
_MOST_SIMILAR = 3
_AROUND = b"\x00\t\r\n \"'"


class Verdict(StrEnum):
    """What comes out; the values are those of the JSON output."""

    SAME = "same"
    ABSENT = "absent_in_both"
    BEHIND = "behind"
    DIFFERS = "differs"
    SEVERAL = "several_partitions"
    OTHER_TOPIC = "other_incarnation"
    NOT_READY = "not_ready"
    UNSETTLED = "unsettled"


class Word(NamedTuple):
    """A record of the key in one partition; no value: a tombstone, or not for this table."""

    offset: int
    timestamp: int
    value: bytes | None
    turned_away: bool = False

    @property
    def ends_it(self) -> str:
        """What ends the key's entry."""
        return "record that the table's definition turns away" if self.turned_away else "tombstone"


class Held(NamedTuple):
    """What the sidecar serves for the key."""

    partition: int
    offset: int
    timestamp: int
    value: bytes


class Asked(NamedTuple):
    """One lookup.

    Attributes:
        held: what was served; None: absent.
        positions: by partition, how far the table had been read before the lookup.
        reached: the same after it.
    """

    held: Held | None
    positions: Mapping[int, int]
    reached: Mapping[int, int]


class Finding(NamedTuple):
    """A verdict, why, and by how many offsets the sidecar is behind, by partition."""

    verdict: Verdict
    why: str
    behind: Mapping[int, int] = {}


class KeyFold:
    """What the log says of one key, and which keys look like it.

    Attributes:
        words: by partition, the key's last records in order of their offsets.
        similar: live keys that differ in case, in quotes or in white space only, with the
            partition and offset of their last record.
        held_back: by partition, from which offset to which an open transaction hides.
        starts: by partition, the first kept offset.
        reached: by partition, where the reading goes on.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.words: dict[int, deque[Word]] = {}
        self.similar: dict[bytes, tuple[int, int]] = {}
        self.held_back: dict[int, tuple[int, int]] = {}
        self.starts: dict[int, int] = {}
        self.reached: dict[int, int] = {}
        self._plain = _plain(key)

    def add(self, fetched: Fetched) -> None:
        """Take one part of the log in; the parts of a partition come in order."""
        number, key, plain = fetched.partition, self.key, self._plain
        start, end, stable = fetched.bounds
        self.starts[number] = max(start, self.starts.get(number, 0))
        self.held_back.pop(number, None)
        if 0 <= stable < end:
            self.held_back[number] = stable, end
        for batch in fetched.batches:
            for record in batch.each():
                found = record.key
                if found == key:
                    away = getattr(record, "turned_away", False)
                    word = Word(record.offset, record.timestamp, record.value, away)
                    self.words.setdefault(number, deque(maxlen=_MOST_WORDS)).append(word)
                elif found is not None and _plain(found) == plain:
                    self._note(found, number, record.offset, live=record.value is not None)
            self.reached[number] = batch.next_offset

    def below(self, partition: int, position: int) -> Word | None:
        """The last word of a partition below a position."""
        return next(
            (word for word in reversed(self._of(partition)) if word.offset < position), None
        )

    def last(self, partition: int) -> Word | None:
        """The last word of a partition."""
        words = self._of(partition)
        return words[-1] if words else None

    def between(self, partition: int, first: int, end: int) -> bool:
        """Whether a partition has a word in a stretch of the log."""
        return any(first <= word.offset < end for word in self._of(partition))

    def _of(self, partition: int) -> deque[Word]:
        return self.words.get(partition, deque())

    def _note(self, key: bytes, partition: int, offset: int, *, live: bool) -> None:
        if not live:
            self.similar.pop(key, None)
        elif key in self.similar or len(self.similar) < _MOST_SIMILAR:
            self.similar[key] = partition, offset


def _plain(key: bytes) -> bytes:
    return key.strip(_AROUND).lower()


def judge(asked: Asked, fold: KeyFold) -> Finding:
    """Compare one lookup with the log, read to its end after the lookup."""
    if _moved(asked, fold):
        return Finding(Verdict.UNSETTLED, "the key changed while it was looked at")
    holders = set(fold.words) | ({asked.held.partition} if asked.held else set())
    newer = {
        number: last.offset + 1 - asked.positions.get(number, 0)
        for number in sorted(holders)
        if (last := fold.last(number)) and last.offset >= asked.positions.get(number, 0)
    }
    wrong = _wrong(asked, fold, newer)
    if wrong:
        return Finding(Verdict.DIFFERS, wrong)
    if newer:
        return Finding(Verdict.BEHIND, _behind(newer, asked, fold), newer)
    if len(holders) > 1:
        return _by_the_rule(asked, fold, holders)
    if asked.held is None:
        return Finding(Verdict.ABSENT, _why_absent(fold))
    return Finding(Verdict.SAME, "the sidecar serves what the topic holds")


def _moved(asked: Asked, fold: KeyFold) -> bool:
    held, positions = asked.held, asked.positions
    if held is not None and held.offset >= positions.get(held.partition, 0):
        return True
    if held is not None and held.offset < fold.starts.get(held.partition, 0):
        return True
    return any(
        fold.between(number, positions.get(number, 0), asked.reached.get(number, 0))
        for number in fold.words
    )


def _wrong(asked: Asked, fold: KeyFold, newer: Iterable[int]) -> str:
    """What no compaction and no reading on can explain; empty: nothing."""
    held, newer = asked.held, set(newer)
    if held is None:
        return _lacking(asked, fold, newer)
    number = held.partition
    position = asked.positions.get(number, 0)
    below = fold.below(number, position)
    if below is None or below.offset < held.offset:
        if number in newer:
            return ""
        return f"the topic has no record of it at offset {held.offset} of partition {number}"
    if below.offset > held.offset:
        what = f"a {below.ends_it}" if below.value is None else "a newer record"
        return (
            f"the topic has {what} at offset {below.offset} of partition {number}, and the "
            f"sidecar has read on to {position} without taking it"
        )
    names = ("value", "timestamp")
    pairs = zip(names, (below.value, below.timestamp), (held.value, held.timestamp), strict=True)
    unequal = " and ".join(name for name, ours, theirs in pairs if ours != theirs)
    return f"not the same {unequal} as the topic's record at that offset" if unequal else ""


def _lacking(asked: Asked, fold: KeyFold, newer: set[int]) -> str:
    if len(fold.words) != 1:
        return ""
    ((number, _),) = fold.words.items()
    position = asked.positions.get(number, 0)
    below = fold.below(number, position)
    if below is None or below.value is None or number in newer:
        return ""
    if below.offset < fold.starts.get(number, 0):
        return ""
    return (
        f"the sidecar lacks it, though it has read on to {position} of partition {number}, past "
        f"its record at offset {below.offset}"
    )


def _behind(newer: Mapping[int, int], asked: Asked, fold: KeyFold) -> str:
    parts = []
    for number, left in newer.items():
        last = fold.last(number)
        gone = last is not None and last.value is None
        what = f"a {last.ends_it}" if last is not None and gone else "a newer record"
        position = asked.positions.get(number, 0)
        parts.append(
            f"partition {number} has {what}, {left} offsets ahead of the sidecar's position "
            f"({position})"
        )
    return "; ".join(parts)


def _by_the_rule(asked: Asked, fold: KeyFold, holders: set[int]) -> Finding:
    last = {number: fold.below(number, asked.positions.get(number, 0)) for number in holders}
    ranked = [(word.timestamp, number, word) for number, word in last.items() if word is not None]
    _, number, word = max(ranked)
    held = asked.held
    rule = (
        f"partitions {', '.join(map(str, sorted(holders)))} hold it; the greatest (timestamp, "
        f"partition) holds: the {word.ends_it if word.value is None else 'record'} at offset "
        f"{word.offset} of partition {number}"
    )
    served = None if held is None else (held.partition, held.offset)
    expected = None if word.value is None else (number, word.offset)
    if served != expected:
        return Finding(
            Verdict.SEVERAL,
            f"{rule}, by what the topic holds now. What the sidecar serves may rest on a "
            "tombstone that compaction took away, or on one that it did not remember",
        )
    return Finding(Verdict.ABSENT if held is None else Verdict.SAME, rule)


def _why_absent(fold: KeyFold) -> str:
    for number in fold.words:
        last = fold.last(number)
        if last is not None and last.value is None:
            if last.turned_away:
                at = f"offset {last.offset} of partition {number}"
                return f"the table's definition turns away the record at {at}"
            return f"it was deleted by the tombstone at offset {last.offset} of partition {number}"
        if last is not None:
            return f"the log of partition {number} begins behind its record at {last.offset} now"
    return "the topic has no record of it"
