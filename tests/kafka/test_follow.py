"""A real Kafka broker, followed: the table is what an independent reader folds from the log."""

import asyncio
import random
from contextlib import suppress

import pytest
from support.admin import QUICKLY_COMPACTED
from support.following import boottime, following
from support.kafka import KafkaCluster
from support.oracle import fold, read_topic
from support.producing import Outgoing, produce, transaction

from sidecar.core.errors import Reason, Refused
from sidecar.core.model import HEADERS
from sidecar.core.progress import Wait
from sidecar.kafka.errors import TopicGone

LEVELS = ["read_committed", "read_uncommitted"]
# Records with a null key go to no compacted topic, and old ones are not to be deleted.
KEPT = {"retention.ms": "-1"}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


async def oracle(cluster, topic, isolation="read_committed"):
    return await asyncio.to_thread(read_topic, cluster.bootstrap_servers, topic, isolation)


async def until_same(table, cluster, topic, isolation="read_committed"):
    """Wait until the table is the oracle's, byte for byte, and give the oracle's records.

    The oracle may have come too early: a commit returns before its markers are written, and
    under read_committed the log ends before them. Then it reads once more.
    """
    for seconds in (5, 30):
        records = await oracle(cluster, topic, isolation)
        expected = fold(records)
        with suppress(TimeoutError):
            await table.until(
                lambda expected=expected: table.served.view and table.table() == expected,
                "the oracle's table", timeout=seconds,
            )  # fmt: skip
            return records
    raise AssertionError(f"{table!r} is not the oracle's table")


class Writer:
    """Writes a topic with something of everything; the same for the same seed.

    A key is only ever written to one partition: what becomes of one that is in several
    is another matter.
    """

    def __init__(self, cluster, topic, partitions, seed):
        self.at, self.topic, self.partitions = cluster.bootstrap_servers, topic, partitions
        self.chance = random.Random(seed)
        self.stamp = 1_700_000_000_000

    def records(self, partition, most=30):
        return [self._record(partition) for _ in range(self.chance.randrange(1, most))]

    def round(self):
        partition, codec = self.chance.randrange(self.partitions), self.chance.choice(CODECS)
        records = self.records(partition)
        kind = self.chance.random()
        if kind < 0.6:
            produce(self.at, self.topic, records, codec=codec, partition=partition)
        else:
            outcome = "commit" if kind < 0.8 else "abort"
            transaction(self.at, self.topic, records, outcome, codec=codec, partition=partition)

    def _record(self, partition):
        chance = self.chance
        self.stamp += chance.randrange(-50, 500)
        key = chance.choice([None, b"" if partition == 0 else b"p%d" % partition, b"k"])
        if key == b"k":
            key = b"%d of %d" % (chance.randrange(25), partition)
        value = chance.choice([None, b"", chance.randbytes(chance.randrange(200)), b"v" * 500])
        headers = [("h", b"1"), ("h", None), ("ü", b"")][: chance.randrange(4)]
        return Outgoing(key, value, partition, self.stamp, headers)


# The fold of anything


@pytest.mark.parametrize(("seed", "stamps"), [(1, "CreateTime"), (2, "LogAppendTime")])
async def test_a_table_is_the_fold_of_the_log(kafka, topic_name, seed, stamps):
    kafka.create_topic(topic_name, 4, **KEPT, **{"message.timestamp.type": stamps})
    writer = Writer(kafka, topic_name, 3, seed)  # the fourth partition stays empty
    for _ in range(25):
        await asyncio.to_thread(writer.round)
    kafka.delete_records(topic_name, {1: 5})
    # Nothing but markers at the ends of two partitions, and a transaction that stays open.
    for partition, outcome in ((0, "abort"), (1, "commit")):
        transaction(
            writer.at, topic_name, writer.records(partition, 3), outcome, partition=partition
        )
    begun = transaction(writer.at, topic_name, writer.records(2), "open", partition=2)
    await asyncio.to_thread(produce, writer.at, topic_name, writer.records(2), partition=2)
    for isolation in LEVELS:
        async with following(
            kafka.bootstrap_servers,
            topic_name,
            headers=True,
            isolation_level=isolation,
            open_transaction_wait_s=0.1,
        ) as table:
            await table.until_ready()
            records = await until_same(table, kafka, topic_name, isolation)
            by_offset = {(r.partition, r.offset): r for each in records.values() for r in each}
            for key, folded in table.table().items():
                headers = by_offset[folded.partition, folded.offset].headers
                assert (table.view.table.get(key)[HEADERS:] or ((),))[0] == headers
            counted = table.view.table.counters
            assert counted.records + counted.null_keys == len(by_offset)
            if isolation == "read_uncommitted":
                await asyncio.to_thread(begun.abort)
                await until_same(table, kafka, topic_name, isolation)
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        await until_same(table, kafka, topic_name)


