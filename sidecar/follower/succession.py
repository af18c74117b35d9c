"""A generation that is fed until another one has taken its place, for its definition changed.

The one that answers is fed on meanwhile, so it stays LIVE: nothing is wrong with it. What is
built beside it may fail (its topic cannot be read, there is not the memory for two); then it is
tried again, and the one that answers goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

from ..core.served import Definition, Generation, Served
from ..kafka.backoff import Backoff
from ..kafka.errors import leaves_of
from ..ops.logs import event
from .setting import Bell, Redefined

__all__ = ["Succession"]

_log = logging.getLogger("sidecar.follower")

_LONGEST_S = 60.0


class Succession:
    """What a table is to be, and the way there.

    Args:
        served: the table.
        changed: rung when a generation becomes ready.
        build: feeds another generation, for the definition that is wanted.
        free: frees what was given up.

    Attributes:
        wanted: what the table is to be.
        at_once: what answers is given up at once when the definition changes.
    """

    def __init__(
        self,
        served: Served,
        changed: Bell,
        build: Callable[[], Coroutine[Any, Any, NoReturn]],
        free: Callable[[], Awaitable[None]],
    ) -> None:
        self.wanted = served.definition
        self.at_once = False
        self._served = served
        self._changed = changed
        self._build = build
        self._free = free
        self._redefined = asyncio.Event()

    def want(self, definition: Definition) -> None:
        """The table is to be another one."""
        self.wanted = definition
        self._redefined.set()

    async def run(self, feed: Coroutine[Any, Any, NoReturn]) -> NoReturn:
        """Feed a generation, and those that take its place.

        Raises:
            Redefined: what is fed does not answer yet, or may not go on: begin anew.
            Exception: what ended the feed of the one that answers.
        """
        feeding = asyncio.create_task(feed)
        try:
            while True:
                successor = await self._successor(feeding)
                await _ended(feeding)
                feeding = successor
        finally:
            await _ended(feeding)

    async def _successor(self, feeding: asyncio.Task[NoReturn]) -> asyncio.Task[NoReturn]:
        """The feed of another generation, once that answers."""
        backoff = Backoff(largest_s=_LONGEST_S)
        while True:
            await _first(feeding, self._redefined.wait())
            self._redefined.clear()
            if self._adopted():
                continue
            if self.at_once or not self._served.ready:
                raise Redefined
            before = self._served.current
            building = asyncio.create_task(self._build())
            try:
                swapped = self._answers_instead_of(before)
                await _first(feeding, swapped, self._redefined.wait(), _over(building))
                if self._served.current is not before:
                    return building
            except BaseException:
                await _ended(building)
                raise
            fault = await _ended(building)
            await self._free()
            if fault is not None:
                self._tell(fault)
                self._redefined.set()
                await _first(feeding, asyncio.sleep(backoff.next_s()))

    def _adopted(self) -> bool:
        """What is fed is what is wanted, save for how it is judged."""
        if not self.wanted.same_table(self._served.definition):
            return False
        self._served.definition = self.wanted
        return True

    async def _answers_instead_of(self, before: Generation | None) -> None:
        while self._served.current is before:
            await self._changed.wait()

    def _tell(self, fault: BaseException) -> None:
        leaves = leaves_of(fault)
        event(
            _log, logging.WARNING, "new definition is not served yet",
            table=self.wanted.name, why="; ".join(map(str, leaves)) or repr(fault),
        )  # fmt: skip


async def _first(feeding: asyncio.Task[NoReturn], *others: Coroutine[Any, Any, Any]) -> None:
    """Return when one of the others is over; raises what ended the feed, if that is first."""
    tasks = [asyncio.ensure_future(each) for each in others]
    try:
        await asyncio.wait({feeding, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            feeding.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _over(task: asyncio.Task[NoReturn]) -> None:
    await asyncio.wait({task})


async def _ended(task: asyncio.Task[NoReturn]) -> BaseException | None:
    """End a task; what it had failed of, if it had."""
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()
