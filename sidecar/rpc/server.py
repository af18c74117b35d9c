"""The gRPC server: what is registered, where it listens, how it starts and stops.

Start: the addresses are taken before anything is answered, and each that cannot be is
an error that names it. Stop, in this order: health turns NOT_SERVING; new calls are
refused SHUTTING_DOWN, while running ones finish or get a status (`Calls.drain`); then
the connections close and the sockets go.

Rules: constructing a `Server` does no I/O. Whoever starts one stops it, also when
`start` failed halfway: then `start` has cleaned up itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from .._pb import admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from ..core.served import Served
from .calls import Calls
from .lookups import Lookups
from .ports import Changed, Limits, Recorder, ServerInfo, Tls
from .ranges import Ranges
from .readiness import SERVICE, Readiness
from .services import AdminService, CacheService
from .sockets import CannotListen, UnixSocket, check_free, split_host_port
from .tables import Tables
from .waits import Waits
from .watch import Watching

__all__ = ["Server"]

_UNIX: Final = "unix://"
_SERVICES: Final = (
    SERVICE,
    "kafkacache.v1.AdminService",
    health.SERVICE_NAME,
    reflection.SERVICE_NAME,
)
# For health watchers and reflection streams, which nobody else ends, and for calls on their way.
_LINGER_S: Final = 0.1


class _Running(NamedTuple):
    server: grpc.aio.Server
    follower: asyncio.Task[None]
    sockets: list[UnixSocket]


class Server:
    """Serves tables over gRPC.

    Args:
        tables: by name; which tables there are does not change.
        listen: addresses, each `unix:///path` or `host:port` (port 0: any).
        clock: seconds, CLOCK_BOOTTIME.
        info: what GetServerInfo tells.
        changed: tells of changes of the tables' states.
        recorder: counts lookups and calls.
        limits: what one caller may ask for.
        tls: for the addresses that are not Unix sockets; None: plain text.

    Attributes:
        addresses: those that it listens on, with their real ports; empty before `start`.
    """

    def __init__(
        self,
        *,
        tables: Mapping[str, Served],
        listen: Sequence[str],
        clock: Callable[[], float],
        info: ServerInfo,
        changed: Changed,
        recorder: Recorder,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        tls: Tls | None = None,
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        self._listen = tuple(listen)
        self._tls = tls
        self._limits = limits
        self._calls = Calls(limits.calls, recorder)
        known = Tables(tables, decoded_bytes=limits.decoded_bytes, recorder=recorder)
        self._readiness = Readiness(known, changed, clock)
        waits = Waits(clock, self._calls, limits.wait_ms)
        lookups = Lookups(known, clock, limits, recorder, waits)
        ranges = Ranges(known, clock, limits, waits)
        self._services = (
            CacheService(self._calls, lookups, ranges, Watching(known, clock, limits)),
            AdminService(self._calls, known, self._readiness, waits, clock, info, limits),
        )
        self._running: _Running | None = None

    async def start(self) -> None:
        """Take the addresses and answer calls.

        Raises:
            CannotListen: an address cannot be used.
        """
        server, sockets = self._make(), list[UnixSocket]()
        try:
            bound = [await self._bind(server, address, sockets) for address in self._listen]
            await self._readiness.publish()
            await server.start()
        except BaseException:
            await server.stop(None)
            _release(sockets)
            raise
        self.addresses = tuple(bound)
        follower = asyncio.create_task(self._readiness.follow(), name="readiness")
        self._running = _Running(server, follower, sockets)

    async def stop(self, grace_seconds: float) -> None:
        """Stop answering; running calls have so long to finish (seconds)."""
        if self._running is None:
            return
        (server, follower, sockets), self._running = self._running, None
        try:
            await self._drain(follower, grace_seconds)
        finally:
            await server.stop(_LINGER_S)
            _release(sockets)

    async def _drain(self, follower: asyncio.Task[None], grace_seconds: float) -> None:
        follower.cancel()
        with suppress(TimeoutError):
            # A health watcher that does not read must not hold up the stop.
            async with asyncio.timeout(_LINGER_S):
                await self._readiness.servicer.enter_graceful_shutdown()
        self._calls.stopping = True
        self._readiness.wake()
        # Calls that have come and that no handler has yet are refused now; later they are cut.
        await asyncio.sleep(_LINGER_S)
        await self._calls.drain(grace_seconds)
        await asyncio.wait([follower])
        if not follower.cancelled():
            follower.result()

    def _make(self) -> grpc.aio.Server:
        limits = self._limits
        server = grpc.aio.server(
            options=(
                # Else a second server on the same port is accepted, and takes half the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_send_message_length", limits.message_bytes),
            ),
            maximum_concurrent_rpcs=2 * limits.calls,
        )
        cache, admin = self._services
        _register_cache(cache, server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._readiness.servicer, server)
        reflection.enable_server_reflection(_SERVICES, server)
        return server

    async def _bind(self, server: grpc.aio.Server, address: str, sockets: list[UnixSocket]) -> str:
        if address.startswith(_UNIX):
            unix = UnixSocket(address.removeprefix(_UNIX))
            unix.take()
            sockets.append(unix)
            _add_port(server, address, f"unix:{unix.bind_path}", None)
            unix.publish()
            return address
        await check_free(address)
        port = _add_port(server, address, address, self._tls)
        host, _ = split_host_port(address)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Collected:
    """Takes what a generated function registers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _: object) -> None:
        """The same handlers once more."""

    def add_registered_method_handlers(self, _: str, handlers: Mapping[str, Any]) -> None:
        """The handlers of a service, by method."""
        self.handlers.update(handlers)


def _register_cache(cache: CacheService, server: grpc.aio.Server) -> None:
    """The contract's methods; the responses of Watch are bytes already (`outlet`)."""
    collected = _Collected()
    cache_pb2_grpc.add_CacheServiceServicer_to_server(cache, collected)  # type: ignore[no-untyped-call]
    watch: Any = grpc.unary_stream_rpc_method_handler(
        cache.Watch, request_deserializer=cache_pb2.WatchRequest.FromString
    )
    handlers = collected.handlers | {"Watch": watch}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def _release(sockets: list[UnixSocket]) -> None:
    for unix in sockets:
        unix.release()


def _add_port(server: grpc.aio.Server, address: str, target: str, tls: Tls | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(target)
        return server.add_secure_port(target, _credentials(tls))
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: {error}") from error


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.client_ca,
        require_client_auth=tls.client_ca is not None,
    )
