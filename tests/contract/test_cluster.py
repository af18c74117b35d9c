"""The fake cluster answers as a real broker does, in all that the sidecar relies on.

Each test runs on both, and asserts values that are known beforehand. What is not held:
DescribeConfigs of the fake tells only the settings that a test gave, and no defaults.
"""

import asyncio
import uuid

import pytest
from support.clusters import FakeActs, KafkaActs, asking, at, pairs, read, spans
from support.fake_broker import FakeCluster

from sidecar.core.progress import Leader

OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION = 1, 3
UNKNOWN_TOPIC_ID = 100
NOTHING = uuid.UUID(int=0)
CONTROL = 0x20
BOTH = ["fake", pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture(params=BOTH)
async def acts(request):
    """Each cluster in turn."""
    if request.param == "kafka":
        yield KafkaActs(request.getfixturevalue("kafka"))
        return
    async with FakeCluster() as fake:
        yield FakeActs(fake)


@pytest.fixture
async def asked(acts):
    async with asking(acts.address) as each:
        yield each


# Metadata


async def test_metadata_of_a_topic(acts, asked, topic_name):
    acts.create(topic_name, 2)
    told = await asked.metadata(topic_name)
    assert (told.error_code, told.broker) == (0, acts.address)
    assert told.leaders == {0: Leader(1, 0), 1: Leader(1, 0)}
    assert told.topic_id != NOTHING
    host, port = acts.address.split(":")
    assert asked.cluster.brokers == {1: (host, int(port))}


async def test_a_missing_topic_is_an_error_and_is_not_created(acts, asked, topic_name):
    for _ in range(2):
        told = await asked.metadata(topic_name)
        assert told.error_code == UNKNOWN_TOPIC_OR_PARTITION
        assert (told.topic_id, told.leaders) == (NOTHING, {})
    assert topic_name not in acts.topics()


async def test_ids_stay_as_long_as_the_topic(acts, asked, topic_name):
    acts.create(topic_name)
    first = await asked.metadata(topic_name)
    acts.write(topic_name, pairs(b"1"))
    second = await asked.metadata(topic_name)
    assert (first.cluster_id, first.topic_id) == (second.cluster_id, second.topic_id)
    assert first.cluster_id != ""


async def test_a_topic_made_again_has_another_id_and_begins_anew(acts, asked, topic_name):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"1"))
    first = await asked.metadata(topic_name)
    acts.delete(topic_name)
    assert (await asked.metadata(topic_name)).error_code == UNKNOWN_TOPIC_OR_PARTITION
    acts.create(topic_name)
    second = await asked.metadata(topic_name)
    assert second.topic_id not in {first.topic_id, NOTHING}
    assert (second.cluster_id, second.leaders) == (first.cluster_id, {0: Leader(1, 0)})
    assert await asked.ends(topic_name) == ((0, 0), (0, 0), (0, 0))


async def test_added_partitions_are_told(acts, asked, topic_name):
    acts.create(topic_name)
    before = await asked.metadata(topic_name)
    acts.grow(topic_name, 3)
    after = await asked.metadata(topic_name)
    assert after.leaders == {number: Leader(1, 0) for number in range(3)}
    assert after.topic_id == before.topic_id


async def test_settings_are_told(acts, asked, topic_name):
    acts.create(topic_name, cleanup_policy="compact", delete_retention_ms="60000")
    await asked.metadata(topic_name)
    config = await asked.cluster.topic_config(topic_name)
    assert (config["cleanup.policy"], config["delete.retention.ms"]) == ("compact", "60000")


async def test_settings_of_a_missing_topic_are_not_told(acts, asked, topic_name):
    await asked.metadata(topic_name)
    assert await asked.cluster.topic_config(topic_name) == {}


# ListOffsets


async def test_the_ends_of_an_empty_log(acts, asked, topic_name):
    acts.create(topic_name)
    await asked.metadata(topic_name)
    assert await asked.ends(topic_name) == ((0, 0), (0, 0), (0, 0))


