"""The checkers: each answer against the model's own history.

`Watcher.look` is called after each round of the loop. It asks the table as a lookup would,
through its gate, whenever something may have changed, and compares.

A key that several partitions hold follows the documented rule: the greatest (timestamp,
partition) of what each partition last said. What was forgotten may matter there: where a
tombstone was ever written of the key, any partition's present word is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.errors import Refused
from sidecar.core.model import OFFSET, ORIGIN, TIMESTAMP, VALUE, partition_of
from sidecar.core.served import incarnation_of
from simulation.history import Fold

if TYPE_CHECKING:
    from sidecar.core.model import Entry
    from sidecar.core.served import Served
    from sidecar.core.view import Reading, View
    from simulation.clock import World
    from simulation.cluster import SimulatedCluster, Topic
    from simulation.log import Rec

__all__ = ["Violation", "Watcher"]

_NOTICED_S = 10.0
_FRESH_MS = 3000


class Violation(Exception):  # noqa: N818 (what a run is for)
    """Something that must always hold did not."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class _Generation:
    """What was seen of one generation."""

    def __init__(self, topic: Topic, began: float) -> None:
        self.topic, self.began = topic, began
        self.was_ready = False
        self.positions: dict[int, int] = {}
        self.folds: dict[int, Fold] = {}
        self.offsets: dict[tuple[bytes, int], int] = {}


