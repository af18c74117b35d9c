"""What feeds one generation of a table: folds what is read, and says what it waits for.

It takes what the reader brings in slices (`pacing`) and yields between
them, so lookups go on during a bootstrap. A slice has no await in it and ends by
moving the position: whoever runs in between sees the fold of a stated prefix.

A generation becomes ready once, when every partition was read up to its target. What
holds that up is named: an open transaction is waited for until `open_transaction_wait_s`,
then the last stable offset is taken for the target, and staleness stays unknown until
the transaction ends.
"""

import asyncio
import gc
import logging
import random
from math import inf
from typing import NoReturn

from ..core.model import Fetched, LogBounds
from ..core.progress import Cleaning, Freshness, Leader, Progress, Wait
from ..core.served import Definition, Generation, Source, incarnation_of
from ..core.view import View
from ..kafka.errors import BadBatch
from ..kafka.reader import Reader
from ..kafka.topic import Start, Topic
from ..ops.logs import event
from .aging import age
from .confirming import DETAIL, Confirmer
from .pacing import leave_room, pace_of
from .setting import OverBudget, Policy, Setting, Stalled

__all__ = ["Feed", "generation_of"]

_log = logging.getLogger("sidecar.follower")

_SLICE = 1024
# Work that may wait leaves rounds of the loop to lookups.
_TIDY_SLICE, _REST_S = 512, 0.001
_GENERATION_BITS = 53
# A reader that lives says something of each partition more often than this, whatever it waits for.
_ROUND_S = 1.0
# How often, and how many times, is looked whether another generation has taken this one's place.
_LOOK_S, _LOOKS = 0.005, 200
_LONG_GAP_S = 3600.0
_ROUNDS = 120


