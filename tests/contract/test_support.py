"""The tests' own tools do what the tests take for granted."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from support.admin import QUICKLY_COMPACTED, wait_until
from support.fake_broker import CLOSE, SILENT, FakeCluster, always, edit
from support.oracle import fold, read_topic
from support.process import Child
from support.producing import Outgoing, produce, transaction
from support.proxy import TcpProxy

# Processes


def test_a_child_dies_with_the_process_that_started_it(tmp_path):
    pid_file = tmp_path / "pid"
    script = (
        "import pathlib, sys, time; from support.process import Child;"
        "c = Child(['sleep', '600'], pathlib.Path(sys.argv[1] + '.log'));"
        "pathlib.Path(sys.argv[1]).write_text(str(c.pid)); time.sleep(600)"
    )
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(pid_file)], env={**os.environ, "PYTHONPATH": tests}
    ) as parent:
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "the child")
        child = int(pid_file.read_text())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not _alive(child), "the child's end", 10)


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(Child(["sleep", "60"], tmp_path / "log")))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert made[0].running
    made[0].kill()
    assert not made[0].running


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The proxy


@pytest.fixture
def echo():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with TcpProxy("127.0.0.1", listener.getsockname()[1]) as proxy:
        yield proxy
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _connect(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=2)


def test_a_cut_proxy_ends_connections_and_refuses_new_ones(echo):
    with _connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        echo.cut()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
        with pytest.raises(ConnectionRefusedError):
            _connect(echo)
        assert echo.connections == 0
    echo.heal()
    with _connect(echo) as client:
        client.sendall(b"again")
        assert client.recv(10) == b"again"


def test_a_frozen_proxy_keeps_connections_and_loses_nothing(echo):
    with _connect(echo) as old:
        echo.freeze()
        old.sendall(b"held")
        with _connect(echo) as new:
            old.settimeout(0.3)
            with pytest.raises(TimeoutError):
                old.recv(10)
            echo.heal()
            old.settimeout(2)
            assert old.recv(10) == b"held"
            new.sendall(b"new")
            assert new.recv(10) == b"new"


def test_a_slow_proxy_takes_its_time(echo):
    with _connect(echo) as client:
        echo.slow(20_000)
        begun = time.monotonic()
        client.sendall(b"x" * 10_000)
        received = 0
        while received < 10_000:
            received += len(client.recv(1 << 16))
        assert time.monotonic() - begun > 0.3


# The independent reader, on a real broker


def _values(kafka, topic, isolation="read_committed"):
    records = read_topic(kafka.bootstrap_servers, topic, isolation)
    return [[record.value for record in each] for each in records.values()]


def test_the_reader_ends_on_markers_aborted_tails_and_nothing(kafka, topic_name):
    kafka.create_topic(topic_name, partitions=4)
    at = kafka.bootstrap_servers
    produce(at, topic_name, [(b"k", b"plain")], partition=0)
    transaction(at, topic_name, [(b"k", b"committed")], partition=0)
    transaction(at, topic_name, [(b"k", b"tail")], "abort", partition=0)
    transaction(at, topic_name, [(b"k", b"only")], "abort", partition=1)
    produce(at, topic_name, [(b"k", b"gone")], partition=2)
    kafka.delete_records(topic_name, {2: -1})
    assert _values(kafka, topic_name) == [[b"plain", b"committed"], [], [], []]
    assert _values(kafka, topic_name, "read_uncommitted") == [
        [b"plain", b"committed", b"tail"],
        [b"only"],
        [],
        [],
    ]


def test_the_reader_stops_at_an_open_transaction(kafka, topic_name):
    kafka.create_topic(topic_name)
    at = kafka.bootstrap_servers
    begun = transaction(at, topic_name, [(b"a", b"1")], "open")
    produce(at, topic_name, [(b"b", b"2")])
    assert _values(kafka, topic_name) == [[]]
    begun.produce([(b"c", b"3")])
    begun.commit()
    assert _values(kafka, topic_name) == [[b"1", b"2", b"3"]]
    assert [offset for _, offset in begun.written] == [0, 2]


def test_an_open_transaction_whose_producer_is_gone_is_aborted_by_the_broker(kafka, topic_name):
    kafka.create_topic(topic_name)
    at = kafka.bootstrap_servers
    transaction(at, topic_name, [(b"a", b"1")], "open", timeout_ms=1500).close()
    produce(at, topic_name, [(b"b", b"2")])
    assert _values(kafka, topic_name) == [[]]
    wait_until(lambda: _values(kafka, topic_name) == [[b"2"]], "the broker's abort", 30)


def test_records_come_back_as_they_were_written(kafka, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="delete", retention_ms=-1)
    records = [
        Outgoing(None, b"null key", timestamp_ms=5),
        Outgoing(b"", b"empty key", timestamp_ms=6),
        Outgoing(b"empty", b"", timestamp_ms=7, headers=[("h", b"1"), ("h", None), ("", b"")]),
        Outgoing(b"dead", b"x", timestamp_ms=8),
        Outgoing(b"dead", None, timestamp_ms=9),
    ]
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        produce(kafka.bootstrap_servers, topic_name, records, codec=codec)
    read = read_topic(kafka.bootstrap_servers, topic_name)[0]
    assert [(r.key, r.value, r.timestamp_ms) for r in read[-5:]] == [
        (r.key, r.value, r.timestamp_ms) for r in records
    ]
    assert read[2].headers == (("h", b"1"), ("h", None), ("", b""))
    assert fold({0: read}) == {
        b"": (b"empty key", 0, 21, 6, "create"),
        b"empty": (b"", 0, 22, 7, "create"),
    }


def test_compaction_is_waited_for(kafka, topic_name):
    kafka.create_topic(topic_name, **QUICKLY_COMPACTED)
    at = kafka.bootstrap_servers
    produce(at, topic_name, [(b"k", b"%d" % n) for n in range(50)] + [(b"d", b"1"), (b"d", None)])
    before = fold(read_topic(at, topic_name))
    kafka.wait_compacted(topic_name, tombstones=True)
    after = read_topic(at, topic_name)
    assert [r.value for r in after[0] if r.key == b"k"] == [b"49"]
    assert not [r for r in after[0] if r.key == b"d"]
    assert fold(after)[b"k"] == before[b"k"]


# The broker itself


def test_a_topic_is_deleted_and_made_again(kafka, topic_name):
    kafka.create_topic(topic_name, partitions=2)
    assert kafka.topics()[topic_name] == 2
    kafka.add_partitions(topic_name, 3)
    kafka.delete_topic(topic_name)
    assert topic_name not in kafka.topics()
    kafka.create_topic(topic_name)


@pytest.mark.parametrize("listener", ["SSL", "SASL", "PROXIED"])
def test_every_listener_is_served(kafka, kafka_proxy, tls, topic_name, listener):
    kafka.create_topic(topic_name)
    produce(kafka.bootstrap_servers, topic_name, [(b"a", b"1")])
    settings = {
        "SSL": {"security_protocol": "SSL", "ssl_ca_location": str(tls.ca)},
        "SASL": {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256",
                 "sasl_username": "alice", "sasl_password": "alice-secret"},
        "PROXIED": {},
    }[listener]  # fmt: skip
    before = kafka_proxy.accepted
    read = read_topic(kafka.bootstrap(listener), topic_name, **settings)
    assert [record.value for record in read[0]] == [b"1"]
    assert (kafka_proxy.accepted > before) == (listener == "PROXIED")


# The fake broker


async def _call(stream, key, version, body):
    """Speak to a fake broker by hand, in bytes that its own encoder has no part in."""
    reader, writer = stream
    writer.write(struct.pack(">ihhih2s", 12 + len(body), key, version, 7, 2, b"me") + body)
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    return await reader.readexactly(size)


async def test_an_unknown_version_of_api_versions_is_told_in_v0():
    async with FakeCluster() as fake:
        stream = await asyncio.open_connection("127.0.0.1", fake.brokers[1].port)
        answer = await _call(stream, 18, 99, b"\0")
        assert answer[:6] == struct.pack(">ih", 7, 35)
        answer = await _call(stream, 18, 0, b"")
        claimed = len(fake.brokers[1].versions)
        assert answer[:10] == struct.pack(">ihi", 7, 0, claimed)
        assert len(answer) == 10 + 6 * claimed
        stream[1].close()
        await stream[1].wait_closed()


def _read_fake(address, topic, isolation="read_committed"):
    settings = {"reconnect_backoff_ms": "20", "reconnect_backoff_max_ms": "50"}
    return read_topic(address, topic, isolation, timeout=10, **settings)


async def test_librdkafka_reads_a_fake_cluster():
    async with FakeCluster(brokers=2) as fake:
        topic = fake.add_topic("t", partitions=2)
        topic[1].leader = 2
        topic[0].write([(b"a", b"1"), (b"b", None)], codec="gzip")
        topic[0].next_offset = 10
        topic[0].write([(b"gone", b"0")], producer_id=7, transactional=True)
        topic[0].abort(7)
        topic[0].write([(b"c", b"3")], producer_id=7, transactional=True)
        topic[0].commit(7)
        topic[1].write([(b"open", b"0")], producer_id=8, transactional=True)
        read = await asyncio.to_thread(_read_fake, fake.bootstrap_servers, "t")
        assert [(r.offset, r.key, r.value) for r in read[0]] == [
            (0, b"a", b"1"),
            (1, b"b", None),
            (12, b"c", b"3"),
        ]
        assert read[1] == []
        read = await asyncio.to_thread(_read_fake, fake.bootstrap_servers, "t", "read_uncommitted")
        assert [r.key for r in read[0]] == [b"a", b"b", b"gone", b"c"]
        assert [r.key for r in read[1]] == [b"open"]
        assert {r.version for r in fake.of("fetch")} == {13}
        assert not any(r.body["allow_auto_topic_creation"] for r in fake.of("metadata"))


async def test_a_script_comes_before_the_true_answer():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        fake.script.fetch.extend([CLOSE, edit("t", 0, error_code=6), edit(records=b"")])
        read = await asyncio.to_thread(_read_fake, fake.bootstrap_servers, "t")
        assert [record.value for record in read[0]] == [b"1"]
        assert len(fake.of("fetch")) >= 4
        assert not fake.script.fetch


async def test_the_reader_does_not_end_at_a_new_leaders_old_high_watermark():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        early = edit("t", 0, high_watermark=0, last_stable_offset=0, records=b"")
        fake.script.list_offsets.append(edit("t", 0, error_code=78, offset=-1))
        fake.script.fetch.extend([early, early])
        read = await asyncio.to_thread(_read_fake, fake.bootstrap_servers, "t")
        assert [record.value for record in read[0]] == [b"1"]


async def test_a_wrong_crc_is_seen_by_a_reader_that_checks():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")], wrong_crc=True)
        with pytest.raises(KafkaException) as raised:
            await asyncio.to_thread(_read_fake, fake.bootstrap_servers, "t")
        assert raised.value.args[0].code() == KafkaError._BAD_MSG


async def test_silence_lasts_and_a_closed_broker_refuses():
    async with FakeCluster() as fake:
        fake.script.metadata.append(always(SILENT))
        with pytest.raises(KafkaException):
            await asyncio.to_thread(_list_topics, fake.bootstrap_servers)
        assert fake.of("metadata")
        await fake.brokers[1].stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", fake.brokers[1].port)


def _list_topics(address):
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "log_level": 0})
    try:
        consumer.list_topics(timeout=0.5)
    finally:
        consumer.close()


async def test_offsets_and_epochs_are_told_as_kafka_does():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"2")])
        part.truncate(0)
        part.write([(b"c", b"3")])
        assert (part.leader_epoch, part.epoch_end(0), part.epoch_end(1)) == (1, (0, 0), (1, 1))
        low, high = await asyncio.to_thread(_watermarks, fake.bootstrap_servers)
        assert (low, high) == (0, 1)
        assert fake.of("list_offsets")[0].partitions()["t", 0]["timestamp"] in (-1, -2)


def _watermarks(address):
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "log_level": 0})
    try:
        return consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=10)
    finally:
        consumer.close()