async def test_a_compacted_log_gives_the_same_table_to_old_and_new_readers(kafka, topic_name):
    kafka.create_topic(topic_name, **QUICKLY_COMPACTED)
    records = [(b"k%d" % (n % 40), b"%d" % n) for n in range(400)]
    records += [(b"k%d" % n, None) for n in range(10)]
    async with following(kafka.bootstrap_servers, topic_name) as old:
        await asyncio.to_thread(produce, kafka.bootstrap_servers, topic_name, records)
        before = await until_same(old, kafka, topic_name)
        await asyncio.to_thread(kafka.wait_compacted, topic_name, tombstones=True)
        after = await until_same(old, kafka, topic_name)
        assert len(after[0]) < len(before[0]) == 410
        assert fold(after).items() >= fold(before).items()
        async with following(kafka.bootstrap_servers, topic_name) as new:
            await new.until_ready()
            await until_same(new, kafka, topic_name)
            assert new.table() == old.table()


async def test_a_topic_with_nothing_left_in_it_is_ready_at_once(kafka, topic_name):
    kafka.create_topic(topic_name, 3)
    transaction(kafka.bootstrap_servers, topic_name, [(b"a", b"1")], "abort", partition=1)
    produce(kafka.bootstrap_servers, topic_name, [(b"gone", b"1")] * 5, partition=2)
    kafka.delete_records(topic_name, {2: -1})
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        assert table.table() == {}
        assert table.positions() == {0: 0, 1: 2, 2: 5}
        assert table.progress(2).bounds.log_start_offset == 5


async def test_large_values_and_many_batches_arrive_whole(kafka, topic_name):
    kafka.create_topic(topic_name, 2, **{"max.message.bytes": "8000000"})
    chance = random.Random(3)
    records = [(b"%d" % n, chance.randbytes(chance.randrange(60_000))) for n in range(100)]
    records.append((b"large", chance.randbytes(5_000_000)))
    await asyncio.to_thread(
        produce, kafka.bootstrap_servers, topic_name, records, message_max_bytes=9_000_000
    )
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        await until_same(table, kafka, topic_name)


# The tail


async def test_what_is_written_is_seen(kafka, topic_name):
    kafka.create_topic(topic_name, 3, **KEPT)
    writer = Writer(kafka, topic_name, 3, 4)
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        for _ in range(10):
            await asyncio.to_thread(writer.round)
            await until_same(table, kafka, topic_name)
        assert table.broker_errors == []


@pytest.mark.parametrize("outcome", ["commit", "abort"])
async def test_an_open_transaction_is_a_named_wait_until_it_ends(kafka, topic_name, outcome):
    kafka.create_topic(topic_name)
    at = kafka.bootstrap_servers
    produce(at, topic_name, [(b"a", b"1")])
    begun = transaction(at, topic_name, [(b"tx", b"1")], "open")
    produce(at, topic_name, [(b"b", b"1")])
    async with following(at, topic_name) as table:
        await table.until(
            lambda: table.served.view and table.progress().waiting.wait is Wait.OPEN_TRANSACTION,
            "the wait",
        )
        assert "offset 1 back" in table.progress().waiting.detail
        assert not table.ready
        assert table.values() == {b"a": b"1"}
        await asyncio.to_thread(getattr(begun, outcome))
        await table.until_ready()
        assert table.progress().waiting.wait is Wait.NOTHING
        await until_same(table, kafka, topic_name)
        assert (b"tx" in table.values()) == (outcome == "commit")


async def test_read_uncommitted_waits_for_no_transaction(kafka, topic_name):
    kafka.create_topic(topic_name)
    at = kafka.bootstrap_servers
    begun = transaction(at, topic_name, [(b"tx", b"1")], "open")
    async with following(at, topic_name, isolation_level="read_uncommitted") as table:
        await table.until_ready()
        assert table.values() == {b"tx": b"1"}
        assert table.progress().waiting.wait is Wait.NOTHING
    await asyncio.to_thread(begun.abort)


# Which topic


async def test_a_topic_that_appears_later_is_waited_for_and_never_created(kafka, topic_name):
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until(lambda: len(table.told.troubles) >= 4, "four questions")
        assert table.served.trouble.reason is Reason.TOPIC_MISSING
        assert topic_name not in kafka.topics()
        kafka.create_topic(topic_name)
        produce(kafka.bootstrap_servers, topic_name, [(b"a", b"1")])
        await table.until_ready()
        await until_same(table, kafka, topic_name)


async def test_a_topic_that_is_deleted_is_missing_and_not_created_again(kafka, topic_name):
    kafka.create_topic(topic_name)
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        await asyncio.to_thread(kafka.delete_topic, topic_name)
        await table.until(lambda: table.served.replaced, "replaced")
        await table.until(lambda: table.served.trouble.reason is Reason.TOPIC_MISSING, "missing")
        with pytest.raises(Refused, match=topic_name) as refused:
            table.served.read(boottime())
        assert refused.value.reason is Reason.TOPIC_MISSING
        await asyncio.sleep(2)  # for whoever would create it
        assert topic_name not in kafka.topics()
        assert not table.ready


