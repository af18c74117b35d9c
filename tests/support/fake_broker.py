"""A scripted Kafka cluster: no JVM, and any answer that a test can think of.

`FakeCluster` holds topics, partitions and raw batches, and runs its brokers
on the test's loop. A broker answers ApiVersions, Metadata, ListOffsets,
Fetch, OffsetForLeaderEpoch and DescribeConfigs as Kafka does, one request at
a time per connection; Fetch waits up to max_wait_ms while there is nothing.
Any other API, and a version out of range, closes the connection.

Each broker has a script: a queue for each API by its name
(`broker.script.fetch.append(step)`). A step takes the place of the next
answer, and no long poll comes before it. It is one of
- a dict: the whole answer, by the field names of protocol.py;
- `CLOSE` or `SILENT`: the connection is closed, or never answered again;
- a callable (request, answer) -> a step, or None for the answer as it now
  stands (it may change it in place); it may be async, so it may wait.
`always(step)` stays in force until it is removed from the queue.
"""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from support.fake_answers import ANSWERS
from support.fake_topics import FakeTopic
from support.process import free_port
from support.protocol import APIS, decode, encode

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CLOSE", "SILENT", "FakeBroker", "FakeCluster", "Request", "Script", "always", "edit"]

# Only claimed: librdkafka reads v2 batches from no broker that does not take them too.
_PRODUCE = 0
CLOSE = "close"
SILENT = "silent"
Step = dict[str, Any] | str | Callable[..., Any]


class always(NamedTuple):  # noqa: N801
    """A step that is not used up."""

    step: Any


def edit(topic: str | None = None, partition: int | None = None, **changes: Any) -> Step:
    """Make a step that changes fields of the matching partitions of an answer.

    `edit("t", 0, error_code=6, current_leader={"leader_id": 2, "leader_epoch": 5})`.
    Partitions are matched by topic name in every version.
    """

    def step(request: Request, answer: dict[str, Any]) -> None:
        for each in answer["topics"]:
            name = _name(each, request.topic_names)
            for part in each["partitions"]:
                if topic in (None, name) and partition in (None, part["partition"]):
                    part.update(changes)

    return step


def _name(topic: dict[str, Any], by_id: dict[Any, str]) -> str:
    return topic.get("name") or topic.get("topic") or by_id.get(topic.get("topic_id"), "?")