async def test_an_open_transaction_holds_the_last_stable_offset(acts, asked, topic_name):
    acts.create(topic_name)
    await asked.metadata(topic_name)
    acts.write(topic_name, pairs(b"1", b"2"))
    begun = acts.begin(topic_name, pairs(b"open"))
    acts.write(topic_name, pairs(b"4"))
    assert await asked.ends(topic_name) == ((0, 0), (0, 4), (0, 2))
    begun.commit()
    assert await asked.ends(topic_name) == ((0, 0), (0, 5), (0, 5))


async def test_the_oldest_open_transaction_holds_it(acts, asked, topic_name):
    acts.create(topic_name)
    await asked.metadata(topic_name)
    first = acts.begin(topic_name, pairs(b"a"))
    second = acts.begin(topic_name, pairs(b"b"))
    second.commit()
    assert await asked.ends(topic_name) == ((0, 0), (0, 3), (0, 0))
    first.abort()
    assert await asked.ends(topic_name) == ((0, 0), (0, 4), (0, 4))


async def test_the_earliest_offset_is_the_log_start(acts, asked, topic_name):
    acts.create(topic_name, cleanup_policy="delete")
    acts.write(topic_name, pairs(b"0", b"1", b"2"))
    acts.delete_before(topic_name, 2)
    await asked.metadata(topic_name)
    assert await asked.ends(topic_name) == ((0, 2), (0, 3), (0, 3))


async def test_ends_of_what_is_not_there(acts, asked, topic_name):
    await asked.metadata(topic_name)
    assert await asked.ends(topic_name, -1) == ((UNKNOWN_TOPIC_OR_PARTITION, -1),) * 3


# What a fetch gives


async def test_the_log_comes_in_whole_batches(acts, asked, topic_name):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0", b"1"))
    acts.write(topic_name, pairs(b"2"))
    acts.write(topic_name, pairs(None, b"4"))
    answer = await asked.fetch(topic_name, at(0))
    assert (answer.error_code, answer.bounds) == (0, (0, 5, 5))
    assert (answer.aborted, answer.diverging, answer.preferred_read_replica) == ([], None, -1)
    assert [(each.base_offset, each.next_offset) for each in spans(answer)] == [
        (0, 2),
        (2, 3),
        (3, 5),
    ]
    assert [each.leader_epoch for each in spans(answer)] == [0, 0, 0]
    assert read(answer) == [(0, b"0"), (1, b"1"), (2, b"2"), (3, None), (4, b"4")]


async def test_a_fetch_inside_a_batch_gives_the_whole_batch(acts, asked, topic_name):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0"))
    acts.write(topic_name, pairs(b"1", b"2", b"3"))
    answer = await asked.fetch(topic_name, at(2))
    assert [(each.base_offset, each.next_offset) for each in spans(answer)] == [(1, 4)]


async def test_several_partitions_are_given_in_one_response(acts, asked, topic_name):
    acts.create(topic_name, 3)
    acts.write(topic_name, pairs(b"a", b"b"), partition=0)
    acts.write(topic_name, pairs(b"c"), partition=2)
    wanted = [at(0, partition=2), at(2, partition=0), at(0, partition=1), at(0, partition=7)]
    answers = await asked.fetch_all(topic_name, wanted)
    assert {number: (each.error_code, each.bounds) for number, each in answers.items()} == {
        0: (0, (0, 2, 2)),
        1: (0, (0, 0, 0)),
        2: (0, (0, 1, 1)),
        7: (UNKNOWN_TOPIC_OR_PARTITION, (-1, -1, -1)),
    }
    assert {number: read(each) for number, each in answers.items()} == {
        0: [],
        1: [],
        2: [(0, b"c")],
        7: [],
    }


@pytest.mark.parametrize("limits", [{"partition_max_bytes": 10}, {"max_bytes": 10}])
async def test_a_batch_beyond_the_limit_comes_whole(acts, asked, topic_name, limits):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0" * 1000))
    acts.write(topic_name, pairs(b"1"))
    answer = await asked.fetch(topic_name, at(0), **limits)
    assert read(answer) == [(0, b"0" * 1000)]
    assert len(answer.records) == len(spans(answer)[0].data)


