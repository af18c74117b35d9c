"""A gRPC server whose handlers do nothing: what the transport alone can reach.

Get answers one constant FOUND record, MultiGet one such result a key, Lookup the same on a
stream. Measured beside the sidecar, it tells the cost of the sidecar's own work from that
of grpc and protobuf.

`--build call` makes each answer anew, as a real handler must; `once` sends one that was
made before; `bytes` skips protobuf altogether (nothing is parsed, a serialized answer goes
out) and so tells what grpc costs by itself; it serves only Get and MultiGet of 100.
"""

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import uvloop

from sidecar._pb import cache_pb2 as pb
from sidecar._pb import cache_pb2_grpc

VALUE = b"v" * 100
KEYS = 100
SERVICE = "kafkacache.v1.CacheService"


def state() -> pb.State:
    return pb.State(staleness_ms=3, incarnation=1 << 52, generation=1 << 51, revision=2_000_000)


def record(key: bytes) -> pb.Record:
    return pb.Record(
        key=key,
        value=VALUE,
        partition=3,
        offset=1_234_567,
        timestamp_ms=1_700_000_000_000,
        timestamp_type=pb.TIMESTAMP_TYPE_CREATE_TIME,
    )


def get_response(key: bytes) -> pb.GetResponse:
    return pb.GetResponse(presence=pb.PRESENCE_FOUND, record=record(key), state=state())


def multi_get_response(keys: Any) -> pb.MultiGetResponse:
    found = [pb.LookupResult(presence=pb.PRESENCE_FOUND, record=record(key)) for key in keys]
    return pb.MultiGetResponse(results=found, state=state())


class Answers:
    """Makes an answer for each call, or keeps one made before."""

    def __init__(self, build: str) -> None:
        self._anew = build == "call"
        self._get = get_response(b"key-000000000000")
        self._multi_get = multi_get_response([b"key-000000000000"] * KEYS)

    def get(self, request: pb.GetRequest) -> pb.GetResponse:
        return get_response(request.key) if self._anew else self._get

    def multi_get(self, request: pb.MultiGetRequest) -> pb.MultiGetResponse:
        return multi_get_response(request.keys) if self._anew else self._multi_get

    def lookup(self, request: pb.LookupRequest) -> pb.LookupResponse:
        if request.WhichOneof("request") == "get":
            return pb.LookupResponse(id=request.id, get=self.get(request.get))
        return pb.LookupResponse(id=request.id, multi_get=self.multi_get(request.multi_get))


class AsyncCache(cache_pb2_grpc.CacheServiceServicer):
    """The handlers for grpc.aio."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:  # noqa: N802
        return self._answers.get(request)

    async def MultiGet(  # noqa: N802
        self, request: pb.MultiGetRequest, context: Any
    ) -> pb.MultiGetResponse:
        return self._answers.multi_get(request)

    async def Lookup(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.LookupRequest], context: Any
    ) -> AsyncIterator[pb.LookupResponse]:
        async for request in request_iterator:
            yield self._answers.lookup(request)


class ReadWriteCache(AsyncCache):
    """The same, with Lookup through context.read and write instead of iterators."""

    async def Lookup(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(self._answers.lookup(request))


class ThreadedCache(cache_pb2_grpc.CacheServiceServicer):
    """The handlers for the synchronous server."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:  # noqa: N802
        return self._answers.get(request)

    def MultiGet(  # noqa: N802
        self, request: pb.MultiGetRequest, context: Any
    ) -> pb.MultiGetResponse:
        return self._answers.multi_get(request)

    def Lookup(  # noqa: N802
        self, request_iterator: Iterator[pb.LookupRequest], context: Any
    ) -> Iterator[pb.LookupResponse]:
        for request in request_iterator:
            yield self._answers.lookup(request)


def raw_handler(*, threaded: bool) -> grpc.GenericRpcHandler:
    """Get and MultiGet without protobuf: bytes in, the same bytes out each time."""

    def unary(answer: bytes) -> grpc.RpcMethodHandler:
        async def handle(request: bytes, context: Any) -> bytes:
            return answer

        def handle_in_thread(request: bytes, context: Any) -> bytes:
            return answer

        handler = handle_in_thread if threaded else handle
        return grpc.unary_unary_rpc_method_handler(handler)

    methods = {
        "Get": unary(get_response(b"key-000000000000").SerializeToString()),
        "MultiGet": unary(multi_get_response([b"key-000000000000"] * KEYS).SerializeToString()),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def add_handlers(server: Any, options: argparse.Namespace) -> None:
    if options.build == "bytes":
        handler = raw_handler(threaded=options.server == "threads")
        server.add_generic_rpc_handlers((handler,))
        return
    kinds = {"aio": AsyncCache, "threads": ThreadedCache}
    kind = ReadWriteCache if options.read_write else kinds[options.server]
    cache_pb2_grpc.add_CacheServiceServicer_to_server(kind(Answers(options.build)), server)


def bind(server: Any, addresses: list[str]) -> None:
    for address in addresses:
        server.add_insecure_port(address.replace("unix:///", "unix:/"))


async def serve_async(options: argparse.Namespace) -> None:
    server = grpc.aio.server(options=options.option)
    add_handlers(server, options)
    bind(server, options.listen)
    await server.start()
    print("ready", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop(0)


def serve_threads(options: argparse.Namespace) -> None:
    server = grpc.server(ThreadPoolExecutor(options.threads), options=options.option)
    add_handlers(server, options)
    bind(server, options.listen)
    server.start()
    print("ready", flush=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(0).wait()


def channel_option(text: str) -> tuple[str, int | str]:
    name, _, value = text.partition("=")
    return name, int(value) if value.lstrip("-").isdigit() else value


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="empty_server", description=__doc__)
    add: Callable[..., Any] = parser.add_argument
    add("--listen", action="append", required=True, help="host:port or unix:///path; repeatable")
    add("--server", choices=("aio", "threads"), default="aio")
    add("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    add("--build", choices=("call", "once", "bytes"), default="call")
    add("--threads", type=int, default=8, help="of the synchronous server")
    add("--read-write", action="store_true", help="Lookup through context.read and write")
    add("--option", action="append", type=channel_option, default=[], help="NAME=VALUE for grpc")
    add("--switch-interval", type=float, help="sys.setswitchinterval, in seconds")
    return parser


def main() -> None:
    options = arguments().parse_args()
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    if options.server == "threads":
        serve_threads(options)
    elif options.loop == "uvloop":
        uvloop.run(serve_async(options))
    else:
        asyncio.run(serve_async(options))


if __name__ == "__main__":
    main()
