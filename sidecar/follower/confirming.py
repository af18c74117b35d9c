"""Reading the log once more where tombstones may have been missed (`core.confirm` says why).

While the feed goes on with the log's end, a second reader reads each doubtful partition from
its log start to where the feed stood. One such pass settles the doubt if it took less time
than the topic keeps tombstones, or if it is the second reading in a row under one leader:
whatever the cleaner took away during the second was there to be met in the first. The
bootstrap counts as a reading. So it ends, whatever the settings.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from ..core.confirm import Confirmation
from ..core.model import Fetched
from ..core.progress import Leader, Wait
from ..core.served import Generation
from ..kafka.cluster import Cluster
from ..kafka.errors import BadBatch, KafkaFault
from ..kafka.reader import Reader
from ..kafka.topic import Start, Topic
from ..ops.logs import event

__all__ = ["DETAIL", "Confirmer"]

_log = logging.getLogger("sidecar.follower")

DETAIL = "tombstones may have been missed; the log is read once more to find the keys they deleted"
_SLICE = 512
_RETRY_S = 1.0


class Confirmer:
    """Settles the doubts of one generation.

    Args:
        cluster: that holds the topic.
        topic: that is read.
        generation: which.
        clock: seconds, CLOCK_BOOTTIME.
        skips_bad: batches that cannot be read are passed over.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: Topic,
        generation: Generation,
        clock: Callable[[], float],
        *,
        skips_bad: bool,
    ) -> None:
        self._cluster = cluster
        self.topic = topic
        self._rule = generation.plan.rule
        self._view = generation.view
        self._clock = clock
        self._skips_bad = skips_bad
        # The leader under which a partition was last read as a whole, the bootstrap included.
        self._read_under = {number: start.leader for number, start in topic.partitions.items()}

    def led_by(self, partition: int, leader: Leader) -> None:
        """A partition has another leader; what is not read as a whole yet is not, under one."""
        if not self._view.progress[partition].caught_up:
            self._read_under[partition] = leader._replace(epoch=-2)

    async def settle(self) -> None:
        """Read until no partition that could be confirmed is in doubt."""
        while numbers := [n for n, known in self._view.progress.items() if known.confirmable]:
            try:
                await self._pass(numbers)
            except* KafkaFault as faults:
                # Whatever is true of it the feed will meet too, and know what to do.
                event(
                    _log, logging.WARNING, "confirming begins again",
                    table=self._view.name, why=str(faults.exceptions[0]),
                )  # fmt: skip
                await asyncio.sleep(_RETRY_S)

    async def _pass(self, numbers: list[int]) -> None:
        view, began = self._view, self._clock()
        event(
            _log, logging.INFO, "confirming",
            table=view.name, partitions=len(numbers), why=DETAIL,
        )  # fmt: skip
        ends = {number: view.progress[number].position for number in numbers}
        starts = {number: self._start(number, end) for number, end in ends.items()}
        confirmation = Confirmation(view.table, ends, self._rule)
        for _ in confirmation.collect(_SLICE):
            await asyncio.sleep(0)
        sink = _Rereading(
            confirmation, starts, self._clock, self._tell_bad, skips_bad=self._skips_bad
        )
        reading = asyncio.create_task(
            Reader(
                self._cluster,
                self.topic._replace(partitions=starts),
                sink,
                self._clock,
                grows=False,
            ).run()
        )
        done = asyncio.create_task(sink.done.wait())
        try:
            await asyncio.wait({reading, done}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            done.cancel()
            reading.cancel()
            await asyncio.wait({reading, done})
            if not reading.cancelled():
                reading.exception()  # told above, or the end came first
        for number in numbers:
            await self._conclude(number, began, starts[number].leader, sink, confirmation)

    def _tell_bad(self, partition: int, detail: str) -> None:
        now, text = self._clock(), f"{DETAIL}: {detail}"
        if self._view.progress[partition].waiting.detail == text:
            return
        self._view.change(partition, lambda known: known.waits(Wait.CONFIRMING, now, text))
        event(
            _log, logging.WARNING, "confirming waits",
            table=self._view.name, partition=partition, why=detail,
        )  # fmt: skip

    def _start(self, number: int, end: int) -> Start:
        known = self._view.progress[number]
        return Start(known.leader, max(0, known.bounds.log_start_offset), end)

    async def _conclude(
        self,
        number: int,
        began: float,
        leader: Leader,
        sink: "_Rereading",
        confirmation: Confirmation,
    ) -> None:
        if number in sink.moved:
            # Another leader's log may not be the one that was read: what it lacks says nothing.
            self._read_under[number] = leader._replace(epoch=-2)
            return
        lost = 0
        for some in confirmation.finish(number, _SLICE):
            lost += some
            await asyncio.sleep(0)
        kept_s = self._view.progress[number].freshness.cleaning.keep_s or 0.0
        quick = sink.reached_at[number] - began < kept_s
        again = self._read_under.get(number) == leader
        self._read_under[number] = leader
        if quick or again:
            self._view.change(number, lambda known: known.confirmed(began))
        event(
            _log, logging.INFO, "confirmed" if quick or again else "read once more",
            table=self._view.name, partition=number, missed_tombstones=lost,
        )  # fmt: skip


class _Rereading:
    """The sink of one pass."""

    def __init__(
        self,
        confirmation: Confirmation,
        starts: dict[int, Start],
        clock: Callable[[], float],
        tell: Callable[[int, str], None],
        *,
        skips_bad: bool,
    ) -> None:
        self._tell = tell
        self._confirmation = confirmation
        self._ends = {number: start.target for number, start in starts.items()}
        self._clock = clock
        self._skips_bad = skips_bad
        self.moved: set[int] = set()
        self.reached_at: dict[int, float] = {}
        self.done = asyncio.Event()
        for number, start in starts.items():
            self._reach(number, start.log_start_offset)

    async def take(self, fetched: Fetched) -> None:
        """Compare what a partition holds with the table, in slices."""
        number = fetched.partition
        for batch in fetched.batches:
            records = batch.each()
            while some := list(islice(records, _SLICE)):
                if number in self.reached_at:
                    return
                self._confirmation.meet(number, some)
                await asyncio.sleep(0)
            self._reach(number, batch.next_offset)
        self._reach(number, fetched.nothing_before or 0)

    def _reach(self, number: int, offset: int) -> None:
        if offset >= self._ends[number] and number not in self.reached_at:
            self.reached_at[number] = self._clock()
            if self.reached_at.keys() == self._ends.keys():
                self.done.set()

    def led_by(self, partition: int, leader: Leader) -> None:  # noqa: ARG002 (who it is, is no matter)
        """It is not read under one leader as a whole: that ends it."""
        self.moved.add(partition)
        self._reach(partition, self._ends[partition])

    def skips(self, bad: BadBatch) -> bool:
        """As the feed does; it has counted it."""
        return self._skips_bad and bad.next_offset is not None

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """No matter: the feed follows the log's end."""

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A batch that was read and cannot be read again is told; the rest the feed meets too."""
        if wait is Wait.BAD_BATCH:
            self._tell(partition, detail)

    def added(self, partition: int, start: Start, asked_at: float) -> None:
        """No matter: it is read from its start by the feed."""

    def listed(self, sent_at: float) -> None:
        """No matter."""

    def broker_error(self, name: str) -> None:
        """No matter: the feed counts its own."""
