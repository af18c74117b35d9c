"""What the log held, told from the writer's history and the independent reader's log.

The fold of a partition up to a position is that of the records known to be committed
below it. A record whose fate the writer never learned is looked for in the final log:
found, it is committed, and all of its transaction with it. Not found, it may still have
been there and been compacted away since: it *may* be what an answer shows, and never
must be.

A reader that is behind meets a log in which records were compacted away that it has not
read, because later ones follow further on. Until it has come to those, its fold up to a
position lacks what stood below it: the fold of the log as it is served, not of what was
once written. The topic's `min.compaction.lag.ms` bounds that: a reader that is no further
behind never meets such a log.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chaos.history import Event, History

# Below the topic's min.compaction.lag.ms, for stamps may lie a little before the sending.
_COMPACTED_AFTER_S = 2.9

__all__ = ["Partition", "Shown", "Truth", "Written", "truths"]


class Written(NamedTuple):
    """One record that was sent; `offset` is -1 where it is not known."""

    partition: int
    offset: int
    key: str
    value: str | None
    ts: int
    outcome: str
    commit_from: float
    decided: float
    sent: float


class Shown(NamedTuple):
    """What an answer says of one key; None as the value and -1 as the offset: absent."""

    key: str
    value: str | None = None
    partition: int = -1
    offset: int = -1
    ts: int = 0

    @property
    def absent(self) -> bool:
        """The answer says that nothing holds the key."""
        return self.offset < 0


class _Line:
    """One key's committed records, by offset, and those that may have been."""

    def __init__(self, committed: list[Written], possible: list[Written]) -> None:
        self.committed = sorted(committed, key=lambda one: one.offset)
        self.possible = possible
        self._offsets = [one.offset for one in self.committed]

    def below(self, position: int) -> Written | None:
        """The latest committed one below a position."""
        place = bisect.bisect_left(self._offsets, position)
        return self.committed[place - 1] if place else None

    def at(self, offset: int) -> Written | None:
        """The committed one at an offset."""
        found = self.below(offset + 1)
        return found if found is not None and found.offset == offset else None

    @cached_property
    def _decisions(self) -> tuple[list[float], list[int]]:
        """Times of decision, in order, and the greatest offset decided by each."""
        ordered = sorted(self.committed, key=lambda one: one.decided)
        greatest, offsets = -1, []
        for one in ordered:
            greatest = max(greatest, one.offset)
            offsets.append(greatest)
        return [one.decided for one in ordered], offsets

    def decided_by(self, moment: float) -> int:
        """The greatest offset that surely counted at a moment; -1: none."""
        times, offsets = self._decisions
        place = bisect.bisect_right(times, moment)
        return offsets[place - 1] if place else -1


class Partition:
    """When what lies at or above an offset was decided, in one partition."""

    def __init__(self, committed: Iterable[Written]) -> None:
        ordered = sorted(committed, key=lambda one: one.offset)
        self._offsets = [one.offset for one in ordered]
        self._earliest = [one.decided for one in ordered]
        for place in range(len(ordered) - 2, -1, -1):
            self._earliest[place] = min(self._earliest[place], self._earliest[place + 1])

    def first_missing(self, position: int) -> float | None:
        """When the earliest record at or above a position was decided; None: there is none."""
        place = bisect.bisect_left(self._offsets, position)
        return self._earliest[place] if place < len(self._earliest) else None


