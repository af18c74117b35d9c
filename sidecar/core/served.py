"""One table as it is served: what was asked for, where it comes from, how it stands.

The follower writes it; the RPCs, the probes, the metrics and the status page read it,
and none of them reads anything else. Its `read` is the gate of `View`, or the reason
why there is no view yet.

States, as ``TableState`` names them: BOOTSTRAPPING until every partition was read to
its target once; then LIVE while staleness is known and below the table's bound, else
STALE; FAILED is for a table that was never ready and waits for an operator; REPLACED for
one whose topic is another one now, or gone.

A table is read anew as another generation. While the topic is the same, the one that
answers goes on, STALE, and the next one takes its place when it is ready. What was read
from a topic that is gone, or another one, never answers again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .bounds import UNBOUND, Arrivals, Bounds
from .errors import Reason, Refused
from .index import Index
from .model import Fetched
from .progress import Wait
from .rule import Load, Rule
from .view import Reading, View
from .watch import Watches

__all__ = [
    "Definition",
    "Generation",
    "Plan",
    "Served",
    "Source",
    "TableState",
    "Trouble",
    "incarnation_of",
]


class TableState(IntEnum):
    """Where a table stands; the numbers are those of the contract."""

    BOOTSTRAPPING = 1
    LIVE = 2
    STALE = 3
    FAILED = 4
    REPLACED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What a table is meant to be.

    Attributes:
        name: its name in lookups.
        topic: the topic that feeds it.
        format: name of the values' format: bytes, utf8, json, avro or protobuf.
        schema_file: where the schema of avro or protobuf is; empty: in a registry.
        message: of protobuf in a file, which one.
        unwrap: whose envelope the values are in: debezium, or empty.
        headers: whether records keep their headers.
        required: whether the sidecar's readiness needs it.
        min_entries: with fewer it does not become ready.
        stale_after_ms: from this staleness on it is STALE.
        isolation: read_committed or read_uncommitted.
        load: which records it takes, and how much of each.
        indexes: by which JSON paths entries are found, each with its name.
        dump: the file that stands for the topic; empty: the topic itself does.
    """

    name: str
    topic: str
    format: str = "bytes"
    schema_file: str = ""
    message: str = ""
    unwrap: str = ""
    headers: bool = False
    required: bool = True
    min_entries: int = 0
    stale_after_ms: int = 5000
    isolation: str = "read_committed"
    load: Load = field(default_factory=Load)
    indexes: tuple[tuple[str, str], ...] = ()
    dump: str = ""

    def same_table(self, other: "Definition") -> bool:
        """Whether what was read for the one is what would be read for the other."""
        mine, others = (
            (each.topic, each.hash, each.headers, each.values, each.indexes)
            for each in (self, other)
        )
        return mine == others

    @property
    def values(self) -> str:
        """What the values are, in words that are always the same."""
        words = {"schema_file": self.schema_file, "message": self.message, "unwrap": self.unwrap}
        return " ".join([f"format={self.format}", *(f"{n}={v!r}" for n, v in words.items() if v)])

    @property
    def hash(self) -> str:
        """Digest of all that decides which entries the table holds."""
        words = [f"1 isolation={self.isolation}"]
        words += [str(self.load)] if self.load else []
        words += [self.values] if self.load.looks_inside else []
        return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


class Source(NamedTuple):
    """The topic that a view was built from, as its cluster names it.

    `cleanup_policy` is empty and `delete_retention_ms` None where the broker does not tell.
    """

    cluster_id: str
    topic_id: str
    incarnation: int
    cleanup_policy: str = ""
    delete_retention_ms: int | None = None


class Trouble(NamedTuple):
    """Why there is no view: a reason for programs, a sentence for people; `final`: FAILED."""

    reason: Reason = Reason.BOOTSTRAPPING
    sentence: str = "the topic has not been looked up yet"
    final: bool = False


class Plan(NamedTuple):
    """What a generation is to be.

    Attributes:
        definition: that it is built by; None: the one that its table has.
        rule: through which its log is read; None: as it is.
        indexes: over its table, by name.
        decode: makes JSON of a value, as `formats` has it; None: there is no such form.
        prepare: waits, for a moment, until what was read lately can be decoded; None: it can.
    """

    definition: Definition | None = None
    rule: Rule | None = None
    indexes: Mapping[str, Index] = MappingProxyType({})
    decode: Callable[[bytes], Any] | None = None
    prepare: Callable[[], Awaitable[None]] | None = None


