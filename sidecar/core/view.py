"""One generation of a table: the fold of a stated prefix of the log, and its read gate.

`fold` is the only way in. It applies what a fetch brought in slices and moves the
position at the end of each; between two slices others may run, and every one of them
sees exactly the fold of the stated positions.

`read` is the only way out. It refuses unless every partition has been read up to its
target once: before that, a key that is missing says nothing about the log.

Staleness is the age of the oldest partition's moment of freshness, and at least the
age of the last answer that listed no partition which the view does not follow.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, dropwhile, islice
from math import ceil, inf, nan
from typing import NamedTuple

from .bounds import UNBOUND, Bounds
from .errors import Reason, Refused
from .model import Batch, Fetched, Record
from .ordered import OrderedKeys
from .progress import Progress, Wait
from .table import Table

__all__ = ["Reading", "View"]

_NOT_COMPUTED = nan


class Reading(NamedTuple):
    """An open gate: the table as it stands now, and of what it is the truth.

    `staleness_ms` is None where it is not known. `complete` is false during a
    bootstrap that the caller chose to look into: a missing key is then unknown.
    """

    table: Table
    incarnation: int
    generation: int
    revision: int
    staleness_ms: int | None
    complete: bool


class View:
    """The tables and the progress of one generation.

    Args:
        name: the table's name, for messages.
        incarnation: of the topic.
        generation: of this build: 53 random bits.
        partitions: where each partition starts and ends.
        keep_headers: whether entries hold their headers.
        min_entries: a generation with fewer entries does not become ready.
    """

    def __init__(
        self,
        name: str,
        incarnation: int,
        generation: int,
        partitions: Iterable[Progress],
        *,
        keep_headers: bool = False,
        min_entries: int = 0,
    ) -> None:
        self.name = name
        self.identity = (incarnation, generation)
        self.progress = {progress.partition: progress for progress in partitions}
        self.topology_as_of: float | None = None
        self._table = Table(keep_headers=keep_headers, partitions=len(self.progress))
        self._ordered: OrderedKeys | None = None
        # What must be met for it to answer; None: it does, and will from then on.
        self._min_entries: int | None = min_entries
        # Of all partitions, until one of them changes: each lookup asks for it.
        self._oldest: float | None = _NOT_COMPUTED

    def __repr__(self) -> str:
        positions = {number: progress.position for number, progress in self.progress.items()}
        return f"<View {self.name} ready={self.ready} positions={positions} {self._table!r}>"

    # The way in

    def fold(self, fetched: Fetched, limit: int) -> Iterator[int]:
        """Apply one partition's part of a fetch response.

        Each step of the returned iterator is one slice of up to `limit` records and
        yields how many it applied. The positions are right after every step, also
        where decoding a record raises.
        """
        number = fetched.partition
        known = self.progress[number]
        brings = fetched.size or fetched.nothing_before is not None
        if brings and fetched.arrived_at > known.freshness.complete_until:
            self._put(known.doubted(fetched.arrived_at))
        self._bound(number, fetched)
        for batch in fetched.batches:
            if batch.holes or batch.base_offset > self.progress[number].position:
                self._put(self.progress[number].holed(fetched.bounds))
            yield from self._fold_batch(number, batch, limit)
        if fetched.nothing_before is not None:
            self._put(self.progress[number].holed(fetched.bounds).advanced(fetched.nothing_before))

    def _bound(self, number: int, fetched: Fetched) -> None:
        """Believe what the leader told of the log's ends, whatever its batches hold."""
        known = self.progress[number]
        if 0 <= known.bounds.log_start_offset < fetched.bounds.log_start_offset:
            self._table.raise_floor(number, fetched.bounds.log_start_offset)
        self._put(known.answered(fetched.bounds, fetched.sent_at))

    def _fold_batch(self, number: int, batch: Batch, limit: int) -> Iterator[int]:
        try:
            yield from self._fold_records(number, batch, batch.records, limit)
        except Exception:
            if batch.again is None:
                raise
            yield from self._fold_records(number, batch, batch.again(), limit)

    def _fold_records(
        self, number: int, batch: Batch, records: Iterable[Record], limit: int
    ) -> Iterator[int]:
        position = self.progress[number].position
        fits = batch.next_offset - batch.base_offset < limit
        if batch.base_offset < position:
            records = dropwhile(lambda record: record.offset < position, records)
        elif not fits:
            records = chain(records)  # an iterator that islice can take up again
        whole = False
        while not whole:
            try:
                part = records if fits else islice(records, limit)
                applied = self._table.apply(part, batch.origin)
                whole = applied.records < limit
            finally:
                reached = batch.next_offset if whole else self._table.applied.last_offset + 1
                # A record may claim an offset that is not its batch's.
                reached = min(reached, batch.next_offset)
                self._put(self.progress[number].advanced(reached))
            yield applied.records

    def add(self, progress: Progress) -> None:
        """Another partition; it belongs to the stated positions from now on.

        It does not unmake a view that is ready: the answers stay the fold of the positions,
        of which this one begins at its log start. How old they are says the topology.
        """
        self._table.several_partitions()
        self._put(progress)

    def skip(self, partition: int, offset: int) -> None:
        """Pass over what cannot be read, up to an offset."""
        self._table.counters.skipped_batches += 1
        self.change(partition, lambda known: known.advanced(offset))

    def change(self, partition: int, step: Callable[[Progress], Progress]) -> None:
        """Replace one partition's progress by what `step` makes of it."""
        self._put(step(self.progress[partition]))

    def _put(self, progress: Progress) -> None:
        self.progress[progress.partition] = progress
        self._oldest = _NOT_COMPUTED

    # The way out

    def read(self, now: float, bounds: Bounds = UNBOUND, *, partial: bool = False) -> Reading:
        """Open the gate.

        Args:
            now: seconds, CLOCK_BOOTTIME.
            bounds: refuse an answer that does not meet them.
            partial: answer during a bootstrap too.

        Raises:
            Refused: BOOTSTRAPPING, TABLE_FAILED, INCARNATION_MISMATCH or NOT_FRESH.
        """
        if not self.ready and not partial:
            raise self._not_ready()
        staleness_ms = self.staleness_ms(now)
        if bounds is not UNBOUND:
            self._check(bounds, staleness_ms)
        return Reading(self._table, *self.identity, self._table.revision, staleness_ms, self.ready)

    def _check(self, bounds: Bounds, staleness_ms: int | None) -> None:
        incarnation = self.identity[0]
        if bounds.incarnation not in {None, incarnation}:
            raise Refused(
                Reason.INCARNATION_MISMATCH,
                f"table {self.name!r} holds incarnation {incarnation} of its topic, the positions "
                f"belong to {bounds.incarnation}: they say nothing of this one",
                metadata={
                    "table": self.name,
                    "incarnation": str(incarnation),
                    "asked": str(bounds.incarnation),
                },
            )
        missing = self.missing(bounds)
        if missing is not None:
            partition, least = missing
            known = self.progress.get(partition)
            has = f"is at {known.position}" if known else "is not known (yet)"
            why = f"partition {partition} {has}, the bound is position {least}"
            raise self._not_fresh(why, staleness_ms, {"partition": str(partition)})
        most = bounds.max_staleness_ms
        if most is not None and (staleness_ms is None or staleness_ms > most):
            age = "not known" if staleness_ms is None else f"{staleness_ms} ms"
            raise self._not_fresh(f"staleness is {age}, the bound is {most} ms", staleness_ms, {})

    def missing(self, bounds: Bounds) -> tuple[int, int] | None:
        """A partition that is not at its least position yet, and that; None: all are."""
        for partition, least in bounds.positions.items():
            known = self.progress.get(partition)
            if known is None:
                return partition, least
            needed = max(least, known.freshness.whole_at)
            if known.position < needed:
                return partition, needed
        return None

    def staleness_ms(self, now: float) -> int | None:
        """Age of the answer's oldest part; None: not known."""
        oldest = self._oldest
        if oldest is _NOT_COMPUTED:
            oldest = self._oldest = self._oldest_partition()
        if oldest is None or self.topology_as_of is None:
            return None
        return max(0, ceil((now - min(oldest, self.topology_as_of)) * 1000))

    def _oldest_partition(self) -> float | None:
        moments = [progress.fresh_as_of for progress in self.progress.values()]
        known = [moment for moment in moments if moment is not None]
        return min(known, default=inf) if len(known) == len(moments) else None

    def ordered(self) -> OrderedKeys:
        """The keys in order; built by the caller, one step at a time."""
        if self._ordered is None:
            self._ordered = OrderedKeys(self._table)
        return self._ordered

    @property
    def is_ordered(self) -> bool:
        """Somebody has asked for that order, and it is there."""
        return self._ordered is not None and self._ordered.built

    # Becoming ready

    @property
    def table(self) -> Table:
        """The table, for counts and digests; lookups go through `read`."""
        return self._table

    @property
    def ready(self) -> bool:
        """Lookups are answered: everything was read once."""
        return self._min_entries is None

    @property
    def blocked(self) -> bool:
        """A partition cannot be read any further."""
        return any(known.waiting.wait is Wait.BAD_BATCH for known in self.progress.values())

    @property
    def caught_up(self) -> bool:
        """Every partition has reached its target."""
        return all(progress.caught_up for progress in self.progress.values())

    def try_ready(self) -> bool:
        """Become ready if nothing is missing; stays so.

        How many entries there are is known once the table is settled: only who asks for a
        minimum waits for that. No partition may be in doubt.
        """
        if self.caught_up:
            self._table.tailing = True
        if self.fit:
            self._min_entries = None
        return self.ready

    @property
    def fit(self) -> bool:
        """Nothing is missing for it to become ready."""
        least = self._min_entries or 0
        enough = not least or (self._table.settled and len(self._table) >= least)
        return self.caught_up and enough and not self.doubted

    def has_reached(self, other: "View") -> bool:
        """It has read as far as another one of the same log."""
        ours = self.progress
        return all(
            number in ours and ours[number].position >= known.position
            for number, known in other.progress.items()
        )

    @property
    def doubted(self) -> list[int]:
        """The partitions whose tombstones may have been missed."""
        return [number for number, known in self.progress.items() if known.doubt is not None]

    def offsets_done(self) -> tuple[int, int]:
        """Offsets read and offsets to read, of the bootstrap."""
        done = total = 0
        for progress in self.progress.values():
            start = min(max(0, progress.bounds.log_start_offset), progress.target)
            total += progress.target - start
            done += max(0, min(progress.position, progress.target) - start)
        return done, total

    def describe_bootstrap(self) -> str:
        """In words, how far the bootstrap has come and what it waits for."""
        if self._table.tailing and self._table.settled and not self.doubted:
            return (
                f"the topic was read and holds {len(self._table)} entries, fewer than "
                f"min_entries ({self._min_entries})"
            )
        done, total = self.offsets_done()
        caught_up = sum(progress.caught_up for progress in self.progress.values())
        text = (
            f"{done} of {total} offsets, {caught_up} of {len(self.progress)} partitions caught up"
        )
        waits = [
            f"partition {progress.partition}: {progress.waiting.detail}"
            for progress in self.progress.values()
            if progress.waiting.detail
        ]
        return "; ".join([text, *waits[:3]])

    def _not_ready(self) -> Refused:
        done, total = self.offsets_done()
        how = "cannot be read" if self.blocked else "is still being read"
        return Refused(
            Reason.TABLE_FAILED if self.blocked else Reason.BOOTSTRAPPING,
            f"table {self.name!r} {how}: {self.describe_bootstrap()}",
            metadata={"table": self.name, "position": str(done), "target": str(total)},
            retry_after_ms=None if self.blocked else 500,
        )

    def _not_fresh(self, why: str, staleness_ms: int | None, metadata: dict[str, str]) -> Refused:
        positions = ",".join(f"{p.partition}:{p.position}" for p in self.progress.values())
        return Refused(
            Reason.NOT_FRESH,
            f"table {self.name!r}: {why}",
            metadata={
                "table": self.name,
                **metadata,
                "positions": positions,
                "staleness_ms": "" if staleness_ms is None else str(staleness_ms),
            },
        )
