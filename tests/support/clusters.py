"""One way to act on a fake cluster and on a real one, and to ask either through the sidecar.

What is done to a cluster goes through an adapter: `FakeActs` or `KafkaActs`. What is
asked of it goes through `Asked`, which is the sidecar's own code and knows no difference:
so what two clusters are compared by is what the sidecar relies on.

Every `write` is one batch, on both.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec
from support.admin import wait_until
from support.following import addresses, boottime
from support.producing import Transaction, produce, transaction

from sidecar.core.progress import Leader
from sidecar.kafka.batches import Span, decode_batches, find_batches
from sidecar.kafka.cluster import Cluster, TopicMetadata
from sidecar.kafka.settings import KafkaSettings
from sidecar.kafka.wire import EARLIEST, LATEST, FetchAnswer, Wanted, encode_fetch, parse_fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from support.fake_broker import FakeCluster
    from support.fake_topics import FakePartition
    from support.kafka import KafkaCluster

__all__ = [
    "Acts", "Asked", "FakeActs", "KafkaActs", "Open", "asking", "at", "pairs", "read", "spans",
]  # fmt: skip

Pairs = list[tuple[bytes | None, bytes | None]]
_NO_HURRY_MS = 10_000  # a batch is closed by the flush, not by its age


class Open(Protocol):
    """A transaction under way; its records stand in the log already."""

    def write(self, records: Pairs) -> None:
        """Append one more batch to it."""

    def commit(self) -> None:
        """End it; the marker stands in the log when this returns."""

    def abort(self) -> None:
        """End it, as `commit` does, so that its records never count."""


class Acts(Protocol):
    """What a test does to a cluster; each call has its effect when it returns."""

    @property
    def address(self) -> str:
        """Where it is asked: `host:port`."""

    def create(self, topic: str, partitions: int = 1, **config: str) -> None:
        """Make a topic; settings with underscores for dots."""

    def delete(self, topic: str) -> None:
        """Delete a topic."""

    def grow(self, topic: str, total: int) -> None:
        """Add partitions, up to so many."""

    def topics(self) -> set[str]:
        """Every topic that there is."""

    def write(self, topic: str, records: Pairs, partition: int = 0) -> None:
        """Append one batch."""

    def begin(self, topic: str, records: Pairs, partition: int = 0) -> Open:
        """Append one batch of a new transaction, by a producer of its own."""

    def delete_before(self, topic: str, offset: int) -> None:
        """Move the log start of partition 0."""


class FakeActs:
    """Acts on a fake cluster."""

    def __init__(self, fake: FakeCluster) -> None:
        self._fake = fake
        self._producers = 0

    @property
    def address(self) -> str:
        return self._fake.bootstrap_servers

    def create(self, topic: str, partitions: int = 1, **config: str) -> None:
        self._fake.add_topic(topic, partitions, **config)

    def delete(self, topic: str) -> None:
        del self._fake.topics[topic]

    def grow(self, topic: str, total: int) -> None:
        self._fake.topics[topic].grow(total)

    def topics(self) -> set[str]:
        return set(self._fake.topics)

    def write(self, topic: str, records: Pairs, partition: int = 0) -> None:
        self._fake.topics[topic][partition].write(records)

    def begin(self, topic: str, records: Pairs, partition: int = 0) -> Open:
        self._producers += 1
        begun = _FakeOpen(self._fake.topics[topic][partition], 1000 + self._producers)
        begun.write(records)
        return begun

    def delete_before(self, topic: str, offset: int) -> None:
        self._fake.topics[topic][0].delete_before(offset)

    def restart(self) -> None:
        """Stop the broker and start it: every leader epoch is raised by that."""
        for topic in self._fake.topics.values():
            for partition in topic.partitions:
                partition.leader_epoch += 2


class _FakeOpen:
    def __init__(self, partition: FakePartition, producer_id: int) -> None:
        self._partition, self._producer_id = partition, producer_id

    def write(self, records: Pairs) -> None:
        self._partition.write(records, producer_id=self._producer_id, transactional=True)

    def commit(self) -> None:
        self._partition.commit(self._producer_id)

    def abort(self) -> None:
        self._partition.abort(self._producer_id)


class KafkaActs:
    """Acts on a real cluster of one broker."""

    def __init__(self, kafka: KafkaCluster) -> None:
        self._kafka = kafka

    @property
    def address(self) -> str:
        return self._kafka.bootstrap_servers

    def create(self, topic: str, partitions: int = 1, **config: str) -> None:
        self._kafka.create_topic(topic, partitions, **config)

    def delete(self, topic: str) -> None:
        self._kafka.delete_topic(topic)

    def grow(self, topic: str, total: int) -> None:
        self._kafka.add_partitions(topic, total)

    def topics(self) -> set[str]:
        return set(self._kafka.topics())

    def write(self, topic: str, records: Pairs, partition: int = 0) -> None:
        produce(self.address, topic, records, partition=partition, linger_ms=_NO_HURRY_MS)

    def begin(self, topic: str, records: Pairs, partition: int = 0) -> Open:
        begun = transaction(
            self.address, topic, records, "open", partition=partition, linger_ms=_NO_HURRY_MS
        )
        return _KafkaOpen(self._kafka, TopicPartition(topic, partition), begun)

    def delete_before(self, topic: str, offset: int) -> None:
        self._kafka.delete_records(topic, {0: offset})

    def restart(self) -> None:
        """Stop the broker and start it: every leader epoch is raised by that."""
        before = self._kafka.topics()
        self._kafka.stop(1)
        self._kafka.start(1)
        wait_until(lambda: self._kafka.topics() == before, "all partitions have a leader again")


class _KafkaOpen:
    """Ended, a transaction is on its way: the coordinator writes the marker afterwards."""

    def __init__(self, kafka: KafkaCluster, where: TopicPartition, begun: Transaction) -> None:
        self._kafka, self._where, self._begun = kafka, where, begun

    def write(self, records: Pairs) -> None:
        self._begun.produce(records)

    def commit(self) -> None:
        end = self._end()
        self._begun.commit()
        wait_until(lambda: self._end() > end, "the commit marker")

    def abort(self) -> None:
        end = self._end()
        self._begun.abort()
        wait_until(lambda: self._end() > end, "the abort marker")

    def _end(self) -> int:
        client = self._kafka.admin_client()
        asked = client.list_offsets({self._where: OffsetSpec.latest()})
        return int(asked[self._where].result(timeout=30).offset)


# What is asked


class Asked:
    """The sidecar's questions to a cluster whose partitions are all led by node 1."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def metadata(self, topic: str) -> TopicMetadata:
        return await self.cluster.metadata(topic)

    async def ends(self, topic: str, epoch: int = 0) -> tuple[tuple[int, int], ...]:
        """(error, offset) of partition 0: earliest, high watermark, last stable offset."""
        kinds = ((EARLIEST, False), (LATEST, False), (LATEST, True))
        return tuple([await self._end(topic, epoch, *kind) for kind in kinds])

    async def _end(
        self, topic: str, epoch: int, timestamp: int, committed: bool
    ) -> tuple[int, int]:
        asked = {0: Leader(1, epoch)}
        told = await self.cluster.list_offsets(topic, asked, timestamp, committed=committed)
        return told[0].error_code, told[0].offset

    async def fetch(self, topic: str, wanted: Wanted, **options: Any) -> FetchAnswer:
        """One partition's answer."""
        answers = await self.fetch_all(topic, [wanted], **options)
        return answers[wanted.partition]

    async def fetch_all(
        self, topic: str, wanted: Sequence[Wanted], **options: Any
    ) -> Mapping[int, FetchAnswer]:
        """One response's answers, by partition; `topic_id` comes before the topic's own."""
        topic_id = options.pop("topic_id", None) or (await self.metadata(topic)).topic_id
        asked = {
            "committed": True,
            "max_wait_ms": 0,
            "max_bytes": 1 << 24,
            "partition_max_bytes": 1 << 20,
        } | options
        connection = await self.cluster.fetch_connection(1)
        try:
            number = connection.next_id()
            request = encode_fetch(number, "sidecar", topic_id, wanted, **asked)
            response = parse_fetch(memoryview(bytes(await connection.send(request))))
        finally:
            connection.close()
            await asyncio.sleep(0.01)  # closed transports let go of their sockets
        assert (response.correlation_id, response.error_code) == (number, 0)
        return {answer.partition: answer for answer in response.answers}


@asynccontextmanager
async def asking(address: str) -> AsyncIterator[Asked]:
    """Ask the cluster at an address."""
    cluster = Cluster(KafkaSettings(bootstrap=addresses(address)), boottime)
    try:
        yield Asked(cluster)
    finally:
        cluster.close()
        await asyncio.sleep(0.01)


def at(offset: int, *, partition: int = 0, epoch: int = 0, last_epoch: int = -1) -> Wanted:
    """What a fetch asks of one partition."""
    return Wanted(partition, epoch, offset, last_epoch)


def pairs(*values: bytes | None) -> Pairs:
    """Records of one key."""
    return [(b"key", value) for value in values]


def spans(answer: FetchAnswer) -> list[Span]:
    """The whole batches of an answer, as the sidecar finds them."""
    return find_batches(answer.partition, answer.records)


def read(answer: FetchAnswer) -> list[tuple[int, bytes | None]]:
    """(offset, value) of each record that counts, as the sidecar decodes them."""
    batches = decode_batches(answer.partition, spans(answer), answer.aborted)
    return [(record.offset, record.value) for batch in batches for record in batch.records]
