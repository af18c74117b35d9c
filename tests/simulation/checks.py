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
from simulation.generations import Branches, Generation
from simulation.history import Word, word_of

if TYPE_CHECKING:
    from sidecar.core.model import Entry
    from sidecar.core.progress import Progress
    from sidecar.core.served import Served
    from sidecar.core.view import Reading, View
    from simulation.clock import World
    from simulation.cluster import Partition, SimulatedCluster, Topic
    from simulation.log import Rec

__all__ = ["Violation", "Watcher"]

_NOTICED_S = 10.0
_SILENCE_S = 2.0
_FRESH_MS = 3000
_SLACK_S = 1e-6


class Violation(Exception):  # noqa: N818 (what a run is for)
    """Something that must always hold did not."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Watcher:
    """Looks at one table.

    Args:
        world: for the time.
        cluster: the truth.
        keys: all that are ever written.

    Attributes:
        looks: answers that were compared.
    """

    def __init__(self, world: World, cluster: SimulatedCluster, keys: list[bytes]) -> None:
        self._world, self._cluster, self._keys = world, cluster, keys
        self._served: Served | None = None
        self._seen: dict[int, Generation] = {}
        self._answering: Generation | None = None
        self._last: Any = None
        self.looks = 0
        self.gone_at: dict[int, float] = {}
        self._heard_at = world.now

    def watch(self, served: Served) -> None:
        """Look at this table from now on."""
        self._served = served

    def heard(self, since: float) -> None:
        """The sidecar heard from a broker that knows all that was so at this moment.

        What it was told before a silence counts no more: then it could not ask again.
        """
        if self._world.now - self._heard_at > _SILENCE_S:
            self.gone_at.clear()
        self._heard_at = self._world.now
        for number, topic in enumerate(self._cluster.topics):
            if topic.deleted_at is not None and topic.deleted_at <= since:
                self.gone_at.setdefault(number, self._world.now)

    @property
    def positions(self) -> dict[int, int]:
        """Where reading stands in the topic as it is: in no generation before; empty: nowhere."""
        found: dict[int, int] = {}
        for view in self._views():
            if self._topic(view.identity[0]) is self._cluster.topic:
                for number, known in view.progress.items():
                    found[number] = min(found.get(number, known.position), known.position)
        return found

    def _views(self) -> list[View]:
        built = (self._served.current, self._served.next) if self._served else ()
        return [each.view for each in built if each]

    def look(self) -> None:
        """Compare what is answered now, if it may differ from what was compared last.

        Raises:
            Violation: it is wrong.
        """
        views = self._views()
        state = [self._world.now // 0.1]
        for view in views:
            moved = tuple(known.position for known in view.progress.values())
            state += [view.identity, view.ready, view.table.revision, moved]
        if self._served is None or state == self._last:
            return
        self._last = state
        self._sound(self._served)
        self.compare()

    def compare(self) -> None:
        """Compare what is answered now."""
        served, views = self._served, self._views()
        for view in views:
            self._never_back(view, self._generation(view))
        if not served or not served.view:
            return
        view = served.view
        generation = self._generation(view)
        try:
            reading = served.read(self._world.now)
        except Refused as refused:
            if generation.was_ready:
                raise Violation("I3", f"it was ready, and now is refused: {refused}") from refused
            return
        self.looks += 1
        self._incarnation(generation)
        self._offsets(reading, generation)
        self._compare_any(reading, view, generation)
        generation.was_ready, self._answering = True, generation

    def _compare_any(self, reading: Reading, view: View, generation: Generation) -> None:
        """Compare with each choice of branches; one must agree, and those that do stay."""
        right, wrong = [], None
        for folds in generation.branches():
            try:
                self._compare(reading, view, generation, folds)
                right.append(folds)
            except Violation as violation:
                wrong = violation
        if wrong:
            if not right:
                raise wrong
            generation.keep(right)

    def _compare(
        self, reading: Reading, view: View, generation: Generation, folds: Branches
    ) -> None:
        """Compare with one choice of branches."""
        if not generation.was_ready:
            self._complete(view, generation, folds)
        self._staleness(reading, view, generation, folds)
        for key in self._keys:
            self._answer(reading, view, folds, key)

    # What must hold

    def _sound(self, served: Served) -> None:
        """Generations end for a reason, and what answered goes on while its topic is there."""
        if served.begun.get("bug"):
            raise Violation("ENDED", "a task of the follower failed")
        if served.begun.get("log_cut") and not self._cluster.lost:
            raise Violation("ENDED", "a generation ended as if the log was cut")
        if served.begun.get("topic_replaced") and self._cluster.topics[0].deleted_at is None:
            raise Violation("ENDED", "a generation ended as if the topic was another")
        last = self._answering
        if not served.ready and last is not None and last.topic.deleted_at is None:
            raise Violation("I3", f"it was ready, and now nothing answers: {served.trouble}")

    def _never_back(self, view: View, generation: Generation) -> None:
        for number, known in view.progress.items():
            if known.position < generation.positions.get(number, 0):
                raise Violation("I9", f"partition {number} went back to {known.position}")
            generation.advance(number, known.position)

    def _complete(self, view: View, generation: Generation, folds: Branches) -> None:
        """All was read that was committed when the topic was found."""
        for number, fold in folds.items():
            end = fold.history.hw_at(generation.began)
            partition = generation.topic.partitions[number]
            if fold.history.cut_at is not None:
                continue
            if fold.history.created <= generation.began and view.progress[number].position < end:
                text = f"ready, and partition {number} is at {view.progress[number].position} of "
                raise Violation("I2", f"{text}{end} (stable: {partition.log.lso})")

    def _incarnation(self, generation: Generation) -> None:
        gone_at = self.gone_at.get(self._cluster.topics.index(generation.topic))
        silent = self._world.now - self._heard_at > _SILENCE_S
        if gone_at is not None and not silent and self._world.now > gone_at + _NOTICED_S:
            raise Violation("I19", f"the topic that answers was deleted: told at {gone_at:.3f}")

    def _staleness(
        self, reading: Reading, view: View, generation: Generation, folds: Branches
    ) -> None:
        as_of = self._as_of(reading)
        if as_of is None:
            return
        for number, partition in enumerate(generation.topic.partitions):
            fold = folds.get(number)
            history = fold.history if fold else partition.history
            position = view.progress[number].position if fold else -1
            missing = history.first_above(position)
            lag = 0.0 if fold else self._cluster.largest_lag_s
            if missing is not None and missing + lag < as_of - _SLACK_S:
                text = f"partition {number}: {reading.staleness_ms} ms are stated, and what is "
                age = (self._world.now - missing) * 1000
                raise Violation("I11", f"{text}missing at position {position} is {age:.0f} ms old")
            cut = history.cut_at
            if cut is not None and position > history.cut_to and cut < as_of - _SLACK_S:
                age = (self._world.now - cut) * 1000
                text = f"partition {number} at {position} was cut {age:.0f} ms ago at "
                raise Violation("I19", f"{text}{history.cut_to}; {reading.staleness_ms} are stated")

    def _as_of(self, reading: Reading) -> float | None:
        if reading.staleness_ms is None:
            return None
        return self._world.now - reading.staleness_ms / 1000

    def _offsets(self, reading: Reading, generation: Generation) -> None:
        for key in self._keys:
            given = _given(reading.table.get(key))
            if given is None:
                continue
            number, offset = given[:2]
            if offset < generation.offsets.get((key, number), 0):
                raise Violation("I9", f"{key!r} of partition {number} went back to {given}")
            generation.offsets[key, number] = offset

    def _answer(self, reading: Reading, view: View, folds: Branches, key: bytes) -> None:
        given = _given(reading.table.get(key))
        allowed = self._allowed(view, folds, key, at_rest=False)
        if given not in allowed:
            raise self._wrong(view, folds, key, given, allowed)
        if given is not None and len(allowed) > 1:
            self._undeleted(reading, view, folds[given[0]], key, given)

    def _undeleted(self, reading: Reading, view: View, fold: Any, key: bytes, given: Word) -> None:
        """What a tombstone deleted that went unseen may be shown; as fresh as before that."""
        as_of = self._as_of(reading)
        if as_of is None:
            return
        floor = max(0, view.progress[given[0]].bounds.log_start_offset)
        for rec in fold.words(key, floor):
            if rec is None or rec.offset == given[1]:
                return
            if rec.value is not None or rec.offset in fold.history.replaced:
                continue
            deleted = fold.history.first_above(rec.offset)
            if deleted is not None and deleted < as_of - _SLACK_S:
                text = f"{key!r} is {given}; its tombstone {rec.offset} of {deleted:.3f} was missed"
                raise Violation("I20", f"{text}, and it is stated to be the truth of {as_of:.3f}")

    def _allowed(
        self, view: View, folds: Branches, key: bytes, *, at_rest: bool
    ) -> set[Word | None]:
        """What may be answered for a key: (partition, offset, timestamp, value) or None."""
        said: dict[int, list[Rec | None]] = {}
        erased = False
        for number, fold in folds.items():
            if key in fold.keys:
                floor = max(0, view.progress[number].bounds.log_start_offset)
                said[number] = (fold.last_words if at_rest else fold.words)(key, floor)
                erased = erased or key in fold.history.erased
        words = [word_of(number, rec) for number, recs in said.items() for rec in recs]
        if len(said) < 2:
            return set(words) or {None}
        if erased or any(len(recs) > 1 for recs in said.values()):
            return {*words, None} if None in words else set(words)
        spoken = [word for word in words if word is not None]
        return {max(spoken, key=lambda word: (word[2], word[0]), default=None)}

    def _wrong(
        self, view: View, folds: Branches, key: bytes, given: Any, allowed: set[Word | None]
    ) -> Violation:
        """Name the invariant that a wrong answer breaks."""
        invariant = "FOLD"
        if given is not None:
            fold = folds[given[0]]
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
        if served is None or view is None or not view.ready or topic is None:
            return f"not ready: {served.reason(self._world.now) if served else 'not started'}"
        generation = self._generation(view)
        if generation.topic is not topic:
            return "another incarnation is served"
        if len(view.progress) < len(topic.partitions):
            return f"{len(view.progress)} of {len(topic.partitions)} partitions are followed"
        behind = [self._behind(topic.partitions[n], known) for n, known in view.progress.items()]
        if any(behind):
            return max(behind)
        if generation.present() is None:
            return "a partition was cut, and that was not noticed"
        if view.doubted or served.fault or served.next:
            return f"still: {served.reason(self._world.now)}"
        staleness_ms = served.read(self._world.now).staleness_ms
        if staleness_ms is None or staleness_ms > _FRESH_MS:
            return f"staleness is {staleness_ms}"
        return "" if view.table.settled and view.table.swept else "not settled"

    @staticmethod
    def _behind(partition: Partition, known: Progress) -> str:
        log = partition.log
        ends = (log.log_start, log.leo, log.leo)
        if (known.position, known.bounds, partition.history.hw) == (log.leo, ends, log.leo):
            return ""
        return f"partition {partition.number} is at {known.position} of {ends}: {known}"

    def exact(self) -> None:
        """At rest the table equals the fold of the history, and that of what the log holds now.

        Raises:
            Violation: it does not.
        """
        self.compare()
        served = self._served
        assert served is not None
        assert served.view is not None
        view, reading = served.view, served.read(self._world.now)
        generation = self._generation(view)
        folds = generation.present()
        assert folds is not None, "it is settled"
        held = {number: self._held(generation.topic.partitions[number]) for number in folds}
        there = set()
        for key in self._keys:
            given = _given(reading.table.get(key))
            allowed = self._allowed(view, folds, key, at_rest=True)
            if given not in allowed:
                raise self._wrong(view, folds, key, given, allowed)
            words = {word_of(number, recs.get(key)) for number, recs in held.items()} - {None}
            several = sum(key in fold.keys for fold in folds.values()) > 1
            if not several and len(allowed) == 1 and {given} != (words or {None}):
                raise Violation("FOLD", f"{key!r} is {given}; the log holds {words}")
            if given is not None:
                there.add(key)
        if set(reading.table) != there or len(reading.table) != len(there):
            raise Violation("FOLD", f"keys {sorted(reading.table)}, not {sorted(there)}")

    def _held(self, partition: Partition) -> dict[bytes | None, Rec]:
        """The last record of each key that the leader's log holds."""
        committed = self._cluster.options.committed
        return {
            rec.key: rec
            for batch in partition.log.batches
            if (batch.visible if committed else not batch.control)
            for rec in batch.recs
            if rec.offset >= partition.log.log_start
        }

    # Inside

    def _generation(self, view: View) -> Generation:
        incarnation, number = view.identity
        known = self._seen.get(number)
        if known is None:
            topic = self._topic(incarnation)
            assert topic is not None, "an incarnation that never was"
            began = view.topology_as_of
            options = self._cluster.options
            known = self._seen[number] = Generation(
                topic,
                self._world.now if began is None else began,
                committed=options.committed,
                misses=options.missed_tombstones,
            )
        return known

    def _topic(self, incarnation: int) -> Topic | None:
        cluster = self._cluster.cluster_id
        for topic in self._cluster.topics:
            if incarnation_of(cluster, str(topic.id)) == incarnation:
                return topic
        return None


def _given(entry: Entry | None) -> Word | None:
    if entry is None:
        return None
    return partition_of(entry[ORIGIN]), entry[OFFSET], entry[TIMESTAMP], entry[VALUE]
