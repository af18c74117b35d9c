"""The client for threads. Its twin for asyncio has the same methods, in the same order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from . import _calls
from ._calls import Call, Calls, Key, LookupOptions, ReadOptions
from ._channel import Settings, methods, target_or_default
from ._mirror import Mirror
from ._mirroring import wanted
from ._status import error_of
from ._wait import Waiting
from .errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Unpack

    from ._replica import Change
    from .model import Answer, Page, Record, Table

__all__ = ["Client", "connect"]

T = TypeVar("T")


def connect(
    target: str | None = None,
    *,
    table: str = "",
    timeout: float = 1.0,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> Client:
    """A client of the sidecar at a target. It connects with its first call.

    target: ``host:port`` or ``unix:///path``; unset, the environment's SIDECAR_ENDPOINT, or
        ``127.0.0.1:50051``.
    table: the table that calls mean when they name none; may be empty where one is served.
    timeout: seconds that a call may take when it sets none, connecting included.
    credentials: of gRPC, for TLS; unset, the connection is in the clear.
    options: channel options of gRPC, on top of the client's own.
    """
    return Client(
        Settings(
            target=target_or_default(target),
            table=table,
            timeout=timeout,
            credentials=credentials,
            options=options,
        )
    )


class Client:
    """Looks keys up in the sidecar; made by `connect`. Threads may share it; close it last.

    Every method may raise a `SidecarError`. None of them retries, but for wait_until_ready.
    """

    def __init__(self, settings: Settings) -> None:
        self._target = settings.target
        self._calls = Calls(settings.table, settings.timeout)
        self._channel = settings.channel()
        self._methods = methods(self._channel)
        self._closed = False

    def get(self, key: bytes | str, **options: Unpack[LookupOptions]) -> Record | None:
        """The key's record; None means that the topic holds none, never that it is not known.

        A key that allow_partial leaves UNKNOWN raises NotReady.
        """
        return _calls.record_or_none(self.lookup(key, **options))

    def lookup(self, key: bytes | str, **options: Unpack[LookupOptions]) -> Answer:
        """What is known of the key, and of which state of the table that is the truth."""
        return self._send(self._calls.lookup(key, options))

    def get_many(self, keys: Iterable[Key], **options: Unpack[LookupOptions]) -> dict[Key, Record]:
        """The records of those keys that have one, all read at one position.

        The dict has the keys as they were given; absent ones are left out. More keys than the
        sidecar takes in one call raise TooLarge with the limit: parts would not be of one
        position. Keys that allow_partial leaves UNKNOWN raise NotReady.
        """
        given = _calls.many(keys)
        return _calls.records_by_key(given, self.lookup_many(given, **options))

    def lookup_many(
        self, keys: Iterable[Key], **options: Unpack[LookupOptions]
    ) -> tuple[Answer, ...]:
        """The answer for each key, in the order of the keys, all read at one position."""
        return self._send(self._calls.lookup_many(_calls.many(keys), options))

    def list(
        self,
        *,
        prefix: bytes | str | None = None,
        start: bytes | str | None = None,
        end: bytes | str | None = None,
        page_size: int = 0,
        **options: Unpack[ReadOptions],
    ) -> Iterator[Record]:
        """The records in key order: all, those with a prefix, or start <= key < end.

        They are fetched page by page while the iterator advances, so changes made meanwhile may
        show. A rebuild of the table ends it with Outdated: begin again.
        """
        pages = self.pages(prefix=prefix, start=start, end=end, page_size=page_size, **options)
        return (record for page in pages for record in page.records)

    def pages(
        self,
        *,
        prefix: bytes | str | None = None,
        start: bytes | str | None = None,
        end: bytes | str | None = None,
        page_size: int = 0,
        **options: Unpack[ReadOptions],
    ) -> Iterator[Page]:
        """What `list` reads, page by page, each with its state; 0: the sidecar's page size."""
        return self._pages(self._calls.page((prefix, start, end), page_size, options))

    def tables(self, *, timeout: float | None = None) -> tuple[Table, ...]:
        """The state of every table, by name; it answers before they are ready too."""
        return self._send(self._calls.tables(timeout))

    def wait_until_ready(
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
                return self._send(self._calls.wait_until(waiting.table, limit))
            except SidecarError as error:
                pause = waiting.pause_after(error, time.monotonic())
                if pause is None:
                    tables = self._tables_or_none(waiting.diagnosis_timeout(time.monotonic()))
                    raise waiting.failure(error, tables, self._target) from error
            time.sleep(pause)

    def mirror(
        self,
        *,
        prefix: bytes | str | None = None,
        table: str | None = None,
        encoding: str = "raw",
        max_staleness: float | None = None,
        progress: float = 0.2,
        on_change: Callable[[Change], object] | None = None,
    ) -> Mirror:
        """A mirror of the table, or of its keys with a prefix, in this process.

        It follows the sidecar by Watch, goes on by itself where it was cut off, and answers from
        memory meanwhile, with a staleness that grows. Close it before the client.

        prefix: only keys that begin so.
        encoding: ``raw``, or ``json`` for values as the table's format makes them.
        max_staleness: seconds; lookups that are older raise NotFresh. None: of any age.
        progress: how often the sidecar says how far it is and how fresh, seconds.
        on_change: called with each `Change`, in order, by the thread that follows; what it raises
            is logged. The first snapshot comes as changes too, and so does the difference where
            one takes the place of another.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        name = self._calls.table_or_own(table)
        what = wanted(name, prefix, encoding, progress, max_staleness)
        return Mirror(self._methods, what, self._calls.timeout, on_change)

    def close(self) -> None:
        """Closes the connection; calls under way fail Unavailable."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pages(self, first: Call[Page]) -> Iterator[Page]:
        call: Call[Page] | None = first
        while call is not None:
            page = self._send(call)
            yield page
            call = _calls.page_after(call, page)

    def _tables_or_none(self, timeout: float) -> tuple[Table, ...] | None:
        try:
            return self.tables(timeout=timeout)
        except SidecarError:
            return None

    def _send(self, call: Call[T]) -> T:
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            response = self._methods[call.method](call.request, timeout=call.timeout)
        except grpc.RpcError as error:
            raise error_of(error) from error
        return call.read(response)