_NO_PLAN: Final = Plan()


@dataclass(slots=True)
class Generation:
    """One build of a table.

    Attributes:
        source: the topic that it is built from.
        view: what was read so far.
        began: seconds, CLOCK_BOOTTIME.
        ready: the same; 0: not yet.
        fetched_bytes: of record batches.
        watches: who follows it; None: nobody did for a while.
        plan: what it is to be.
    """

    source: Source
    view: View
    began: float
    ready: float = 0.0
    fetched_bytes: int = 0
    watches: Watches | None = None
    plan: Plan = _NO_PLAN

    def seen(self, fetched: Fetched) -> Fetched:
        """A part of the log as the table is told it."""
        if self.plan.rule is None:
            return fetched
        return self.plan.rule.fetched(fetched, self.view.table.counters)

    def memory_bytes(self) -> int:
        """Estimate of what it holds; see `Served.memory_bytes`."""
        table, watches = self.view.table, self.watches
        kept = 0 if watches is None else watches.past_bytes + watches.queued_bytes
        found = sum(index.memory_bytes for index in self.plan.indexes.values())
        return len(table) * 146 + table.payload_bytes + kept + found

    def end(self) -> None:
        """It answers no longer."""
        if self.watches is not None:
            self.watches.end()


def incarnation_of(cluster_id: str, topic_id: str) -> int:
    """A stable 53-bit hash of a topic's identity."""
    text = f"{cluster_id}\0{topic_id}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11


