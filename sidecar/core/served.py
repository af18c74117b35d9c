"""One table as it is served: what was asked for, where it comes from, how it stands.

The follower writes it; the RPCs, the probes, the metrics and the status page read it,
and none of them reads anything else. Its `read` is the gate of `View`, or the reason
why there is no view yet.

States, as ``TableState`` names them: BOOTSTRAPPING until every partition was read to
its target once; then LIVE while staleness is known and below the table's bound, else
STALE; FAILED is for a table that was never ready and waits for an operator.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from .bounds import UNBOUND, Arrivals, Bounds
from .errors import Reason, Refused
from .progress import Wait
from .view import Reading, View

__all__ = ["Definition", "Served", "Source", "TableState", "Times", "Trouble", "incarnation_of"]


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
        format: name of the values' format: bytes, utf8 or json.
        headers: whether records keep their headers.
        required: whether the sidecar's readiness needs it.
        min_entries: with fewer it does not become ready.
        stale_after_ms: from this staleness on it is STALE.
        isolation: read_committed or read_uncommitted.
    """

    name: str
    topic: str
    format: str = "bytes"
    headers: bool = False
    required: bool = True
    min_entries: int = 0
    stale_after_ms: int = 5000
    isolation: str = "read_committed"

    @property
    def hash(self) -> str:
        """Digest of all that decides which entries the table holds."""
        return hashlib.sha256(f"1 isolation={self.isolation}".encode()).hexdigest()[:16]


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


class Times(NamedTuple):
    """Seconds, CLOCK_BOOTTIME: when the generation began and became ready (0: not yet)."""

    began: float = 0.0
    ready: float = 0.0


def incarnation_of(cluster_id: str, topic_id: str) -> int:
    """A stable 53-bit hash of a topic's identity."""
    text = f"{cluster_id}\0{topic_id}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11


class Served:
    """One table's place in the sidecar."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.source: Source | None = None
        self.view: View | None = None
        self.trouble = Trouble()
        self.times = Times()
        self.begun: dict[str, int] = {}
        self.fetched_bytes = 0
        self.arrivals = Arrivals()

    def __repr__(self) -> str:
        return f"<Served {self.definition.name} {self.view!r}>"

    @property
    def generations(self) -> int:
        """Generations begun since the sidecar started."""
        return sum(self.begun.values())

    def begin(self, source: Source, view: View, now: float, reason: str = "start") -> None:
        """A generation begins, for a reason in a word."""
        self.source, self.view = source, view
        self.times = Times(began=now)
        self.begun = {**self.begun, reason: self.begun.get(reason, 0) + 1}
        self.fetched_bytes = 0
        self.arrivals.wake()

    def try_ready(self, now: float) -> bool:
        """Note the moment at which the view becomes ready; true: it just did."""
        if self.view is None or self.view.ready or not self.view.try_ready():
            return False
        self.times = self.times._replace(ready=now)
        self.arrivals.wake()
        return True

    def read(self, now: float, bounds: Bounds = UNBOUND, *, partial: bool = False) -> Reading:
        """Open the gate, as `View.read` does.

        Raises:
            Refused: as `View.read`, or the reason why the topic cannot be read.
        """
        if self.view is not None:
            return self.view.read(now, bounds, partial=partial)
        raise Refused(
            Reason.TABLE_FAILED if self.trouble.final else self.trouble.reason,
            f"table {self.definition.name!r}: {self.trouble.sentence}",
            metadata={"table": self.definition.name, "topic": self.definition.topic},
            retry_after_ms=None if self.trouble.final else 1000,
        )

    @property
    def ready(self) -> bool:
        """Lookups are answered."""
        return self.view is not None and self.view.ready

    def state(self, now: float) -> TableState:
        """Where the table stands."""
        if self.view is None and self.trouble.final:
            return TableState.FAILED
        if self.view is None or not self.view.ready:
            return TableState.BOOTSTRAPPING
        staleness_ms = self.view.staleness_ms(now)
        fresh = staleness_ms is not None and staleness_ms < self.definition.stale_after_ms
        return TableState.LIVE if fresh else TableState.STALE

    def reason(self, now: float) -> str:
        """Why it stands there, in a sentence; empty: nothing to explain."""
        state = self.state(now)
        if state is TableState.LIVE:
            return ""
        if self.view is None:
            return self.trouble.sentence
        if state is TableState.BOOTSTRAPPING:
            return self.view.describe_bootstrap()
        return self._why_stale(self.view, now)

    def eta_ms(self, now: float) -> int | None:
        """Milliseconds until the bootstrap ends at its speed so far; None: no estimate."""
        if self.view is None or self.view.caught_up:
            return None
        done, total = self.view.offsets_done()
        elapsed = now - self.times.began
        return round(elapsed * (total - done) / done * 1000) if done and elapsed > 0 else None

    def bootstrap_ms(self) -> int:
        """How long the bootstrap took; 0: it is not done."""
        return max(1, round((self.times.ready - self.times.began) * 1000)) if self.ready else 0

    def memory_bytes(self) -> int:
        """Estimate of the memory that the table holds.

        CPython's objects: two bytes objects an entry (33 bytes each beside what they
        hold, and 8 lost to alignment), 24 bytes of origin, and a dict's slot (about 40).
        """
        if self.view is None:
            return 0
        return len(self.view.table) * 146 + self.view.table.payload_bytes

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
