"""Fixtures of the black-box tests."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_broker import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Coroutine


class ThreadedCluster(FakeCluster):
    """A fake cluster on a loop and a thread of its own, for tests that block."""

    def __init__(self, brokers: int) -> None:
        super().__init__(brokers)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the cluster's loop."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(30)

    def end(self) -> None:
        self.call(self.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


@pytest.fixture
def fake():
    """A fake cluster of two brokers."""
    cluster = ThreadedCluster(2)
    cluster.call(cluster.__aenter__())
    yield cluster
    cluster.end()
