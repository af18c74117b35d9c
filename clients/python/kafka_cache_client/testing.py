"""A sidecar for the tests of an application: fed from a dict or a dump, with no Kafka behind it.

    import pytest
    from kafka_cache_client.testing import FakeSidecar

    @pytest.fixture
    def sidecar(monkeypatch):
        with FakeSidecar({"users": {"user-42": b'{"name": "Ada"}'}}) as sidecar:
            monkeypatch.setenv("SIDECAR_ENDPOINT", sidecar.target)
            yield sidecar

    def test_a_user_that_is_renamed(sidecar):
        sidecar["users"].put("user-42", b'{"name": "Grace"}')
        ...

It is a real server on the loopback, so an application meets it as it meets the sidecar: by the
clients, of any language, mirrors included. It answers get, list and watch with raw values, and
freshness bounds hold always. With `ready = False` lookups fail as they do while a table is being
read.
"""

# The services' methods have the names and the arguments of the contract, which documents them.
# ruff: noqa: N802, D102, ARG002

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc

from ._fake_table import GENERATION, FakeTable, progress, selects, snapshot, told
from ._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from ._status import details_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["GENERATION", "FakeSidecar", "FakeTable"]

TOLD_EVERY = 0.01


class FakeSidecar(cache_pb2_grpc.CacheServiceServicer, admin_pb2_grpc.AdminServiceServicer):
    """Tables by name, served while the context is open.

    tables: the values by key, by table; or the tables.

    Attributes:
        target: to connect to, once it is open.
        ready: lookups are answered.
        requests: all that it was asked.
    """

    def __init__(
        self, tables: Mapping[str, FakeTable | Mapping[Any, bytes | str]] | None = None
    ) -> None:
        made = (tables or {"default": {}}).items()
        self.tables_by_name = {
            name: one if isinstance(one, FakeTable) else FakeTable(one) for name, one in made
        }
        self.target = ""
        self.ready = True
        self.requests: list[Any] = []
        self.cuts = 0
        self._server: grpc.Server | None = None
        self._threads: ThreadPoolExecutor | None = None

    def __getitem__(self, name: str) -> FakeTable:
        return self.tables_by_name[name]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
    ) -> None:
        """Serve; at a free port, unless told otherwise."""
        self._threads = ThreadPoolExecutor(max_workers=32)
        server = self._server = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        cache_pb2_grpc.add_CacheServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        self.target = address if address.startswith("unix:") else f"127.0.0.1:{port}"

    def stop(self) -> None:
        """End all calls, and answer no more."""
        if self._server is not None and self._threads is not None:
            self._server.stop(None).wait()
            self._threads.shutdown()
            self._server = self._threads = None

    def cut(self) -> None:
        """End all watches that are under way; they may go on behind their tokens."""
        self.cuts += 1

    # The services

    def Get(self, request: Any, context: Any) -> cache_pb2.GetResponse:
        table = self._begin(request, context)
        return cache_pb2.GetResponse(
            presence=self._presence(table, request.key),
            record=table.records.get(request.key),
            state=self._state(table, request),
        )

    def MultiGet(self, request: Any, context: Any) -> cache_pb2.MultiGetResponse:
        table = self._begin(request, context)
        return cache_pb2.MultiGetResponse(
            results=[
                cache_pb2.LookupResult(
                    presence=self._presence(table, key), record=table.records.get(key)
                )
                for key in request.keys
            ],
            state=self._state(table, request),
        )

    def List(self, request: Any, context: Any) -> cache_pb2.ListResponse:
        table = self._begin(request, context)
        keys = sorted(key for key in list(table.records) if selects(request.filter, key))
        first = int(request.page_token or 0)
        following = first + (request.page_size or 1000)
        return cache_pb2.ListResponse(
            records=[table.records[key] for key in keys[first:following]],
            next_page_token=str(following) if following < len(keys) else "",
            state=self._state(table, request),
        )

    def Watch(self, request: Any, context: Any) -> Iterator[cache_pb2.WatchResponse]:
        table, cuts = self._begin(request, context), self.cuts
        generation = table.generation
        built, at = generation, len(table.events)
        if request.resume_token:
            built, at = map(int, request.resume_token.split(":"))
        elif request.WhichOneof("start") == "snapshot":
            yield from snapshot(table, request, at)
        while context.is_active() and self.cuts == cuts:
            if built != table.generation:
                self.fail(context, grpc.StatusCode.OUT_OF_RANGE, "RESUME_EXPIRED")
            for event in table.events[at:]:
                at += 1
                if selects(request.filter, event.upsert.key or event.deletion.key):
                    yield told(table, event, at)
            mark = cache_pb2.WatchEvent(progress=progress(table, at))
            yield told(table, mark, at)
            time.sleep(TOLD_EVERY)
        self.fail(context, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")

    def ListTables(self, request: Any, context: Any) -> admin_pb2.ListTablesResponse:
        return admin_pb2.ListTablesResponse(tables=self._infos())

    def WaitUntil(self, request: Any, context: Any) -> admin_pb2.WaitUntilResponse:
        while not self.ready and context.is_active():
            time.sleep(TOLD_EVERY)
        return admin_pb2.WaitUntilResponse(tables=self._infos())

    def fail(self, context: Any, code: grpc.StatusCode, reason: str) -> NoReturn:
        """End a call as the sidecar does."""
        context.set_trailing_metadata(details_of(reason))
        context.abort(code, f"the fake sidecar: {reason}")
        raise AssertionError("abort raises")

    def _infos(self) -> list[admin_pb2.TableInfo]:
        states = admin_pb2.TABLE_STATE_LIVE, admin_pb2.TABLE_STATE_BOOTSTRAPPING
        return [
            admin_pb2.TableInfo(
                name=name,
                topic=name,
                state=states[not self.ready],
                entries=len(table.records),
                required=True,
            )
            for name, table in self.tables_by_name.items()
        ]

    def _begin(self, request: Any, context: Any) -> FakeTable:
        self.requests.append(request)
        named = dict(self.tables_by_name)
        if len(named) == 1:
            named[""] = next(iter(named.values()))
        table = named.get(request.table)
        if table is None:
            reason = "UNKNOWN_TABLE" if request.table else "TABLE_REQUIRED"
            self.fail(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
        if not (self.ready or getattr(request.freshness, "allow_partial", False)):
            self.fail(context, grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING")
        return table

    def _presence(self, table: FakeTable, key: bytes) -> cache_pb2.Presence:
        if key in table.records:
            return cache_pb2.PRESENCE_FOUND
        return cache_pb2.PRESENCE_ABSENT if self.ready else cache_pb2.PRESENCE_UNKNOWN

    def _state(self, table: FakeTable, request: Any) -> cache_pb2.State:
        return table.state(request.include_positions)