class Served:
    """One table's place in the sidecar.

    Attributes:
        definition: what the generation that answers was built by, or else what is built first.
        current: the generation that answers, or is the first to be read.
        next: the one that is built beside it, or instead of one that may not answer any more.
        trouble: why there is no `current`.
        fault: why `current` is fed no longer, in a sentence; empty: it is.
        replaced: a generation that answered was dropped, because the topic is not its own.
        begun: generations begun since the sidecar started, by why.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.current: Generation | None = None
        self.next: Generation | None = None
        self.trouble = Trouble()
        self.fault = ""
        self.replaced = False
        self.begun: dict[str, int] = {}
        self.arrivals = Arrivals()

    def __repr__(self) -> str:
        return f"<Served {self.definition.name} {self.view!r}>"

    @property
    def view(self) -> View | None:
        """That of the generation that answers, or is the first to be read."""
        return None if self.current is None else self.current.view

    @property
    def source(self) -> Source | None:
        """Where what answers comes from, or else what is built."""
        known = self.current or self.next
        return None if known is None else known.source

    @property
    def fetched_bytes(self) -> int:
        """Bytes of record batches that were read for it."""
        known = self.current or self.next
        return 0 if known is None else known.fetched_bytes

    @property
    def generations(self) -> int:
        """Generations begun since the sidecar started."""
        return sum(self.begun.values())

    # From one generation to the next

    def begin(self, generation: Generation, reason: str = "start") -> None:
        """A generation begins, for a reason in a word.

        It is built beside one that answers. One that was never ready it takes the place of.
        """
        if self.ready or self.replaced:
            self.next = generation
        else:
            self.current, self.fault = generation, ""
            self.definition = generation.plan.definition or self.definition
        self.begun = {**self.begun, reason: self.begun.get(reason, 0) + 1}
        self.arrivals.wake()

    def try_ready(self, now: float) -> bool:
        """Let the generation that is built answer once it can; true: it just did."""
        built = self.next or self.current
        if built is None or built.view.ready or (built is self.next and self._runs_ahead(built)):
            return False
        if not built.view.try_ready():
            return False
        built.ready = now
        before, self.current, self.next = self.current, built, None
        self.definition = built.plan.definition or self.definition
        if before is not None and before is not built:
            before.end()
        self.fault, self.replaced = "", False
        self.arrivals.wake()
        return True

    def _runs_ahead(self, built: Generation) -> bool:
        """What answers, and is fed, has read further: a swap would go back in time."""
        before = self.current
        if before is None or self.fault or before.source.incarnation != built.source.incarnation:
            return False
        return built.view.caught_up and not built.view.has_reached(before.view)

    def gives_way(self, generation: Generation) -> bool:
        """It answers, and another one would in its place had it read as far: so it may wait."""
        fed = generation is self.current and not self.fault
        return fed and self.next is not None and self.next.view.fit

    def cut_off(self, fault: str) -> None:
        """Nothing feeds the generation that answers; what was built beside it is given up."""
        self.next, self.fault = None, fault

    def give_up_next(self) -> None:
        """What is built beside the one that answers is given up; that is fed on."""
        self.next = None

    def drop(self, trouble: Trouble, *, replaced: bool) -> None:
        """Nothing answers any more; `replaced`: the topic is another one, or gone."""
        self.replaced = self.replaced or (replaced and self.ready)
        before, self.current, self.next = self.current, None, None
        if before is not None:
            before.end()
        self.trouble, self.fault = trouble, ""
        self.arrivals.wake()

    # The gate

    def read(self, now: float, bounds: Bounds = UNBOUND, *, partial: bool = False) -> Reading:
        """Open the gate, as `View.read` does.

        Raises:
            Refused: as `View.read`, or the reason why the topic cannot be read.
        """
        if self.current is not None:
            return self.current.view.read(now, bounds, partial=partial)
        raise Refused(
            Reason.TABLE_FAILED if self.trouble.final else self.trouble.reason,
            f"table {self.definition.name!r}: {self.reason(now)}",
            metadata={"table": self.definition.name, "topic": self.definition.topic},
            retry_after_ms=None if self.trouble.final else 1000,
        )

    @property
    def ready(self) -> bool:
        """Lookups are answered."""
        return self.current is not None and self.current.view.ready

    # How it stands

    def state(self, now: float) -> TableState:
        """Where the table stands."""
        view = self.view
        if view is None:
            if self.replaced:
                return TableState.REPLACED
            return TableState.FAILED if self.trouble.final else TableState.BOOTSTRAPPING
        if not view.ready:
            return TableState.FAILED if view.blocked else TableState.BOOTSTRAPPING
        staleness_ms = view.staleness_ms(now)
        fresh = staleness_ms is not None and staleness_ms < self.definition.stale_after_ms
        fed = not self.fault and not view.doubted
        return TableState.LIVE if fresh and fed else TableState.STALE

    def reason(self, now: float) -> str:
        """Why it stands there, in a sentence; empty: nothing to explain."""
        state = self.state(now)
        if state is TableState.LIVE:
            return ""
        if self.view is None:
            told = self.trouble.sentence
        elif not self.view.ready:
            return self.view.describe_bootstrap()
        else:
            told = "; ".join(filter(None, [self.fault, self._why_stale(self.view, now)]))
        if self.next is None:
            return told
        return f"{told}; being read anew: {self.next.view.describe_bootstrap()}"

    def eta_ms(self, now: float) -> int | None:
        """Milliseconds until what is built is read, at its speed so far; None: no estimate."""
        built = self.next or self.current
        if built is None or built.view.caught_up:
            return None
        done, total = built.view.offsets_done()
        elapsed = now - built.began
        return round(elapsed * (total - done) / done * 1000) if done and elapsed > 0 else None

    def bootstrap_ms(self) -> int:
        """How long the bootstrap took; 0: it is not done."""
        if self.current is None or not self.ready:
            return 0
        return max(1, round((self.current.ready - self.current.began) * 1000))

    def memory_bytes(self) -> int:
        """Estimate of the memory that the table's generations hold.

        CPython's objects: two bytes objects an entry (33 bytes each beside what they
        hold, and 8 lost to alignment), 24 bytes of origin, and a dict's slot (about 40). And
        what is kept of its changes for watches.
        """
        held = [generation for generation in (self.current, self.next) if generation]
        return sum(generation.memory_bytes() for generation in held)

    @staticmethod
    def _why_stale(view: View, now: float) -> str:
        staleness_ms = view.staleness_ms(now)
        age = "is not known" if staleness_ms is None else f"is {staleness_ms} ms"
        waits = [
            f"partition {progress.partition}: {progress.waiting.detail}"
            for progress in view.progress.values()
            if progress.waiting.wait is not Wait.NOTHING
        ]
        return "; ".join([f"staleness {age}", *waits[:3]])
