"""aiokafka's internals that sidecar/kafka relies on, held still.

A test that turns red after an upgrade names what to look at: each says in its name
what is taken for granted. Nothing of the sidecar is tested here, only its ground.
"""

import asyncio
import gzip
import importlib.metadata
import inspect
import random
import ssl
import struct
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import cramjam
import pytest
import uvloop
from aiokafka.codec import snappy_encode
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    CorruptRecordException,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import ApiVersionRequest, DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetRequest_v5
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, CompactArray, CompactString, Int16, Int32, Schema
from aiokafka.record.default_records import DefaultRecordBatch
from support.batches import Rec, batch
from support.fake_broker import CLOSE, SILENT, FakeCluster
from support.process import free_port
from support.protocol import APIS, decode, encode

from sidecar.kafka.wire import ListOffsetsRequest, MetadataRequest

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


def test_the_version_is_the_one_that_these_tests_hold():
    assert importlib.metadata.version("aiokafka").startswith("0.14.")


# Connections


def test_create_conn_takes_the_settings_that_we_give():
    parameters = inspect.signature(create_conn).parameters
    assert list(parameters)[:2] == ["host", "port"]
    assert {
        "client_id", "request_timeout_ms", "ssl_context", "security_protocol", "sasl_mechanism",
        "sasl_plain_username", "sasl_plain_password",
    } <= set(parameters)  # fmt: skip
    assert parameters["max_idle_ms"].default is None  # it closes no connection by itself


async def opened(fake, **settings):
    return await create_conn("127.0.0.1", fake.brokers[1].port, client_id="me", **settings)


async def closed(connection):
    connection.close()
    # Closed transports let go of their sockets in the loop's next rounds.
    await asyncio.sleep(0.01)


async def test_a_connection_has_the_parts_that_we_take_hold_of():
    async with FakeCluster() as fake:
        connection = await opened(fake)
        assert isinstance(connection, AIOKafkaConnection)
        assert (connection.host, connection.port) == ("127.0.0.1", fake.brokers[1].port)
        assert connection.connected()
        assert connection._versions == fake.brokers[1].versions
        assert isinstance(connection._read_task, asyncio.Task)
        assert not connection._read_task.done()
        assert isinstance(connection._writer.transport, asyncio.Transport)
        assert callable(connection._writer.transport.set_protocol)
        await closed(connection)
        assert not connection.connected()


async def test_versions_are_asked_for_as_the_oldest_request_there_is():
    async with FakeCluster() as fake:
        await closed(await opened(fake))
        assert [(each.api, each.version, each.client_id) for each in fake.requests] == [
            ("api_versions", 0, "me")
        ]


async def test_closing_twice_is_allowed():
    async with FakeCluster() as fake:
        connection = await opened(fake)
        connection.close()
        await closed(connection)


async def test_a_request_that_is_not_answered_times_out_and_keeps_the_connection():
    async with FakeCluster() as fake:
        fake.script.metadata.append(SILENT)
        connection = await opened(fake, request_timeout_ms=50)
        with pytest.raises(TimeoutError):
            await connection.send(MetadataRequest("t"))
        assert connection.connected()  # so whoever asked must close it
        await closed(connection)


async def test_a_connection_that_fails_to_open_leaves_no_socket_behind():
    ended = asyncio.Event()

    async def serve(reader, writer):
        while await reader.read(100):
            pass
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TimeoutError):
        await create_conn("127.0.0.1", port, request_timeout_ms=50)
    await asyncio.wait_for(ended.wait(), 10)
    server.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", [CLOSE, SILENT])
async def test_a_connection_that_ends_is_an_error_whose_cause_is_what_ended_it(step):
    async with FakeCluster() as fake:
        connection = await opened(fake)
        fake.script.metadata.append(step)
        asked = asyncio.ensure_future(connection.send(MetadataRequest("t")))
        while not fake.of("metadata"):
            await asyncio.sleep(0.001)
        await fake.brokers[1].drop_connections()
        with pytest.raises(KafkaConnectionError) as raised:
            await asked
        assert isinstance(raised.value.__cause__, EOFError | ConnectionResetError)
        assert not connection.connected()
        await asyncio.sleep(0.01)
        with pytest.raises(KafkaConnectionError):
            await connection.send(MetadataRequest("t"))


