"""The fetch loop: follows one topic, one request under way per leader while the last is decoded.

A task a leader sends fetches over a connection of its own; another asks for metadata
every second and at once when a leader turns out to be stale. What is fetched is handed
to the sink under one lock, in the order in which the answers were accepted: so a
partition that changes leaders is never applied out of order, and one writer is enough.

A new leader is fetched from at once and asked for the end of its log beside that
(ListOffsets), again and again until it knows: only then does what it says of its high
watermark count. The first leaders have told theirs when the topic was found.

The rules for what ends the reading: a topic is another one, or gone, only when its
leader does not know its id *and* metadata says so too, for one broker alone may lag
behind its cluster. A cut log and bytes that cannot be read end it at once. In each case
going on would show a table that is not the fold of the log.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ..core.model import Fetched
from ..core.progress import Leader, Wait
from .assignment import ERROR_NAMES, Assigned, no_end_yet, plan, stopped_by
from .backoff import Backoff
from .cluster import Cluster, TopicMetadata
from .connection import Frames
from .errors import BrokerFault, LogFault
from .topic import Start, Topic, starts_of
from .wire import LATEST, FetchAnswer, FetchResponse, Wanted, encode_fetch, parse_fetch

__all__ = ["Reader", "Sink"]

_MAX_WAIT_MS = 500
_MAX_BYTES = 16 << 20
_PARTITION_BYTES = 1 << 20
_TOPOLOGY_S = 1.0
_RETRY_S = 0.1
_DENIED_S = 1.0
_ENDS_S = 1.0
_UNKNOWN_TOPIC_ID = 100
_UNKNOWN_TOPIC = 3


class Sink(Protocol):
    """Takes what is read; implemented by whoever folds it."""

    async def take(self, fetched: Fetched) -> None:
        """Apply one partition's part of a response."""

    def led_by(self, partition: int, leader: Leader) -> None:
        """A partition has another leader, or another leader epoch."""

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """A new leader told at `told_at` (seconds) its high watermark: it knows it now.

        All that was accepted from the leaders before it has been taken.
        """

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A partition waits, or does so no longer (`Wait.NOTHING`)."""

    def added(self, partition: int, start: Start) -> None:
        """The topic has another partition, which is followed from its log start on."""

    def listed(self, sent_at: float) -> None:
        """Metadata asked at `sent_at` (seconds) lists no partition that is not followed."""

    def broker_error(self, name: str) -> None:
        """A broker answered an error or was lost; for counting."""


class _Flight(NamedTuple):
    frame: asyncio.Future[memoryview]
    asked: dict[int, Wanted]
    sent_at: float


class Reader:
    """Reads one topic from its log start on, until cancelled or a fault ends it.

    Args:
        cluster: that holds the topic.
        topic: as `topic.locate` found it.
        sink: takes what is read.
        clock: seconds, CLOCK_BOOTTIME.
    """

    def __init__(
        self, cluster: Cluster, topic: Topic, sink: Sink, clock: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._sink = sink
        self._clock = clock
        self._parts = {
            number: Assigned(number, start.log_start_offset, start.leader, told=start.leader)
            for number, start in topic.partitions.items()
        }
        self._delivering = asyncio.Lock()
        self._moved = asyncio.Event()
        self._stale = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled.

        Raises (in an ExceptionGroup):
            LogFault: the log can not be followed any further.
            Unsupported: a broker is too old.
        """
        try:
            await self._run()
        except* LogFault as faults:
            fault: BaseException = faults
            while isinstance(fault, BaseExceptionGroup):
                fault = fault.exceptions[0]
            raise LogFault(f"topic {self._topic.name!r}: {fault}") from faults

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            followed: set[int] = set()
            tasks.create_task(self._follow_topology())
            while True:
                leaders = {part.leader.node for part in self._parts.values()} - {-1}
                for node in leaders - followed:
                    tasks.create_task(self._follow_leader(node))
                    tasks.create_task(self._follow_ends(node))
                followed |= leaders
                await self._moved.wait()

    # Fetching from one leader

    async def _follow_leader(self, node: int) -> None:
        backoff = Backoff()
        while True:
            if not self._led_by(node):
                await self._moved.wait()
                continue
            try:
                frames = await self._cluster.fetch_connection(node)
                try:
                    await self._poll(node, frames, backoff)
                finally:
                    frames.close()
            except BrokerFault as fault:
                self._blame(node, fault)
                await self._pause(backoff.next_s())

    async def _poll(self, node: int, frames: Frames, backoff: Backoff) -> None:
        turn = 0
        flight: _Flight | None = None
        while self._led_by(node):
            flight = flight or self._send(node, frames, turn)
            if flight is None:
                await self._pause(_RETRY_S)
                continue
            response = await self._answer(flight, frames)
            backoff.reset()
            turn += 1
            accepted = self._accept(node, flight, response)
            if response.throttle_ms:
                # First: another leader's answer must not pass it while we pause.
                await self._deliver(accepted)
                await self._throttled(node, response.throttle_ms)
                accepted = []
            flight = self._send(node, frames, turn)
            await self._deliver(accepted)

    def _send(self, node: int, frames: Frames, turn: int) -> _Flight | None:
        asked = {
            part.partition: part.wanted()
            for part in plan(self._parts.values(), node, self._clock(), turn)
        }
        if not asked:
            return None
        request = encode_fetch(
            frames.next_id(),
            self._cluster.settings.client_id,
            self._topic.id,
            list(asked.values()),
            committed=self._committed,
            max_wait_ms=_MAX_WAIT_MS,
            max_bytes=_MAX_BYTES,
            partition_max_bytes=_PARTITION_BYTES,
        )
        sent_at = self._clock()
        return _Flight(frames.send(request), asked, sent_at)

    async def _answer(self, flight: _Flight, frames: Frames) -> FetchResponse:
        limit_s = _MAX_WAIT_MS / 1000 + self._cluster.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                frame = await flight.frame
        except TimeoutError as error:
            raise BrokerFault(f"{frames.address} did not answer within {limit_s:g} s") from error
        except BrokerFault as fault:
            raise BrokerFault(f"{frames.address}: {fault}") from fault
        response = parse_fetch(frame)
        if response.error_code:
            name = ERROR_NAMES.get(response.error_code, f"error {response.error_code}")
            raise BrokerFault(f"{frames.address} answers a fetch with {name}")
        return response

    def _accept(self, node: int, flight: _Flight, response: FetchResponse) -> list[Fetched]:
        accepted = []
        alone = len(flight.asked) == 1 and not response.throttle_ms
        for answer in response.answers:
            part = self._parts.get(answer.partition)
            if part is None or part.leader.node != node:
                continue
            if flight.asked.get(answer.partition) != part.wanted():
                continue
            if answer.error_code:
                self._stop(part, answer)
                continue
            accepted.append(
                part.accept(
                    answer,
                    sent_at=flight.sent_at,
                    alone=alone,
                    committed=self._committed,
                    batch_bytes=self._cluster.settings.batch_bytes,
                )
            )
        return accepted

    async def _deliver(self, accepted: list[Fetched]) -> None:
        async with self._delivering:
            for fetched in accepted:
                await self._sink.take(fetched)

    def _stop(self, part: Assigned, answer: FetchAnswer) -> None:
        self._count(answer.error_code)
        wait, detail = stopped_by(answer.error_code, part.partition, self._topic.name)
        part.unknown_id = answer.error_code == _UNKNOWN_TOPIC_ID
        self._sink.waits(part.partition, wait, detail)
        if wait is Wait.AUTHORIZATION:  # for an operator: no hurry
            part.retry.not_before = self._clock() + _DENIED_S
            return
        part.retry.failed(self._clock())
        self._stale.set()

    def _count(self, error_code: int) -> None:
        self._sink.broker_error(ERROR_NAMES.get(error_code, str(error_code)))

    def _blame(self, node: int, fault: BrokerFault) -> None:
        self._sink.broker_error("BROKER_LOST")
        for part in self._led_by(node):
            self._sink.waits(part.partition, fault.wait, str(fault))
        self._stale.set()

    async def _throttled(self, node: int, throttle_ms: int) -> None:
        for part in self._led_by(node):
            self._sink.waits(
                part.partition, Wait.QUOTA, f"the broker throttles by {throttle_ms} ms"
            )
        await asyncio.sleep(throttle_ms / 1000)

    def _led_by(self, node: int) -> list[Assigned]:
        return [part for part in self._parts.values() if part.leader.node == node]

    @property
    def _committed(self) -> bool:
        return self._cluster.settings.isolation_level == "read_committed"

    # Asking new leaders for their ends

    async def _follow_ends(self, node: int) -> None:
        backoff = Backoff(largest_s=_ENDS_S)
        while True:
            led = self._led_by(node)
            asked = {part.partition: part.leader for part in led if part.leader != part.told}
            if not asked:
                backoff.reset()
                await self._moved.wait()
                continue
            told = await self._ask_ends(asked)
            for number in told:
                self._parts[number].told = asked[number]
            if len(told) < len(asked):
                await self._pause(backoff.next_s())

    async def _ask_ends(self, asked: dict[int, Leader]) -> list[int]:
        """Ask one broker; give the partitions whose end it told."""
        try:
            ends = await self._cluster.list_offsets(self._topic.name, asked, LATEST)
        except BrokerFault as fault:
            self._sink.broker_error("BROKER_LOST")
            for number, leader in asked.items():
                self._name_wait(leader, number, fault.wait, str(fault))
            return []
        told_at = self._clock()
        refused = {number: end.error_code for number, end in ends.items() if end.error_code}
        for number, error_code in refused.items():
            self._count(error_code)
            detail = no_end_yet(asked[number], error_code)
            self._name_wait(asked[number], number, Wait.LEADER, detail)
        async with self._delivering:  # behind what the leaders before have given
            for number in ends.keys() - refused.keys():
                self._sink.leader_ends_at(number, asked[number], ends[number].offset, told_at)
        return list(ends.keys() - refused.keys())

    def _name_wait(self, leader: Leader, number: int, wait: Wait, detail: str) -> None:
        if leader == self._parts[number].leader:
            self._sink.waits(number, wait, detail)

    # Following who leads

    async def _follow_topology(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TOPOLOGY_S):
                    await self._stale.wait()
                await asyncio.sleep(_RETRY_S)
            self._stale.clear()
            try:
                await self._take_metadata(await self._cluster.metadata(self._topic.name))
            except BrokerFault:
                # The partitions say what they wait for; staleness counts from the last answer.
                self._sink.broker_error("METADATA_UNANSWERED")

    async def _take_metadata(self, metadata: TopicMetadata) -> None:
        self._check_identity(metadata)
        if metadata.error_code or metadata.topic_id != self._topic.id:
            return
        added = metadata.leaders.keys() - self._parts.keys()
        for number in metadata.leaders.keys() - added:
            self._lead(self._parts[number], metadata.leaders[number])
        with_leader = {n: metadata.leaders[n] for n in added if metadata.leaders[n].node >= 0}
        if with_leader:
            await self._add(with_leader)
        if metadata.leaders.keys() == self._parts.keys():
            self._sink.listed(metadata.sent_at)

    async def _add(self, leaders: dict[int, Leader]) -> None:
        """Follow partitions that the topic was given, from their log start on."""
        starts = await starts_of(self._cluster, self._topic.name, leaders)
        async with self._delivering:
            for number, start in starts.items():
                self._sink.added(number, start)
                self._parts[number] = Assigned(
                    number, start.log_start_offset, start.leader, told=start.leader
                )
        self._moved.set()
        self._moved = asyncio.Event()

    def _check_identity(self, metadata: TopicMetadata) -> None:
        if metadata.cluster_id != self._topic.cluster_id:
            raise LogFault(
                f"{metadata.broker} belongs to another cluster ({metadata.cluster_id}, not "
                f"{self._topic.cluster_id}); start again to read from it"
            )
        if not any(part.unknown_id for part in self._parts.values()):
            return
        if metadata.error_code == _UNKNOWN_TOPIC:
            raise LogFault("it was deleted; start again to wait for a new one")
        if not metadata.error_code and metadata.topic_id != self._topic.id:
            raise LogFault(
                f"it was deleted and created again (its id was {self._topic.id} and is "
                f"{metadata.topic_id}); start again to read the new one"
            )

    def _lead(self, part: Assigned, leader: Leader) -> None:
        if leader.node < 0:
            self._sink.waits(part.partition, Wait.LEADER, "the partition has no leader")
        if leader == part.leader or leader.epoch < part.leader.epoch:
            return
        part.leader, part.retry.not_before, part.empty = leader, 0.0, 0
        self._sink.led_by(part.partition, leader)
        self._moved.set()
        self._moved = asyncio.Event()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
