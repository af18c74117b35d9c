"""The main job on a real broker: a whole topic, byte for byte, and nothing else.

One topic of two million records over four partitions and an empty fifth, compacted for
real, in all codecs, with every kind of tail. The oracle is librdkafka's own reading of
the log (`support.oracle`), never what was written.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from confluent_kafka import KafkaException, Producer
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from support.admin import QUICKLY_COMPACTED
from support.compaction import FILLER
from support.oracle import Folded, fold, read_topic
from support.producing import Outgoing, produce, transaction
from support.serving import Serving

from sidecar._pb import cache_pb2, cache_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kafka import KafkaCluster

_TYPES = {
    cache_pb2.TIMESTAMP_TYPE_CREATE_TIME: "create",
    cache_pb2.TIMESTAMP_TYPE_LOG_APPEND_TIME: "append",
}


def serve(folder, at: str, topic: str, *arguments: str, settings: str = "", table: str = ""):
    """`sidecar serve` with one table `t`; settings are YAML of the kafka and the table section."""
    config = folder / "config.yaml"
    config.write_text(
        f"kafka: {{bootstrap.servers: '{at}', {settings}}}\n"
        f"tables: {{t: {{topic: {topic}, {table}}}}}\n"
    )
    return Serving(folder, "--config", str(config), *arguments)


@contextlib.contextmanager
def lookups(sidecar: Serving) -> Iterator[Any]:
    with grpc.insecure_channel(sidecar.endpoint) as channel:
        yield cache_pb2_grpc.CacheServiceStub(channel)


def scanned(sidecar: Serving) -> tuple[dict[bytes, Folded], list[bytes]]:
    """The whole table through one Scan, and its keys in the order in which they came."""
    table, keys = {}, []
    with lookups(sidecar) as cache:
        for chunk in cache.Scan(cache_pb2.ScanRequest(table="t"), timeout=120):
            for one in chunk.records:
                assert one.HasField("value")
                table[one.key] = Folded(
                    one.value, one.partition, one.offset, one.timestamp_ms,
                    _TYPES[one.timestamp_type],
                )  # fmt: skip
                keys.append(one.key)
    return table, keys


def details(error: grpc.RpcError) -> tuple[ErrorInfo, RetryInfo]:
    info, retry = ErrorInfo(), RetryInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        detail.Unpack(retry)
    return info, retry


# Two million records

RECORDS = 2_000_000
KEYS = 700_000
PARTITIONS = 4
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COMPACTED = 3
FROZEN = {
    "segment.ms": "604800000",
    "max.compaction.lag.ms": "9223372036854775807",
    "min.cleanable.dirty.ratio": "1.0",
    "delete.retention.ms": "86400000",
}


class Bulk:
    """Writes quickly: no callback for each record, errors are told by those that failed."""

    def __init__(self, at: str, topic: str, codec: str) -> None:
        self._topic = topic
        self._errors: list[Any] = []
        self._producer = Producer(
            {
                "bootstrap.servers": at,
                "compression.type": codec,
                "linger.ms": 50,
                "batch.num.messages": 5000,
                "batch.size": 500_000,
                "queue.buffering.max.messages": 200_000,
                "enable.idempotence": True,
                "delivery.report.only.error": True,
                "on_delivery": lambda error, _: self._errors.append(error),
                "log_level": 0,
            }
        )

    def write(self, numbers: range) -> None:
        produce_one, topic = self._producer.produce, self._topic
        padding = os.urandom(20) + b"." * 60
        for number in numbers:
            # Each key stays in one partition, and is written about three times.
            key = number * 7919 % KEYS
            value = None if number % 97 == 0 else b"%d %s" % (number, padding)
            if number % 101 == 0:
                value = b""
            while True:
                try:
                    produce_one(topic, value, b"key-%09d" % key, key % PARTITIONS)
                except BufferError:
                    self._producer.poll(0.05)
                else:
                    break
        assert self._producer.flush(60) == 0
        assert not self._errors


class Big(NamedTuple):
    topic: str
    table: dict[bytes, Folded]
    records: int
    """That the log still holds."""
    tombstones: int
    null_keys: int
    ends: dict[int, int]


def fill(kafka: KafkaCluster, topic: str) -> None:
    """Write all of it, a codec for each part: the first three are compacted, once."""
    at = kafka.bootstrap_servers
    kafka.create_topic(topic, partitions=PARTITIONS + 1, cleanup_policy="delete", retention_ms=-1)
    nulls = [Outgoing(None, b"null key %d" % n, n % PARTITIONS) for n in range(100)]
    produce(at, topic, nulls)  # only a topic that is not compacted takes them
    part = RECORDS // len(CODECS)
    for place, codec in enumerate(CODECS):
        if place == COMPACTED:
            kafka.alter_topic(topic, **QUICKLY_COMPACTED)
            kafka.wait_compacted(topic, timeout=120)
            kafka.alter_topic(topic, **FROZEN)
            kafka.alter_topic(topic, message_timestamp_type="LogAppendTime")
        Bulk(at, topic, codec).write(range(place * part, (place + 1) * part))
    kafka.alter_topic(topic, cleanup_policy="delete", message_timestamp_type="CreateTime")


def end(kafka: KafkaCluster, topic: str) -> None:
    """Write what only a log's tail can hold, another kind of end for each partition."""
    at = kafka.bootstrap_servers
    for partition in range(PARTITIONS):
        tail = [
            Outgoing(None, b"null key"),
            Outgoing(b"", b"empty key") if partition == 0 else Outgoing(b"e%d" % partition, b""),
            Outgoing(FILLER, None),  # it was written to several partitions, to make them roll
            Outgoing(b"gone-%d" % partition, b"1"),
            Outgoing(b"gone-%d" % partition, None),
        ]
        produce(at, topic, tail, partition=partition)
    transaction(at, topic, [(b"in transaction", b"committed")], "commit", partition=0)
    transaction(at, topic, [(b"in transaction", b"aborted"), (b"e1", None)], "abort", partition=1)
    only_a_marker(at, topic, partition=2)
    transaction(at, topic, [(b"k%d" % n, b"v") for n in range(50)], "commit", partition=3,
                codec="zstd")  # fmt: skip
    produce(at, topic, [(b"last", b"plain")], partition=3)
    kafka.alter_topic(topic, cleanup_policy="compact")