class Feed:
    """Feeds one generation.

    Args:
        setting: where it works.
        generation: which; it has begun.
        topic: that it is read from.
    """

    def __init__(self, setting: Setting, generation: Generation, topic: Topic) -> None:
        self._setting = setting
        self._generation = generation
        self._room = _SLICE
        self._untidy = asyncio.Event()
        self._silent = dict.fromkeys(topic.partitions, 0)
        self._old: View | None = None
        self._warned = False
        self._confirmer = Confirmer(
            setting.cluster,
            topic,
            generation,
            setting.clock,
            skips_bad=setting.policy.skip_bad_batches,
        )

    async def run(self) -> None:
        """Feed until cancelled.

        Raises (in an ExceptionGroup):
            LogCut, TopicGone: the log can not be followed any further.
            Unsupported: a broker is too old.
            Stalled: the reader hangs.
            OverBudget: it would take more memory than there is.
        """
        setting = self._setting
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tidy())
            tasks.create_task(self._watch())
            tasks.create_task(age(self._generation))
            self._check_ready()
            await Reader(setting.cluster, self._confirmer.topic, self, setting.clock).run()

    # What the reader brings (its Sink)

    async def take(self, fetched: Fetched) -> None:
        """Fold one partition's part of a response, in slices."""
        view, number = self._view, fetched.partition
        self._silent[number] = 0
        self._generation.fetched_bytes += fetched.size
        await self._give_way()
        self._warn_of_gap(view.progress[number], fetched)
        await self._until_there_is_memory()
        pace = pace_of(view, fetched, len(self._generation.watches or ()))
        try:
            for applied in view.fold(self._generation.seen(fetched), pace.records):
                self._room -= max(applied, pace.least)
                if self._room <= 0:
                    self._room = pace.records
                    self._check_memory()
                    await leave_room(pace, self._setting.clock)
        finally:
            self._setting.served.arrivals.reached(number, view.progress[number].position)
        self._check_memory()
        self._name_wait(number)
        table = view.table
        confirmable = view.progress[number].confirmable
        if table.tailing and (confirmable or not (table.settled and table.swept)):
            self._untidy.set()
        if not view.ready:
            await self._prepare()
            self._check_ready()

    def skips(self, bad: BadBatch) -> bool:
        """Pass a batch over if the table's definition says so, and count it."""
        behind = bad.next_offset
        if not self._setting.policy.skip_bad_batches or behind is None:
            return False
        if behind > self._view.progress[bad.partition].bounds.high_watermark:
            return False  # a batch may lie about its end too
        self._view.skip(bad.partition, behind)
        event(
            _log, logging.ERROR, "batch skipped",
            table=self._view.name, partition=bad.partition, offset=bad.offset, next_offset=behind,
            why=str(bad),
        )  # fmt: skip
        if not self._view.ready:
            self._check_ready()
        return True

    def led_by(self, partition: int, leader: Leader) -> None:
        """A partition has another leader."""
        self._confirmer.led_by(partition, leader)
        self._view.change(partition, lambda progress: progress.led_by(leader))

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """A new leader knows where its log ends."""
        self._view.change(partition, lambda known: known.leader_ends_at(leader, end, told_at))

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A partition waits."""
        now = self._setting.clock()
        view = self._view
        self._silent[partition] = 0
        if view.progress[partition].waiting.detail != detail:
            event(
                _log, logging.WARNING, "partition waits",
                table=view.name, partition=partition, wait=wait.name, why=detail,
            )  # fmt: skip
        was_blocked = view.blocked
        view.change(partition, lambda progress: progress.waits(wait, now, detail))
        if view.blocked is not was_blocked:
            self._setting.changed.ring()
            self._setting.served.arrivals.wake()

    def added(self, partition: int, start: Start, asked_at: float) -> None:
        """The topic has another partition; the table stays as ready as it is."""
        view = self._view
        keep_s = _kept_s(self._generation.source, self._setting.policy)
        view.add(_progress(partition, start, asked_at, keep_s))
        self._silent[partition] = 0
        event(
            _log, logging.INFO, "partition added",
            table=view.name, partition=partition, offsets=start.target - start.log_start_offset,
        )  # fmt: skip

    def listed(self, sent_at: float) -> None:
        """No partition is missing, as of `sent_at`."""
        self._view.topology_as_of = sent_at
        self._setting.served.arrivals.reached(-1, 0)

    def broker_error(self, name: str) -> None:
        """A broker answered an error or was lost."""
        self._setting.count_error(name)

    # Inside

    @property
    def _view(self) -> View:
        return self._generation.view

    async def _give_way(self) -> None:
        """Let another generation, for a changed definition, come as far as this one has."""
        for _ in range(_LOOKS):
            if not self._setting.served.gives_way(self._generation):
                break
            await asyncio.sleep(_LOOK_S)

    def _name_wait(self, partition: int) -> None:
        view, now = self._view, self._setting.clock()
        # Brokers tell the last stable offset under read_uncommitted too, where it holds nothing.
        committed = self._setting.cluster.settings.isolation_level == "read_committed"
        if committed:
            view.change(partition, lambda known: known.held(now))
        progress = view.progress[partition]
        if committed and progress.held_by_transaction and progress.held_since is not None:
            self._wait_for_transaction(progress, progress.held_since, now)
        elif not progress.waits_for_leader:
            doubted = progress.doubt is not None
            wait, detail = (Wait.CONFIRMING, DETAIL) if doubted else (Wait.NOTHING, "")
            if progress.waiting.wait is not wait:
                view.change(partition, lambda known: known.waits(wait, now, detail))

    def _warn_of_gap(self, known: Progress, fetched: Fetched) -> None:
        """Where nobody tells how long tombstones are kept, a long gap can be warned of only."""
        cleaning = known.freshness.cleaning
        since = cleaning.began if known.freshness.as_of is None else known.freshness.as_of
        gap = fetched.arrived_at - since
        if not fetched.size or cleaning.keep_s != inf or gap < _LONG_GAP_S or self._warned:
            return
        self._warned = True
        event(
            _log, logging.WARNING, "tombstones may have been missed",
            table=self._view.name, partition=known.partition, seconds=round(gap),
            why="the brokers do not tell delete.retention.ms: allow DescribeConfigs on the topic, "
            "or set delete_retention_ms on the table",
        )  # fmt: skip

    def _wait_for_transaction(self, progress: Progress, since: float, now: float) -> None:
        view = self._view
        partition, offset = progress.partition, progress.bounds.last_stable_offset
        held = now - since
        detail = f"an open transaction has held offset {offset} back for {held:.0f} s"
        if not progress.waits_for_leader:
            view.change(partition, lambda known: known.waits(Wait.OPEN_TRANSACTION, since, detail))
        if not progress.caught_up and held > self._setting.policy.open_transaction_wait_s:
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
        table, frozen = self._view.table, False
        while True:
            await self._untidy.wait()
            self._untidy.clear()
            while table.settle(_TIDY_SLICE):  # noqa: ASYNC110 (work, not polling)
                await asyncio.sleep(_REST_S if self._view.ready else 0)
            while not table.swept:
                for _ in table.sweep(_SLICE):
                    await asyncio.sleep(0)
            if self._old is not None:
                for _ in self._old.table.dismantle(_SLICE):
                    await asyncio.sleep(0)
                self._old = None
            await self._confirmer.settle()
            if not frozen:
                # The entries live long: a collection need not look at them again. Once is enough,
                # for what is garbage at that moment would be kept for ever.
                gc.collect()
                gc.freeze()
                frozen = True
            await self._prepare()
            self._check_ready()
            await self._index()

    async def _prepare(self) -> None:
        """Whoever asks for JSON as soon as the table is ready shall get it."""
        if self._generation.plan.prepare is not None:
            await self._generation.plan.prepare()

    async def _index(self) -> None:
        for index in self._generation.plan.indexes.values():
            while not index.built:
                index.build_one()
                await asyncio.sleep(_REST_S)

    def _check_memory(self) -> None:
        view = self._view
        lacks = "" if view.ready else self._setting.budget.lacks()
        if lacks:
            done, total = view.offsets_done()
            raise OverBudget(
                f"{lacks}: {len(view.table)} entries of {done} of {total} offsets were read; give "
                "it more, or have the topic compacted"
            )

    async def _until_there_is_memory(self) -> None:
        """A table that answers stays where it is rather than having the process killed."""
        served, told = self._setting.served, False
        while self._view.ready and (lacks := self._setting.budget.lacks()):
            sentence = f"{lacks}: nothing more is read; give it more"
            if not told:
                event(
                    _log, logging.ERROR, "out of memory", table=self._view.name, why=sentence
                )  # fmt: skip
            told, served.fault = True, sentence
            self._setting.changed.ring()
            self._silent = dict.fromkeys(self._silent, 0)
            await asyncio.sleep(_ROUND_S)
        if told:
            served.fault = ""
            self._setting.changed.ring()

    async def _watch(self) -> NoReturn:
        """See that the reader lives: it tells something of each partition all the time.

        Rounds are counted, not seconds: a process that was paused has not hung.
        """
        while True:
            await asyncio.sleep(_ROUND_S)
            for number in self._silent:
                self._silent[number] += 1
            hanging = [number for number, rounds in self._silent.items() if rounds > _ROUNDS]
            if hanging:
                raise Stalled(f"nothing was heard of partitions {hanging} for {_ROUNDS} s")

    def _check_ready(self) -> None:
        setting, view, before = self._setting, self._view, self._setting.served.current
        if not setting.served.try_ready(setting.clock()):
            return
        if before is not None and before is not self._generation:
            self._old = before.view
            self._untidy.set()
        event(
            _log,
            logging.INFO,
            "table ready",
            table=view.name,
            entries=len(view.table),
            records=view.table.counters.records,
            seconds=round(setting.served.bootstrap_ms() / 1000, 3),
        )
        setting.changed.ring()


def generation_of(setting: Setting, topic: Topic, definition: Definition) -> Generation:
    """A generation that begins now, to be read from a topic, as a definition wants it."""
    source = _source(topic)
    keep_s = _kept_s(source, setting.policy)
    partitions = [
        _progress(number, start, topic.listed_at, keep_s)
        for number, start in topic.partitions.items()
    ]
    view = View(
        definition.name,
        source.incarnation,
        random.getrandbits(_GENERATION_BITS),
        partitions,
        keep_headers=definition.headers,
        min_entries=definition.min_entries,
    )
    view.topology_as_of = topic.listed_at
    return Generation(
        source,
        view,
        setting.clock(),
        plan=setting.plan_of(definition, view.table),
    )


def _progress(number: int, start: Start, asked_at: float, keep_s: float | None) -> Progress:
    """Where a partition begins. Its ends were asked for by name; fetches go by topic id."""
    return Progress(
        number,
        position=start.log_start_offset,
        target=start.target,
        leader=start.leader,
        bounds=LogBounds(start.log_start_offset, start.target),
        freshness=Freshness(cleaning=Cleaning(keep_s, asked_at), heard=False),
    )


def _kept_s(source: Source, policy: Policy) -> float | None:
    """Seconds for which the cleaner keeps tombstones; inf: not known; None: it cleans nothing."""
    if source.cleanup_policy and "compact" not in source.cleanup_policy:
        return None
    if source.delete_retention_ms is not None:
        return source.delete_retention_ms / 1000
    return inf if policy.delete_retention_s is None else policy.delete_retention_s


def _source(topic: Topic) -> Source:
    retention = topic.config.get("delete.retention.ms", "")
    return Source(
        topic.cluster_id,
        str(topic.id),
        incarnation_of(topic.cluster_id, str(topic.id)),
        topic.config.get("cleanup.policy", ""),
        int(retention) if retention.isdecimal() else None,
    )
