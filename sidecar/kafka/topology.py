"""Who leads a topic's partitions, which there are, and whether it is still the same topic.

Metadata is asked for each second, and at once when a leader turns out to be stale.

A topic is another one, or gone, when its leader does not know its id *and* metadata says
so too, for one broker alone may lag behind its cluster. Where the leader cannot be asked
(it may have left for good), metadata must say so several times over some seconds, and no
leader may have answered for the topic in between. Another cluster is met only when no
broker of the one before answers, and at a bootstrap address: `Cluster` sees to that.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from ..core.progress import Leader, Wait
from .assignment import Assigned, Last
from .cluster import Cluster, TopicMetadata
from .errors import BrokerFault, TopicGone
from .topic import Start, Topic, starts_of

__all__ = ["Identity", "Topology", "TopologySink", "assigned"]

_EVERY_S = 1.0
_RETRY_S = 0.1
# How long, and how often in a row, metadata alone must say that a topic is gone.
_DOUBT_S = 4.0
_DOUBTS = 3
_UNKNOWN_TOPIC = 3


class TopologySink(Protocol):
    """Takes what is learned; part of the reader's `Sink`."""

    def led_by(self, partition: int, leader: Leader) -> None:
        """A partition has another leader, or another leader epoch."""

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A partition waits, or does so no longer (`Wait.NOTHING`)."""

    def added(self, partition: int, start: Start, asked_at: float) -> None:
        """The topic has another partition, which is followed from its log start on.

        Its ends were asked for at `asked_at` (seconds).
        """

    def listed(self, sent_at: float) -> None:
        """Metadata asked at `sent_at` (seconds) lists no partition that is not followed."""

    def broker_error(self, name: str) -> None:
        """A broker answered an error or was lost; for counting."""


class Identity:
    """Whether metadata still speaks of the topic that is read.

    Args:
        topic: that one.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._denied: set[int] = set()
        self._since = 0.0
        self._doubts = 0

    def confirm(self, partition: int) -> None:
        """A partition's leader answered for it."""
        self._denied.discard(partition)
        self._doubts = 0

    def deny(self, partition: int) -> None:
        """A partition's leader does not know the topic's id."""
        self._denied.add(partition)

    def check(self, metadata: TopicMetadata) -> None:
        """Compare with what a broker tells.

        Raises:
            TopicGone: it is another one now, or gone.
        """
        gone = self._difference(metadata)
        if gone is None:
            self._doubts = 0
            return
        if not self._doubts:
            self._since = metadata.sent_at
        self._doubts += 1
        lasting = self._doubts > _DOUBTS and metadata.sent_at - self._since >= _DOUBT_S
        if self._denied or lasting or metadata.cluster_id != self.topic.cluster_id:
            raise gone

    def _difference(self, metadata: TopicMetadata) -> TopicGone | None:
        topic = self.topic
        if metadata.cluster_id != topic.cluster_id:
            return TopicGone(
                f"{metadata.broker} belongs to another cluster ({metadata.cluster_id}, not "
                f"{topic.cluster_id})"
            )
        if metadata.error_code == _UNKNOWN_TOPIC:
            return TopicGone("it was deleted", deleted=True)
        if not metadata.error_code and metadata.topic_id != topic.id:
            return TopicGone(
                f"it was deleted and created again (its id was {topic.id} and is "
                f"{metadata.topic_id})"
            )
        return None


class Topology:
    """Keeps one topic's partitions and their leaders up to date.

    Args:
        cluster: that holds the topic.
        identity: of the topic.
        parts: where each partition's fetching stands; others are added.
        sink: told of it.
        delivering: held while a partition is added.
        grows: partitions that the topic is given are read too.
    """

    def __init__(
        self,
        cluster: Cluster,
        identity: Identity,
        parts: dict[int, Assigned],
        sink: TopologySink,
        delivering: asyncio.Lock,
        *,
        grows: bool,
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._parts = parts
        self._sink = sink
        self._delivering = delivering
        self._grows = grows
        self._moved = asyncio.Event()
        self._stale = asyncio.Event()

    async def follow(self) -> None:
        """Ask until cancelled.

        Raises:
            TopicGone: the topic is another one now, or gone.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._stale.wait()
                await asyncio.sleep(_RETRY_S)
            self._stale.clear()
            try:
                await self._take(await self._cluster.metadata(self._identity.topic.name))
            except BrokerFault as fault:
                self._unanswered(fault)

    def refresh(self) -> None:
        """A leader may be stale: ask soon."""
        self._stale.set()

    async def moved(self) -> None:
        """Return when a partition has another leader, or was added."""
        await self._moved.wait()

    async def moved_within(self, seconds: float) -> None:
        """The same, or when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()

    def _unanswered(self, fault: BrokerFault) -> None:
        """Of what has no leader nobody else tells; staleness counts from the last answer."""
        self._sink.broker_error("METADATA_UNANSWERED")
        for part in self._parts.values():
            if part.leader.node < 0:
                self._sink.waits(part.partition, fault.wait, str(fault))

    async def _take(self, metadata: TopicMetadata) -> None:
        topic = self._identity.topic
        self._identity.check(metadata)
        if metadata.error_code or metadata.topic_id != topic.id:
            return
        added = metadata.leaders.keys() - self._parts.keys()
        for number in metadata.leaders.keys() & self._parts.keys():
            self._lead(self._parts[number], metadata.leaders[number])
        with_leader = {n: metadata.leaders[n] for n in added if metadata.leaders[n].node >= 0}
        if with_leader and self._grows:
            await self._add(with_leader, metadata.sent_at)
        if metadata.leaders.keys() == self._parts.keys():
            self._sink.listed(metadata.sent_at)

    async def _add(self, leaders: dict[int, Leader], asked_at: float) -> None:
        """Follow partitions that the topic was given, from their log start on."""
        starts = await starts_of(self._cluster, self._identity.topic.name, leaders)
        async with self._delivering:
            for number, start in starts.items():
                self._sink.added(number, start, asked_at)
            self._parts |= assigned(starts)
        self._tell_moved()

    def _lead(self, part: Assigned, leader: Leader) -> None:
        if leader.node < 0:
            self._sink.waits(part.partition, Wait.LEADER, "the partition has no leader")
        if leader == part.leader or leader.epoch < part.leader.epoch:
            return
        part.leader, part.retry.not_before, part.empty = leader, 0.0, 0
        self._sink.led_by(part.partition, leader)
        self._tell_moved()

    def _tell_moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def assigned(starts: Mapping[int, Start]) -> dict[int, Assigned]:
    """Partitions that are to be fetched from their log start on."""
    return {
        number: Assigned(
            number,
            start.log_start_offset,
            start.leader,
            last=Last(leader=start.leader.epoch),
            told=start.leader,
        )
        for number, start in starts.items()
    }