async def test_a_connection_that_ends_in_the_handshake_is_the_same_error():
    async with FakeCluster() as fake:
        fake.script.api_versions.append(CLOSE)
        with pytest.raises(KafkaConnectionError) as raised:
            await opened(fake)
        assert isinstance(raised.value.__cause__, EOFError | ConnectionResetError)
        await asyncio.sleep(0.01)


async def test_a_refused_connection_is_the_operating_systems_error():
    with pytest.raises(ConnectionRefusedError):
        await create_conn("127.0.0.1", free_port())


def test_its_errors_are_of_the_kinds_that_we_catch():
    assert issubclass(KafkaConnectionError, KafkaError)
    assert issubclass(SaslAuthenticationFailed, KafkaError)
    assert issubclass(UnsupportedSaslMechanismError, KafkaError)
    assert issubclass(IncompatibleBrokerVersion, KafkaError)
    assert not issubclass(KafkaError, OSError)


# A transport that is taken over


class Buffered(asyncio.BufferedProtocol):
    def __init__(self):
        self.space, self.got = bytearray(1 << 16), b""
        self.whole = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        return self.space

    def buffer_updated(self, nbytes):
        self.got += self.space[:nbytes]
        if len(self.got) == 4 + int.from_bytes(self.got[:4], "big"):
            self.whole.set_result(self.got)

    def connection_lost(self, error):
        self.lost.set_result(error)


@asynccontextmanager
async def tls_before(port, files):
    """A TLS listener that passes connections on."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.broker_keystore)
    tasks = set()

    async def pump(source, target):
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.wait(tasks, timeout=10)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
def test_a_transport_can_be_given_another_protocol(loop, secured, tls):
    async def take_over(fake, port):
        context = ssl.create_default_context(cafile=tls.ca) if secured else None
        connection = await create_conn(
            "localhost", port, ssl_context=context,
            security_protocol="SSL" if secured else "PLAINTEXT",
        )  # fmt: skip
        protocol, transport = Buffered(), connection._writer.transport
        try:
            connection._read_task.cancel()
            transport.set_protocol(protocol)
            transport.write(struct.pack(">ihhih2s", 12, 18, 0, 77, 2, b"me"))
            answer = await asyncio.wait_for(protocol.whole, 10)
            assert answer[4:10] == struct.pack(">ih", 77, 0)
        finally:
            connection.close()
        assert await asyncio.wait_for(protocol.lost, 10) is None
        transport.abort()
        await asyncio.sleep(0.01)

    async def run():
        async with FakeCluster() as fake:
            if secured:
                async with tls_before(fake.brokers[1].port, tls) as port:
                    await take_over(fake, port)
            else:
                await take_over(fake, fake.brokers[1].port)

    LOOPS[loop](run())


# Requests and structs


class _Answer(Response):
    API_KEY = 300
    API_VERSION = 2
    SCHEMA = Schema(
        ("code", Int16), ("names", CompactArray(("name", CompactString()), ("rank", Int16)))
    )


class _Ask(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 300
    API_VERSION = 2
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(("number", Int32), ("list", Array(Int16)))


class _Question(Request[_Ask]):
    API_KEY = 300

    def build(self, request_struct_class):
        return request_struct_class(5, [1, 2])


def test_a_request_is_built_in_the_version_that_the_broker_offers():
    built = _Question().prepare({300: (0, 9)})
    assert isinstance(built, _Ask)
    assert built.encode() == struct.pack(">iihh", 5, 2, 1, 2)
    with pytest.raises(NotImplementedError):
        _Question().prepare({300: (3, 9)})
    with pytest.raises(IncompatibleBrokerVersion):
        _Question().prepare({})


def test_a_flexible_request_has_a_header_with_tags_and_takes_one():
    built = _Question().prepare({300: (0, 9)})
    header = built.build_request_header(correlation_id=7, client_id="me").encode()
    assert header == struct.pack(">hhih2sb", 300, 2, 7, 2, b"me", 0)
    parsed = built.parse_response_header(struct.pack(">ib", 7, 0))
    assert parsed.correlation_id == 7


def test_a_struct_has_its_fields_by_name_and_its_parts_as_tuples():
    answer = _Answer.decode(struct.pack(">hb", 9, 3) + b"\2a\0\1\3bb\0\2")
    assert isinstance(answer, Struct)
    assert (answer.code, answer.names) == (9, [("a", 1), ("bb", 2)])


def test_our_metadata_request_is_what_kafka_reads():
    built = MetadataRequest("topic").prepare({3: (0, 12)})
    read = decode(APIS[3].request, built.encode(), 12, True)
    assert read["topics"] == [{"topic_id": uuid.UUID(int=0), "name": "topic"}]
    assert read["allow_auto_topic_creation"] is False
    written = {"brokers": [{"node_id": 1, "host": "h", "port": 2, "rack": None}],
               "cluster_id": "c", "topics": [{"name": "topic", "topic_id": uuid.UUID(int=5),
                                              "partitions": [{"partition": 3, "leader_id": 1,
                                                              "leader_epoch": 4}]}]}  # fmt: skip
    answer = built.RESPONSE_TYPE.decode(encode(APIS[3].response, written, 12, True))
    assert (answer.cluster_id, answer.brokers[0][:3]) == ("c", (1, "h", 2))
    assert answer.topics[0][1:3] == ("topic", uuid.UUID(int=5))
    assert answer.topics[0][4][0][1:4] == (3, 1, 4)


def test_our_list_offsets_request_is_what_kafka_reads():
    built = ListOffsetsRequest("topic", [(3, 4)], -1).prepare({2: (0, 9)})
    read = decode(APIS[2].request, built.encode(), 5, False)
    assert (read["replica_id"], read["isolation_level"]) == (-1, 0)
    part = {"partition": 3, "current_leader_epoch": 4, "timestamp": -1}
    assert read["topics"] == [{"name": "topic", "partitions": [part]}]


def test_aiokafkas_own_list_offsets_request_still_writes_the_leader_epoch_too_wide():
    """Once this is red, `wire.ListOffsetsRequest` may be aiokafka's."""
    topics = [("topic", [(3, 4, -1)])]
    right = ListOffsetsRequest("topic", [(3, 4)], -1).prepare({2: (0, 9)}).encode()
    assert len(OffsetRequest_v5(-1, 0, topics).encode()) == len(right) + 4