def only_a_marker(at: str, topic: str, partition: int) -> None:
    """A transaction whose only record the broker refused: its abort marker stands alone."""
    with pytest.raises(KafkaException):
        transaction(
            at, topic, [(b"too large", os.urandom(2_000_000))], partition=partition,
            message_max_bytes=4_000_000, transactional_id=f"refused-{topic}",
        )  # fmt: skip
    # The next of its name ends what it began.
    Producer(
        {"bootstrap.servers": at, "transactional.id": f"refused-{topic}", "log_level": 0}
    ).init_transactions(60)


@pytest.fixture(scope="module")
def big(kafka) -> Big:
    """The topic, and what it holds."""
    topic = f"main-job-{os.getpid()}"
    fill(kafka, topic)
    end(kafka, topic)
    log = read_topic(kafka.bootstrap_servers, topic, timeout=120)
    everything = [record for each in log.values() for record in each]
    return Big(
        topic,
        fold(log),
        len(everything),
        sum(record.value is None for record in everything),
        sum(record.key is None for record in everything),
        {number: each[-1].offset + 1 if each else 0 for number, each in log.items()},
    )


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_two_million_records_are_served_as_the_log_has_them(tmp_path, kafka, big):
    # The topic is what it was meant to be.
    assert KEYS / 2 < len(big.table) < KEYS
    assert RECORDS / 2 < big.records < RECORDS * 0.8, "compacted, but not wholly"
    assert big.tombstones > 5000
    assert big.null_keys >= PARTITIONS
    assert big.table[b""].value == b"empty key"
    assert big.table[b"e2"].value == b""
    assert big.table[b"e1"].value == b"", "its tombstone was aborted"
    assert big.table[b"in transaction"].value == b"committed"
    assert {one.timestamp_type for one in big.table.values()} == {"create", "append"}
    assert FILLER not in big.table

    with serve(tmp_path, kafka.bootstrap_servers, big.topic) as sidecar:
        sidecar.until_ready()
        # While entries move to where they stay, another thread may miss the one on its way.
        settled = len(big.table)
        sidecar.until(lambda: sidecar.status()["tables"][0]["entries"] == settled, "all settled")
        told = sidecar.status()["tables"][0]
        assert told["counters"]["null_keys"] == big.null_keys
        for one in told["partitions"]:
            assert one["caught_up"]
            assert one["position"] == one["target"] == one["high_watermark"]
            tail = one["position"] - big.ends[one["partition"]]
            # commit marker; two aborted records and their marker; a marker alone; nothing
            assert tail == {0: 1, 1: 3, 2: 1, 3: 0, 4: 0}[one["partition"]]
        table, keys = scanned(sidecar)
        assert keys == sorted(keys)
        assert len(keys) == len(table)
        assert table == big.table
        verified = sidecar.run("verify")
        assert verified.returncode == 0, verified
        assert "the digests agree" in verified.stdout
        print(
            f"{big.records} records, {len(table)} entries, "
            f"{sidecar.saying('table ready')[0]}, {told['memory_bytes'] >> 20} MiB"
        )
        assert sidecar.stop() == 0