@dataclass(frozen=True)
class Request:
    """A request as it came: `api` by name (or its number), `body` decoded."""

    node: int
    api: str
    version: int
    client_id: str | None
    connection: int
    body: dict[str, Any]
    topic_names: dict[Any, str] = field(repr=False, default_factory=dict)
    """Names by topic id, as they are when the request comes."""

    def partitions(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Give the partitions that it asks for, by topic name and number."""
        found = {}
        for topic in self.body.get("topics") or ():
            name = _name(topic, self.topic_names)
            for part in topic.get("partitions", ()):
                found[name, part["partition"]] = part
        return found


class Script:
    """The steps waiting at each API; see the module."""

    def __init__(self) -> None:
        self.api_versions: deque[Any] = deque()
        self.metadata: deque[Any] = deque()
        self.list_offsets: deque[Any] = deque()
        self.fetch: deque[Any] = deque()
        self.offset_for_leader_epoch: deque[Any] = deque()
        self.describe_configs: deque[Any] = deque()

    def next_step(self, api: str) -> Any:
        """Take the next step for this API, None where there is none."""
        queue = getattr(self, api)
        if not queue:
            return None
        return queue[0].step if isinstance(queue[0], always) else queue.popleft()


class FakeBroker:
    """One node of a fake cluster."""

    def __init__(self, cluster: FakeCluster, node: int) -> None:
        self.cluster, self.node, self.port = cluster, node, free_port()
        self.script = Script()
        self.versions = {_PRODUCE: (0, 11), **{key: api.versions for key, api in APIS.items()}}
        """The versions it claims and takes, by API key; narrow them to play an older one."""
        self.listed = True
        """Whether Metadata names this broker."""
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    def __repr__(self) -> str:
        return f"FakeBroker({self.node} at {self.address})"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse connections and close those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop_connections()

    async def drop_connections(self) -> None:
        """Close every open connection."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        number = self.cluster.connected()
        try:
            while True:
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                reply = await self._reply(await reader.readexactly(size), number)
                if reply is None:
                    break
                writer.write(struct.pack(">i", len(reply)) + reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a connection's end, from either side
        finally:
            writer.transport.abort()
            del self._open[task]

    async def _reply(self, frame: bytes, connection: int) -> bytes | None:
        """Give the whole response, None to close the connection."""
        key, version, correlation, named = struct.unpack_from(">hhih", frame)
        at = 10 + max(named, 0)
        client_id = None if named < 0 else frame[10:at].decode()
        head = struct.pack(">i", correlation)
        api = APIS.get(key)
        low, high = self.versions.get(key, (0, -1))
        if api is None or not low <= version <= high:
            self._record(str(key) if api is None else api.name, version, client_id, connection, {})
            if key != 18:
                return None
            # "If the version is not supported, the broker answers UNSUPPORTED_VERSION in v0."
            return head + encode(APIS[18].response, self._unsupported(), 0, flexible=False)
        flexible = version >= api.flexible
        # The request header's tagged fields: a flexible request has them, empty here as in Kafka.
        body = decode(api.request, frame[at + flexible :], version, flexible)
        request = self._record(api.name, version, client_id, connection, body)
        answer = await self._answer(request)
        if answer is None:
            return None
        # "ApiVersionsResponse always includes a v0 header" (KIP-511).
        head += b"\0" if flexible and key != 18 else b""
        return head + encode(api.response, answer, version, flexible)

    def _unsupported(self) -> dict[str, Any]:
        return {**ANSWERS["api_versions"](self, {}), "error_code": 35}

    def _record(
        self, api: str, version: int, client_id: str | None, connection: int, body: dict[str, Any]
    ) -> Request:
        names = {topic.topic_id: topic.name for topic in self.cluster.topics.values()}
        request = Request(self.node, api, version, client_id, connection, body, names)
        self.cluster.requests.append(request)
        return request

    async def _answer(self, request: Request) -> dict[str, Any] | None:
        step = self.script.next_step(request.api)
        answer = ANSWERS[request.api](self, request.body)
        if step is None:
            return await self._polled(request, answer) if request.api == "fetch" else answer
        while callable(step):
            step = step(request, answer)
            if inspect.isawaitable(step):
                step = await step
        if step == SILENT:
            await asyncio.Event().wait()
        return None if step == CLOSE else answer if step is None else step

    async def _polled(self, request: Request, answer: dict[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        end = loop.time() + request.body["max_wait_ms"] / 1000
        while not _filled(answer, request.body["min_bytes"]) and loop.time() < end:
            await asyncio.sleep(0.005)
            if self.script.fetch:
                break
            answer = ANSWERS["fetch"](self, request.body)
        return answer


def _filled(answer: dict[str, Any], min_bytes: int) -> bool:
    parts = [part for topic in answer["topics"] for part in topic["partitions"]]
    if not parts or any(part["error_code"] or part.get("diverging_epoch") for part in parts):
        return True
    return sum(len(part["records"]) for part in parts) >= min_bytes


class FakeCluster:
    """Topics and the brokers that serve them, nodes from 1; an async context manager."""

    def __init__(self, brokers: int = 1) -> None:
        self.cluster_id = "fake-cluster"
        self.topics: dict[str, FakeTopic] = {}
        self.requests: list[Request] = []
        self.brokers = {node: FakeBroker(self, node) for node in range(1, brokers + 1)}
        self._connected = 0

    async def __aenter__(self) -> Self:
        for broker in self.brokers.values():
            await broker.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for broker in self.brokers.values():
            await broker.stop()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.address for broker in self.brokers.values())

    @property
    def script(self) -> Script:
        """The script of node 1."""
        return self.brokers[1].script

    def add_topic(self, name: str, partitions: int = 1, **settings: Any) -> FakeTopic:
        """Make a topic (anew, with another id, where it was); all led by node 1.

        `settings` are what DescribeConfigs tells, with underscores for dots.
        """
        config = {key.replace("_", "."): str(value) for key, value in settings.items()}
        self.topics[name] = FakeTopic(name, partitions, config)
        return self.topics[name]

    def of(self, api: str) -> list[Request]:
        """Give the requests of one API so far, in order."""
        return [request for request in self.requests if request.api == api]

    def counts(self) -> dict[str, int]:
        """Count the requests so far by API."""
        counted: dict[str, int] = defaultdict(int)
        for request in self.requests:
            counted[request.api] += 1
        return dict(counted)

    def connected(self) -> int:
        """Number a new connection."""
        self._connected += 1
        return self._connected
