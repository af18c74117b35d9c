"""A Kafka cluster inside this process: the mock cluster of librdkafka.

It comes with the package confluent-kafka. Python reaches a mock through the setting
`test.mock.num.brokers`, but that one gives every topic four partitions and answers no
CreateTopics; so librdkafka's own functions (rdkafka_mock.h) are called here.

What the mock does, as seen with librdkafka 2.16:

- Produce, ListOffsets, Metadata up to v12 with topic ids, Fetch up to v13 by topic id:
  enough for a sidecar.
- It keeps 5 MiB a partition and drops what is older, so its log start would move: whoever
  writes must stay below `PARTITION_BYTES`.
- It compacts nothing. Records keep their producer's timestamps, though the answer to a
  Produce names 1234 as the log's append time.
- It answers no DescribeConfigs and no CreateTopics; topics come into being on first use: a
  producer that is still there when a topic is deleted creates it at once, with other partitions.
- A broker with a round-trip time of an hour takes connections and requests and answers none:
  that is what a frozen one looks like. Set back to none, it answers what comes then.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import cimpl

__all__ = ["PARTITION_BYTES", "Broker", "running_broker"]

PARTITION_BYTES: Final = 5 << 20
_PRODUCER: Final = 0  # rd_kafka_type_t
_ERROR_BYTES: Final = 512
_FROZEN_MS: Final = 3_600_000


class Broker:
    """A running cluster with one topic; `running_broker` makes it.

    Attributes:
        servers: its `bootstrap.servers`.
        frozen: it answers nothing.
    """

    def __init__(
        self, library: ctypes.CDLL, cluster: int, topic: str, *, brokers: int, partitions: int
    ) -> None:
        self._library = library
        self._cluster = cluster
        self._topic = topic
        self._nodes = range(1, brokers + 1)
        self._partitions = partitions
        self.frozen = False
        self.servers: str = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def freeze(self, *, frozen: bool) -> None:
        """Answer nothing from now on, or answer again."""
        for node in self._nodes:
            error = self._library.rd_kafka_mock_broker_set_rtt(
                self._cluster, node, _FROZEN_MS if frozen else 0
            )
            self._check(error, "be frozen" if frozen else "be thawed")
        self.frozen = frozen

    def create_topic(self) -> None:
        """Create the topic, with an id of its own each time."""
        name = self._topic.encode()
        error = self._library.rd_kafka_mock_topic_create(self._cluster, name, self._partitions, 1)
        self._check(error, f"create topic {self._topic!r}")

    def delete_topic(self) -> None:
        """Delete the topic. Whoever produces to it must have ended: it would create it again."""
        error = self._library.rd_kafka_mock_topic_delete(self._cluster, self._topic.encode())
        self._check(error, f"delete topic {self._topic!r}")

    def _check(self, error: Any, what: str) -> None:
        if error:
            raise OSError(f"librdkafka's mock cluster could not {what} (error {error})")


@contextmanager
def running_broker(topic: str, *, brokers: int, partitions: int) -> Iterator[Broker]:
    """Run a cluster with one topic.

    Raises:
        OSError: librdkafka could not start it; says why.
    """
    library = _library()
    client = _client(library)
    try:
        cluster = library.rd_kafka_mock_cluster_new(client, brokers)
        if not cluster:
            raise OSError("librdkafka could not start its mock cluster")
        try:
            broker = Broker(library, cluster, topic, brokers=brokers, partitions=partitions)
            broker.create_topic()
            yield broker
        finally:
            library.rd_kafka_mock_cluster_destroy(cluster)
    finally:
        library.rd_kafka_destroy(client)


def _library() -> ctypes.CDLL:
    """librdkafka, as confluent-kafka has loaded it: wherever its wheel keeps it."""
    library = ctypes.CDLL(cimpl.__file__)
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    size = ctypes.c_size_t
    try:
        for name, result, arguments in (
            ("rd_kafka_conf_new", handle, ()),
            ("rd_kafka_conf_set", number, (handle, text, text, text, size)),
            ("rd_kafka_new", handle, (number, handle, text, size)),
            ("rd_kafka_destroy", None, (handle,)),
            ("rd_kafka_mock_cluster_new", handle, (handle, number)),
            ("rd_kafka_mock_cluster_destroy", None, (handle,)),
            ("rd_kafka_mock_cluster_bootstraps", text, (handle,)),
            ("rd_kafka_mock_topic_create", number, (handle, text, number, number)),
            ("rd_kafka_mock_topic_delete", number, (handle, text)),
            ("rd_kafka_mock_broker_set_rtt", number, (handle, ctypes.c_int32, number)),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise OSError(
            f"this confluent-kafka has not all of the mock cluster; install a newer one: {error}"
        ) from error
    return library


def _client(library: ctypes.CDLL) -> int:
    """The client instance that owns the mock; its notices would disturb the demo's text."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"log_level", b"3", error, _ERROR_BYTES)
    client: int | None = library.rd_kafka_new(_PRODUCER, settings, error, _ERROR_BYTES)
    if client is None:
        raise OSError(f"librdkafka: {error.value.decode()}")
    return client
