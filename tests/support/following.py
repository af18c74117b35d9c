"""A follower at work: a table that is fed from a cluster, and what happened to it.

    async with following(fake.bootstrap_servers, "t") as table:
        await table.until(lambda: table.ready, "ready")
        assert table.values() == {b"k": b"v"}

`until` polls and never sleeps for a fixed time; it fails at once when the follower
has ended, and so does leaving the context. What ended a generation is
kept (`ended`), and in order what the reader told its sink, so that a wait that was over
in a moment is seen too.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from support.oracle import Folded

from sidecar.core.model import OFFSET, ORIGIN, TIMESTAMP, VALUE, partition_of, timestamp_type_of
from sidecar.core.progress import Wait
from sidecar.core.rule import Rule
from sidecar.core.served import Definition, Plan, Served
from sidecar.follower import Bell, Follower, Policy, Rebuild, Setting
from sidecar.follower.feed import Feed
from sidecar.kafka.cluster import Cluster
from sidecar.kafka.settings import KafkaSettings
from sidecar.ops.memory import Budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sidecar.core.progress import Leader, Progress
    from sidecar.core.served import Trouble
    from sidecar.core.view import View

__all__ = ["Following", "addresses", "boottime", "following"]


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def addresses(bootstrap: str) -> tuple[tuple[str, int], ...]:
    """Take `host:port,host:port` apart."""
    pairs = (each.rsplit(":", 1) for each in bootstrap.split(","))
    return tuple((host, int(port)) for host, port in pairs)


class Told:
    """What the reader and the follower said, in order."""

    def __init__(self) -> None:
        self.waited: list[tuple[int, Wait, str]] = []
        self.troubles: list[Trouble] = []
        self.leaders: list[tuple[int, Leader]] = []
        self.ended: list[Exception] = []


def _noting(told: Told) -> type[Follower]:
    """A follower that keeps what it is told."""

    class NotingFeed(Feed):
        def waits(self, partition: int, wait: Wait, detail: str) -> None:
            told.waited.append((partition, wait, detail))
            super().waits(partition, wait, detail)

        def led_by(self, partition: int, leader: Leader) -> None:
            told.leaders.append((partition, leader))
            super().led_by(partition, leader)

    class NotingFollower(Follower):
        feed_type = NotingFeed

        def _report(self, trouble: Trouble) -> None:
            told.troubles.append(trouble)
            super()._report(trouble)

        async def _lost(self, fault: Exception) -> str:
            told.ended.append(fault)
            return await super()._lost(fault)

    return NotingFollower


class Following:
    """One follower, its table, and what it was told; made by `following`."""

    def __init__(self, topic: str, settings: KafkaSettings, **options: Any) -> None:
        definition = Definition(
            name="table",
            topic=topic,
            isolation=settings.isolation_level,
            headers=options.pop("headers", False),
            min_entries=options.pop("min_entries", 0),
        )
        rule_of = options.pop("rule_of")
        clock, budget = options.pop("clock", boottime), options.pop("budget", Budget())
        self.served = Served(definition)
        self.cluster = Cluster(settings, clock)
        self.broker_errors: list[str] = []
        self.told = Told()
        setting = Setting(
            served=self.served, cluster=self.cluster, clock=clock, changed=Bell(),
            count_error=self.broker_errors.append, policy=Policy(**options),
            budget=budget, plan_of=lambda definition, _: Plan(definition, rule_of(definition)),
        )  # fmt: skip
        self.follower = _noting(self.told)(setting)
        self.task: asyncio.Task[None] | None = None
        self._asked = False

    def __repr__(self) -> str:
        return f"Following({self.served!r}, {self.served.trouble.sentence!r})"

    # What it says

    @property
    def view(self) -> View:
        assert self.served.view is not None, self.served.trouble.sentence
        return self.served.view

    @property
    def ready(self) -> bool:
        return self.served.ready

    @property
    def leaders(self) -> list[tuple[int, Leader]]:
        """Which leaders partitions were said to have."""
        return self.told.leaders

    @property
    def waited(self) -> list[tuple[int, Wait, str]]:
        """What partitions were said to wait for by the reader: (partition, wait, detail)."""
        return self.told.waited

    @property
    def sentences(self) -> list[str]:
        """What the table waited for before its topic was found, in order, none twice in a row."""
        told = [trouble.sentence for trouble in self.told.troubles]
        return [each for n, each in enumerate(told) if n == 0 or told[n - 1] != each]

    def progress(self, partition: int = 0) -> Progress:
        return self.view.progress[partition]

    def positions(self) -> dict[int, int]:
        return {number: each.position for number, each in self.view.progress.items()}

    def has_waited(self, wait: Wait, words: str = "") -> bool:
        """A partition was said to wait for this, with these words."""
        return any(each is wait and words in detail for _, each, detail in self.waited)

    def table(self) -> dict[bytes, Folded]:
        """The table, in the oracle's words."""
        found = {}
        for key in self.view.table:
            entry = self.view.table.get(key)
            assert entry is not None
            found[key] = Folded(
                entry[VALUE], partition_of(entry[ORIGIN]), entry[OFFSET], entry[TIMESTAMP],
                ("create", "append")[timestamp_type_of(entry[ORIGIN])],
            )  # fmt: skip
        return found

    def values(self) -> dict[bytes, bytes]:
        return {key: folded.value for key, folded in self.table().items()}

    # Waiting for it

    async def until(self, claim: Callable[[], Any], what: str, timeout: float = 30) -> None:
        """Return once the claim holds."""
        assert self.task is not None
        end = time.monotonic() + timeout
        while not claim():
            if self.task.done():
                self._asked = True
                await self.task
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout:.0f} s still waiting: {what}; {self._state()}")
            await asyncio.sleep(0.002)

    async def until_ready(self, timeout: float = 30) -> None:
        """Return once lookups are answered."""
        await self.until(lambda: self.ready, "ready", timeout)

    async def until_read(self, ends: dict[int, int], timeout: float = 30) -> None:
        """Return once each partition's position is at its end."""
        await self.until(
            lambda: self.served.view is not None and self.positions() == ends,
            f"positions {ends}", timeout,
        )  # fmt: skip

    async def ended(self, number: int = 1, timeout: float = 30) -> Exception:
        """Wait until so many generations have ended; give what ended the last of them."""
        await self.until(lambda: len(self.told.ended) >= number, f"{number} ended", timeout)
        return self.told.ended[number - 1]

    async def blocked(self, *words: str, partition: int = 0) -> None:
        """Wait until a partition says that a batch cannot be read."""
        await self.until(
            lambda: (
                self.served.view is not None
                and self.progress(partition).waiting.wait is Wait.BAD_BATCH
            ),
            "a batch that cannot be read",
        )
        detail = self.progress(partition).waiting.detail
        assert not [word for word in words if word not in detail], detail

    def _state(self) -> str:
        waited = self.waited[-3:]
        return f"{self!r} waited={waited} errors={self.broker_errors[-5:]}"

    async def end(self) -> None:
        """Stop it, as the sidecar does."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task})
        control = list(self.cluster._control.values())
        self.cluster.close()
        if control:  # a TLS connection says goodbye first
            await asyncio.wait([each._closed_fut for each in control], timeout=10)
        if not self.task.cancelled() and not self._asked:
            self.task.result()


@asynccontextmanager
async def following(
    bootstrap: str,
    topic: str,
    *,
    open_transaction_wait_s: float = 60,
    headers: bool = False,
    min_entries: int = 0,
    rebuild: Rebuild = Rebuild.KEEP_OLD,
    skip_bad_batches: bool = False,
    clock: Callable[[], float] = boottime,
    budget: Budget | None = None,
    rule: Rule | None = None,
    rule_of: Callable[[Definition], Rule | None] | None = None,
    **settings: Any,
) -> AsyncIterator[Following]:
    """Follow a topic; more settings are those of `KafkaSettings`.

    What reaches the loop's exception handler meanwhile fails the test.
    """
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    table = Following(
        topic,
        KafkaSettings(bootstrap=addresses(bootstrap), **settings),
        open_transaction_wait_s=open_transaction_wait_s,
        headers=headers,
        min_entries=min_entries,
        rebuild=rebuild,
        skip_bad_batches=skip_bad_batches,
        clock=clock,
        rule_of=rule_of or (lambda _: rule),
        budget=budget or Budget(),
    )
    table.task = asyncio.create_task(table.follower.run())
    try:
        yield table
    finally:
        await table.end()
        gc.unfreeze()
        # Two rounds of the loop, in which closed transports let go of their sockets.
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        loop.set_exception_handler(None)
    assert not unhandled, unhandled