class Truth:
    """One incarnation of the topic."""

    def __init__(self, topic_id: str, writes: Iterable[Event], log: Iterable[list[Any]]) -> None:
        self.topic_id = topic_id
        self.log = {(row[2], row[3]): Shown(*row) for row in log}
        self.written = list(self._resolved(list(writes)))
        lines: dict[str, tuple[list[Written], list[Written]]] = defaultdict(lambda: ([], []))
        self.aborted: dict[tuple[str, str | None, int], Written] = {}
        for one in self.written:
            if one.outcome == "committed":
                lines[one.key][0].append(one)
            elif one.outcome == "unknown":
                lines[one.key][1].append(one)
            else:
                self.aborted[one.key, one.value, one.ts] = one
        self.lines = {key: _Line(*both) for key, both in lines.items()}
        self.owner = {one.key: one.partition for one in self.written}
        self.partitions = {
            number: Partition(
                one for one in self.written
                if one.partition == number and one.outcome == "committed"
            )
            for number in sorted({one.partition for one in self.written})
        }  # fmt: skip

    def line(self, key: str) -> _Line:
        """What is known of a key."""
        return self.lines.get(key) or _Line([], [])

    def possible(self, key: str, above: int, below: float) -> Iterator[Written]:
        """Records of unknown fate that could stand between two offsets, both exclusive."""
        for one in self.line(key).possible:
            if one.offset < 0 or above < one.offset < below:
                yield one

    def may_be(self, shown: Shown, position: float) -> Written | None:
        """The record of unknown fate that an answer may show, on top of what is known."""
        known = self.line(shown.key).below(int(min(position, 2**62)))
        above = known.offset if known else -1
        for one in self.possible(shown.key, above, position):
            if shown.absent and one.value is None:
                return one
            same = (one.value, one.ts, one.partition) == (shown.value, shown.ts, shown.partition)
            if same and one.offset in {-1, shown.offset} and above < shown.offset < position:
                return one
        return None

    def compacted_over(self, shown: Shown, position: int, moment: float) -> bool:
        """Whether what an answer lacks below its position may have been compacted away.

        A later record must lie at or above the position, old enough at the moment of the
        answer; and what is shown instead must have stood there before.
        """
        line = self.line(shown.key)
        later = [one for one in line.committed if one.offset >= position]
        later += [one for one in line.possible if one.offset < 0 or one.offset >= position]
        if not any(one.sent < moment - _COMPACTED_AFTER_S for one in later):
            return False
        before = [one for one in line.committed if one.offset < position]
        if shown.absent:
            return len(before) == 1 or any(one.value is None for one in before[:-1])
        return shown.offset < position and any(one.offset == shown.offset for one in before)

    def aborted_tombstone(self, key: str, above: int, below: int) -> bool:
        """Whether one stands between two offsets, both exclusive."""
        return any(
            one.key == key and one.value is None and above < one.offset < below
            for one in self.aborted.values()
        )

    def _resolved(self, writes: list[Event]) -> Iterator[Written]:
        held = {(one.key, one.value, one.ts): one for one in self.log.values()}

        def found(event: Event) -> Shown | None:
            return held.get((event["key"], event["value"], event["ts"]))

        unknown = [event for event in writes if event["outcome"] == "unknown"]
        came_through = {event["tx"] for event in unknown if event.get("tx") and found(event)}
        for event in writes:
            outcome, offset = event["outcome"], event["offset"]
            if outcome == "unknown":
                seen = found(event)
                if seen is not None:
                    outcome, offset = "committed", seen.offset
                elif event.get("tx") in came_through and offset is not None:
                    outcome = "committed"
            # Nobody heard of its commit: from when on it counted is not known.
            decided = event["decided"] if event["outcome"] == outcome else float("inf")
            yield Written(
                event["partition"], -1 if offset is None else offset, event["key"],
                event["value"], event["ts"], outcome, event["commit_from"], decided,
                event["sent"],
            )  # fmt: skip


def truths(history: History) -> dict[str, Truth]:
    """Each incarnation's truth, by topic id, in the order of their creation."""
    logs = {event["topic_id"]: event["records"] for event in history.final if event["op"] == "log"}
    by_topic: dict[str, list[Event]] = {
        event["id"]: [] for event in history.topics if event["op"] == "created"
    }
    for event in history.writes:
        by_topic[event["topic_id"]].append(event)
    return {
        topic_id: Truth(topic_id, writes, logs.get(topic_id, ()))
        for topic_id, writes in by_topic.items()
    }
