"""A table that is fed from a dump, in the place of its topic: for tests of apps.

The dump stands for the topic as it was, and nothing newer exists. So the log that it is the fold
of is told to the view as a leader would tell it: in offset order, partition by partition,
with the stated positions for its end; and once it is folded, again and again, that there is
nothing more, as the leader of an idle partition does. Everything behind the view works as it
does above a topic, and no broker is asked for anything.

What a dump holds has passed its table's rule already (filters, projection, age): a rule that
strips a key would strip it twice, so none is applied.

A file that is no whole dump ends the process: there is nobody to mend it meanwhile. It is read
once; what it is changed into shows after a restart.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from ..core.errors import Reason
from ..core.model import Batch, Fetched, LogBounds
from ..core.progress import Progress
from ..core.rule import Load
from ..core.served import Definition, Generation, Source, Trouble
from ..core.view import View
from ..ops.configfile import NotTaken
from ..ops.logs import event
from .dump import Dump, DumpedLog, DumpFault
from .setting import Policy, Setting

__all__ = ["Dumped"]

_log = logging.getLogger("sidecar.follower")

_SLICE = 1024
_GENERATION_BITS = 53
# How often it is told that there is nothing more.
_ROUND_S = 0.5


class Dumped:
    """Feeds one table from a dump.

    Args:
        setting: the table.
        dump: what it is fed from.
    """

    def __init__(self, setting: Setting, dump: Dump) -> None:
        self._setting = setting
        self._dump = dump

    def redefine(self, definition: Definition, _: Policy) -> NoReturn:
        """Take another definition: not done.

        Raises:
            NotTaken: always.
        """
        name = definition.name
        raise NotTaken(f"tables.{name}: changed, which takes a restart where a dump is served")

    async def run(self) -> NoReturn:
        """Read the dump, then keep its table fresh until cancelled.

        Raises:
            DumpFault: it is not a whole dump, or takes more memory than there is.
        """
        began = self._setting.clock()
        log = await self._read()
        generation, served = self._generation(), self._setting.served
        served.begin(generation)
        self._tell_begin(log.entries)
        for number, end in sorted(self._dump.positions.items()):
            for batch in log.batches(number):
                await self._tell(generation, number, [batch])
            await self._tell(generation, number, nothing_before=end)
        generation.began = began  # not before: how long the rest will take goes by the folding
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle(generation))
            await self._stay_fresh(generation)
        raise AssertionError("only a cancellation ends it")

    async def _read(self) -> DumpedLog:
        log = DumpedLog(self._dump)
        for share in log.read():
            self._check_memory()
            sentence = f"{share:.0%} of the dump {self._dump.name} is read"
            self._setting.served.trouble = Trouble(Reason.BOOTSTRAPPING, sentence)
            await asyncio.sleep(0)
        return log

    def _check_memory(self) -> None:
        if lacks := self._setting.budget.lacks():
            raise DumpFault(f"{self._dump.path}: {lacks}: give it more, or a smaller dump")

    # What a leader would tell

    def _generation(self) -> Generation:
        setting, dump = self._setting, self._dump
        definition, now = setting.served.definition, setting.clock()
        view = View(
            definition.name,
            dump.incarnation,
            random.getrandbits(_GENERATION_BITS),
            [
                Progress(number, position=0, target=end, bounds=LogBounds(0, end, end))
                for number, end in dump.positions.items()
            ],
            keep_headers=definition.headers,
            min_entries=definition.min_entries,
        )
        view.topology_as_of = now
        plan = setting.plan_of(replace(definition, load=Load()), view.table)
        plan = plan._replace(definition=definition)
        return Generation(Source("", "", dump.incarnation), view, now, plan=plan)

    async def _tell(
        self,
        generation: Generation,
        number: int,
        batches: Sequence[Batch] = (),
        nothing_before: int | None = None,
    ) -> None:
        """Fold what a leader would answer now, and wake who waits for that."""
        view, now = generation.view, self._setting.clock()
        size = sum(len(record.value or b"") for batch in batches for record in batch.records)
        bounds = view.progress[number].bounds
        fetched = Fetched(number, iter(batches), bounds, now, nothing_before, size, now)
        generation.fetched_bytes += size
        for _ in view.fold(generation.seen(fetched), _SLICE):
            self._check_memory()
            await asyncio.sleep(0)
        self._setting.served.arrivals.reached(number, view.progress[number].position)

    async def _stay_fresh(self, generation: Generation) -> NoReturn:
        """Say of every partition that there is nothing more, as of now."""
        while True:
            generation.view.topology_as_of = self._setting.clock()
            for number in self._dump.positions:
                await self._tell(generation, number)
            await asyncio.sleep(_ROUND_S)

    # Once everything is folded

    async def _settle(self, generation: Generation) -> None:
        """Answer, and bring what was read to where it stays."""
        table, plan = generation.view.table, generation.plan
        if plan.prepare is not None:
            await plan.prepare()
        self._check_ready()
        while table.settle(_SLICE):  # noqa: ASYNC110 (work, not polling)
            await asyncio.sleep(0)
        self._check_ready()  # how many entries there are is known only now
        for index in plan.indexes.values():
            while not index.built:
                index.build_one()
                await asyncio.sleep(0)
        gc.collect()
        gc.freeze()

    def _check_ready(self) -> None:
        served = self._setting.served
        if not served.try_ready(self._setting.clock()) or served.view is None:
            return
        name, entries = served.definition.name, len(served.view.table)
        event(_log, logging.INFO, "table ready", table=name, entries=entries)
        self._setting.changed.ring()

    def _tell_begin(self, entries: int) -> None:
        dump, name = self._dump, self._setting.served.definition.name
        fields = {"table": name, "dump": dump.name, "records": entries, "topic": dump.topic}
        event(_log, logging.INFO, "dump was read", **fields)
        if dump.prefix:
            why = "it holds only keys with a prefix; all others are answered as absent"
            event(_log, logging.INFO, "dump of a part", table=name, dump=dump.name, why=why)
        self._setting.changed.ring()