async def test_a_topic_that_is_created_again_is_another_one(kafka, topic_name):
    kafka.create_topic(topic_name)
    produce(kafka.bootstrap_servers, topic_name, [(b"a", b"1")])
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()

        def again():
            kafka.delete_topic(topic_name)
            kafka.create_topic(topic_name)
            produce(kafka.bootstrap_servers, topic_name, [(b"b%d" % n, b"1") for n in range(5)])

        await asyncio.to_thread(again)
        assert isinstance(await table.ended(), TopicGone)
        await table.until(lambda: table.ready and len(table.values()) == 5, "the new one")
        await until_same(table, kafka, topic_name)


async def test_an_added_partition_is_followed(kafka, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="compact")
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        await asyncio.to_thread(kafka.add_partitions, topic_name, 3)
        records = [(b"%d" % number, b"v") for number in range(100)]
        await asyncio.to_thread(produce, kafka.bootstrap_servers, topic_name, records)
        await table.until(lambda: len(table.view.table) == 100, "read")
        truth = fold(await asyncio.to_thread(read_topic, kafka.bootstrap_servers, topic_name))
        assert table.table() == truth
        assert {folded.partition for folded in truth.values()} == {0, 1, 2}
        assert table.ready


async def test_the_topics_settings_are_known(kafka, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="compact", delete_retention_ms=4321)
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        assert table.served.source[3:] == ("compact", 4321)


# How it is reached


async def test_a_topic_is_followed_over_tls(kafka, tls, topic_name):
    kafka.create_topic(topic_name, 2, **KEPT)
    writer = Writer(kafka, topic_name, 2, 5)
    async with following(
        kafka.bootstrap("SSL"),
        topic_name,
        security_protocol="SSL",
        ssl_ca=str(tls.ca),
        ssl_certificate=str(tls.client_cert),
        ssl_key=str(tls.client_key),
    ) as table:
        await table.until_ready()
        for _ in range(3):
            await asyncio.to_thread(writer.round)
        await until_same(table, kafka, topic_name)


async def test_no_consumer_group_appears(kafka, topic_name):
    kafka.create_topic(topic_name)
    produce(kafka.bootstrap_servers, topic_name, [(b"a", b"1")])

    def groups():
        listed = kafka.admin_client().list_consumer_groups(request_timeout=10).result()
        return {each.group_id for each in listed.valid}

    before = groups()
    async with following(kafka.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        assert await asyncio.to_thread(groups) <= before


async def test_a_network_that_is_cut_or_frozen_is_named_and_heals(kafka, kafka_proxy, topic_name):
    kafka.create_topic(topic_name)
    at = kafka.bootstrap_servers
    async with following(kafka.bootstrap("PROXIED"), topic_name, request_timeout_s=0.5) as table:
        await table.until_ready()
        for number, trouble in enumerate((kafka_proxy.cut, kafka_proxy.freeze)):
            trouble()
            seen = len(table.waited)
            await asyncio.to_thread(produce, at, topic_name, [(b"%d" % number, b"1")])
            await table.until(lambda seen=seen: len(table.waited) > seen, "a wait")
            assert {wait for _, wait, _ in table.waited} == {Wait.BROKER}
            assert table.ready
            kafka_proxy.heal()
            await until_same(table, kafka, topic_name)
        assert table.view.table.counters.records == 2


# Brokers that go and come


@pytest.fixture(scope="module")
def three():
    with KafkaCluster(3) as cluster:
        yield cluster


@pytest.mark.kafka
async def test_leaders_that_are_killed_lose_nothing(three, topic_name):
    three.create_topic(topic_name, 6, 3, **KEPT, **{"min.insync.replicas": "1"})
    writer = Writer(three, topic_name, 6, 6)
    for _ in range(6):
        await asyncio.to_thread(writer.round)
    async with following(three.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        seen = []

        async def watch():
            while True:
                seen.append(tuple(table.positions().values()))
                await asyncio.sleep(0.001)

        watching = asyncio.create_task(watch())
        node = three.leader(topic_name, 0)
        await asyncio.to_thread(three.kill, node)
        for _ in range(4):
            await asyncio.to_thread(writer.round)
        await until_same(table, three, topic_name)
        await asyncio.to_thread(three.start, node)
        for _ in range(4):
            await asyncio.to_thread(writer.round)
        await until_same(table, three, topic_name)
        watching.cancel()
        for number in range(6):
            assert [each[number] for each in seen] == sorted(each[number] for each in seen)
        records = await oracle(three, topic_name)
        counted = table.view.table.counters
        assert counted.records + counted.null_keys == sum(map(len, records.values()))
        assert table.leaders


@pytest.mark.kafka
async def test_brokers_that_restart_one_by_one_at_new_addresses_are_found(three, topic_name):
    three.create_topic(topic_name, 3, 3, **KEPT, **{"min.insync.replicas": "1"})
    writer = Writer(three, topic_name, 3, 7)
    async with following(three.bootstrap_servers, topic_name) as table:
        await table.until_ready()
        for node in (1, 2, 3):
            await asyncio.to_thread(three.move, node)
            writer.at = three.bootstrap_servers
            await asyncio.to_thread(writer.round)
            await until_same(table, three, topic_name)
