"""A tail that is gone: what proves it, and the answers that look like it and prove nothing."""

import pytest
from support.fake_broker import FakeCluster, always, edit
from support.following import following


def gone_tail(fake, partition=0, partitions=1):
    """A log whose last offsets were compacted away: one record, and an end at 10."""
    part = fake.add_topic("t", partitions=partitions)[partition]
    part.write([(b"a", b"1")])
    part.next_offset = 10
    return part


def asked_for(fake, partition, offset):
    """How many partitions were asked for by each fetch of this one at this offset."""
    return [
        len(each.partitions())
        for each in fake.of("fetch")
        if each.partitions().get(("t", partition), {}).get("fetch_offset") == offset
    ]


async def test_a_tail_that_is_gone_is_proved_by_empty_answers_in_a_row():
    async with FakeCluster() as fake:
        part = gone_tail(fake)
        fake.script.fetch.append(always(edit()))  # no long poll
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.positions() == {0: 10}
            assert len(asked_for(fake, 0, 1)) == 3
            part.write([(b"b", b"2")])
            await table.until_read({0: 11})
            assert table.values() == {b"a": b"1", b"b": b"2"}


async def test_the_proof_reaches_to_the_last_stable_offset_and_no_further():
    async with FakeCluster() as fake:
        part = gone_tail(fake)
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        part.write([(b"b", b"2")])
        fake.script.fetch.append(always(edit()))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: table.served.view and table.positions() == {0: 10}, "proof")
            assert not table.ready
            part.commit(7)
            await table.until_ready()
            assert set(table.values()) == {b"a", b"tx", b"b"}


async def test_an_open_transaction_at_the_position_is_no_gone_tail():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        fake.script.fetch.append(always(edit()))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: len(asked_for(fake, 0, 0)) > 10, "ten questions")
            assert table.positions() == {0: 0}
            assert not table.ready
            part.commit(7)
            await table.until_ready()
            assert table.values() == {b"tx": b"1"}


async def test_a_tail_among_other_partitions_is_asked_for_alone():
    async with FakeCluster() as fake:
        gone_tail(fake, 1, partitions=3)
        fake.script.fetch.append(always(edit()))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert asked_for(fake, 1, 1)[1:].count(1) == 2
            assert table.positions() == {0: 0, 1: 10, 2: 0}


def throttled(request, answer):
    answer["throttle_time_ms"] = 1


async def test_several_gone_tails_are_proved_one_after_the_other():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=6)
        for part in topic.partitions:
            part.next_offset = 7
        fake.script.fetch.append(always(edit()))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.positions() == dict.fromkeys(range(6), 7)


LOOK_ALIKES = {
    "redirect": edit("t", 0, records=b"", preferred_read_replica=2),
    "throttled": throttled,
    "not listed": lambda _, answer: answer.update(topics=[]),
    "no end known": edit("t", 0, records=b"", high_watermark=-1, last_stable_offset=-1),
    "end behind": edit("t", 0, records=b"", high_watermark=0, last_stable_offset=0),
    "end reached": edit("t", 0, records=b"", high_watermark=1, last_stable_offset=1),
}


@pytest.mark.parametrize("kind", LOOK_ALIKES)
async def test_an_answer_that_looks_like_a_gone_tail_proves_nothing(kind):
    def look_alike(request, answer):
        if request.partitions()["t", 0]["fetch_offset"] == 1:
            if kind == "throttled":
                edit("t", 0, records=b"")(request, answer)
            LOOK_ALIKES[kind](request, answer)

    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.next_offset = 10
        fake.script.fetch.append(always(look_alike))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: len(asked_for(fake, 0, 1)) >= 8, "eight questions")
            assert table.positions() == {0: 1}
            # It was there all the time.
            part.next_offset = 5
            part.write([(b"b", b"2")])
            part.next_offset = 10
            part.write([(b"c", b"3")])
            fake.script.fetch.clear()
            await table.until_ready()
            assert table.values() == {b"a": b"1", b"b": b"2", b"c": b"3"}


async def test_bytes_between_empty_answers_begin_the_count_again():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for at in range(4):
            part.write([(b"%d" % at, b"1")])
        empty = edit("t", 0, records=b"")
        for data in part.batches:
            fake.script.fetch.extend([empty, empty, edit("t", 0, records=data)])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert len(table.values()) == 4


async def test_a_budget_used_up_by_another_partition_is_no_gone_tail():
    def spent(request, answer):
        if len(request.partitions()) > 1:
            edit("t", 1, records=b"")(request, answer)

    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=2)
        for at in range(12):
            topic[0].write([(b"%d" % at, b"0")])
            topic[1].write([(b"%d" % at, b"1")])
        fake.script.fetch.append(always(spent))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.view.table.counters.records == 24