async def test_only_the_first_partition_may_go_beyond_the_limit(acts, asked, topic_name):
    acts.create(topic_name, 2)
    for partition in range(2):
        acts.write(topic_name, pairs(b"x" * 1000), partition=partition)
    wanted = [at(0, partition=1), at(0, partition=0)]
    answers = await asked.fetch_all(topic_name, wanted, partition_max_bytes=10)
    assert read(answers[1]) == [(0, b"x" * 1000)]
    assert (len(answers[0].records), answers[0].bounds) == (0, (0, 1, 1))


async def test_a_limit_cuts_the_batch_that_it_falls_into(acts, asked, topic_name):
    acts.create(topic_name)
    for value in (b"0", b"1", b"2"):
        acts.write(topic_name, pairs(value * 100))
    whole = await asked.fetch(topic_name, at(0))
    limit = len(whole.records) - 20
    answer = await asked.fetch(topic_name, at(0), partition_max_bytes=limit)
    assert bytes(answer.records) == bytes(whole.records)[:limit]
    assert [offset for offset, _ in read(answer)] == [0, 1]


# Transactions, fetched


async def test_a_marker_takes_one_offset_and_is_a_control_batch(acts, asked, topic_name):
    acts.create(topic_name)
    acts.begin(topic_name, pairs(b"0", b"1")).commit()
    acts.write(topic_name, pairs(b"3"))
    answer = await asked.fetch(topic_name, at(0))
    kinds = [
        (each.base_offset, each.next_offset, bool(each.attributes & CONTROL))
        for each in spans(answer)
    ]
    assert kinds == [(0, 2, False), (2, 3, True), (3, 4, False)]
    assert spans(answer)[0].producer_id == spans(answer)[1].producer_id
    assert (answer.aborted, answer.bounds) == ([], (0, 4, 4))
    assert read(answer) == [(0, b"0"), (1, b"1"), (3, b"3")]


async def test_aborted_transactions_are_named_under_read_committed(acts, asked, topic_name):
    acts.create(topic_name)
    begun = acts.begin(topic_name, pairs(b"gone"))
    acts.write(topic_name, pairs(b"1"))
    begun.write(pairs(b"gone too"))
    begun.abort()
    acts.begin(topic_name, pairs(b"4")).commit()
    answer = await asked.fetch(topic_name, at(0))
    assert answer.aborted == [(spans(answer)[0].producer_id, 0)]
    assert read(answer) == [(1, b"1"), (4, b"4")]
    from_its_marker_on = await asked.fetch(topic_name, at(3))
    assert from_its_marker_on.aborted == answer.aborted
    assert (await asked.fetch(topic_name, at(4))).aborted == []


async def test_aborted_transactions_count_under_read_uncommitted(acts, asked, topic_name):
    acts.create(topic_name)
    acts.begin(topic_name, pairs(b"gone")).abort()
    answer = await asked.fetch(topic_name, at(0), committed=False)
    assert (answer.aborted, read(answer)) == ([], [(0, b"gone")])


async def test_nothing_behind_the_last_stable_offset_is_committed(acts, asked, topic_name):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0"))
    begun = acts.begin(topic_name, pairs(b"1"))
    acts.write(topic_name, pairs(b"2"))
    answer = await asked.fetch(topic_name, at(0))
    assert (answer.bounds, read(answer)) == ((0, 3, 1), [(0, b"0")])
    held = await asked.fetch(topic_name, at(1))
    assert (held.error_code, held.bounds, len(held.records)) == (0, (0, 3, 1), 0)
    seen = await asked.fetch(topic_name, at(0), committed=False)
    assert (seen.bounds, read(seen)) == ((0, 3, 1), [(0, b"0"), (1, b"1"), (2, b"2")])
    begun.commit()
    answer = await asked.fetch(topic_name, at(1))
    assert (answer.bounds, read(answer)) == ((0, 4, 4), [(1, b"1"), (2, b"2")])


