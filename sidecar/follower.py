"""The one writer of a table: finds the topic, folds what is read, and says what it waits for.

It takes what the reader brings in slices of about two milliseconds and yields between
them, so lookups go on during a bootstrap. A slice has no await in it and ends by
moving the position: whoever runs in between sees the fold of a stated prefix.

A table becomes ready once, when every partition was read up to its target. What holds
that up is named: an open transaction is waited for until `open_transaction_wait_s`,
then the last stable offset is taken for the target, and staleness stays unknown until
the transaction ends.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Mapping

from .core.model import Fetched, LogBounds
from .core.progress import Leader, Progress, Wait
from .core.served import Served, Source, Trouble, incarnation_of
from .core.view import View
from .kafka.cluster import Cluster
from .kafka.reader import Reader
from .kafka.topic import Start, Topic, locate
from .ops.logs import event

__all__ = ["Bell", "Follower"]

_log = logging.getLogger("sidecar.follower")

_SLICE = 1024
# What a batch counts at least, also one of a marker or of an aborted transaction.
_LEAST = 16
_GENERATION_BITS = 53


class Bell:
    """Wakes all who wait for the next change of any table's state."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Return at the next change."""
        await self._rung.wait()


class Follower:
    """Feeds one table.

    Args:
        served: the table.
        cluster: that holds its topic.
        clock: seconds, CLOCK_BOOTTIME.
        changed: rung when the table begins, becomes ready, or cannot be read.
        count_error: told the name of each broker error.
        open_transaction_wait_s: how long an open transaction may hold up readiness.
    """

    def __init__(
        self,
        served: Served,
        cluster: Cluster,
        clock: Callable[[], float],
        changed: Bell,
        *,
        count_error: Callable[[str], None],
        open_transaction_wait_s: float = 75.0,
    ) -> None:
        self.served = served
        self.broker_error = count_error
        self._cluster = cluster
        self._clock = clock
        self._changed = changed
        self._open_transaction_wait_s = open_transaction_wait_s
        self._room = _SLICE
        self._untidy = asyncio.Event()

    async def run(self) -> None:
        """Follow the topic until cancelled.

        Raises (alone or in an ExceptionGroup):
            LogFault: the log can not be followed any further.
            Unsupported: the cluster or the topic cannot be read by this version.
        """
        definition = self.served.definition
        topic = await locate(self._cluster, definition.topic, self._report)
        self.served.begin(_source(topic), self._view(topic), self._clock())
        self.listed(topic.listed_at)
        event(
            _log,
            logging.INFO,
            "generation begins",
            table=definition.name,
            topic=topic.name,
            topic_id=str(topic.id),
            partitions=len(topic.partitions),
            offsets=sum(
                start.target - start.log_start_offset for start in topic.partitions.values()
            ),
        )
        self._warn_of_policy(topic.config)
        self._check_ready()
        self._changed.ring()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tidy())
            await Reader(self._cluster, topic, self, self._clock).run()

    # What the reader brings (its Sink)

    async def take(self, fetched: Fetched) -> None:
        """Fold one partition's part of a response, in slices."""
        view = self._served_view
        self.served.fetched_bytes += fetched.size
        for applied in view.fold(fetched, _SLICE):
            self._room -= max(applied, _LEAST)
            if self._room <= 0:
                self._room = _SLICE
                await asyncio.sleep(0)
        self._name_wait(view, fetched.partition)
        if view.table.tailing and not (view.table.settled and view.table.swept):
            self._untidy.set()
        self.served.arrivals.reached(fetched.partition, view.progress[fetched.partition].position)
        if not view.ready:
            self._check_ready()

    def led_by(self, partition: int, leader: Leader) -> None:
        """A partition has another leader."""
        self._served_view.change(partition, lambda progress: progress.led_by(leader))

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """A new leader knows where its log ends."""
        self._served_view.change(
            partition, lambda known: known.leader_ends_at(leader, end, told_at)
        )

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A partition waits."""
        now = self._clock()
        view = self._served_view
        if view.progress[partition].waiting.detail != detail:
            name = self.served.definition.name
            event(
                _log, logging.WARNING, "partition waits",
                table=name, partition=partition, wait=wait.name, why=detail,
            )  # fmt: skip
        view.change(partition, lambda progress: progress.waits(wait, now, detail))

    def added(self, partition: int, start: Start) -> None:
        """The topic has another partition; the table stays as ready as it is."""
        view = self._served_view
        view.add(_progress(partition, start, self._clock()))
        event(
            _log, logging.INFO, "partition added",
            table=view.name, partition=partition, offsets=start.target - start.log_start_offset,
        )  # fmt: skip

    def listed(self, sent_at: float) -> None:
        """No partition is missing, as of `sent_at`."""
        self._served_view.topology_as_of = sent_at
        self.served.arrivals.reached(-1, 0)

    # Inside

    @property
    def _served_view(self) -> View:
        view = self.served.view
        assert view is not None, "the reader runs only after the generation began"  # noqa: S101
        return view

    def _view(self, topic: Topic) -> View:
        definition = self.served.definition
        partitions = [
            _progress(number, start, topic.listed_at) for number, start in topic.partitions.items()
        ]
        return View(
            definition.name,
            incarnation_of(topic.cluster_id, str(topic.id)),
            random.getrandbits(_GENERATION_BITS),
            partitions,
            keep_headers=definition.headers,
            min_entries=definition.min_entries,
        )

    def _report(self, trouble: Trouble) -> None:
        if trouble == self.served.trouble:
            return
        self.served.trouble = trouble
        name = self.served.definition.name
        event(_log, logging.WARNING, "table waits", table=name, why=trouble.sentence)
        self._changed.ring()

    def _warn_of_policy(self, config: Mapping[str, str]) -> None:
        policy = config.get("cleanup.policy", "")
        if policy and "compact" not in policy:
            event(
                _log,
                logging.WARNING,
                "topic is not compacted",
                topic=self.served.definition.topic,
                cleanup_policy=policy,
                why="keys disappear from the log when their records grow old; set "
                "cleanup.policy=compact unless that is meant",
            )

    def _name_wait(self, view: View, partition: int) -> None:
        now = self._clock()
        # Brokers tell the last stable offset under read_uncommitted too, where it holds nothing.
        committed = self._cluster.settings.isolation_level == "read_committed"
        if committed:
            view.change(partition, lambda known: known.held(now))
        progress = view.progress[partition]
        if committed and progress.held_by_transaction and progress.held_since is not None:
            self._wait_for_transaction(view, progress, progress.held_since, now)
        elif not progress.waits_for_leader and progress.waiting.wait is not Wait.NOTHING:
            view.change(partition, lambda known: known.waits(Wait.NOTHING, 0.0))

    def _wait_for_transaction(
        self, view: View, progress: Progress, since: float, now: float
    ) -> None:
        partition, offset = progress.partition, progress.bounds.last_stable_offset
        held = now - since
        detail = f"an open transaction has held offset {offset} back for {held:.0f} s"
        if not progress.waits_for_leader:
            view.change(partition, lambda known: known.waits(Wait.OPEN_TRANSACTION, since, detail))
        if not progress.caught_up and held > self._open_transaction_wait_s:
            view.change(partition, Progress.without_open_transaction)
            event(
                _log,
                logging.WARNING,
                "open transaction is no longer waited for",
                table=view.name,
                partition=partition,
                offset=offset,
                why="staleness stays unknown until it ends",
            )

    async def _tidy(self) -> None:
        """Once everything was read: entries move to where they stay, and fallen ones go."""
        while True:
            await self._untidy.wait()
            self._untidy.clear()
            table = self._served_view.table
            while table.settle(_SLICE):  # noqa: ASYNC110 (work, not polling)
                await asyncio.sleep(0)
            while not table.swept:
                for _ in table.sweep(_SLICE):
                    await asyncio.sleep(0)
            # The entries live long: a collection need not look at them again.
            gc.freeze()
            self._check_ready()

    def _check_ready(self) -> None:
        now = self._clock()
        if not self.served.try_ready(now):
            return
        view = self._served_view
        event(
            _log,
            logging.INFO,
            "table ready",
            table=view.name,
            entries=len(view.table),
            records=view.table.counters.records,
            seconds=round(self.served.bootstrap_ms() / 1000, 3),
        )
        self._changed.ring()


def _progress(number: int, start: Start, asked_at: float) -> Progress:
    begun = Progress(
        number, position=start.log_start_offset, target=start.target, leader=start.leader
    )
    return begun.answered(LogBounds(start.log_start_offset, start.target), asked_at)


def _source(topic: Topic) -> Source:
    retention = topic.config.get("delete.retention.ms", "")
    return Source(
        topic.cluster_id,
        str(topic.id),
        incarnation_of(topic.cluster_id, str(topic.id)),
        topic.config.get("cleanup.policy", ""),
        int(retention) if retention.isdecimal() else None,
    )