# Behind, and wrong


def test_a_sidecar_that_is_cut_off_is_behind_and_catches_up(
    tmp_path, kafka, kafka_proxy, topic_name
):
    kafka.create_topic(topic_name, partitions=3, cleanup_policy="compact")
    direct = kafka.bootstrap_servers
    produce(direct, topic_name, [(b"k%d" % n, b"1") for n in range(300)])
    with serve(tmp_path, kafka.bootstrap("PROXIED"), topic_name) as sidecar:
        sidecar.until_ready()
        assert sidecar.run("verify", "--bootstrap-servers", direct).returncode == 0
        kafka_proxy.cut()
        produce(direct, topic_name, [(b"k%d" % n, b"2") for n in range(0, 300, 2)])
        behind = sidecar.run("verify", "--bootstrap-servers", direct)
        assert behind.returncode == 3, behind
        assert "behind the log's end by" in behind.stdout
        assert "differs" not in behind.stdout
        unreachable = sidecar.run("verify")
        assert unreachable.returncode == 4, unreachable
        kafka_proxy.heal()
        sidecar.until(lambda: sidecar.status()["tables"][0]["counters"]["records"] == 450, "450")
        healed = sidecar.run("verify", "--bootstrap-servers", direct)
        assert healed.returncode == 0, healed
        assert "Traceback" not in sidecar.output