class Watcher:
    """Looks at one table.

    Args:
        world: for the time.
        cluster: the truth.
        keys: all that are ever written.
        identity: faults are on after which a generation may end.

    Attributes:
        looks: answers that were compared.
    """

    def __init__(
        self, world: World, cluster: SimulatedCluster, keys: list[bytes], *, identity: bool
    ) -> None:
        self._world, self._cluster, self._keys = world, cluster, keys
        self._identity = identity
        self._served: Served | None = None
        self._seen: dict[int, _Generation] = {}
        self._last: Any = None
        self.looks = 0
        self.heard_at: dict[int, float] = {}

    def watch(self, served: Served) -> None:
        """Look at this table from now on: a follower was started."""
        self._served, self._last = served, None

    def heard(self, since: float) -> None:
        """The sidecar heard from a broker that knows all that was so at this moment."""
        for number, topic in enumerate(self._cluster.topics[1:], start=1):
            if topic.created <= since:
                self.heard_at.setdefault(number, self._world.now)

    @property
    def positions(self) -> dict[int, int]:
        """Where the reader stands in the topic as it is; empty before it reads."""
        view = self._served.view if self._served else None
        if view is None or self._topic(view.identity[0]) is not self._cluster.topic:
            return {}
        return {number: known.position for number, known in view.progress.items()}

    def look(self) -> None:
        """Compare what is answered now, if it may differ from what was compared last.

        Raises:
            Violation: it is wrong.
        """
        served = self._served
        view = served.view if served else None
        if view is None:
            return
        moved = tuple(known.position for known in view.progress.values())
        state = view.identity, view.ready, view.table.revision, moved, self._world.now // 0.1
        if state == self._last:
            return
        self._last = state
        self.compare()

    def compare(self) -> None:
        """Compare what is answered now."""
        served = self._served
        assert served is not None
        view = served.view
        assert view is not None
        generation = self._generation(view)
        self._never_back(view, generation)
        try:
            reading = served.read(self._world.now)
        except Refused as refused:
            if generation.was_ready and not self._identity:
                raise Violation("I3", f"it was ready, and now is refused: {refused}") from refused
            return
        self.looks += 1
        if not generation.was_ready:
            self._complete(view, generation)
            generation.was_ready = True
        self._incarnation(generation)
        self._staleness(reading, view, generation)
        for key in self._keys:
            self._answer(reading, view, generation, key)

    # What must hold

    def _never_back(self, view: View, generation: _Generation) -> None:
        for number, known in view.progress.items():
            if known.position < generation.positions.get(number, 0):
                raise Violation("I9", f"partition {number} went back to {known.position}")
            generation.positions[number] = known.position
            fold = generation.folds.get(number)
            if fold is None:
                history = generation.topic.partitions[number].history
                fold = generation.folds[number] = Fold(
                    history, committed=self._cluster.options.committed
                )
            fold.advance(known.position)

    def _complete(self, view: View, generation: _Generation) -> None:
        """All was read that was committed when the topic was found."""
        for number, fold in generation.folds.items():
            end = fold.history.hw_at(generation.began)
            partition = generation.topic.partitions[number]
            if fold.history.cut_at is not None:
                continue
            if fold.history.created <= generation.began and view.progress[number].position < end:
                text = f"ready, and partition {number} is at {view.progress[number].position} of "
                raise Violation("I2", f"{text}{end} (stable: {partition.log.lso})")

    def _incarnation(self, generation: _Generation) -> None:
        number = self._cluster.topics.index(generation.topic)
        heard = self.heard_at.get(number + 1)
        if heard is not None and self._world.now > heard + _NOTICED_S:
            raise Violation("I19", f"another incarnation is there since {heard:.3f}")

    def _staleness(self, reading: Reading, view: View, generation: _Generation) -> None:
        if reading.staleness_ms is None:
            return
        as_of = self._world.now - reading.staleness_ms / 1000
        for number, partition in enumerate(generation.topic.partitions):
            fold = generation.folds.get(number)
            history = fold.history if fold else partition.history
            position = view.progress[number].position if fold else -1
            missing = history.first_above(position)
            lag = 0.0 if fold else self._cluster.largest_lag_s
            cut = history.cut_at
            if cut is not None and position > partition.history.hw:
                missing = cut if missing is None else min(cut, missing)
            if missing is not None and missing + lag < as_of - 1e-6:
                text = f"partition {number}: {reading.staleness_ms} ms are stated, and what is "
                age = (self._world.now - missing) * 1000
                raise Violation("I11", f"{text}missing at position {position} is {age:.0f} ms old")

    def _answer(self, reading: Reading, view: View, generation: _Generation, key: bytes) -> None:
        given = _given(reading.table.get(key))
        if given is not None:
            number, offset = given[:2]
            if offset < generation.offsets.get((key, number), 0):
                raise Violation("I9", f"{key!r} of partition {number} went back to {given}")
            generation.offsets[key, number] = offset
        allowed = self.allowed(view, generation, key, at_rest=False)
        if given not in allowed:
            raise self._wrong(view, generation, key, given, allowed)

    def allowed(self, view: View, generation: _Generation, key: bytes, *, at_rest: bool) -> set:
        """What may be answered for a key: (partition, offset, timestamp, value) or None."""
        said: dict[int, list[Rec | None]] = {}
        erased = False
        for number, fold in generation.folds.items():
            if key in fold.keys:
                floor = max(0, view.progress[number].bounds.log_start_offset)
                words = fold.words(key, floor)
                said[number] = words[:1] if at_rest else words
                erased = erased or key in fold.history.erased
        words = [_word(number, rec) for number, recs in said.items() for rec in recs]
        if len(said) < 2:
            return set(words) or {None}
        if erased or any(len(recs) > 1 for recs in said.values()):
            return {*words, None} if None in words else set(words)
        spoken = [word for word in words if word is not None]
        return {max(spoken, key=lambda word: (word[2], word[0]), default=None)}

    def _wrong(
        self, view: View, generation: _Generation, key: bytes, given: Any, allowed: set
    ) -> Violation:
        """Name the invariant that a wrong answer breaks."""
        invariant = "FOLD"
        if given is not None:
            fold = generation.folds[given[0]]
            shown = [rec.offset for rec in fold.keys.get(key, ())]
            committed = self._cluster.options.committed
            if committed and given[1] not in shown:
                invariant = "I4"
            elif given[1] < view.progress[given[0]].bounds.log_start_offset or allowed == {None}:
                invariant = "I20"
        positions = {number: known.position for number, known in view.progress.items()}
        return Violation(invariant, f"{key!r} is {given}, not one of {allowed} at {positions}")

    # After the faults

    def unsettled(self) -> str:
        """What is still missing until all is as it should be; empty: nothing."""
        served, topic = self._served, self._cluster.topic
        view = served.view if served else None
        if view is None or not view.ready or topic is None:
            return f"not ready: {served.reason(self._world.now) if served else 'not started'}"
        generation = self._generation(view)
        if generation.topic is not topic:
            return "another incarnation is served"
        if len(view.progress) < len(topic.partitions):
            return f"{len(view.progress)} of {len(topic.partitions)} partitions are followed"
        for number, known in view.progress.items():
            log, history = topic.partitions[number].log, topic.partitions[number].history
            ends = (log.log_start, log.leo, log.leo)
            if known.position != log.leo or known.bounds != ends or history.hw != log.leo:
                return f"partition {number} is at {known.position} of {ends}: {known}"
            if generation.folds[number].history is not history:
                return f"partition {number} was cut, and that was not noticed"
        staleness_ms = served.read(self._world.now).staleness_ms
        if staleness_ms is None or staleness_ms > _FRESH_MS:
            return f"staleness is {staleness_ms}"
        return "" if view.table.settled and view.table.swept else "not settled"

    def exact(self) -> None:
        """At rest the table equals the fold of the log.

        Raises:
            Violation: it does not.
        """
        self.compare()
        served = self._served
        assert served is not None
        assert served.view is not None
        view, reading = served.view, served.read(self._world.now)
        generation = self._generation(view)
        there = set()
        for key in self._keys:
            entry = reading.table.get(key)
            given = entry and (
                partition_of(entry[ORIGIN]),
                *entry[OFFSET : TIMESTAMP + 1],
                entry[VALUE],
            )
            allowed = self.allowed(view, generation, key, at_rest=True)
            if given not in allowed:
                raise self._wrong(view, generation, key, given, allowed)
            if given is not None:
                there.add(key)
        if set(reading.table) != there or len(reading.table) != len(there):
            raise Violation("FOLD", f"keys {sorted(reading.table)}, not {sorted(there)}")

    # Inside

    def _generation(self, view: View) -> _Generation:
        incarnation, number = view.identity
        known = self._seen.get(number)
        if known is None:
            topic = self._topic(incarnation)
            assert topic is not None, "an incarnation that never was"
            began = view.topology_as_of
            known = _Generation(topic, self._world.now if began is None else began)
            self._seen[number] = known
        return known

    def _topic(self, incarnation: int) -> Topic | None:
        cluster = self._cluster.cluster_id
        for topic in self._cluster.topics:
            if incarnation_of(cluster, str(topic.id)) == incarnation:
                return topic
        return None


def _given(entry: Entry | None) -> tuple[int, int, int, bytes] | None:
    if entry is None:
        return None
    return partition_of(entry[ORIGIN]), entry[OFFSET], entry[TIMESTAMP], entry[VALUE]


def _word(number: int, rec: Rec | None) -> tuple[int, int, int, bytes] | None:
    if rec is None or rec.value is None:
        return None
    return number, rec.offset, rec.timestamp, rec.value
