"""Connections to the simulated brokers, and all that can happen to them.

`plugged` puts them in the place of the sidecar's sockets: `open_connection` and `Frames`
of `sidecar.kafka.cluster`. The sidecar's own `Cluster` and `ask` work above them.

A broker serves one request at a time a connection. A frozen one goes on with what waits
when it wakes; from an unreachable one nothing comes and nothing goes, until the packets
are sent again or the connection is dead without a word (half open).
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import sidecar.kafka.cluster
from sidecar.kafka.errors import BrokerFault
from simulation.answers import (
    Fetch,
    answer_control,
    answer_fetch,
    complete,
    encode_response,
    parse_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulation.clock import World
    from simulation.cluster import Broker, Partition, SimulatedCluster

__all__ = ["Connection", "Frames", "Network", "plugged"]

BOOTSTRAP = ("bootstrap", 9092)


class Connection:
    """A connection as aiokafka's: `send` a request object, await its response."""

    def __init__(self, network: Network, broker: Broker, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._versions = {1: (0, 99), 2: (0, 99), 3: (0, 99), 32: (0, 99)}
        self.network, self.broker = network, broker
        self.alive, self.silent = True, False
        self.held: list[Callable[[], None]] = []
        self._pending: list[asyncio.Future[Any]] = []
        self._quiet_until = 0.0

    def connected(self) -> bool:
        """It was not closed, as far as we know."""
        return self.alive

    def close(self) -> None:
        """Close it from our side."""
        self.alive = False
        self.network.links.pop(self, None)

    def lose(self) -> None:
        """The broker's side closed it."""
        if not self.alive:
            return
        self.close()
        for future in self._pending:
            if not future.done():
                future.set_exception(self.loss())
                future.exception()
        self._pending.clear()

    def loss(self) -> Exception:
        """What who waits is told."""
        return ConnectionResetError("reset by the simulated peer")

    async def send(self, request: Any) -> Any:
        """Ask the broker; raises what aiokafka's connections do."""
        future = asyncio.get_running_loop().create_future()
        self.expect(future)
        cluster = self.network.cluster
        self.to_broker(
            lambda: self.to_sidecar(future, answer_control(cluster, self.broker, request))
        )
        async with asyncio.timeout(self.network.timeout_s):
            return await future

    def expect(self, future: asyncio.Future[Any]) -> None:
        """Note who is told when the connection is lost."""
        if not self.alive:
            future.set_exception(self.loss())
            return
        self._pending = [each for each in self._pending if not each.done()] + [future]

    def to_broker(self, serve: Callable[[], None]) -> None:
        """A request travels; it is served when its turn comes."""
        self.network.world.at(self.network.latency(self.broker), lambda: self._arrive(serve))

    def _arrive(self, serve: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self.silent:
            self.held.append(lambda: self._arrive(serve))
        elif self.broker.frozen:
            self.broker.waiting.append(lambda: self._arrive(serve))
        else:
            serve()

    def to_sidecar(self, future: asyncio.Future[Any], answer: Any) -> None:
        """An answer travels; none passes another on one connection."""
        world = self.network.world
        due = world.now + self.network.latency(self.broker) + self.broker.slow_s
        self._quiet_until = max(due, self._quiet_until)
        known = self.network.cluster.image(self.broker).since
        world.at(self._quiet_until - world.now, lambda: self._deliver(future, answer, known))

    def _deliver(self, future: asyncio.Future[Any], answer: Any, known: float) -> None:
        if not self.alive:
            return
        if self.silent:
            self.held.append(lambda: self._deliver(future, answer, known))
        elif not future.done():
            self.network.heard(known)
            future.set_result(self.received(answer))

    def received(self, answer: Any) -> Any:
        """What the sidecar gets of it."""
        return answer


class Frames(Connection):
    """A connection for fetching, as `sidecar.kafka.connection.Frames`.

    A frame's memory is overwritten when the frame after the next comes, as there.
    """

    def __init__(self, taken: Connection) -> None:
        super().__init__(taken.network, taken.broker, taken.host, taken.port)
        taken.close()
        self.alive = taken.broker.up
        self.network.links[self] = None
        self.address = f"{taken.host}:{taken.port}"
        self._id = 0
        self._frames: deque[bytearray] = deque()

    def loss(self) -> Exception:
        """As the protocol of a fetch connection tells it."""
        return BrokerFault("the connection broke: closed by the broker")

    def next_id(self) -> int:
        """A correlation id."""
        self._id += 1
        return self._id

    def send(self, request: bytes) -> asyncio.Future[memoryview]:
        """Send a Fetch request."""
        future: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        self.expect(future)
        self.to_broker(lambda: _Poll(self, parse_request(request), future).begin())
        return future

    def received(self, answer: bytearray) -> memoryview:
        """The frame; the memory of the one before the last is used again."""
        self._frames.append(answer)
        if len(self._frames) > 2:
            old = self._frames.popleft()
            old[:] = b"\xee" * len(old)
        return memoryview(answer)


class _Poll:
    """A Fetch that waits at its broker until there is something, or its time is up."""

    def __init__(self, link: Frames, fetch: Fetch, future: asyncio.Future[memoryview]) -> None:
        self._link, self._fetch, self._future = link, fetch, future
        self._open = True

    def begin(self) -> None:
        """Answer at once, or wait."""
        if not self.look(None):
            self._link.network.polls[self] = None
            self._link.network.world.at(self._fetch.max_wait_s, self._expire)

    def look(self, partition: Partition | None) -> bool:
        """Answer if there is something; whether it is over."""
        link, fetch = self._link, self._fetch
        if not link.alive or not self._open:
            return True
        if link.broker.frozen or not link.broker.up:
            return False
        if partition is not None and all(each[0] != partition.number for each in fetch.wanted):
            return False
        parts = answer_fetch(link.network.cluster, link.broker, fetch)
        if not complete(parts):
            return False
        self._answer(parts)
        return True

    def _expire(self) -> None:
        if not self._open or not self._link.alive:
            self._link.network.polls.pop(self, None)
        elif self._link.broker.frozen:
            self._link.broker.waiting.append(self._expire)
        else:
            self._answer(answer_fetch(self._link.network.cluster, self._link.broker, self._fetch))

    def _answer(self, parts: list[Any]) -> None:
        self._open = False
        link, chance = self._link, self._link.network.world.random
        link.network.polls.pop(self, None)
        throttle_ms = link.broker.throttle_ms
        if throttle_ms and chance.random() < 0.5:
            parts = []
        frame = encode_response(
            self._fetch.correlation_id, self._fetch.topic_id, parts, throttle_ms
        )
        if link.broker.garbles and chance.random() < 0.3:
            del frame[chance.randrange(len(frame)) :]
        link.to_sidecar(self._future, frame)


class Network:
    """All connections of one sidecar.

    Attributes:
        heard: called with each answer that comes in: up to when its broker knew the cluster.
    """

    def __init__(
        self, world: World, cluster: SimulatedCluster, timeout_s: float, latency_s: float
    ) -> None:
        self.world, self.cluster, self.timeout_s = world, cluster, timeout_s
        self.links: dict[Connection, None] = {}
        self.polls: dict[_Poll, None] = {}
        self.heard: Callable[[float], None] = lambda _: None
        self._latency_s = latency_s
        cluster.changed = self._changed

    def latency(self, broker: Broker) -> float:
        """Of one message."""
        return self._latency_s * self.world.random.uniform(0.5, 1.5)

    async def open(self, _settings: Any, host: str, port: int) -> Connection:
        """Connect, as `sidecar.kafka.connection.open_connection`."""
        await asyncio.sleep(2 * self._latency_s)
        broker = self._listening(host, port)
        if broker is None:
            raise BrokerFault(f"{host}:{port} refuses connections; is the broker running there?")
        if broker.unreachable or broker.frozen:
            await asyncio.sleep(self.timeout_s)
            raise BrokerFault(f"{host}:{port} did not answer within {self.timeout_s:g} s")
        link = Connection(self, broker, host, port)
        self.links[link] = None
        return link

    def _listening(self, host: str, port: int) -> Broker | None:
        live = [broker for broker in self.cluster.brokers.values() if broker.up]
        if (host, port) == BOOTSTRAP:
            return self.world.random.choice(live) if live else None
        return next((each for each in live if each.address == (host, port)), None)

    def to(self, broker: Broker) -> list[Connection]:
        """The connections to one broker, in the order in which they were made."""
        return [each for each in self.links if each.broker is broker]

    def silence(self, broker: Broker) -> None:
        """Nothing passes to and from a broker any more."""
        broker.unreachable = True
        for link in self.to(broker):
            link.silent = True

    def restore(self, broker: Broker, *, half_open: bool) -> None:
        """It is reachable again; half open: those connections that were there stay silent."""
        broker.unreachable = False
        for link in [] if half_open else self.to(broker):
            link.silent = False
            held, link.held = link.held, []
            for each in held:
                each()

    def thaw(self, broker: Broker) -> None:
        """A frozen broker goes on."""
        broker.frozen = False
        waiting, broker.waiting = broker.waiting, []
        for each in waiting:
            each()
        self._changed(None)

    def _changed(self, partition: Partition | None) -> None:
        for poll in list(self.polls):
            if poll.look(partition):
                self.polls.pop(poll, None)


@contextmanager
def plugged(network: Network, slice_records: int) -> Iterator[None]:
    """Put the network in the place of sockets, and let slices be small enough to see between."""
    changes: list[tuple[Any, str, Any]] = [
        (sidecar.kafka.cluster, "open_connection", network.open),
        (sidecar.kafka.cluster, "Frames", Frames),
    ]
    # Wherever the one writer folds: the module has these names.
    for name, module in sorted(sys.modules.items()):
        if name.startswith("sidecar.") and hasattr(module, "_SLICE"):
            changes += [(module, "_SLICE", slice_records)]
            changes += [(module, "_LEAST", 1)] if hasattr(module, "_LEAST") else []
        if name.startswith("sidecar.") and getattr(module, "gc", None) is gc:
            changes += [(module, "gc", SimpleNamespace(collect=lambda: None, freeze=lambda: None))]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for change in changes:
        setattr(*change)
    try:
        yield
    finally:
        for change in before:
            setattr(*change)
