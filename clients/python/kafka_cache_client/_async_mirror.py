"""The mirror for asyncio: the mirror for threads with `await` before what waits."""
# A timeout here is how long the caller waits, and says why it gave up.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import grpc

from ._mirroring import Mirroring
from ._replica import now
from ._status import error_of
from .errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._replica import Change, Wanted
    from .model import Positions

__all__ = ["AsyncMirror"]


class AsyncMirror(Mirroring):
    __doc__ = Mirroring.__doc__

    def __init__(
        self,
        methods: Mapping[str, Any],
        what: Wanted,
        timeout: float,
        on_change: Callable[[Change], object] | None,
    ) -> None:
        super().__init__(what, on_change)
        self._methods = methods
        self._timeout = timeout
        self._waiting: set[asyncio.Event] = set()
        self._tasks = [asyncio.ensure_future(self._follow()), asyncio.ensure_future(self._ask())]

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Returns once lookups are answered, within max_staleness where that is set.

        Raises:
            NotReady: they are not; the message says why.
            InvalidRequest: they never will be.
        """
        if not await self._wait(self._answers, timeout):
            raise self._why(timeout, "not ready")

    async def wait_for(
        self, positions: Positions | Mapping[int, int], timeout: float = 60.0
    ) -> None:
        """Returns once all before these positions is in the records.

        positions: of an answer, or by partition the next offset (an acknowledged one, and one).

        Raises:
            NotReady: it is not.
            Outdated: they belong to another incarnation of the topic.
            InvalidRequest: it never will be.
        """
        bound = self._bound(positions)
        if not await self._wait(lambda: self._reached(bound), timeout):
            raise self._why(timeout, f"positions {dict(bound.offsets)} were not reached")

    async def close(self) -> None:
        """Ends it; lookups raise RuntimeError from then on."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._notify()
        self._replica.records = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _wait(self, claim: Callable[[], bool], timeout: float) -> bool:
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            async with asyncio.timeout(timeout):
                while not claim():
                    await news.wait()
                    news.clear()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(news)
        return True

    def _notify(self) -> None:
        for news in self._waiting:
            news.set()

    async def _follow(self) -> None:
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            call = self._methods["Watch"](self._replica.request())
            try:
                async for response in call:
                    self._take(response)
                    self._notify()
                pause = 0.0
            except grpc.RpcError as error:
                pause = self._failed(error_of(error))
            except SidecarError as error:
                pause = self._failed(error)
            except Exception as error:  # noqa: BLE001 (it may not die without a word)
                self._broke(error)
                pause = None
            finally:
                call.cancel()
            self._notify()

    async def _ask(self) -> None:
        while True:
            asked_at = now()
            with suppress(grpc.RpcError):  # the watch meets it too, and says so
                answer = await self._methods["Get"](self._question(), timeout=self._timeout)
                self._replica.answered(answer.state, asked_at)
            self._notify()
            await asyncio.sleep(self._replica.wanted.progress)
