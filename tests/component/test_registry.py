"""What brings schemas: each once, its references too, again and again while they are missing."""

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

import certifi
import pytest
from support.descriptors import ADDRESS, USER, message_class
from support.registry import FakeRegistry

from sidecar import registry as registry_module
from sidecar.formats import Schemas
from sidecar.ops.recorder import Recorder
from sidecar.registry import Registry

PLENTY_S = 20
NAME = json.dumps({"type": "record", "name": "N", "fields": [{"name": "n", "type": "string"}]})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(registry_module, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(registry_module, "_LONGEST_PAUSE_S", 0.1)


@pytest.fixture
def fake():
    with FakeRegistry() as fake:
        yield fake


@asynccontextmanager
async def bringing(url, **settings):
    """Schemas that a registry brings, and the registry."""
    schemas, recorder = Schemas(), Recorder()
    registry = Registry({"url": url} | settings, schemas, time.monotonic, recorder.registry)
    registry.recorder = recorder
    task = asyncio.create_task(registry.run())
    try:
        yield schemas, registry
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def until(claim):
    end = time.monotonic() + PLENTY_S
    while not claim():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def framed(number, value):
    return b"\0" + number.to_bytes(4, "big") + value


async def test_a_schema_is_fetched_once_when_a_value_of_it_was_seen(fake):
    number = fake.add("t-value", NAME)
    async with bringing(fake.url) as (schemas, registry):
        value = framed(number, b"\x02a")
        for _ in range(3):
            schemas.note_of("avro")(value)
        await registry.tried(PLENTY_S)
        assert schemas.decode_of("avro")(value).json == b'{"n":"a"}'
        assert fake.requests == [f"/schemas/ids/{number}"]
        assert (registry.recorder.registry_fault, registry.recorder.registry_errors) == ("", 0)


async def test_the_schemas_that_it_names_are_fetched_too(fake):
    fake.add("inner", NAME)
    middle = {"type": "record", "name": "M", "fields": [{"name": "m", "type": "N"}]}
    inner = {"name": "N", "subject": "inner", "version": 1}
    fake.add("middle", json.dumps(middle), references=[inner])
    outer = {
        "type": "record",
        "name": "O",
        "fields": [{"name": "a", "type": "M"}, {"name": "b", "type": "N"}],
    }
    middles = {"name": "M", "subject": "middle", "version": 1}
    number = fake.add("outer", json.dumps(outer), references=[middles, inner])
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of("avro")
        value = framed(number, b"\x02x\x02y")
        assert decode(value).pending
        await registry.tried(PLENTY_S)
        assert decode(value).json == b'{"a":{"m":{"n":"x"}},"b":{"n":"y"}}'


async def test_protobuf_is_asked_for_as_descriptors(fake):
    texts = {f.name: base64.b64encode(f.SerializeToString()).decode() for f in (ADDRESS, USER)}
    fake.add("address", texts["address.proto"], "PROTOBUF")
    address = {"name": "address.proto", "subject": "address", "version": 1}
    number = fake.add("user", texts["user.proto"], "PROTOBUF", [address])
    user = message_class("shop.User")(user_name="a", at={"city": "Delft"})
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of("protobuf")
        value = framed(number, b"\0" + user.SerializeToString())
        assert decode(value).pending
        await registry.tried(PLENTY_S)
        assert decode(value).json == b'{"user_name":"a","at":{"city":"Delft"}}'


@pytest.mark.parametrize(
    ("kind", "schema", "asked", "error"),
    [
        ("AVRO", "{", "avro", "not an Avro schema"),
        ("JSON", "{}", "avro", "it is of type JSON, and the table's format is avro"),
        ("AVRO", NAME, "protobuf", "it is of type AVRO, and the table's format is protobuf"),
        ("PROTOBUF", "syntax", "protobuf", "does not serve it as a descriptor"),
        ("PROTOBUF", "Cv8=", "protobuf", "not a FileDescriptorProto"),
    ],
)
async def test_a_schema_that_is_of_no_use_is_the_reason_for_good(fake, kind, schema, asked, error):
    number = fake.add("t", schema, kind)
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of(asked)
        assert decode(framed(number, b"a")).pending
        await registry.tried(PLENTY_S)
        found = decode(framed(number, b"a"))
        assert not found.pending
        assert f"schema {number}: " in found.error
        assert error in found.error
        assert not schemas.missing


async def test_schemas_that_name_each_other_are_no_schema(fake):
    both = {"type": "record", "name": "N", "fields": [{"name": "n", "type": "M"}]}
    fake.add("n", json.dumps(both), references=[{"name": "M", "subject": "m", "version": 1}])
    fake.add("m", "{}", references=[{"name": "N", "subject": "n", "version": 1}])
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of("avro")
        assert decode(framed(1, b"a")).pending
        await registry.tried(PLENTY_S)
        assert "not an Avro schema" in decode(framed(1, b"a")).error


async def test_while_it_is_gone_what_is_known_is_known_and_the_rest_comes_later(fake):
    known, later = fake.add("t", NAME), fake.add("u", '"string"')
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of("avro")
        assert decode(framed(known, b"\x02a")).pending
        await registry.tried(PLENTY_S)
        fake.__exit__()
        assert decode(framed(later, b"\x02a")).pending
        await until(lambda: registry.recorder.registry_errors > 2)
        assert registry.recorder.registry_fault.startswith(
            "the schema registry answers: ConnectError"
        )
        assert "ConnectError" in decode(framed(later, b"\x02a")).error
        assert decode(framed(known, b"\x02a")).json == b'{"n":"a"}'
        with fake:
            await until(lambda: not schemas.missing)
            await until(lambda: not registry.recorder.registry_fault)
        assert decode(framed(later, b"\x02a")).json == b'"a"'
        fake.__enter__()


async def test_a_number_that_it_does_not_know_holds_nothing_up(fake):
    async with bringing(fake.url) as (schemas, registry):
        decode = schemas.decode_of("avro")
        assert decode(framed(99, b"a")).pending
        await registry.tried(PLENTY_S)
        assert "Schema not found" in decode(framed(99, b"a")).error
        number = fake.add("t", '"string"')
        assert decode(framed(number, b"\x02a")).pending
        await registry.tried(PLENTY_S)
        assert decode(framed(number, b"\x02a")).json == b'"a"'


async def test_who_it_is_is_told_and_never_shown(fake):
    fake.credentials = "user:secret"
    number = fake.add("t", '"string"')
    async with bringing(fake.url, **{"basic.auth.user.info": "user:wrong"}) as (schemas, registry):
        assert schemas.decode_of("avro")(framed(number, b"a")).pending
        await until(lambda: registry.recorder.registry_fault)
        assert "who are you?" in registry.recorder.registry_fault
        assert "wrong" not in registry.recorder.registry_fault
    async with bringing(fake.url, **{"basic.auth.user.info": "user:secret"}) as (schemas, registry):
        assert schemas.decode_of("avro")(framed(number, b"a")).pending
        await until(lambda: not schemas.missing)


async def test_whoever_waits_for_the_first_try_waits_no_longer_than_said():
    async with bringing("http://127.0.0.1:1") as (schemas, registry):
        assert schemas.decode_of("avro")(framed(1, b"a")).pending
        await registry.tried(PLENTY_S)
        assert registry.recorder.registry_fault
    silent = Registry({"url": "http://127.0.0.1:1"}, schemas, time.monotonic, lambda _: None)
    schemas.decode_of("avro")(framed(2, b"a"))
    await silent.tried(0.01)
    assert list(schemas.untried()) == [("avro", 2)]


async def test_certificates_that_are_no_use_hold_nothing_up_and_may_be_mended(fake, tmp_path):
    number, ca = fake.add("t", '"string"'), tmp_path / "ca.pem"
    ca.write_text("no certificate")
    async with bringing(fake.url, **{"ssl.ca.location": str(ca)}) as (schemas, registry):
        decode = schemas.decode_of("avro")
        assert decode(framed(number, b"\x02a")).pending
        await until(lambda: registry.recorder.registry_fault)
        assert "the schema registry cannot be asked: SSLError" in registry.recorder.registry_fault
        assert "cannot be asked" in decode(framed(number, b"\x02a")).error
        await registry.tried(PLENTY_S)
        ca.unlink()
        await until(lambda: "FileNotFound" in registry.recorder.registry_fault)
        ca.write_text(Path(certifi.where()).read_text())
        await until(lambda: not schemas.missing)
        assert decode(framed(number, b"\x02a")).json == b'"a"'
        await until(lambda: not registry.recorder.registry_fault)
