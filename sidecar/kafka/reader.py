"""The fetch loop: follows one topic, one request under way per leader while the last is decoded.

A task a leader sends fetches over a connection of its own; another asks for metadata
every second and at once when a leader turns out to be stale. What is fetched is handed
to the sink under one lock, in the order in which the answers were accepted: so a
partition that changes leaders is never applied out of order, and one writer is enough.

A new leader is fetched from at once and asked for the end of its log beside that
(ListOffsets), again and again until it knows: only then does what it says of its high
watermark count. The first leaders have told theirs when the topic was found.

What ends the reading is a topic that is another one, or gone (`topology`), and a log that
was cut: going on would show a table that is not the fold of the log. A batch that cannot
be read stops its partition alone, at that batch: it is asked for again now and then, for
another replica may have it whole. Whoever wishes lets it be passed over.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..core.model import Fetched
from ..core.progress import Leader, Wait
from .assignment import ERROR_NAMES, Assigned, no_end_yet, plan, stopped_by
from .backoff import Backoff
from .cluster import Cluster
from .connection import Frames
from .errors import BadBatch, BrokerFault
from .topic import Topic
from .topology import Identity, Topology, TopologySink, assigned
from .wire import LATEST, FetchAnswer, FetchResponse, Wanted, encode_fetch, parse_fetch

__all__ = ["Reader", "Sink"]

_MAX_WAIT_MS = 500
_MAX_BYTES = 16 << 20
_PARTITION_BYTES = 1 << 20
_RETRY_S = 0.1
_DENIED_S = 1.0
_ENDS_S = 1.0
_SILENT_S = 1.5
_UNKNOWN_TOPIC_ID = 100
_FOR_AN_OPERATOR = {Wait.AUTHORIZATION, Wait.BAD_BATCH}  # no hurry


class Sink(TopologySink, Protocol):
    """Takes what is read; implemented by whoever folds it."""

    async def take(self, fetched: Fetched) -> None:
        """Apply one partition's part of a response.

        Raises:
            BadBatch: what stands before it has been applied.
        """

    def skips(self, bad: BadBatch) -> bool:
        """Whether a batch that cannot be read is passed over; true: it was counted."""

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """A new leader told at `told_at` (seconds) its high watermark: it knows it now.

        All that was accepted from the leaders before it has been taken.
        """


class _Accepted(NamedTuple):
    """Part of a response, and where its partition stood: what follows a bad batch is not taken."""

    part: Assigned
    reset: int
    fetched: Fetched


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
        grows: partitions that `topic` does not list are read too.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: Topic,
        sink: Sink,
        clock: Callable[[], float],
        *,
        grows: bool = True,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._sink = sink
        self._clock = clock
        self._parts = assigned(topic.partitions)
        self._delivering = asyncio.Lock()
        self._identity = Identity(topic)
        self._topology = Topology(
            cluster, self._identity, self._parts, sink, self._delivering, grows=grows
        )

    async def run(self) -> None:
        """Read until cancelled.

        Raises (in an ExceptionGroup):
            LogCut, TopicGone: the log can not be followed any further.
            Unsupported: a broker is too old.
        """
        async with asyncio.TaskGroup() as tasks:
            followed: set[int] = set()
            tasks.create_task(self._topology.follow())
            while True:
                leaders = {part.leader.node for part in self._parts.values()} - {-1}
                for node in leaders - followed:
                    tasks.create_task(self._follow_leader(node))
                    tasks.create_task(self._follow_ends(node))
                followed |= leaders
                await self._topology.moved()

    # Fetching from one leader

    async def _follow_leader(self, node: int) -> None:
        backoff = Backoff()
        while True:
            if not self._led_by(node):
                await self._topology.moved()
                continue
            try:
                frames = await self._cluster.fetch_connection(node)
                try:
                    await self._poll(node, frames, backoff)
                finally:
                    frames.close()
            except BrokerFault as fault:
                self._blame(node, fault)
                await self._topology.moved_within(backoff.next_s())

    async def _poll(self, node: int, frames: Frames, backoff: Backoff) -> None:
        turn = 0
        flight: _Flight | None = None
        while self._led_by(node):
            flight = flight or self._send(node, frames, turn)
            if flight is None:
                await self._topology.moved_within(_RETRY_S)
                continue
            response = await self._answer(node, flight, frames)
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
            # The first answer shows that the leader knows the topic: readiness waits for it.
            max_wait_ms=_MAX_WAIT_MS if turn else 0,
            max_bytes=_MAX_BYTES,
            partition_max_bytes=_PARTITION_BYTES,
        )
        sent_at = self._clock()
        return _Flight(frames.send(request), asked, sent_at)

    async def _answer(self, node: int, flight: _Flight, frames: Frames) -> FetchResponse:
        limit_s = _MAX_WAIT_MS / 1000 + self._cluster.settings.request_timeout_s
        silent_s = min(_MAX_WAIT_MS / 1000 + _SILENT_S, limit_s / 2)
        done, _ = await asyncio.wait({flight.frame}, timeout=silent_s)
        if not done:
            silence = f"{frames.address} has not answered for {silent_s:g} s"
            for part in self._led_by(node):
                self._sink.waits(part.partition, Wait.BROKER, silence)
        try:
            async with asyncio.timeout(limit_s - silent_s):
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

    def _accept(self, node: int, flight: _Flight, response: FetchResponse) -> list[_Accepted]:
        accepted = []
        arrived_at = self._clock()
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
            self._identity.confirm(part.partition)
            try:
                fetched = part.accept(
                    answer,
                    sent_at=flight.sent_at,
                    arrived_at=arrived_at,
                    alone=alone,
                    committed=self._committed,
                    batch_bytes=self._cluster.settings.batch_bytes,
                )
            except BadBatch as bad:
                self._pass_or_stay(part, bad)
            else:
                accepted.append(_Accepted(part, part.resets, fetched))
        return accepted

    async def _deliver(self, accepted: list[_Accepted]) -> None:
        async with self._delivering:
            for part, reset, fetched in accepted:
                if reset != part.resets:
                    continue
                try:
                    await self._sink.take(fetched)
                except BadBatch as bad:
                    self._pass_or_stay(part, bad)

    def _pass_or_stay(self, part: Assigned, bad: BadBatch) -> None:
        self._sink.broker_error("BAD_BATCH")
        if self._sink.skips(bad) and bad.next_offset is not None:
            part.reset(bad.next_offset)
            return
        part.reset(bad.offset)
        part.retry.not_before = self._clock() + _DENIED_S
        self._sink.waits(part.partition, Wait.BAD_BATCH, bad.detail)

    def _stop(self, part: Assigned, answer: FetchAnswer) -> None:
        self._count(answer.error_code)
        wait, detail = stopped_by(answer.error_code, part.partition, self._topic.name)
        if answer.error_code == _UNKNOWN_TOPIC_ID:
            self._identity.deny(part.partition)
        self._sink.waits(part.partition, wait, detail)
        if wait in _FOR_AN_OPERATOR:
            part.retry.not_before = self._clock() + _DENIED_S
            return
        part.retry.failed(self._clock())
        self._topology.refresh()

    def _count(self, error_code: int) -> None:
        self._sink.broker_error(ERROR_NAMES.get(error_code, str(error_code)))

    def _blame(self, node: int, fault: BrokerFault) -> None:
        self._sink.broker_error("BROKER_LOST")
        for part in self._led_by(node):
            self._sink.waits(part.partition, fault.wait, str(fault))
        self._topology.refresh()

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
                await self._topology.moved()
                continue
            told = await self._ask_ends(asked)
            for number in told:
                self._parts[number].told = asked[number]
            if len(told) < len(asked):
                await self._topology.moved_within(backoff.next_s())

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