async def test_describe_configs_gives_names_and_values():
    async with FakeCluster() as fake:
        fake.add_topic("t", cleanup_policy="compact")
        connection = await opened(fake)
        answer = await connection.send(DescribeConfigsRequest([(2, "t", None)]))
        code, _, _, name, entries = answer.resources[0]
        assert (code, name, entries[0][:2]) == (0, "t", ("cleanup.policy", "compact"))
        await closed(connection)
    versions = [each.API_VERSION for each in DescribeConfigsRequest._CLASSES]
    assert versions == [0, 1, 2]


def test_the_version_request_needs_no_versions():
    assert ApiVersionRequest().prepare({}).API_VERSION == 0


# The record decoder

PACK = {
    "none": None,
    "gzip": gzip.compress,
    "snappy": cramjam.snappy.compress_raw,
    "snappy of Java": snappy_encode,
    "lz4": cramjam.lz4.compress,
    "zstd": cramjam.zstd.compress,
}
RECORDS = [Rec(b"k%d" % n, b"v" * n, [(b"h", None)] if n % 2 else (), 1000 + n) for n in range(9)]


def packed(codec, records=RECORDS, **options):
    how = PACK[codec]
    compress = None if how is None else lambda data: bytes(how(data))
    return batch(records, codec=codec.split()[0], compress=compress, **options)


def test_the_decoder_is_the_compiled_one():
    assert DefaultRecordBatch.__module__ == "aiokafka.record._crecords.default_records"


