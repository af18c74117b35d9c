"""A sidecar for the command line's tests: answers from a dict, or fails as it is told."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from sidecar._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc

__all__ = ["Failure", "FakeSidecar", "live", "record", "serving"]


@dataclass
class Failure:
    """What every call fails with."""

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after_ms: int | None = None


def record(key: bytes, value: bytes, partition: int = 0, offset: int = 0, timestamp: int = 1234):
    return cache_pb2.Record(
        key=key,
        value=value,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp,
        timestamp_type=cache_pb2.TIMESTAMP_TYPE_CREATE_TIME,
    )


def live(name: str = "users", **given) -> admin_pb2.TableInfo:
    known = {
        "name": name,
        "topic": name,
        "state": admin_pb2.TABLE_STATE_LIVE,
        "required": True,
        "entries": 2,
        "staleness_ms": 12,
        "topic_id": "id",
        "partitions": [
            admin_pb2.PartitionInfo(partition=0, leader=1, position=9, target=9, high_watermark=9)
        ],
    }
    return admin_pb2.TableInfo(**known | given)


STATE = cache_pb2.State(staleness_ms=12, incarnation=7, generation=8, revision=9)


@dataclass
class FakeSidecar(cache_pb2_grpc.CacheServiceServicer, admin_pb2_grpc.AdminServiceServicer):
    records: list = field(default_factory=list)
    tables: list = field(default_factory=lambda: [live()])
    digests: list = field(default_factory=list)
    waited: list = field(default_factory=list)
    never_there: bool = False
    config_yaml: str = ""
    failure: Failure | None = None
    page: int = 2
    fails_info: bool = True
    incarnation: int = 7
    definition_hash: str = ""

    def check(self, context) -> None:
        if self.failure is None:
            return
        details = []
        for message in (
            ErrorInfo(reason=self.failure.reason, domain="kafkacache", metadata={"table": "users"}),
            RetryInfo(),
        ):
            packed = Any()
            packed.Pack(message)
            details.append(packed)
        if not self.failure.reason:
            details = []
        status = Status(
            code=self.failure.code.value[0], message=self.failure.message, details=details
        )
        context.abort_with_status(rpc_status.to_status(status))

    def MultiGet(self, request, context):  # noqa: N802
        self.check(context)
        known = {one.key: one for one in self.records}
        results = [
            cache_pb2.LookupResult(presence=cache_pb2.PRESENCE_FOUND, record=known[key])
            if key in known
            else cache_pb2.LookupResult(presence=cache_pb2.PRESENCE_ABSENT)
            for key in request.keys
        ]
        return cache_pb2.MultiGetResponse(results=results, state=STATE)

    def chosen(self, request) -> list:
        if request.filter.HasField("index"):
            index = request.filter.index
            return [
                one
                for one in sorted(self.records, key=lambda one: (one.value, one.key))
                if index.index == "value" and one.value.startswith(index.prefix.encode())
                if not index.equals or one.value == index.equals.encode()
            ]
        start, end = request.filter.key_range.start, request.filter.key_range.end
        ordered = sorted(self.records, key=lambda one: one.key)
        return [one for one in ordered if one.key >= start and (not end or one.key < end)]

    def List(self, request, context):  # noqa: N802
        self.check(context)
        chosen, first = self.chosen(request), int(request.page_token or 0)
        last = first + self.page
        token = str(last) if last < len(chosen) else ""
        return cache_pb2.ListResponse(
            records=chosen[first:last], next_page_token=token, state=STATE
        )

    def Scan(self, request, context):  # noqa: N802
        self.check(context)
        for one in self.chosen(request):
            yield cache_pb2.ScanResponse(records=[one], state=STATE)

    def GetServerInfo(self, request, context):  # noqa: N802
        if self.fails_info:
            self.check(context)
        return admin_pb2.GetServerInfoResponse(
            version="0.1.0", uptime_ms=61_000, config_yaml=self.config_yaml
        )

    def ListTables(self, request, context):  # noqa: N802
        return admin_pb2.ListTablesResponse(tables=self.tables)

    def GetTable(self, request, context):  # noqa: N802
        for one in self.tables:
            if request.table in ("", one.name):
                return admin_pb2.GetTableResponse(table=one)
        context.abort(grpc.StatusCode.NOT_FOUND, "no such table")
        return None

    def WaitUntil(self, request, context):  # noqa: N802
        self.check(context)
        self.waited.append(request)
        if self.never_there:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        return admin_pb2.WaitUntilResponse()

    def GetDigest(self, request, context):  # noqa: N802
        self.check(context)
        return admin_pb2.GetDigestResponse(
            partitions=self.digests,
            incarnation=self.incarnation,
            definition_hash=self.definition_hash,
            generation=8,
            revision=9,
            algorithm="sha256-128-sum",
        )


@contextmanager
def serving(
    fake: FakeSidecar,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[str]:
    """Run it; gives its endpoint."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    cache_pb2_grpc.add_CacheServiceServicer_to_server(fake, server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
