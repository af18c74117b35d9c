"""A follower at work: a table that is fed from a cluster, and what happened to it.

    async with following(fake.bootstrap_servers, "t") as table:
        await table.until(lambda: table.ready, "ready")
        assert table.values() == {b"k": b"v"}

`until` polls and never sleeps for a fixed time; it fails at once when the follower
has ended. A follower that ends must be asked why (`fault`), else leaving the context
raises what it ended with. What the reader told its sink is kept in order, so that a
wait that was over in a moment is seen too.
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
from sidecar.core.served import Definition, Served
from sidecar.follower import Bell, Follower
from sidecar.kafka.cluster import Cluster
from sidecar.kafka.settings import KafkaSettings

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


class _Noting(Follower):
    """A follower that keeps what it is told."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waited: list[tuple[int, Wait, str]] = []
        self.troubles: list[Trouble] = []
        self.leaders: list[tuple[int, Leader]] = []

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        self.waited.append((partition, wait, detail))
        super().waits(partition, wait, detail)

    def led_by(self, partition: int, leader: Leader) -> None:
        self.leaders.append((partition, leader))
        super().led_by(partition, leader)

    def _report(self, trouble: Trouble) -> None:
        self.troubles.append(trouble)
        super()._report(trouble)


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
        clock = options.pop("clock", boottime)
        self.served = Served(definition)
        self.cluster = Cluster(settings, clock)
        self.broker_errors: list[str] = []
        self.follower = _Noting(
            self.served, self.cluster, clock, Bell(),
            count_error=self.broker_errors.append, **options,
        )  # fmt: skip
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
    def waited(self) -> list[tuple[int, Wait, str]]:
        """What partitions were said to wait for by the reader: (partition, wait, detail)."""
        return self.follower.waited

    @property
    def sentences(self) -> list[str]:
        """What the table waited for before its topic was found, in order, none twice in a row."""
        told = [trouble.sentence for trouble in self.follower.troubles]
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

    async def fault(self, timeout: float = 30) -> BaseException:
        """Wait until it ends; give the one error that it ended with."""
        assert self.task is not None
        self._asked = True
        done, _ = await asyncio.wait({self.task}, timeout=timeout)
        if not done:
            raise TimeoutError(f"after {timeout:.0f} s it has not ended; {self._state()}")
        error = self.task.exception()
        assert error is not None
        while isinstance(error, BaseExceptionGroup):
            assert len(error.exceptions) == 1, error.exceptions
            error = error.exceptions[0]
        return error

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
    clock: Callable[[], float] = boottime,
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
        clock=clock,
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
