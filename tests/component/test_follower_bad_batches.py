"""A batch that cannot be read: where the table stands then, what it tells, and what is skipped."""

import asyncio

import pytest
from support.batches import batch
from support.fake_broker import FakeCluster
from support.following import boottime, following

from sidecar.core.errors import Reason, Refused
from sidecar.core.progress import Wait
from sidecar.core.served import TableState

# In a batch's header.
_LAST_OFFSET_DELTA_AT = 23


def written(fake, *values, partitions=1):
    topic = fake.add_topic("t", partitions=partitions)
    for part in topic.partitions:
        for value in values:
            part.write([(b"k", value)])
    return topic


def bad_batch(part, offset):
    part.batches.append(batch([(b"bad", b"1")], wrong_crc=True, base_offset=offset))
    part.next_offset = offset + 1


async def test_a_table_that_is_ready_goes_on_at_its_last_good_prefix():
    async with FakeCluster() as fake:
        topic = written(fake, b"1", partitions=2)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            bad_batch(topic[0], 1)
            topic[0].write([(b"k", b"behind")])
            await table.blocked("offset 1 has a wrong CRC")
            topic[1].write([(b"other", b"2")])
            await table.until_read({0: 1, 1: 2})
            assert table.ready
            assert table.values() == {b"k": b"1", b"other": b"2"}
            stuck = table.progress().fresh_as_of
            assert "the batch at offset 1 has a wrong CRC" in table.served.reason(boottime() + 9)
            assert table.served.state(boottime() + 9) is TableState.STALE
            topic[0].batches[1] = batch([(b"good", b"1")], base_offset=1)  # another replica's
            await table.until_read({0: 3, 1: 2})
            await table.until(lambda: table.progress().fresh_as_of > stuck, "fresh again")
            assert table.progress().waiting.wait is Wait.NOTHING


async def test_a_table_that_was_never_ready_fails_with_a_bad_batch():
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        bad_batch(part, 1)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.blocked("offset 1 has a wrong CRC")
            assert table.served.state(boottime()) is TableState.FAILED
            with pytest.raises(Refused) as refused:
                table.served.read(boottime())
            assert refused.value.reason is Reason.TABLE_FAILED
            assert "partition 0: the batch at offset 1 has a wrong CRC" in refused.value.message
            part.batches[1] = batch([(b"good", b"1")], base_offset=1)
            await table.until_ready()
            assert table.served.state(boottime()) is not TableState.FAILED


@pytest.mark.parametrize("when", ["bootstrap", "tail"])
async def test_bad_batches_are_passed_over_where_the_definition_says_so_and_counted(when):
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t", skip_bad_batches=True) as table:
            if when == "tail":
                await table.until_ready()
            bad_batch(part, 1)
            part.write([(b"k", b"behind")])
            bad_batch(part, 3)
            await table.until_read({0: 4})
            await table.until_ready()
            assert table.values() == {b"k": b"behind"}
            assert table.view.table.counters.skipped_batches == 2


async def test_what_another_leader_gave_behind_a_bad_batch_is_not_taken():
    """An answer that was accepted before the bad batch was found must not pass it."""
    async with FakeCluster(brokers=2) as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            bad_batch(part, 1)
            part.write([(b"k", b"behind")])
            for leader in (2, 1, 2, 1):
                part.leader, part.leader_epoch = leader, part.leader_epoch + 1
                await asyncio.sleep(0.05)
            await table.blocked("wrong CRC")
            assert table.positions() == {0: 1}
            assert table.values() == {b"k": b"1"}


async def test_a_bad_batch_that_claims_to_end_behind_the_log_is_not_passed_over():
    """What is written there later would be passed over with it."""
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t", skip_bad_batches=True) as table:
            await table.until_ready()
            lying = bytearray(batch([(b"bad", b"1")], wrong_crc=True, base_offset=1))
            lying[_LAST_OFFSET_DELTA_AT + 3] = 9
            part.batches.append(bytes(lying))
            part.next_offset = 2
            await table.blocked("offset 1 has a wrong CRC")
            assert table.positions() == {0: 1}
            part.batches[1] = batch([(b"good", b"1")], base_offset=1)
            part.write([(b"k", b"2")])
            await table.until_read({0: 3})
            assert table.values() == {b"k": b"2", b"good": b"1"}
            assert table.view.table.counters.skipped_batches == 0


async def test_what_the_log_let_go_is_gone_although_the_next_batch_cannot_be_read():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.write([(b"b", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.log_start_offset = 1
            bad_batch(part, 2)
            await table.blocked("offset 2 has a wrong CRC")
            assert table.values() == {b"b": b"1"}
            assert table.progress().lag == 1
            revision = table.view.table.revision
            tries = len(fake.of("fetch"))
            await table.until(lambda: len(fake.of("fetch")) > tries + 1, "more tries", timeout=10)
            assert table.view.table.revision == revision


async def test_who_waits_for_a_position_in_front_of_a_bad_batch_is_woken():
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            woken = asyncio.Event()
            table.served.arrivals.when(woken.set, (0, 2))
            part.batches.append(batch([(b"good", b"1")], base_offset=1))
            bad_batch(part, 2)
            await table.blocked("offset 2 has a wrong CRC")
            assert woken.is_set()
