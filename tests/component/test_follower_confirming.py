"""Tombstones that were cleaned away before they were read: their keys go all the same."""

import asyncio

import pytest
from support.fake_broker import FakeCluster, always
from support.following import boottime, following

from sidecar.core import progress
from sidecar.core.errors import Refused
from sidecar.core.progress import Wait
from sidecar.core.served import TableState
from sidecar.kafka import reader, topology


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Metadata often, short polls, and tombstones that do not outlive a round of the cleaner."""
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)
    monkeypatch.setattr(progress, "_LEAST_KEPT_S", 0.2)


class Gate:
    """Holds every fetch of a partition back; `asked` of them wait."""

    def __init__(self, fake, when=lambda asked: True):
        self.open, self.asked = asyncio.Event(), 0
        self._when = when
        self._queue = fake.script.fetch
        self._queue.append(always(self._hold))

    async def _hold(self, request, answer):
        if self._when(request.partitions()["t", 0]):
            self.asked += 1
            await self.open.wait()

    def release(self):
        self._queue.clear()
        self.open.set()


def clean(part, *offsets):
    """The cleaner takes batches away; each holds one record."""
    part.batches = [data for data in part.batches if int.from_bytes(data[:8], "big") not in offsets]


def topic(fake, retention_ms, partitions=1):
    return fake.add_topic(
        "t", partitions=partitions, cleanup_policy="compact", delete_retention_ms=retention_ms
    )


def reads_of_all(fake):
    """How often the log was read from its start."""
    return sum(each.partitions()["t", 0]["fetch_offset"] == 0 for each in fake.of("fetch"))


def missed(table):
    return table.view.table.counters.missed_tombstones


async def test_a_bootstrap_becomes_ready_where_tombstones_are_not_kept_at_all():
    async with FakeCluster() as fake:
        part = topic(fake, 0)[0]
        for at in range(5):
            part.write([(b"%d" % at, b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert len(table.values()) == 5
            assert missed(table) == 0
            await table.until(lambda: table.served.state(boottime()) is TableState.LIVE, "live")


async def test_a_key_whose_tombstone_went_unread_during_a_cut_is_gone(caplog):
    async with FakeCluster() as fake:
        part = topic(fake, 100)[0]
        for key in (b"stays", b"deleted", b"overwritten"):
            part.write([(key, b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fresh = table.progress().fresh_as_of
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            part.write([(b"deleted", None)])
            part.write([(b"overwritten", b"2")])
            part.write([(b"new", b"1")])
            clean(part, 1, 2, 3)
            await asyncio.sleep(0.5)  # longer than tombstones are kept
            again = Gate(fake, lambda asked: asked["fetch_offset"] == 0)
            again._queue.popleft()
            gate.open.set()
            await table.until(lambda: table.progress().doubt is not None, "the doubt")
            await table.until(lambda: again.asked, "the second reading")
            assert table.ready
            assert table.served.state(boottime()) is TableState.STALE
            assert b"deleted" in table.values()
            assert table.progress().fresh_as_of <= fresh + 0.5
            assert table.progress().waiting.wait is Wait.CONFIRMING
            assert "tombstones may have been missed" in table.served.reason(boottime())
            again.release()
            await table.until(lambda: table.progress().doubt is None, "confirmed")
            assert table.values() == {b"stays": b"1", b"overwritten": b"2", b"new": b"1"}
            assert missed(table) == 1
            await table.until(lambda: table.served.state(boottime()) is TableState.LIVE, "live")
            await table.until(lambda: table.progress().waiting.wait is Wait.NOTHING, "no wait")


async def test_a_topic_that_nobody_wrote_to_meanwhile_is_not_read_again():
    async with FakeCluster() as fake:
        part = topic(fake, 100)[0]
        part.write([(b"k", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            await asyncio.sleep(0.5)
            gate.release()
            since = boottime()
            await table.until(lambda: table.progress().fresh_as_of > since, "fresh")
            assert table.progress().doubt is None
            assert reads_of_all(fake) == 1


async def test_a_short_gap_is_no_doubt():
    async with FakeCluster() as fake:
        part = topic(fake, 3_600_000)[0]
        part.write([(b"k", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            part.write([(b"k", b"2")])
            await asyncio.sleep(0.5)
            gate.release()
            await table.until_read({0: 2})
            assert table.progress().doubt is None


async def test_a_topic_that_is_not_compacted_is_never_in_doubt():
    async with FakeCluster() as fake:
        part = fake.add_topic("t", cleanup_policy="delete", delete_retention_ms=0)[0]
        part.write([(b"k", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.progress().doubt is None
            assert table.progress().freshness.cleaning.keep_s is None


async def test_a_bootstrap_that_changed_leaders_is_confirmed_before_it_is_ready(monkeypatch):
    """The new leader's log was cleaned further than the old one's."""
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)
    async with FakeCluster(brokers=2) as fake:
        part = topic(fake, 3_600_000)[0]
        part.write([(b"deleted", b"1")])
        part.write([(b"stays", b"1")])
        part.write([(b"deleted", None)])
        part.write([(b"last", b"1")])
        gate = Gate(fake, lambda asked: asked["fetch_offset"] == 2)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 2})
            clean(part, 0, 2)
            part.leader, part.leader_epoch = 2, 1
            again = Gate(fake, lambda asked: asked["fetch_offset"] == 0)
            gate._queue.popleft()
            fake.brokers[2].script.fetch.append(always(again._hold))
            await table.until(lambda: table.view.caught_up, "caught up")
            await table.until(lambda: again.asked, "the second reading")
            assert not table.ready
            with pytest.raises(Refused, match="tombstones may have been missed"):
                table.served.read(boottime())
            fake.brokers[2].script.fetch.clear()
            again.release()
            gate.open.set()
            await table.until_ready()
            assert table.values() == {b"stays": b"1", b"last": b"1"}
            assert missed(table) == 1


async def test_tombstones_met_in_the_second_reading_are_applied_and_records_create_nothing():
    async with FakeCluster() as fake:
        part = topic(fake, 100)[0]
        part.write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            part.write([(b"b", b"1")])
            part.write([(b"b", None)])
            part.write([(b"a", b"2")])
            part.write([(b"a", None)])
            await asyncio.sleep(0.5)
            gate.release()
            await table.until(lambda: reads_of_all(fake) == 2, "the second reading")
            await table.until(lambda: table.progress().doubt is None, "confirmed")
            assert table.values() == {}
            assert missed(table) == 0


async def test_what_changes_during_the_second_reading_stays():
    async with FakeCluster() as fake:
        part = topic(fake, 100)[0]
        part.write([(b"a", b"1")])
        part.write([(b"b", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            part.write([(b"x", b"1")])
            clean(part, 0, 1)
            await asyncio.sleep(0.5)
            again = Gate(fake, lambda asked: asked["fetch_offset"] == 0)
            again._queue.popleft()
            gate.open.set()
            await table.until(lambda: again.asked, "the second reading")
            part.write([(b"a", b"after")])
            await table.until_read({0: 4})
            again.release()
            await table.until(lambda: table.progress().doubt is None, "confirmed")
            assert table.values() == {b"a": b"after", b"x": b"1"}


async def test_a_key_of_several_partitions_falls_back_to_what_the_others_say():
    async with FakeCluster() as fake:
        both = topic(fake, 100, partitions=2)
        both[0].write([(b"k", b"zero")], timestamp_ms=2000)
        both[1].write([(b"k", b"one")], timestamp_ms=1000)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await table.until(lambda: table.view.table.settled, "settled")
            assert table.values() == {b"k": b"zero"}
            gate = Gate(fake, lambda _: True)
            await table.until(lambda: gate.asked, "a fetch that is held")
            both[0].write([(b"other", b"1")])
            clean(both[0], 0)
            await asyncio.sleep(0.5)
            gate.release()
            await table.until(lambda: missed(table) == 1, "the missed tombstone")
            await table.until(lambda: not table.view.doubted, "confirmed")
            assert table.values() == {b"k": b"one", b"other": b"1"}


async def test_only_the_partitions_in_doubt_are_read_again():
    async with FakeCluster() as fake:
        both = topic(fake, 100, partitions=2)
        both[0].write([(b"a", b"1")])
        both[1].write([(b"b", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            both[0].write([(b"x", b"1")])
            clean(both[0], 0)
            await asyncio.sleep(0.5)
            gate.release()
            await table.until(lambda: missed(table) == 1, "the missed tombstone")
            await table.until(lambda: not table.view.doubted, "confirmed")
        again = [each.partitions() for each in fake.of("fetch")]
        from_the_start = [
            number for asked in again for (_, number), part in asked.items()
            if part["fetch_offset"] == 0
        ]  # fmt: skip
        assert sorted(from_the_start) == [0, 0, 1]


async def test_a_batch_that_can_no_longer_be_read_is_named_while_confirming():
    async with FakeCluster() as fake:
        part = topic(fake, 100)[0]
        part.write([(b"a", b"1")])
        part.write([(b"b", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            gate = Gate(fake)
            await table.until(lambda: gate.asked, "a fetch that is held")
            part.write([(b"x", b"1")])
            sound = part.batches[1]
            part.batches[1] = sound[:-1] + bytes([sound[-1] ^ 1])
            await asyncio.sleep(0.5)
            gate.release()
            await table.until(
                lambda: "the batch at offset 1 has a wrong CRC" in table.progress().waiting.detail,
                "its name",
            )
            assert table.progress().waiting.wait is Wait.CONFIRMING
            assert table.values() == {b"a": b"1", b"b": b"1", b"x": b"1"}
            part.batches[1] = sound
            await table.until(lambda: not table.view.doubted, "confirmed")
