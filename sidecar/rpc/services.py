"""The two services of the contract, as gRPC knows them.

What a method does stands in `lookups`, `ranges`, `digests` and `about`; here each is
given its name and kind (see `calls`). What the contract has and this version has not
is answered NOT_YET.
"""

from collections.abc import Awaitable, Callable

from .._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from ..core.served import Served
from .about import table_info
from .calls import Calls, Context, long_call, short_call
from .digests import digest_of
from .errors import not_yet
from .lookups import Lookups
from .ports import Limits, ServerInfo
from .ranges import Ranges
from .readiness import Readiness
from .tables import Tables

__all__ = ["AdminService", "CacheService"]


class CacheService(cache_pb2_grpc.CacheServiceServicer):
    """Lookups, pages and scans.

    Args:
        calls: those under way.
        lookups: answers by key.
        ranges: answers in order.
    """

    def __init__(self, calls: Calls, lookups: Lookups, ranges: Ranges) -> None:
        self.calls = calls
        self._lookups = lookups
        self._ranges = ranges

    def _get(self, request: cache_pb2.GetRequest) -> Awaitable[cache_pb2.GetResponse]:
        return self._lookups.get(request)

    def _multi_get(
        self, request: cache_pb2.MultiGetRequest
    ) -> Awaitable[cache_pb2.MultiGetResponse]:
        return self._lookups.multi_get(request)

    def _lookup(self, requests: object, context: Context) -> Awaitable[None]:
        return self._lookups.lookup(requests, context)

    def _list(self, request: cache_pb2.ListRequest) -> Awaitable[cache_pb2.ListResponse]:
        return self._ranges.list_page(request)

    def _scan(self, request: cache_pb2.ScanRequest, context: Context) -> Awaitable[None]:
        return self._ranges.scan(request, context)

    async def _watch(self, _: cache_pb2.WatchRequest, __: Context) -> None:
        raise not_yet("Watch")

    Get = short_call("Get", _get)
    MultiGet = short_call("MultiGet", _multi_get)
    Lookup = long_call("Lookup", _lookup, endless=True)
    List = short_call("List", _list)
    Scan = long_call("Scan", _scan)
    Watch = long_call("Watch", _watch)


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The state of the sidecar and of its tables.

    Args:
        calls: those under way.
        tables: what is served.
        readiness: wakes those who wait.
        clock: seconds, CLOCK_BOOTTIME.
        info: what is told of the server.
        limits: what is told of its limits.
    """

    def __init__(
        self,
        calls: Calls,
        tables: Tables,
        readiness: Readiness,
        clock: Callable[[], float],
        info: ServerInfo,
        limits: Limits,
    ) -> None:
        self.calls = calls
        self._tables = tables
        self._readiness = readiness
        self._clock = clock
        self._info = info
        self._limits = limits

    async def _get_server_info(
        self, _: admin_pb2.GetServerInfoRequest
    ) -> admin_pb2.GetServerInfoResponse:
        info = self._info
        return admin_pb2.GetServerInfoResponse(
            version=info.version,
            features=info.features,
            uptime_ms=max(0, round((self._clock() - info.started_at) * 1000)),
            config_yaml=info.config_yaml,
            max_keys=self._limits.keys,
            max_page_size=self._limits.page,
            max_message_bytes=self._limits.message_bytes,
            resident_bytes=info.resident_bytes(),
        )

    async def _list_tables(self, _: admin_pb2.ListTablesRequest) -> admin_pb2.ListTablesResponse:
        return admin_pb2.ListTablesResponse(tables=map(self._about, self._tables))

    async def _get_table(self, request: admin_pb2.GetTableRequest) -> admin_pb2.GetTableResponse:
        return admin_pb2.GetTableResponse(table=self._about(self._tables.named(request.table)))

    async def _watch_tables(self, _: admin_pb2.WatchTablesRequest, __: Context) -> None:
        raise not_yet("WatchTables")

    async def _wait_until(
        self, request: admin_pb2.WaitUntilRequest, _: Context
    ) -> admin_pb2.WaitUntilResponse:
        if request.HasField("freshness"):
            raise not_yet("freshness")
        one = request.table
        waited_for = [self._tables.named(one)] if one else self._tables.required()
        await self._readiness.until_ready(waited_for, self.calls)
        return admin_pb2.WaitUntilResponse(tables=map(self._about, waited_for))

    async def _get_digest(
        self, request: admin_pb2.GetDigestRequest, _: Context
    ) -> admin_pb2.GetDigestResponse:
        return await digest_of(self._tables.named(request.table), self._clock)

    def _about(self, served: Served) -> admin_pb2.TableInfo:
        return table_info(served, self._clock(), self._tables.undecodable(served))

    GetServerInfo = short_call("GetServerInfo", _get_server_info)
    ListTables = short_call("ListTables", _list_tables)
    GetTable = short_call("GetTable", _get_table)
    WatchTables = long_call("WatchTables", _watch_tables)
    WaitUntil = long_call("WaitUntil", _wait_until)
    GetDigest = long_call("GetDigest", _get_digest)
