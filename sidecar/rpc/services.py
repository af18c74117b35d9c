"""The two services of the contract, as gRPC knows them.

What a method does stands in `lookups`, `ranges`, `digests` and `about`; here each is
given its name and kind (see `calls`). What the contract has and this version has not
is answered NOT_YET.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from .._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from ..core.served import Served
from .about import table_info
from .calls import Calls, Context, long_call, short_call
from .checks import bad_freshness, bounds_of, open_gate
from .digests import digest_of
from .lookups import Lookups
from .ports import Limits, ServerInfo
from .ranges import Ranges
from .readiness import Readiness
from .tables import Tables
from .waits import Waits
from .watch import Watching

__all__ = ["AdminService", "CacheService"]


# Between two responses of WatchTables: where none is asked for, and at least.
_WATCH_MS: Final = 1000
_LEAST_WATCH_MS: Final = 100


class CacheService(cache_pb2_grpc.CacheServiceServicer):
    """Lookups, pages, scans and watches.

    Args:
        calls: those under way.
        lookups: answers by key.
        ranges: answers in order.
        watching: follows what changes.
    """

    def __init__(self, calls: Calls, lookups: Lookups, ranges: Ranges, watching: Watching) -> None:
        self.calls = calls
        self._lookups = lookups
        self._ranges = ranges
        self._watching = watching

    def _get(
        self, request: cache_pb2.GetRequest, context: Context
    ) -> Awaitable[cache_pb2.GetResponse]:
        return self._lookups.get(request, context)

    def _multi_get(
        self, request: cache_pb2.MultiGetRequest, context: Context
    ) -> Awaitable[cache_pb2.MultiGetResponse]:
        return self._lookups.multi_get(request, context)

    def _lookup(self, requests: object, context: Context) -> Awaitable[None]:
        return self._lookups.lookup(requests, context)

    def _list(
        self, request: cache_pb2.ListRequest, context: Context
    ) -> Awaitable[cache_pb2.ListResponse]:
        return self._ranges.list_page(request, context)

    def _scan(self, request: cache_pb2.ScanRequest, context: Context) -> Awaitable[None]:
        return self._ranges.scan(request, context)

    def _watch(self, request: cache_pb2.WatchRequest, context: Context) -> Awaitable[None]:
        return self._watching.watch(request, context)

    Get = short_call("Get", _get)
    MultiGet = short_call("MultiGet", _multi_get)
    Lookup = long_call("Lookup", _lookup, endless=True)
    List = short_call("List", _list)
    Scan = long_call("Scan", _scan)
    Watch = long_call("Watch", _watch, endless=True)


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The state of the sidecar and of its tables.

    Args:
        calls: those under way.
        tables: what is served.
        readiness: wakes those who wait for a table to be ready.
        waits: holds up those who wait for more.
        clock: seconds, CLOCK_BOOTTIME.
        info: what is told of the server.
        limits: what is told of its limits.
    """

    def __init__(
        self,
        calls: Calls,
        tables: Tables,
        readiness: Readiness,
        waits: Waits,
        clock: Callable[[], float],
        info: ServerInfo,
        limits: Limits,
    ) -> None:
        self.calls = calls
        self._waits = waits
        self._tables = tables
        self._readiness = readiness
        self._clock = clock
        self._info = info
        self._limits = limits

    async def _get_server_info(
        self, _: admin_pb2.GetServerInfoRequest, __: Context
    ) -> admin_pb2.GetServerInfoResponse:
        info = self._info
        return admin_pb2.GetServerInfoResponse(
            version=info.version,
            features=info.features,
            uptime_ms=max(0, round((self._clock() - info.started_at) * 1000)),
            config_yaml=info.config_yaml(),
            config_fault=info.config_fault(),
            registry_fault=info.registry_fault(),
            max_keys=self._limits.keys,
            max_page_size=self._limits.page,
            max_message_bytes=self._limits.message_bytes,
            resident_bytes=info.resident_bytes(),
        )

    async def _list_tables(
        self, _: admin_pb2.ListTablesRequest, __: Context
    ) -> admin_pb2.ListTablesResponse:
        return admin_pb2.ListTablesResponse(tables=map(self._about, self._tables))

    async def _get_table(
        self, request: admin_pb2.GetTableRequest, _: Context
    ) -> admin_pb2.GetTableResponse:
        return admin_pb2.GetTableResponse(table=self._about(self._tables.named(request.table)))

    async def _watch_tables(self, request: admin_pb2.WatchTablesRequest, context: Context) -> None:
        interval_s = max(request.interval_ms or _WATCH_MS, _LEAST_WATCH_MS) / 1000
        while True:
            tables = map(self._about, self._tables)
            await context.write(admin_pb2.WatchTablesResponse(tables=tables))
            await asyncio.sleep(interval_s)

    async def _wait_until(
        self, request: admin_pb2.WaitUntilRequest, _: Context
    ) -> admin_pb2.WaitUntilResponse:
        one, freshness = request.table, request.freshness
        if not request.HasField("freshness"):
            waited_for = [self._tables.named(one)] if one else self._tables.required()
            await self._readiness.until_ready(waited_for, self.calls)
            return admin_pb2.WaitUntilResponse(tables=map(self._about, waited_for))
        served, bounds = self._tables.named(one), bounds_of(freshness)
        if freshness.allow_partial:
            raise bad_freshness("allow_partial", "goes only with Get and MultiGet")
        limit_s = freshness.wait_ms / 1000 if freshness.HasField("wait_ms") else None
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._readiness.until_ready([served], self.calls)
                await self._waits.within(served, bounds, None)
        open_gate(served, self._clock(), freshness)
        return admin_pb2.WaitUntilResponse(tables=[self._about(served)])

    async def _get_digest(
        self, request: admin_pb2.GetDigestRequest, _: Context
    ) -> admin_pb2.GetDigestResponse:
        return await digest_of(self._tables.named(request.table), self._clock)

    def _about(self, served: Served) -> admin_pb2.TableInfo:
        return table_info(served, self._clock(), self._tables.undecodable(served))

    GetServerInfo = short_call("GetServerInfo", _get_server_info)
    ListTables = short_call("ListTables", _list_tables)
    GetTable = short_call("GetTable", _get_table)
    WatchTables = long_call("WatchTables", _watch_tables, endless=True)
    WaitUntil = long_call("WaitUntil", _wait_until)
    GetDigest = long_call("GetDigest", _get_digest)
