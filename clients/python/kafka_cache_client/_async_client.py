"""The client for asyncio: the client for threads with `await` before what is sent."""
# A timeout here is the deadline that travels with the call, not only a local one.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from . import _calls
from ._async_mirror import AsyncMirror
from ._calls import Call, Calls, Key, LookupOptions, ReadOptions
from ._channel import Settings, methods, target_or_default
from ._mirroring import wanted
from ._status import error_of
from ._wait import Waiting
from .errors import SidecarError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from typing import Unpack

    from ._replica import Change
    from .model import Answer, Page, Record, Table

__all__ = ["AsyncClient", "connect_async"]

T = TypeVar("T")


def connect_async(
    target: str | None = None,
    *,
    table: str = "",
    timeout: float = 1.0,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> AsyncClient:
    """A client for asyncio; the arguments are those of `connect`.

    It needs no running loop yet, and belongs to the loop that makes its first call.
    """
    return AsyncClient(
        Settings(
            target=target_or_default(target),
            table=table,
            timeout=timeout,
            credentials=credentials,
            options=options,
        )
    )


class AsyncClient:
    """Looks keys up in the sidecar; made by `connect_async`. Tasks may share it; close it last.

    Every method may raise a `SidecarError`. None of them retries, but for wait_until_ready.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._calls = Calls(settings.table, settings.timeout)
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._closed = False

    async def get(self, key: bytes | str, **options: Unpack[LookupOptions]) -> Record | None:
        """The key's record; None means that the topic holds none, never that it is not known.

        A key that allow_partial leaves UNKNOWN raises NotReady.
        """
        return _calls.record_or_none(await self.lookup(key, **options))

    async def lookup(self, key: bytes | str, **options: Unpack[LookupOptions]) -> Answer:
        """What is known of the key, and of which state of the table that is the truth."""
        return await self._send(self._calls.lookup(key, options))

    async def get_many(
        self, keys: Iterable[Key], **options: Unpack[LookupOptions]
    ) -> dict[Key, Record]:
        """The records of those keys that have one, all read at one position.

        The dict has the keys as they were given; absent ones are left out. More keys than the
        sidecar takes in one call raise TooLarge with the limit: parts would not be of one
        position. Keys that allow_partial leaves UNKNOWN raise NotReady.
        """
        given = _calls.many(keys)
        return _calls.records_by_key(given, await self.lookup_many(given, **options))

    async def lookup_many(
        self, keys: Iterable[Key], **options: Unpack[LookupOptions]
    ) -> tuple[Answer, ...]:
        """The answer for each key, in the order of the keys, all read at one position."""
        return await self._send(self._calls.lookup_many(_calls.many(keys), options))

    def list(
        self,
        *,
        prefix: bytes | str | None = None,
        start: bytes | str | None = None,
        end: bytes | str | None = None,
        page_size: int = 0,
        **options: Unpack[ReadOptions],
    ) -> AsyncIterator[Record]:
        """The records in key order: all, those with a prefix, or start <= key < end.

        They are fetched page by page while the iterator advances, so changes made meanwhile may
        show. A rebuild of the table ends it with Outdated: begin again.
        """
        pages = self.pages(prefix=prefix, start=start, end=end, page_size=page_size, **options)
        return (record async for page in pages for record in page.records)

    def pages(
        self,
        *,
        prefix: bytes | str | None = None,
        start: bytes | str | None = None,
        end: bytes | str | None = None,
        page_size: int = 0,
        **options: Unpack[ReadOptions],
    ) -> AsyncIterator[Page]:
        """What `list` reads, page by page, each with its state; 0: the sidecar's page size."""
        return self._pages(self._calls.page((prefix, start, end), page_size, options))

    async def tables(self, *, timeout: float | None = None) -> tuple[Table, ...]:
        """The state of every table, by name; it answers before they are ready too."""
        return await self._send(self._calls.tables(timeout))

    async def wait_until_ready(
        self, timeout: float = 60.0, *, table: str | None = None
    ) -> tuple[Table, ...]:
        """Waits until the client's table, or with none all that readiness needs, can answer.

        The sidecar may start later, or restart meanwhile. After the timeout it raises NotReady,
        which names the tables and why, or Unavailable where no sidecar answers; TableFailed and
        UnknownTable come at once.
        """
        waiting = Waiting(self._calls.table_or_own(table), timeout, time.monotonic())
        while True:
            limit = waiting.try_timeout(time.monotonic())
            try:
                return await self._send(self._calls.wait_until(waiting.table, limit))
            except SidecarError as error:
                pause = waiting.pause_after(error, time.monotonic())
                if pause is None:
                    tables = await self._tables_or_none(waiting.diagnosis_timeout(time.monotonic()))
                    raise waiting.failure(error, tables, self._settings.target) from error
            await asyncio.sleep(pause)

    def mirror(
        self,
        *,
        prefix: bytes | str | None = None,
        table: str | None = None,
        encoding: str = "raw",
        max_staleness: float | None = None,
        progress: float = 0.2,
        on_change: Callable[[Change], object] | None = None,
    ) -> AsyncMirror:
        """A mirror of the table, or of its keys with a prefix, in this process.

        It follows the sidecar by Watch, goes on by itself where it was cut off, and answers from
        memory meanwhile, with a staleness that grows. Close it before the client.

        prefix: only keys that begin so.
        encoding: ``raw``, or ``json`` for values as the table's format makes them.
        max_staleness: seconds; lookups that are older raise NotFresh. None: of any age.
        progress: how often the sidecar says how far it is and how fresh, seconds.
        on_change: called with each `Change`, in order, by the task that follows; what it raises
            is logged. The first snapshot comes as changes too, and so does the difference where
            one takes the place of another.
        """
        self._open()
        name = self._calls.table_or_own(table)
        what = wanted(name, prefix, encoding, progress, max_staleness)
        return AsyncMirror(self._methods, what, self._calls.timeout, on_change)

    async def close(self) -> None:
        """Closes the connection; calls under way fail Unavailable."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _pages(self, first: Call[Page]) -> AsyncIterator[Page]:
        call: Call[Page] | None = first
        while call is not None:
            page = await self._send(call)
            yield page
            call = _calls.page_after(call, page)

    async def _tables_or_none(self, timeout: float) -> tuple[Table, ...] | None:
        try:
            return await self.tables(timeout=timeout)
        except SidecarError:
            return None

    def _open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._channel is None:
            # Not in the constructor: a channel of grpc.aio takes the loop that runs now.
            self._channel = self._settings.async_channel()
            self._methods = methods(self._channel)

    async def _send(self, call: Call[T]) -> T:
        self._open()
        try:
            response = await self._methods[call.method](call.request, timeout=call.timeout)
        except grpc.RpcError as error:
            raise error_of(error) from error
        except asyncio.CancelledError:
            # grpc.aio cancels the calls of a channel that is closed, though nobody cancelled us.
            if self._closed and not _cancelled():
                raise Unavailable("the client was closed") from None
            raise
        return call.read(response)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