class InProcess:
    """A sidecar in this process, on a thread and a loop of its own, so that a test can alter it."""

    def __init__(self, at: str, topic: str, endpoint: str, http: str) -> None:
        import asyncio

        from sidecar.app import Sidecar
        from sidecar.ops.config import load

        flags = {
            "kafka": {"bootstrap.servers": at},
            "tables": {"t": {"topic": topic}},
            "listen": [endpoint],
            "http": http,
        }
        self.sidecar = Sidecar(load(None, {}, flags))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        import asyncio

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.sidecar.run(self._stop))
        self._loop.close()

    def call(self, step) -> None:
        """Run a function on its loop."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (step(), done.set()))
        assert done.wait(30)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)


class Planted(NamedTuple):
    """A record that no log holds."""

    offset: int
    key: bytes
    value: bytes | None
    timestamp: int
    headers: tuple[()] = ()


def test_a_wrong_entry_is_found_and_named(kafka, topic_name):
    import gc

    from support.serving import free_address, run

    from sidecar.core.model import origin_of

    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    produce(kafka.bootstrap_servers, topic_name, [(b"k%d" % n, b"v") for n in range(100)])
    endpoint, http = free_address(), free_address()
    here = InProcess(kafka.bootstrap_servers, topic_name, endpoint, http)
    try:
        assert run("wait", "--ready", "--timeout", "60", "-e", endpoint).returncode == 0
        assert run("verify", "-e", endpoint).returncode == 0
        table = here.sidecar.tables["t"].view.table
        entry = table.get(b"k7")
        partition, offset, timestamp = entry[1] >> 1, entry[2], entry[3]

        def plant(value: bytes | None) -> None:
            table.apply([Planted(offset, b"k7", value, timestamp)], origin_of(partition, 0))

        for value, why in ((b"wrong", "value is not the log's"), (None, "the sidecar lacks it")):
            here.call(lambda value=value: plant(value))
            found = run("verify", "-e", endpoint)
            assert found.returncode == 1, found
            assert "differs from topic" in found.stdout
            lines = [line for line in found.stdout.splitlines() if line.startswith("  k")]
            assert len(lines) == 1
            assert lines[0].startswith(f"  k7  partition {partition}: ")
            assert why in lines[0], lines[0]
    finally:
        here.end()
        gc.unfreeze()


# Not ready is never absent


def test_lookups_before_ready_are_unavailable_and_never_absent(
    tmp_path, kafka, kafka_proxy, topic_name
):
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    keys = [b"k%d" % n for n in range(3000)]
    produce(kafka.bootstrap_servers, topic_name, [(key, os.urandom(1000)) for key in keys])
    kafka_proxy.slow(2_000_000)
    refused, answered = [], []
    with serve(tmp_path, kafka.bootstrap("PROXIED"), topic_name) as sidecar:
        sidecar.until_listens()
        with lookups(sidecar) as cache:
            request = cache_pb2.MultiGetRequest(table="t", keys=[keys[0], keys[-1], keys[1500]])
            deadline = time.monotonic() + 120
            while len(answered) < 20:
                assert time.monotonic() < deadline
                try:
                    answered.append(cache.MultiGet(request, timeout=30))
                except grpc.RpcError as error:
                    assert not answered, "it was ready once"
                    refused.append(error)
        kafka_proxy.heal()
        assert "Traceback" not in sidecar.output
    assert len(refused) > 20
    for error in refused:
        info, retry = details(error)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert info.reason == "BOOTSTRAPPING"
        assert info.domain == "kafkacache"
        assert retry.retry_delay.ToMilliseconds() > 0
    found = {one.presence for answer in answered for one in answer.results}
    assert found == {cache_pb2.PRESENCE_FOUND}


# Transactions


def test_an_open_transaction_is_a_named_wait(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    at = kafka.bootstrap_servers
    produce(at, topic_name, [(b"before", b"1")], partition=0)
    begun = transaction(at, topic_name, [(b"inside", b"2")], "open", partition=0)
    produce(at, topic_name, [(b"behind", b"3")], partition=0)
    with serve(tmp_path, at, topic_name) as sidecar:
        sidecar.until_listens()
        sidecar.until(lambda: "open transaction" in sidecar.run("status").stdout, "the wait")
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "1 of 2 partitions caught up" in told.stdout
        assert "an open transaction has held offset 1 back for" in told.stdout
        assert "do:   end the open transaction" in told.stdout
        described = sidecar.run("describe", "t").stdout
        assert "an open transaction has held offset 1 back" in described
        partition = sidecar.status()["tables"][0]["partitions"][0]
        assert partition["wait"] == "OPEN_TRANSACTION"
        assert (partition["position"], partition["last_stable_offset"]) == (1, 1)
        asked = sidecar.run("get", "before")
        assert asked.returncode == 3
        assert "open transaction" in asked.stderr
        assert sidecar.run("wait", "--ready", "--timeout", "1").returncode == 5
        begun.commit()
        sidecar.until_ready()
        for key, value in (("before", "1"), ("inside", "2"), ("behind", "3")):
            assert sidecar.run("get", key, "-o", "value").stdout == value
        assert sidecar.run("verify").returncode == 0


def test_an_open_transaction_is_not_waited_for_for_ever(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="compact")
    at = kafka.bootstrap_servers
    produce(at, topic_name, [(b"before", b"1")])
    begun = transaction(at, topic_name, [(b"inside", b"2")], "open")
    with serve(tmp_path, at, topic_name, table="open_transaction_wait_ms: 1500") as sidecar:
        sidecar.until_ready()
        assert len(sidecar.saying("open transaction is no longer waited for")) == 1
        assert sidecar.run("get", "inside").returncode == 1
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "staleness is not known" in told.stdout
        assert "open transaction" in told.stdout
        begun.abort()
        sidecar.until(lambda: sidecar.run("status").returncode == 0, "known to be current")
        assert sidecar.run("get", "inside").returncode == 1
        assert sidecar.run("verify").returncode == 0


def test_an_aborted_tail_and_a_compacted_tail_hold_nothing_up(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, partitions=2, **QUICKLY_COMPACTED)
    at = kafka.bootstrap_servers
    for value in range(30):
        produce(at, topic_name, [(b"a", b"%d" % value)], partition=0)
    produce(at, topic_name, [(b"b", b"1"), (b"b", None)], partition=1)
    kafka.wait_compacted(topic_name, tombstones=True)
    transaction(at, topic_name, [(b"a", b"never")] * 20, "abort", partition=0)
    with serve(tmp_path, at, topic_name) as sidecar:
        sidecar.until_ready()
        assert not sidecar.saying("waits")
        assert sidecar.run("get", "a", "-o", "value").stdout == "29"
        assert sidecar.run("get", "b").returncode == 1
        assert sidecar.run("verify").returncode == 0


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_each_isolation_level_is_the_independent_readers(tmp_path, kafka, topic_name, isolation):
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    at = kafka.bootstrap_servers
    for partition, outcome in enumerate(("commit", "abort")):
        keys = [b"%d-%d" % (partition, n) for n in range(20)]
        produce(at, topic_name, [(key, b"plain") for key in keys[:15]], partition=partition)
        inside = [(keys[3], None), (keys[4], b""), *((key, b"inside") for key in keys[10:])]
        transaction(at, topic_name, inside, outcome, partition=partition)
    truth = fold(read_topic(at, topic_name, isolation))
    assert (b"1-19" in truth) == (isolation == "read_uncommitted")
    with serve(tmp_path, at, topic_name, settings=f"isolation.level: {isolation}") as sidecar:
        sidecar.until_ready()
        assert scanned(sidecar)[0] == truth
        assert sidecar.run("verify").returncode == 0


# Headers


def test_headers_are_kept_where_the_table_says_so(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact")
    at = kafka.bootstrap_servers
    pairs = [("a", b"1"), ("a", b"2"), ("", b""), ("null", None), ("ключ", b"\xff\x00")]
    produce(
        at,
        topic_name,
        [
            Outgoing(b"with", b"v", 0, headers=pairs),
            Outgoing(b"without", b"v", 1),
            Outgoing(b"many", b"v", 1, headers=[(f"h{n}", b"x") for n in range(1000)]),
        ],
        codec="lz4",
    )
    truth = {
        record.key: record.headers
        for each in read_topic(at, topic_name).values()
        for record in each
    }
    with serve(tmp_path, at, topic_name, table="headers: true") as sidecar:
        sidecar.until_ready()
        with lookups(sidecar) as cache:
            request = cache_pb2.MultiGetRequest(
                table="t", keys=list(truth), view=cache_pb2.VIEW_FULL
            )
            results = cache.MultiGet(request, timeout=30).results
        served = {
            one.record.key: tuple(
                (each.key.decode(), each.value if each.HasField("value") else None)
                for each in one.record.headers
            )
            for one in results
        }
        assert served == truth
        assert served[b"with"] == tuple(pairs)
        assert sidecar.run("verify").returncode == 0


@pytest.mark.parametrize("records", [[], [(b"a", b"1")]], ids=["empty", "one record"])
def test_the_first_answer_of_a_quiet_topic_says_how_old_it_is(tmp_path, kafka, topic_name, records):
    """Ready and of unknown age would fail every call that states a bound."""
    kafka.create_topic(topic_name, partitions=3, cleanup_policy="compact")
    produce(kafka.bootstrap_servers, topic_name, records)
    bound = cache_pb2.Freshness(max_staleness_ms=60_000)
    with (
        serve(tmp_path, kafka.bootstrap_servers, topic_name) as sidecar,
        lookups(sidecar) as cache,
    ):
        request = cache_pb2.GetRequest(table="t", key=b"a", freshness=bound)
        refused: list[str] = []
        answer = None
        while answer is None:
            try:
                answer = cache.Get(request, timeout=30, wait_for_ready=True)
            except grpc.RpcError as error:
                refused.append(details(error)[0].reason)
        assert set(refused) <= {"BOOTSTRAPPING"}
        found = answer.presence == cache_pb2.PRESENCE_FOUND
        assert found == bool(records)
        assert answer.state.HasField("staleness_ms")
        assert not sidecar.saying("WARN")
