"""Tables filled by hand, and a server of ours around them."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from sidecar._pb import admin_pb2_grpc, cache_pb2_grpc
from sidecar.core.model import Batch, Fetched, LogBounds, origin_of
from sidecar.core.progress import Leader, Progress
from sidecar.core.served import Definition, Generation, Served, Source
from sidecar.core.view import View
from sidecar.follower.following import plan_of
from sidecar.rpc.ports import Limits, ServerInfo
from sidecar.rpc.server import Server

__all__ = [
    "Bell",
    "Client",
    "Clock",
    "Counts",
    "Failure",
    "Rec",
    "bootstrapping",
    "client",
    "code_of",
    "drained",
    "failure_of",
    "fold",
    "refusal",
    "server_of",
    "serving",
    "table",
    "view_of",
]

INCARNATION = 1 << 52
GENERATION = (1 << 52) + 17


class Rec(NamedTuple):
    """A record of the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1_700_000_000_000
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012 (never changed)


class Bell:
    """The `changed` port."""

    def __init__(self):
        self._rung = asyncio.Event()

    def ring(self):
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self):
        await self._rung.wait()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self):
        return self.now


@dataclass
class Counts:
    """The recorder port."""

    lookups: dict = field(default_factory=dict)
    rpcs: list = field(default_factory=list)
    undecodables: list = field(default_factory=list)

    def lookup(self, table, presence, count=1):
        if count:
            self.lookups[table, presence] = self.lookups.get((table, presence), 0) + count

    def rpc(self, method, seconds):
        assert seconds >= 0
        self.rpcs.append(method)

    def undecodable(self, table):
        self.undecodables.append(table)


def view_of(name="users", *, partitions=1, target=0, generation=GENERATION, headers=False):
    """A view with nothing read yet; ready once each partition is read to `target`."""
    progress = [
        Progress(number, 0, target, LogBounds(0, target, target), Leader(1, 5))
        for number in range(partitions)
    ]
    view = View(name, INCARNATION, generation, progress, keep_headers=headers)
    view.topology_as_of = 1000.0
    return view


def fold(served, *records, partition=0, end=None, sent_at=1000.0, timestamp_type=0):
    """Fold records in; the partition's log ends behind the last one, or at `end`."""
    view = served.view
    fold_into(view, *records, partition=partition, end=end, sent_at=sent_at, kind=timestamp_type)
    served.try_ready(sent_at)
    served.arrivals.reached(partition, view.progress[partition].position)


def fold_into(view, *records, partition=0, end=None, sent_at=1000.0, kind=0):
    end = end if end is not None else (records[-1].offset + 1 if records else 0)
    batch = Batch(records, origin_of(partition, kind), 0, end)
    fetched = Fetched(partition, iter([batch]), LogBounds(0, end, end), sent_at, None, 0)
    for _ in view.fold(fetched, 1000):
        pass


def table(name="users", *records, now=1000.0, **definition):
    """A ready table with these (key, value) or `Rec` records in partition 0."""
    records = [r if isinstance(r, Rec) else Rec(n, *r) for n, r in enumerate(records)]
    served = bootstrapping(name, target=records[-1].offset + 1 if records else 0, **definition)
    fold(served, *records, sent_at=now)
    assert served.ready
    return served


def bootstrapping(name="users", *, target=100, **definition):
    """A table that is being read."""
    served = Served(Definition(name=name, topic=f"{name}-topic", **definition))
    view = view_of(name, target=target, headers=served.definition.headers)
    source = Source("cluster", "topic-id", INCARNATION, "compact", 86_400_000)
    served.begin(Generation(source, view, 990.0, plan=plan_of(served.definition, view.table)))
    return served


def swap(served, *records, generation=GENERATION + 1):
    """Serve another generation with these (key, value) records."""
    view = view_of(served.definition.name, target=len(records), generation=generation)
    plan = plan_of(served.definition, view.table)
    served.cut_off("its log was cut")
    served.begin(Generation(served.source, view, 1000.0, plan=plan))
    fold_into(view, *(Rec(n, *r) for n, r in enumerate(records)))
    assert served.try_ready(1000.0)


class Client:
    """Stubs over one channel."""

    def __init__(self, channel):
        self.channel = channel
        self.cache = cache_pb2_grpc.CacheServiceStub(channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)


@asynccontextmanager
async def client(address, **options):
    target = address.replace("unix://", "unix:")
    options = [("grpc.use_local_subchannel_pool", 1), *options.items()]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield Client(channel)


def server_of(
    *tables, listen=("127.0.0.1:0",), clock=None, bell=None, counts=None, tls=None, **limits
):
    """A server that is not started."""
    clock = clock or Clock()
    return Server(
        tables={served.definition.name: served for served in tables},
        listen=listen,
        clock=clock,
        info=ServerInfo(version="1.2.3", started_at=990.0, resident_bytes=lambda: 4096),
        changed=bell or Bell(),
        recorder=counts or Counts(),
        limits=Limits(**limits),
        tls=tls,
    )


@asynccontextmanager
async def serving(*tables, **given):
    """A client of a running server around these tables."""
    server = server_of(*tables, **given)
    await server.start()
    try:
        async with client(server.addresses[0]) as connected:
            connected.server = server
            yield connected
    finally:
        await server.stop(0)


class Failure(NamedTuple):
    """What a call failed with."""

    code: grpc.StatusCode
    reason: str
    metadata: dict
    retry_ms: int | None
    message: str


def failure_of(error):
    """The particulars of a failed call; exactly one ErrorInfo of ours."""
    info, retry = [], None
    for detail in rpc_status.from_call(error).details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            found = ErrorInfo()
            detail.Unpack(found)
            info.append(found)
        if detail.Is(RetryInfo.DESCRIPTOR):
            found = RetryInfo()
            detail.Unpack(found)
            retry = found.retry_delay.ToMilliseconds()
    assert len(info) == 1
    assert info[0].domain == "kafkacache"
    return Failure(error.code(), info[0].reason, dict(info[0].metadata), retry, error.details())


async def code_of(call):
    """The code with which a call ended."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def drained(call):
    """Read a stream to its end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def refusal(call):
    """What a call that must fail fails with; streams are read to their end."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError("the call did not fail")
