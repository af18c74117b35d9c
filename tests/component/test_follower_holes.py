"""Compaction while the log is read: a state with holes is that of no moment."""

import asyncio

import pytest
from support.fake_broker import FakeCluster, always
from support.following import boottime, following

from sidecar.core.bounds import Bounds
from sidecar.core.errors import Reason, Refused
from sidecar.kafka import reader


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One batch an answer, and short polls."""
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)


def clean(part, *offsets):
    """The cleaner takes batches away; each holds one record."""
    part.batches = [data for data in part.batches if int.from_bytes(data[:8], "big") not in offsets]


def hold_from(fake, offset):
    """Keep every answer from this offset on back; returns what lets them go."""
    gate = asyncio.Event()

    async def hold(request, answer):
        if request.partitions()["t", 0]["fetch_offset"] >= offset:
            await gate.wait()

    fake.script.fetch.append(always(hold))
    return gate


def written(part, count):
    for at in range(count):
        part.write([(b"%d" % at, b"1")])


async def test_a_write_that_was_compacted_away_unread_is_not_taken_for_read():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"k", b"first")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = hold_from(fake, 1)
            fake_fetches = len(fake.of("fetch"))
            await table.until(lambda: len(fake.of("fetch")) > fake_fetches, "a held fetch")
            second = part.write([(b"k", b"second")])
            part.write([(b"x", b"1")])
            third = part.write([(b"k", b"third")])
            clean(part, second)
            gate.set()
            fake.script.fetch.clear()
            later = hold_from(fake, third)
            await table.until(lambda: table.positions()[0] == third, "behind the hole")
            fresh = table.progress().fresh_as_of
            assert table.values()[b"k"] == b"first"
            assert not table.progress().whole
            with pytest.raises(Refused) as refused:
                table.served.read(boottime(), Bounds(positions={0: second + 1}))
            assert refused.value.reason is Reason.NOT_FRESH
            later.set()
            await table.until_read({0: third + 1})
            assert table.values()[b"k"] == b"third"
            assert table.served.read(boottime(), Bounds(positions={0: second + 1})).complete
            await table.until(lambda: table.progress().fresh_as_of > fresh, "fresh again")


async def test_a_bootstrap_is_not_ready_before_what_stands_for_the_holes_was_read():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        written(part, 6)
        gate = hold_from(fake, 3)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 3})
            part.write([(b"4", b"again")])
            clean(part, 4)  # beyond what was read, below the target
            fake.script.fetch.clear()
            later = hold_from(fake, 6)
            gate.set()
            await table.until_read({0: 6})
            assert table.progress().position == table.progress().target
            assert not table.ready
            later.set()
            await table.until_ready()
            assert table.values()[b"4"] == b"again"


async def test_holes_within_a_batch_count_too():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"c", b"1")], last_offset_delta=2)
        part.next_offset = 3
        part.write([(b"b", b"1")])
        gate = hold_from(fake, 3)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 3})
            assert table.progress().freshness.whole_at == 4
            assert not table.progress().whole
            gate.set()
            await table.until_ready()


async def test_an_open_transaction_does_not_hold_up_what_the_cleaner_cannot_have_touched():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        written(part, 4)
        clean(part, 1)
        part.write([(b"open", b"1")], transactional=True, producer_id=7)
        async with following(fake.bootstrap_servers, "t", open_transaction_wait_s=0) as table:
            await table.until_ready()
            assert table.progress().freshness.whole_at == 4


async def test_markers_and_aborted_records_are_no_holes():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")], transactional=True, producer_id=7)
        part.commit(7)
        part.write([(b"b", b"1"), (b"c", b"1")], transactional=True, producer_id=8)
        part.abort(8)
        part.write([(b"d", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.progress().freshness.whole_at == 0
