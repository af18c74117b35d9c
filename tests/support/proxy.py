"""A TCP proxy that can be cut, frozen and slowed, on a thread and a loop of its own.

It stands for the network between a client and a broker. Its methods may be
called from any thread and have taken effect when they return.

    flowing   bytes pass both ways
    cut       the port refuses, and connections that were there are gone
    frozen    connections are accepted and kept, and nothing passes: half-open
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["TcpProxy"]

_CHUNK = 1 << 16


class TcpProxy:
    """Passes what comes to `port` on to the target; a context manager."""

    def __init__(self, target_host: str, target_port: int, *, port: int | None = None) -> None:
        self.target = (target_host, target_port)
        """Where new connections go; may be set to another address."""
        self.port = port or free_port()
        self.accepted = 0
        """How many connections were accepted so far."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[Any], list[asyncio.StreamWriter]] = {}
        self._gate = (asyncio.Event(), [0.0])  # open while bytes may pass; bytes a second

    def __repr__(self) -> str:
        return f"TcpProxy({self.port} -> {self.target[1]}, {self.connections} connections)"

    @property
    def address(self) -> str:
        """Its `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._pairs)

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._run(self._cut())

    def freeze(self) -> None:
        """Accept and keep connections, and pass nothing in either direction."""
        self._run(self._set(passing=False))

    def heal(self) -> None:
        """Let everything pass again, what was held back by a freeze included, at full speed."""
        self._gate[1][0] = 0.0
        self._run(self._set(passing=True))

    def slow(self, bytes_per_s: float) -> None:
        """Pass at most so many bytes a second in each direction of each connection."""
        self._gate[1][0] = float(bytes_per_s)

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _set(self, *, passing: bool) -> None:
        if passing:
            self._gate[0].set()
        else:
            self._gate[0].clear()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._pairs)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # What was accepted in the very moment is still on its way to `_serve`, which refuses it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        # One more round of the loop, in which the aborted transports close their sockets.
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted in the very moment of a cut
            writer.transport.abort()
            return
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        writers = self._pairs[task] = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            writers.append(far_writer)
            await _first_of(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the end of a connection, however it comes about, is told by closing both
        finally:
            for each in writers:
                each.transport.abort()
            del self._pairs[task]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing, speed = self._gate
        while True:
            size = min(_CHUNK, max(1, int(speed[0] / 10))) if speed[0] else _CHUNK
            data = await reader.read(size)
            await passing.wait()
            if not data:
                return
            if speed[0]:
                await asyncio.sleep(len(data) / speed[0])
            writer.write(data)
            await writer.drain()


async def _first_of(*pumps: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
