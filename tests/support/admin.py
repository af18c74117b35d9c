"""Topic administration through librdkafka's admin client; each call waits for its effect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUICKLY_COMPACTED", "TopicAdmin", "wait_until"]

QUICKLY_COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1000",
    "delete.retention.ms": "0",
}
"""Topic settings under which the log cleaner's work is seen within seconds."""


def wait_until(claim: Callable[[], bool], what: str, timeout: float = 30) -> None:
    """Poll until the claim holds; say what was waited for when it never does."""
    end = time.monotonic() + timeout
    while not claim():
        if time.monotonic() > end:
            raise TimeoutError(f"after {timeout:.0f} s still waiting: {what}")
        time.sleep(0.05)


class TopicAdmin:
    """Creates, changes and deletes topics of the cluster at `bootstrap_servers`."""

    bootstrap_servers: str

    def admin_client(self) -> AdminClient:
        """Give a fresh client: one that is kept would remember brokers that have moved."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def create_topic(
        self, name: str, partitions: int = 1, replication: int = 1, **config: Any
    ) -> str:
        """Create a topic and wait until every partition has a leader.

        Settings are given with underscores (`cleanup_policy="compact"`) or as
        `**{"cleanup.policy": "compact"}`. Gives the topic's name.
        """
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        new = NewTopic(name, partitions, replication, config=settings)
        client = self.admin_client()
        _done(client.create_topics([new]))
        wait_until(lambda: self.topics().get(name) == partitions, f"{name} created")
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until metadata no longer names it."""
        client = self.admin_client()
        _done(client.delete_topics([name]))
        wait_until(lambda: name not in self.topics(), f"{name} deleted")

    def topics(self) -> dict[str, int]:
        """Give each topic's number of partitions that have a leader."""
        try:
            listed = self.admin_client().list_topics(timeout=10).topics
        except KafkaException as error:
            raise TimeoutError(f"no metadata: {error}") from error
        return {
            name: sum(1 for partition in topic.partitions.values() if partition.leader >= 0)
            for name, topic in listed.items()
            if topic.error is None
        }

    def leader(self, topic: str, partition: int = 0) -> int:
        """Give the node that leads a partition, -1 where none does."""
        listed = self.admin_client().list_topics(timeout=10).topics
        return int(listed[topic].partitions[partition].leader)

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow a topic to so many partitions."""
        client = self.admin_client()
        _done(client.create_partitions([NewPartitions(topic, total)]))
        wait_until(lambda: self.topics().get(topic) == total, f"{topic} has {total} partitions")

    def delete_records(self, topic: str, before: dict[int, int]) -> None:
        """Move each named partition's log start offset; -1 means to its end."""
        at = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        client = self.admin_client()
        _done(client.delete_records(at))

    def alter_topic(self, topic: str, **config: Any) -> None:
        """Set some of a topic's settings; the others stay."""
        entries = [
            ConfigEntry(
                key.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET
            )
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        client = self.admin_client()
        _done(client.incremental_alter_configs([resource]))


def _done(futures: dict[Any, Any]) -> None:
    # The caller holds on to the client meanwhile: one that is collected fails its futures.
    for future in futures.values():
        future.result(timeout=30)