async def test_where_nothing_is_given_no_aborted_transaction_is_named(acts, asked, topic_name):
    acts.create(topic_name)
    begun = acts.begin(topic_name, pairs(b"0"))
    acts.begin(topic_name, pairs(b"gone")).abort()
    for offset in (0, 1):
        answer = await asked.fetch(topic_name, at(offset))
        assert (answer.bounds, answer.aborted, len(answer.records)) == ((0, 3, 0), [], 0)
    begun.commit()
    answer = await asked.fetch(topic_name, at(0))
    assert (answer.aborted, read(answer)) == ([(spans(answer)[1].producer_id, 1)], [(0, b"0")])


async def test_an_offset_behind_the_last_stable_one_is_in_range(acts, asked, topic_name):
    acts.create(topic_name)
    begun = acts.begin(topic_name, pairs(b"0"))
    acts.write(topic_name, pairs(b"1"))
    answer = await asked.fetch(topic_name, at(1))
    assert (answer.error_code, answer.bounds, len(answer.records)) == (0, (0, 2, 0), 0)
    begun.commit()


# The ends of the log, fetched


async def test_at_the_end_nothing_is_given(acts, asked, topic_name):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0", b"1"))
    answer = await asked.fetch(topic_name, at(2), max_wait_ms=50)
    assert (answer.error_code, answer.bounds, len(answer.records)) == (0, (0, 2, 2), 0)


async def test_at_the_end_a_fetch_waits_for_what_comes(acts, asked, topic_name):
    acts.create(topic_name)
    await asked.metadata(topic_name)
    waiting = asyncio.ensure_future(asked.fetch(topic_name, at(0), max_wait_ms=30_000))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    await asyncio.to_thread(acts.write, topic_name, pairs(b"0"))
    answer = await waiting
    assert (answer.bounds, read(answer)) == ((0, 1, 1), [(0, b"0")])


@pytest.mark.parametrize("committed", [True, False])
async def test_an_offset_beyond_the_end_is_out_of_range(acts, asked, topic_name, committed):
    acts.create(topic_name)
    acts.write(topic_name, pairs(b"0"))
    answer = await asked.fetch(topic_name, at(2), committed=committed, max_wait_ms=9_000)
    assert (answer.error_code, answer.bounds) == (OFFSET_OUT_OF_RANGE, (-1, -1, -1))
    assert len(answer.records) == 0


async def test_an_offset_below_the_log_start_is_out_of_range(acts, asked, topic_name):
    acts.create(topic_name, cleanup_policy="delete")
    acts.write(topic_name, pairs(b"0", b"1", b"2"))
    acts.write(topic_name, pairs(b"3"))
    acts.delete_before(topic_name, 1)
    below = await asked.fetch(topic_name, at(0))
    assert (below.error_code, below.bounds) == (OFFSET_OUT_OF_RANGE, (-1, -1, -1))
    answer = await asked.fetch(topic_name, at(1))
    assert (answer.error_code, answer.bounds) == (0, (1, 4, 4))
    assert [each.base_offset for each in spans(answer)] == [0, 3]


async def test_a_log_deleted_to_its_end_is_empty(acts, asked, topic_name):
    acts.create(topic_name, cleanup_policy="delete")
    acts.write(topic_name, pairs(b"0", b"1"))
    acts.delete_before(topic_name, 2)
    answer = await asked.fetch(topic_name, at(2))
    assert (answer.error_code, answer.bounds, len(answer.records)) == (0, (2, 2, 2), 0)


async def test_an_unknown_topic_id_is_an_error(acts, asked, topic_name):
    acts.create(topic_name)
    await asked.metadata(topic_name)
    answer = await asked.fetch(topic_name, at(0), topic_id=uuid.uuid4())
    assert (answer.error_code, answer.bounds) == (UNKNOWN_TOPIC_ID, (-1, -1, -1))


async def test_the_id_that_a_topic_had_is_unknown(acts, asked, topic_name):
    acts.create(topic_name)
    old = (await asked.metadata(topic_name)).topic_id
    acts.delete(topic_name)
    acts.create(topic_name)
    answer = await asked.fetch(topic_name, at(0), topic_id=old)
    assert (answer.error_code, len(answer.records)) == (UNKNOWN_TOPIC_ID, 0)
