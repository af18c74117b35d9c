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
- It answers no DescribeConfigs and no CreateTopics; topics come into being on first use.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import cimpl

__all__ = ["PARTITION_BYTES", "running_broker"]

PARTITION_BYTES: Final = 5 << 20
_PRODUCER: Final = 0  # rd_kafka_type_t
_ERROR_BYTES: Final = 512


@contextmanager
def running_broker(topic: str, *, brokers: int, partitions: int) -> Iterator[str]:
    """Run a cluster with one topic; gives its `bootstrap.servers`.

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
            if library.rd_kafka_mock_topic_create(cluster, topic.encode(), partitions, 1):
                raise OSError(f"librdkafka's mock cluster could not create topic {topic!r}")
            yield library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
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
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise OSError(f"this build of confluent-kafka has no mock cluster: {error}") from error
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
