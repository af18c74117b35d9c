"""Three brokers, a proxy before each, and the topic that the run is about.

The sidecar reaches the brokers through the proxies only (PROXIED advertises them); the
writer and the independent reader go straight to them. So a fault of the network is the
sidecar's alone, and what was acknowledged meanwhile is known.

An acknowledged record must survive every fault of the schedule, or nothing could be
told from the writer's history: three replicas, two of them in sync, no unclean election.
"""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chaos.history import now
from confluent_kafka import ElectionType, KafkaException, TopicCollection, TopicPartition
from support.admin import wait_until
from support.kafka import KafkaCluster, proxied_cluster
from support.moves import reassign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.history import Recorder
    from support.proxy import TcpProxy

__all__ = ["NODES", "TOPIC", "Site", "site"]

NODES = (1, 2, 3)
TOPIC = "chaos"
_PARTITIONS = 4
_BROKERS = {
    "min.insync.replicas": 2,
    "unclean.leader.election.enable": "false",
    "default.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "auto.create.topics.enable": "true",
    # Moves of leaders are the schedule's.
    "auto.leader.rebalance.enable": "false",
}
_COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    # Nothing younger than this is compacted: the checks reckon with it (`truth`).
    "min.compaction.lag.ms": "3000",
    "max.compaction.lag.ms": "4000",
    "min.insync.replicas": "2",
}


class Site:
    """The cluster, its proxies and the topic in its present incarnation."""

    def __init__(
        self, cluster: KafkaCluster, proxies: dict[int, TcpProxy], topics: Recorder
    ) -> None:
        self.cluster = cluster
        self.proxies = proxies
        self.topic_id = ""
        self.partitions = 0
        self.ordinal = -1
        self._topics = topics

    @property
    def direct(self) -> str:
        """The addresses that no proxy stands before."""
        return self.cluster.bootstrap_servers

    @property
    def proxied(self) -> str:
        """The addresses that the sidecar is given."""
        return self.cluster.bootstrap("PROXIED")

    def create_topic(self, delete_retention_ms: int) -> None:
        """Create the topic, and record its id."""
        began = now()
        settings = _COMPACTED | {"delete.retention.ms": str(delete_retention_ms)}
        self.cluster.create_topic(TOPIC, _PARTITIONS, 3, **settings)
        self.partitions = _PARTITIONS
        self.ordinal += 1
        self.topic_id = self._described_id()
        self._topics.note(
            op="created", id=self.topic_id, began=began, at=now(), ordinal=self.ordinal
        )

    def delete_topic(self) -> None:
        """Delete the topic, and record that."""
        began = now()
        self.cluster.delete_topic(TOPIC)
        self._topics.note(op="deleted", id=self.topic_id, began=began, at=now())

    def look_for_topic(self, seconds: float) -> None:
        """Record for so long whether the topic, which was deleted, is there."""
        end = now() + seconds
        while now() < end:
            asked = now()
            present = TOPIC in self.cluster.topics()
            self._topics.note(op="listed", sent=asked, received=now(), present=present)
            time.sleep(0.2)

    def grow(self) -> int:
        """Give the topic one more partition; returns how many it has."""
        self.cluster.add_partitions(TOPIC, self.partitions + 1)
        self.partitions += 1
        return self.partitions

    def move_leaders(self, shift: int) -> dict[int, int]:
        """Reassign every partition to its replicas in another order, and elect the first ones."""
        replicas = {
            partition: [NODES[(partition + shift + place) % 3] for place in range(3)]
            for partition in range(self.partitions)
        }
        reassign(self.direct, TOPIC, replicas)
        self.elect_preferred()
        return {partition: self.cluster.leader(TOPIC, partition) for partition in replicas}

    def elect_preferred(self) -> None:
        """Elect each partition's first replica."""
        client = self.cluster.admin_client()
        parts = [TopicPartition(TOPIC, partition) for partition in range(self.partitions)]
        # Each partition tells for itself whether it needed one. (No timeout is given: the
        # binding takes no keyword here, whatever its signature says.)
        client.elect_leaders(ElectionType.PREFERRED, parts).result(60)

    def wait_in_sync(self, timeout: float = 90) -> None:
        """Return once every replica of the topic is in sync again."""
        wait_until(self._in_sync, "all replicas in sync", timeout)

    def _in_sync(self) -> bool:
        try:
            listed = self.cluster.admin_client().list_topics(timeout=10).topics[TOPIC]
        except (KafkaException, KeyError):
            return False
        parts = listed.partitions.values()
        return all(len(part.isrs) == 3 and part.leader >= 0 for part in parts)

    def _described_id(self) -> str:
        client = self.cluster.admin_client()
        asked = client.describe_topics(TopicCollection([TOPIC]), request_timeout=20)
        found: Any = asked[TOPIC].result(30).topic_id
        halves = (found.get_most_significant_bits(), found.get_least_significant_bits())
        high, low = (half & (2**64 - 1) for half in halves)
        return str(uuid.UUID(int=high << 64 | low))


@contextmanager
def site(topics: Recorder) -> Iterator[Site]:
    """Start the brokers; they end with the block, or with this process."""
    with proxied_cluster(len(NODES), config=_BROKERS) as (cluster, proxies):
        yield Site(cluster, proxies, topics)