@pytest.mark.parametrize("codec", PACK)
def test_a_batch_is_decoded_out_of_the_middle_of_a_buffer(codec):
    data = packed(codec, base_offset=40)
    buffer = bytearray(b"x" * 7 + data + b"y" * 9)
    decoded = DefaultRecordBatch(memoryview(buffer)[7 : 7 + len(data)])
    assert decoded.attributes & 7 == ("none", "gzip", "snappy", "lz4", "zstd").index(
        codec.split()[0]
    )
    read = [(r.offset, r.key, r.value, r.timestamp, r.headers) for r in decoded]
    assert read == [
        (40 + n, r.key, r.value, r.timestamp_ms, [("h", None)] if r.headers else [])
        for n, r in enumerate(RECORDS)
    ]


def test_what_a_record_gives_is_a_copy():
    buffer = bytearray(packed("none"))
    records = list(DefaultRecordBatch(memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert [(r.key, r.value) for r in records] == [(r.key, r.value) for r in RECORDS]


def test_null_and_empty_keys_and_values_differ():
    pairs = [(None, b""), (b"", None), (None, None), (b"", b"")]
    assert [(r.key, r.value) for r in DefaultRecordBatch(batch(pairs))] == pairs


def test_a_timestamp_is_a_number_also_where_the_producer_gave_none():
    assert [r.timestamp for r in DefaultRecordBatch(batch([(b"k", b"v")], timestamp_ms=-1))] == [-1]


def test_a_batch_with_append_time_gives_its_greatest_timestamp_to_all():
    data = batch([Rec(b"a", b"", (), 5), Rec(b"b", b"", (), 9)], timestamp_ms=5, append_time=True)
    assert [record.timestamp for record in DefaultRecordBatch(data)] == [9, 9]


def test_the_decoder_itself_checks_no_checksum():
    read = DefaultRecordBatch(batch([(b"a", b"1")], wrong_crc=True))
    assert [record.key for record in read] == [b"a"]


def test_iter_begins_the_records_once_and_asserts_in_their_middle():
    decoded = DefaultRecordBatch(packed("none"))
    assert iter(decoded) is decoded
    next(decoded)
    with pytest.raises(AssertionError):
        iter(decoded)


def test_the_records_before_a_bad_one_are_given():
    decoded = iter(DefaultRecordBatch(batch([Rec(b"a", b"1"), Rec(b"b", b"2", [(b"\xff", b"")])])))
    assert next(decoded).key == b"a"
    with pytest.raises(UnicodeDecodeError):
        next(decoded)


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_records_is_corrupt(count):
    with pytest.raises(CorruptRecordException):
        list(DefaultRecordBatch(batch([(b"a", b"1")], record_count=count)))


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_is_named(codec):
    data = bytearray(batch([(b"a", b"1")]))
    data[22] = codec
    with pytest.raises(UnsupportedCodecError):
        list(DefaultRecordBatch(data))


_DAMAGE = """
import random, sys
sys.path.insert(0, sys.argv[1])
from contract.test_aiokafka import damaged
from aiokafka.record.default_records import DefaultRecordBatch
chance = random.Random(int(sys.argv[2]))
good = bad = 0
for _ in range(4000):
    try:
        good += len(list(DefaultRecordBatch(memoryview(damaged(chance))))) >= 0
    except Exception:
        bad += 1
print(good, bad)
"""


def damaged(chance):
    """A batch with some bytes changed, before or after it was compressed, or with its end off."""

    def spoil(data, first):
        data = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(first, len(data))] = chance.choice([0, 0x7F, 0x80, 0xFF, 3])
        return bytes(data[: chance.randrange(first, len(data))] if chance.random() < 0.2 else data)

    codec, inside = chance.choice(list(PACK)), chance.random() < 0.5
    records = [Rec(b"k%d" % n, chance.randbytes(20), [(b"h", b"v")]) for n in range(3)]
    how = PACK[codec] or bytes
    name = codec.split()[0]
    if inside and name != "none":
        return batch(records, codec=name, compress=lambda data: bytes(how(spoil(data, 0))))
    return spoil(batch(records, codec=name, compress=lambda data: bytes(how(data))), 61)


def test_damaged_batches_raise_exceptions_and_do_not_crash():
    tests = str(Path(__file__).parents[1])
    seed = str(random.Random(14).randrange(1 << 30))
    done = subprocess.run(
        [sys.executable, "-c", _DAMAGE, tests, seed], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    good, bad = map(int, done.stdout.split())
    assert good > 100 < bad
