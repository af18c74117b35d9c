"""One seed: a cluster, a network and a workload drawn from it, under the real follower."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sidecar.core.served import Definition, Served
from sidecar.follower import Bell, Follower, Setting
from sidecar.kafka.cluster import Cluster
from sidecar.kafka.settings import KafkaSettings
from simulation.checks import Violation, Watcher
from simulation.clock import VirtualLoop, World
from simulation.cluster import NAME, Options, SimulatedCluster
from simulation.faults import FAULTS, IDENTITY_FAULTS, MISSING_FAULTS, Faults
from simulation.network import BOOTSTRAP, Network, plugged
from simulation.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outcome", "simulate"]

_CONVERGED_S = 30.0
_AT_REST_S = 2.0
_MANY_KEYS = 40


@dataclass(frozen=True)
class Outcome:
    """What one seed came to.

    Attributes:
        violation: the invariant that did not hold; empty: all did.
        text: how.
        digest: of all events: the same for the same seed.
        looks: answers that were compared.
    """

    seed: int
    violation: str
    text: str
    digest: int
    looks: int


def simulate(
    seed: int,
    *,
    identity: bool = True,
    missed_tombstones: bool = True,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one seed.

    Args:
        seed: of everything.
        identity: half of the seeds with the faults after which the log is another one.
        missed_tombstones: in half of them tombstones also go before the reader has come to them.
        trace: told each event.
    """
    level = logging.root.manager.disable
    collecting = gc.isenabled()
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        return _Run(seed, trace, identity=identity, missed=missed_tombstones).outcome()
    finally:
        logging.disable(level)
        if collecting:
            gc.enable()


class _Run:
    """One run and its parts."""

    def __init__(
        self, seed: int, trace: Callable[[str], None] | None, *, identity: bool, missed: bool
    ) -> None:
        random.seed(seed)
        # From a chance of their own: without both, a seed is what it was before there were any.
        apart = random.Random(f"kinds of {seed}")
        self.seed, self.identity = seed, apart.random() < 0.5 and identity
        missed = apart.random() < 0.5 and missed
        self.world = world = World(seed, trace)
        options = _options(world.random)
        if missed:
            # So many that what is deleted is seldom written again at once.
            options = replace(options, missed_tombstones=True, keys=_MANY_KEYS)
        self.cluster = SimulatedCluster(world, options)
        self.cluster.create(options.partitions)
        latency_s = world.random.choice((0.0005, 0.005, 0.03))
        timeout_s = world.random.choice((2.0, 5.0))
        self.network = Network(world, self.cluster, timeout_s, latency_s)
        self.writer = Writer(self.cluster)
        self.watcher = Watcher(world, self.cluster, self.writer.keys)
        self.network.heard = self.watcher.heard
        self.cluster.passed = lambda number, offset: self.watcher.positions.get(number, 0) > offset

    def outcome(self) -> Outcome:
        """Run it."""
        chance = self.world.random
        loop = VirtualLoop(self.world, chance.choice((1e-5, 1e-4, 2e-3)), self.watcher.look)
        failed: list[str] = []
        loop.set_exception_handler(lambda _, context: failed.append(str(context)))
        violation, text = "", ""
        with plugged(self.network, chance.choice((2, 5, 1024))):
            try:
                loop.run_until_complete(self._live())
            except Violation as found:
                violation, text = found.invariant, str(found)
            finally:
                loop.end()
                _cancel_all(loop)
                loop.close()
        if failed and not violation:
            violation, text = "ENDED", failed[0]
        return Outcome(self.seed, violation, text, self.world.digest, self.watcher.looks)

    async def _live(self) -> None:
        chance, world = self.world.random, self.world
        self.writer.prefill(chance.choice((0, 5, 40)))
        if self.cluster.options.committed:
            for partition in self.cluster.partitions:
                for node in partition.replicas:
                    self.cluster.clean(partition, node)
        following = asyncio.create_task(self._follow())
        names = FAULTS + IDENTITY_FAULTS if self.identity else FAULTS
        names += MISSING_FAULTS if self.cluster.options.missed_tombstones else ()
        faults = Faults(self.network, self.writer, lambda: self.watcher.positions, names)
        if self.cluster.options.missed_tombstones and self.cluster.options.committed:
            faults.clean_often()
        self.writer.start()
        world.at(chance.uniform(0.0, 1.0), faults.strike)
        await self._pass(following, chance.uniform(4.0, 12.0))
        faults.heal()
        await self._pass(following, chance.uniform(0.0, 2.0))
        self.writer.stop()
        end = world.now + _CONVERGED_S
        await self._converge(following, end)
        self.watcher.exact()
        await self._pass(following, _AT_REST_S)
        # A connection that died without a word may be asked only now.
        await self._converge(following, end)
        self.watcher.exact()
        following.cancel()

    async def _converge(self, following: asyncio.Task[None], end: float) -> None:
        while missing := self.watcher.unsettled():
            if self.world.now > end:
                raise Violation("I22", f"after {_CONVERGED_S:.0f} s: {missing}")
            await self._pass(following, 0.2)
        self.world.note("converged")

    @staticmethod
    async def _pass(following: asyncio.Task[None], seconds: float) -> None:
        """Let time pass; what the follower ends with ends the run."""
        done, _ = await asyncio.wait({following}, timeout=seconds)
        if done:
            raise Violation("ENDED", f"the follower ended: {_cause(following.exception())}")

    async def _follow(self) -> None:
        options = self.cluster.options
        isolation = "read_committed" if options.committed else "read_uncommitted"
        settings = KafkaSettings(
            bootstrap=(BOOTSTRAP,),
            isolation_level=isolation,
            request_timeout_s=self.network.timeout_s,
        )
        setting = Setting(
            served=Served(Definition(name="table", topic=NAME, isolation=isolation)),
            cluster=Cluster(settings, self._clock),
            clock=self._clock,
            changed=Bell(),
            count_error=self._count_error,
        )
        self.watcher.watch(setting.served)
        await Follower(setting).run()

    def _clock(self) -> float:
        return self.world.now

    def _count_error(self, name: str) -> None:
        self.world.note("error", name)


def _options(chance: random.Random) -> Options:
    return Options(
        brokers=chance.choice((1, 2, 3, 3)),
        partitions=chance.choice((1, 2, 3)),
        committed=chance.random() < 0.85,
        retention_s=chance.choice((0.0, 1.0, 1000.0)),
        cleans_tail=chance.random() < 0.3,
        keys=chance.choice((3, 8, 16)),
    )


def _cause(error: BaseException | None) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()

    async def gone() -> Any:
        await asyncio.wait(tasks, timeout=1.0)
        return [task.cancelled() or task.exception() for task in tasks]

    if tasks:
        loop.run_until_complete(gone())
