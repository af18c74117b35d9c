"""The mirror for threads. Its twin for asyncio has the same methods."""

from __future__ import annotations

import threading
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

__all__ = ["Mirror"]


class Mirror(Mirroring):
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
        self._news = threading.Condition()
        self._over = threading.Event()
        self._call: Any = None
        self._threads = [
            threading.Thread(target=run, name=f"kafka-cache-mirror-{name}", daemon=True)
            for name, run in (("watch", self._follow), ("freshness", self._ask))
        ]
        for thread in self._threads:
            thread.start()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Returns once lookups are answered, within max_staleness where that is set.

        Raises:
            NotReady: they are not; the message says why.
            InvalidRequest: they never will be.
        """
        if not self._wait(self._answers, timeout):
            raise self._why(timeout, "not ready")

    def wait_for(self, positions: Positions | Mapping[int, int], timeout: float = 60.0) -> None:
        """Returns once all before these positions is in the records.

        positions: of an answer, or by partition the next offset (an acknowledged one, and one).

        Raises:
            NotReady: it is not.
            Outdated: they belong to another incarnation of the topic.
            InvalidRequest: it never will be.
        """
        bound = self._bound(positions)
        if not self._wait(lambda: self._reached(bound), timeout):
            raise self._why(timeout, f"positions {dict(bound.offsets)} were not reached")

    def close(self) -> None:
        """Ends it; lookups raise RuntimeError from then on."""
        self._closed = True
        self._over.set()
        if self._call is not None:
            self._call.cancel()
        self._notify()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._replica.records = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, claim: Callable[[], bool], timeout: float) -> bool:
        with self._news:
            return self._news.wait_for(claim, timeout)

    def _notify(self) -> None:
        with self._news:
            self._news.notify_all()

    def _follow(self) -> None:
        pause: float | None = 0.0
        while pause is not None and not self._over.wait(pause):
            try:
                self._call = self._methods["Watch"](self._replica.request())
                for response in self._call:
                    self._take(response)
                    self._notify()
                    if self._over.is_set():
                        self._call.cancel()
                pause = 0.0
            except grpc.RpcError as error:
                pause = self._failed(error_of(error))
            except SidecarError as error:
                pause = self._failed(error)
            except ValueError:  # the channel was closed
                pause = None
            except Exception as error:  # noqa: BLE001 (it may not die without a word)
                self._broke(error)
                pause = None
            self._notify()

    def _ask(self) -> None:
        while not self._over.is_set():
            asked_at = now()
            try:
                answer = self._methods["Get"](self._question(), timeout=self._timeout)
                self._replica.answered(answer.state, asked_at)
            except grpc.RpcError:
                pass  # the watch meets it too, and says so
            except ValueError:  # the channel was closed
                return
            self._notify()
            self._over.wait(self._replica.wanted.progress)
