"""Values that real serializers wrote, with a registry, come back as JSON wherever one looks."""

from __future__ import annotations

import json

import grpc
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, StringSerializer
from support.admin import wait_until
from support.descriptors import message_class
from support.registry import FakeRegistry
from support.serving import Serving

from sidecar._pb import cache_pb2 as pb
from sidecar._pb import cache_pb2_grpc

USER = {
    "type": "record",
    "name": "User",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "age", "type": ["null", "int"], "default": None},
    ],
}
NEWER = USER | {"fields": [*USER["fields"], {"name": "admin", "type": "boolean"}]}


class Writing:
    """Produces values by a serializer, and keys by an Avro one where asked for."""

    def __init__(self, at: str, registry: FakeRegistry, topic: str) -> None:
        self.client = SchemaRegistryClient({"url": registry.url})
        self._producer = Producer({"bootstrap.servers": at, "acks": "all"})
        self._topic = topic
        self.framed_key = AvroSerializer(self.client, '"string"')

    def write(self, serializer, values, *, framed_keys=False):
        key_of = self.framed_key if framed_keys else StringSerializer()
        for key, value in values.items():
            written = serializer(value, SerializationContext(self._topic, MessageField.VALUE))
            name = key_of(key, SerializationContext(self._topic, MessageField.KEY))
            self._producer.produce(self._topic, written, name)
        assert self._producer.flush(30) == 0


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def writing(kafka, registry, topic_name):
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    return Writing(kafka.bootstrap_servers, registry, topic_name)


def serving(folder, kafka, registry, topic, **table):
    file = folder / "sidecar.yaml"
    tables = {"t": {"topic": topic} | table}
    config = {"kafka": {"bootstrap.servers": kafka.bootstrap_servers}, "tables": tables}
    file.write_text(json.dumps(config | {"schema_registry": {"url": registry.url}}))
    return Serving(folder, "--config", str(file))


def everywhere(sidecar, expected):
    """The values, as JSON, through Get, MultiGet, List, Scan, Watch and the command line."""
    with grpc.insecure_channel(sidecar.endpoint) as channel:
        cache = cache_pb2_grpc.CacheServiceStub(channel)
        keys, form = [key.encode() for key in expected], {"encoding": pb.ENCODING_JSON}
        got = [cache.Get(pb.GetRequest(key=key, **form)).record for key in keys]
        many = cache.MultiGet(pb.MultiGetRequest(keys=keys, **form)).results
        scanned = [r for page in cache.Scan(pb.ScanRequest(**form)) for r in page.records]
        watch = cache.Watch(pb.WatchRequest(snapshot={}, **form))
        told = []
        while len(told) < len(expected):
            told += [e.upsert for e in next(watch).events if e.WhichOneof("event") == "upsert"]
        watch.cancel()
        found = [
            got,
            [one.record for one in many],
            cache.List(pb.ListRequest(**form)).records,
            scanned,
            told,
        ]
    for records in found:
        assert [r.decode_error for r in records] == [""] * len(expected)
        assert {r.key.decode(): json.loads(r.value) for r in records} == expected
    for command in (["list"], ["watch", "--snapshot", "--count", str(len(expected))]):
        lines = sidecar.run(*command, "-o", "jsonl").stdout.splitlines()
        shown = {one["key"]: json.loads(one["value"]) for one in map(json.loads, lines)}
        assert shown == expected
    for key, value in expected.items():
        assert json.loads(sidecar.run("get", key, "-o", "value").stdout) == value


def until_shown(sidecar, key):
    """Until a key's value is here, and its schema."""
    wait_until(lambda: sidecar.run("get", key, "-o", "value").returncode == 0, key, timeout=60)


def test_avro(tmp_path, kafka, topic_name, registry, writing):
    older = AvroSerializer(writing.client, json.dumps(USER))
    writing.write(older, {"a": {"name": "A", "age": 3}, "b": {"name": "é", "age": None}})
    expected = {"a": {"name": "A", "age": 3}, "b": {"name": "é", "age": None}}
    with serving(tmp_path, kafka, registry, topic_name, format="avro") as sidecar:
        sidecar.until_ready()
        everywhere(sidecar, expected)
        newer = AvroSerializer(writing.client, json.dumps(NEWER))
        writing.write(newer, {"c": {"name": "C", "age": 1, "admin": True}})
        expected["c"] = {"name": "C", "age": 1, "admin": True}
        until_shown(sidecar, "c")
        everywhere(sidecar, expected)
        # What is loaded stays served without the registry; what is new is served when it is back.
        newest = AvroSerializer(writing.client, '"string"')
        writing.write(newest, {"first": "to register"})
        expected["first"] = "to register"
        until_shown(sidecar, "first")
        registry.__exit__()
        everywhere(sidecar, expected)
        registry.add("other", '"int"')
        unknown = b"\0" + len(registry.schemas).to_bytes(4, "big") + b"\x54"
        writing.write(lambda value, _: value, {"d": unknown})
        wait_until(lambda: "ConnectError" in sidecar.run("get", "d").stdout, "the reason")
        assert sidecar.run("get", "d", "--raw", "-o", "value").stdout == unknown.decode()
        assert json.loads(sidecar.run("get", "a", "-o", "value").stdout) == expected["a"]
        registry.__enter__()
        expected["d"] = 42
        until_shown(sidecar, "d")
        everywhere(sidecar, expected)
        registry.__exit__()
    registry.__enter__()


def test_protobuf_and_framed_keys(tmp_path, kafka, topic_name, registry, writing):
    kind = message_class("shop.User")
    serializer = ProtobufSerializer(kind, writing.client, {"use.deprecated.format": False})
    users = {"a": kind(user_name="A", at={"city": "Delft"}), "b": kind(user_name="B", big=1)}
    writing.write(serializer, users, framed_keys=True)
    settings = {"format": "protobuf", "strip_schema_id": True}
    with serving(tmp_path, kafka, registry, topic_name, **settings) as sidecar:
        sidecar.until_ready()
        # An Avro serializer writes its length before a string.
        expected = {
            "\x02a": {"user_name": "A", "at": {"city": "Delft"}},
            "\x02b": {"user_name": "B", "big": "1"},
        }
        everywhere(sidecar, expected)
        assert sidecar.run("verify").returncode == 0
