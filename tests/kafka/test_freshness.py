"""Freshness bounds on a real broker: what was acknowledged is seen, by whoever asks for it."""

from __future__ import annotations

from itertools import count

import grpc
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from support.oracle import fold, read_topic
from support.producing import produce, transaction
from support.serving import Serving

from sidecar._pb import cache_pb2, cache_pb2_grpc

ROUNDS = 150


class Writer:
    """Writes one record at a time and tells where it was acknowledged."""

    def __init__(self, at: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": at, "acks": "all", "linger.ms": 0})
        self._topic = topic

    def write(self, key: bytes, value: bytes | None) -> cache_pb2.PartitionOffset:
        acknowledged = []
        self._producer.produce(
            self._topic, value, key, on_delivery=lambda *told: acknowledged.append(told)
        )
        assert self._producer.flush(30) == 0
        ((error, message),) = acknowledged
        assert error is None, error
        return cache_pb2.PartitionOffset(partition=message.partition(), offset=message.offset())


def end_of(at: str, topic: str, partition: int) -> int:
    """The partition's high watermark, behind whatever markers stand at its end."""
    consumer = Consumer({"bootstrap.servers": at, "group.id": "none"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1]
    finally:
        consumer.close()


@pytest.fixture
def cache(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, partitions=3, cleanup_policy="compact")
    produce(kafka.bootstrap_servers, topic_name, [(b"begin", b"0")])
    with Serving(
        tmp_path, "--bootstrap-servers", kafka.bootstrap_servers, "--table", f"t={topic_name}"
    ) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        with grpc.insecure_channel(sidecar.endpoint) as channel:
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            stub.command = sidecar.run
            yield stub


def test_what_a_producer_was_acknowledged_is_in_the_answer(cache, kafka, topic_name):
    writer, serial = Writer(kafka.bootstrap_servers, topic_name), count()
    for number in range(ROUNDS):
        key = b"k%d" % (number % 7)
        value = None if number % 5 == 4 else b"%d" % next(serial)
        bound = cache_pb2.Freshness(min_offsets=[writer.write(key, value)])
        answer = cache.Get(
            cache_pb2.GetRequest(key=key, freshness=bound, include_positions=True), timeout=30
        )
        if value is None:
            assert answer.presence == cache_pb2.PRESENCE_ABSENT
        else:
            assert answer.record.value == value
        # A second answer that must be no older than the first.
        again = cache_pb2.Freshness(at_least=answer.state.positions, wait_ms=0)
        later = cache.MultiGet(cache_pb2.MultiGetRequest(keys=[key], freshness=again), timeout=30)
        assert later.results[0].record.value == answer.record.value


def test_a_position_behind_the_markers_of_transactions_is_reached(cache, kafka, topic_name):
    at = kafka.bootstrap_servers
    transaction(at, topic_name, [(b"kept", b"1")])
    transaction(at, topic_name, [(b"never", b"1")], "abort")
    wanted = [f"--position={number}:{end_of(at, topic_name, number)}" for number in range(3)]
    done = cache.command("wait", *wanted)
    assert done.returncode == 0, done.stderr
    answer = cache.MultiGet(cache_pb2.MultiGetRequest(keys=[b"kept", b"never"]), timeout=30)
    assert [one.presence for one in answer.results] == [
        cache_pb2.PRESENCE_FOUND,
        cache_pb2.PRESENCE_ABSENT,
    ]
    assert set(fold(read_topic(at, topic_name))) == {b"begin", b"kept"}


def test_an_offset_that_nobody_wrote_yet_is_refused_with_how_far_it_is(cache):
    bound = cache_pb2.Freshness(
        min_offsets=[cache_pb2.PartitionOffset(partition=0, offset=10**9)], wait_ms=200
    )
    with pytest.raises(grpc.RpcError) as caught:
        cache.Get(cache_pb2.GetRequest(key=b"k", freshness=bound), timeout=30)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "the bound is position 1000000001" in caught.value.details()
