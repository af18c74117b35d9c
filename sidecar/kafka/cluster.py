"""One cluster: who its brokers are, and the questions that are not fetches.

Each broker has a control connection of its own, opened when first needed: a broker
answers one request at a time a connection, and a long poll would hold up the rest.

Brokers are asked in turn. One that fails is left alone for a while; when none of the
known ones answers, the bootstrap addresses are tried again, for all brokers may have
moved. An address may have gone to a broker of another cluster: that one is passed by
while a broker of ours answers, and believed when none does.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from aiokafka.conn import AIOKafkaConnection

from ..core.progress import Leader, Wait
from .connection import Frames, ask, open_connection
from .errors import BrokerFault
from .settings import KafkaSettings
from .wire import DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest

__all__ = ["Cluster", "PartitionEnd", "TopicMetadata"]

Address: TypeAlias = tuple[str, int]

_LEFT_ALONE_S = 5.0
# For how long an address is asked for metadata, first and once more when none has answered.
_QUICK_S = 2.0
_SLOW_S = 5.0
_TOPIC_RESOURCE = 2
_CONFIGS_VERSION = 2  # the newest that aiokafka speaks


class TopicMetadata(NamedTuple):
    """What one broker says of one topic.

    Attributes:
        sent_at: when it was asked (seconds, CLOCK_BOOTTIME).
        error_code: of the topic; 0: none.
        leaders: of every partition.
        broker: the address that answered.
    """

    sent_at: float
    cluster_id: str
    topic_id: uuid.UUID
    error_code: int
    leaders: dict[int, Leader]
    broker: str


class _Answer(NamedTuple):
    """What one address told: of the topic, and who the cluster's brokers are."""

    metadata: TopicMetadata
    brokers: dict[int, Address]
    address: Address


class PartitionEnd(NamedTuple):
    """An end of one partition's log, or why it is not known."""

    error_code: int
    offset: int


