"""A topic is examined on a scripted cluster: every fault stands where it belongs."""

import time

import pytest
from support.fake_broker import SILENT, FakeCluster, always, edit
from support.following import addresses, boottime

from sidecar.core.served import incarnation_of
from sidecar.kafka.examine import Sample, examine
from sidecar.kafka.settings import KafkaSettings


async def facts(fake, topic="t", *, limit_s=10.0, **settings):
    known = KafkaSettings(bootstrap=addresses(fake.bootstrap_servers), **settings)
    return await examine(known, topic, boottime, limit_s=limit_s)


async def test_a_topic_shows_its_identity_ends_settings_and_a_sample():
    async with FakeCluster(2) as fake:
        topic = fake.add_topic("t", 2, cleanup_policy="compact")
        topic[1].leader = 2
        topic[0].write([(b"key", b"value"), (b"gone", None), (None, b"no key")])
        topic[1].next_offset = topic[1].log_start_offset = 40
        topic[1].write([(b"k", b"v")])
        found = await facts(fake)
        assert [(one.node, one.fault) for one in found.brokers] == [(1, ""), (2, "")]
        assert found.topic_id == str(topic.topic_id)
        assert found.incarnation == incarnation_of("fake-cluster", str(topic.topic_id))
        assert found.config == {"cleanup.policy": "compact"}
        assert [part[2:5] for part in found.partitions] == [(0, 3, 3), (40, 41, 41)]
        assert found.sample == Sample(records=3, tombstones=1, payload_bytes=8 + 4 + 2)


async def test_it_only_reads():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        await facts(fake)
        apis = {"api_versions", "metadata", "list_offsets", "fetch", "describe_configs"}
        assert set(fake.counts()) == apis
        assert not any(one.body["allow_auto_topic_creation"] for one in fake.of("metadata"))


async def test_a_missing_topic_is_asked_nothing_more():
    async with FakeCluster() as fake:
        found = await facts(fake)
        assert (found.error_code, found.partitions, found.sample) == (3, (), None)
        assert "list_offsets" not in fake.counts()


async def test_an_open_transaction_ends_before_the_high_watermark():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.write([(b"b", b"2")], transactional=True, producer_id=5)
        (told,) = (await facts(fake)).partitions
        assert (told.high_watermark, told.last_stable_offset) == (2, 1)


async def test_a_fetch_that_is_refused_is_told_by_name():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        fake.script.fetch.append(edit(error_code=29))
        found = await facts(fake)
        assert found.sample.errors == {"TOPIC_AUTHORIZATION_FAILED"}


async def test_settings_that_are_refused_are_left_empty():
    async with FakeCluster() as fake:
        fake.add_topic("t", cleanup_policy="compact")
        fake.script.describe_configs.append(
            lambda _, answer: answer["results"][0].update(error_code=29, configs=[])
        )
        found = await facts(fake)
        assert found.config == {}
        assert found.sample is not None


async def test_aborted_records_and_markers_are_no_sample():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")], transactional=True, producer_id=5)
        part.abort(5)
        assert (await facts(fake)).sample == Sample()


async def test_a_batch_with_a_wrong_crc_is_told():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")], wrong_crc=True)
        (fault,) = (await facts(fake)).sample.faults
        assert "wrong CRC" in fault


async def test_partitions_without_a_leader_or_with_a_lost_one_say_so():
    async with FakeCluster(2) as fake:
        topic = fake.add_topic("t", 3)
        topic[1].leader, topic[2].leader = -1, 2
        await fake.brokers[2].stop()
        found = await facts(fake)
        first, second, third = found.partitions
        assert (first.fault, second.fault) == ("", "it has no leader")
        assert "refuses connections" in third.fault
        assert [bool(one.fault) for one in found.brokers] == [False, True]


async def test_a_leader_that_answers_an_error_is_told_by_its_name():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        fake.script.list_offsets.append(always(edit(error_code=6)))
        found = await facts(fake)
        assert found.partitions[0].fault == "its leader answers NOT_LEADER_OR_FOLLOWER"
        assert found.sample is None


async def test_an_old_broker_is_told_apart_from_a_lost_one():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        fake.brokers[1].versions[1] = (0, 11)
        (broker,) = (await facts(fake)).brokers
        assert broker.too_old
        assert "Kafka 3.1 or newer is needed" in broker.fault


async def test_no_broker_at_all():
    async with FakeCluster() as fake:
        await fake.brokers[1].stop()
        found = await facts(fake)
        assert found.error_code is None
        assert fake.brokers[1].address in found.brokers[0].fault


@pytest.mark.parametrize("api", ["api_versions", "metadata", "list_offsets", "fetch"])
async def test_a_silent_broker_is_named_within_the_limit(api):
    async with FakeCluster() as fake:
        fake.add_topic("t")
        getattr(fake.script, api).append(always(SILENT))
        began = time.monotonic()
        found = await facts(fake, limit_s=1.2)
        assert time.monotonic() - began < 5
        named = [one.fault for one in (*found.brokers, *found.partitions) if one.fault]
        named += found.sample.faults if found.sample else ()
        assert fake.brokers[1].address in named[0]


async def test_what_is_known_when_the_time_is_over_is_kept():
    async with FakeCluster(6) as fake:
        fake.add_topic("t")
        for broker in fake.brokers.values():
            broker.script.metadata.append(always(SILENT))
        found = await facts(fake, limit_s=0.6)
        assert found.brokers[0].node == -1
        assert all(broker.address in found.brokers[0].fault for broker in fake.brokers.values())