class Cluster:
    """A cluster's brokers and our control connections to them.

    Args:
        settings: how to reach it.
        clock: seconds, CLOCK_BOOTTIME.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.brokers: dict[int, Address] = {}
        self._clock = clock
        self._control: dict[Address, AIOKafkaConnection] = {}
        self._opening: defaultdict[Address, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._left_alone: dict[Address, float] = {}
        self._last: Address | None = None
        self._id = ""

    async def metadata(self, topic: str) -> TopicMetadata:
        """Ask the next broker about a topic.

        Raises:
            BrokerFault: none answers; its message names each and why.
            Unsupported: one is too old.
        """
        faults: dict[Address, BrokerFault] = {}
        others: list[_Answer] = []
        candidates = self._candidates()
        silent: list[Address] = []
        for address in chain(candidates, silent):
            limit_s = _SLOW_S if address in silent else _QUICK_S
            try:
                answer = await self._metadata_within(limit_s, address, topic)
            except BrokerFault as fault:
                if isinstance(fault.__cause__, TimeoutError) and address not in silent:
                    silent.append(address)
                faults[address] = fault
                self._left_alone[address] = self._clock() + _LEFT_ALONE_S
                continue
            if self._id in {"", answer.metadata.cluster_id}:
                return self._believe(answer)
            if address in self.settings.bootstrap:
                others.append(answer)
                continue
            # Its address was given to somebody else: only where we were sent may be another.
            faults[address] = BrokerFault(
                f"{address[0]}:{address[1]} belongs to another cluster "
                f"({answer.metadata.cluster_id}, not {self._id})"
            )
        if others:
            return self._believe(others[0])
        waits = {fault.wait for fault in faults.values()}
        raise BrokerFault(
            "; ".join(dict.fromkeys(str(fault) for fault in faults.values())),
            waits.pop() if len(waits) == 1 else Wait.BROKER,
        )

    async def list_offsets(
        self,
        topic: str,
        partitions: Mapping[int, Leader],
        timestamp: int,
        *,
        committed: bool = False,
    ) -> dict[int, PartitionEnd]:
        """Ask the leader of some partitions, the same for all, for one end of each log.

        Args:
            topic: its name.
            partitions: and who leads them.
            timestamp: `wire.LATEST` or `wire.EARLIEST`.
            committed: the latest is the last stable offset, not the high watermark.

        Raises:
            BrokerFault: the leader does not answer.
        """
        node = next(iter(partitions.values())).node
        connection = await self._connection(self.address(node))
        epochs = [(number, leader.epoch) for number, leader in partitions.items()]
        response = await ask(
            connection, ListOffsetsRequest(topic, epochs, timestamp, committed=committed)
        )
        ends = {
            number: PartitionEnd(error_code, offset)
            for _, answers in response.topics
            for number, error_code, _, offset, _ in answers
        }
        if ends.keys() != partitions.keys():
            raise BrokerFault(f"broker {node} does not answer for all partitions that were asked")
        return ends

    async def topic_config(self, topic: str) -> dict[str, str]:
        """A topic's configuration; empty where the brokers do not tell.

        Raises:
            BrokerFault: the broker that was asked does not answer.
        """
        if self._last is None:
            return {}
        connection = await self._connection(self._last)
        offered: dict[int, tuple[int, int]] = connection._versions  # noqa: SLF001
        low, high = offered.get(DescribeConfigsRequest.API_KEY, (0, -1))
        if not low <= _CONFIGS_VERSION <= high:
            return {}
        response = await ask(connection, DescribeConfigsRequest([(_TOPIC_RESOURCE, topic, None)]))
        entries: list[Any] = [
            entry for error_code, _, _, _, found in response.resources if not error_code
            for entry in found
        ]  # fmt: skip
        return {entry[0]: entry[1] or "" for entry in entries}

    def address(self, node: int) -> Address:
        """Where a broker listens.

        Raises:
            BrokerFault: it is not among those that the cluster names.
        """
        if node not in self.brokers:
            raise BrokerFault(f"broker {node} is not known to the cluster", Wait.LEADER)
        return self.brokers[node]

    async def fetch_connection(self, node: int) -> Frames:
        """A connection of its own for fetching from one broker.

        Raises:
            BrokerFault, Unsupported: as `open_connection`.
        """
        return Frames(await open_connection(self.settings, *self.address(node)))

    def close(self) -> None:
        """Close the control connections."""
        for connection in self._control.values():
            connection.close()
        self._control.clear()

    def _candidates(self) -> list[Address]:
        """Brokers in turn, those that failed lately behind the others, then the bootstrap ones."""
        known = list(self.brokers.values())
        if self._last in known:
            turn = known.index(self._last) + 1
            known = known[turn:] + known[:turn]
        now = self._clock()
        known.sort(key=lambda address: self._left_alone.get(address, 0.0) > now)
        return list(dict.fromkeys(chain(known, self.settings.bootstrap)))

    def _believe(self, answer: _Answer) -> TopicMetadata:
        self.brokers, self._last = answer.brokers, answer.address
        self._id = answer.metadata.cluster_id
        return answer.metadata

    async def _metadata_within(self, limit_s: float, address: Address, topic: str) -> _Answer:
        """Ask one address. A connection that is silent is closed soon: it may be dead.

        Opening one has a limit of its own, and says better what is wrong.
        """
        await self._connection(address)
        limit_s = min(limit_s, self.settings.request_timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._metadata_from(address, topic)
        except TimeoutError as error:
            connection = self._control.pop(address, None)
            if connection is not None:
                connection.close()
            raise BrokerFault(f"{address[0]}:{address[1]} did not answer in time") from error

    async def _metadata_from(self, address: Address, topic: str) -> _Answer:
        connection = await self._connection(address)
        sent_at = self._clock()
        response = await ask(connection, MetadataRequest(topic))
        brokers = {node: (host, port) for node, host, port, _, _ in response.brokers}
        if not brokers or not response.topics:
            raise BrokerFault(f"{address[0]}:{address[1]} names no brokers or topics yet")
        error_code, _, topic_id, _, partitions, _, _ = response.topics[0]
        leaders = {number: Leader(node, epoch) for _, number, node, epoch, *_ in partitions}
        metadata = TopicMetadata(
            sent_at,
            response.cluster_id or "",
            topic_id,
            error_code,
            leaders,
            f"{address[0]}:{address[1]}",
        )
        return _Answer(metadata, brokers, address)

    async def _connection(self, address: Address) -> AIOKafkaConnection:
        async with self._opening[address]:
            connection = self._control.get(address)
            if connection is None or not connection.connected():
                connection = await open_connection(self.settings, *address)
                self._control[address] = connection
        return connection
