"""A new leader: what it says of its end counts once it knows it, and the log may have been cut."""

import asyncio

import pytest
from support.fake_broker import CLOSE, FakeCluster, always, edit
from support.following import boottime, following

from sidecar.core.progress import Wait
from sidecar.follower.feed import Feed
from sidecar.kafka import reader, topology
from sidecar.kafka.errors import LogCut

NOT_YET = always(edit("t", 0, error_code=78, offset=-1))
SENTENCE = "leader 2 (epoch 1) does not know its end yet (OFFSET_NOT_AVAILABLE)"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Metadata often, and fetches that do not wait long."""
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)


def written(fake, batches=3):
    part = fake.add_topic("t")[0]
    for at in range(batches):
        part.write([(b"%d" % at, b"1")])
    return part


def move(part, leader):
    part.leader, part.leader_epoch = leader, part.leader_epoch + 1


class Clock:
    """Boot time, and as much more as a test says."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return boottime() + self.ahead


async def polls(table, fake, number, node):
    """Wait until this many more fetches of a broker were asked for."""
    asked = sum(each.node == node for each in fake.of("fetch")) + number
    await table.until(
        lambda: sum(each.node == node for each in fake.of("fetch")) >= asked, f"{number} fetches"
    )


# What counts for freshness


async def test_staleness_grows_while_a_new_leader_does_not_know_its_end():
    async with FakeCluster(brokers=2) as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.brokers[2].script.list_offsets.append(NOT_YET)
            part.held_high_watermark = 1
            moved_at = boottime()
            move(part, 2)
            await table.until(lambda: table.has_waited(Wait.LEADER, SENTENCE), "the refusal")
            await polls(table, fake, 4, node=2)
            assert table.progress().fresh_as_of <= moved_at
            assert table.view.staleness_ms(boottime()) >= (boottime() - moved_at) * 1000 - 1
            assert table.progress().waiting[::2] == (Wait.LEADER, SENTENCE)
            assert table.positions() == {0: 3}

            part.held_high_watermark = None
            part.write([(b"more", b"1")])
            await table.until_read({0: 4})  # fetching goes on meanwhile
            await polls(table, fake, 2, node=2)
            assert table.progress().fresh_as_of <= moved_at

            known_at = boottime()
            fake.brokers[2].script.list_offsets.clear()
            await table.until(lambda: table.progress().fresh_as_of > known_at, "freshness")
            await table.until(lambda: table.progress().waiting.wait is Wait.NOTHING, "no wait")
            assert "OFFSET_NOT_AVAILABLE" in table.broker_errors


async def test_a_wait_that_lasts_is_told_once(caplog):
    async with FakeCluster(brokers=2) as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.brokers[2].script.list_offsets.append(NOT_YET)
            move(part, 2)
            await table.until(lambda: table.broker_errors.count("OFFSET_NOT_AVAILABLE") > 3, "four")
        told = [each for each in caplog.records if SENTENCE in str(vars(each))]
        assert len(told) == 1


@pytest.mark.parametrize("code", [6, 74, 75, 78, None])
async def test_a_new_leader_is_asked_until_it_answers_and_then_no_more(code):
    refuse = CLOSE if code is None else edit("t", 0, error_code=code, offset=-1)
    async with FakeCluster(brokers=2) as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await polls(table, fake, 3, node=1)
            assert len(fake.of("list_offsets")) == 2  # the log start and the target
            fake.brokers[2].script.list_offsets.extend([refuse, refuse])
            moved_at = boottime()
            move(part, 2)
            await table.until(lambda: table.progress().fresh_as_of > moved_at, "freshness")
            await polls(table, fake, 3, node=2)
            asked = fake.of("list_offsets")[2:]
            assert [each.node for each in asked] == [2, 2, 2]
            assert {each.body["isolation_level"] for each in asked} == {0}
            for each in asked:
                wanted = each.partitions()["t", 0]
                assert (wanted["current_leader_epoch"], wanted["timestamp"]) == (1, -1)


async def test_a_new_term_of_the_same_leader_is_asked_too():
    async with FakeCluster() as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            for _ in range(2):
                moved_at = boottime()
                move(part, 1)
                await table.until(
                    lambda at=moved_at: table.progress().fresh_as_of > at, "freshness"
                )
            asked = [each.partitions()["t", 0] for each in fake.of("list_offsets")[2:]]
            assert [each["current_leader_epoch"] for each in asked] == [1, 2]


async def test_an_answer_under_way_across_the_change_makes_nothing_fresh(monkeypatch):
    gate, reached = asyncio.Event(), asyncio.Event()
    take = Feed.take

    async def held(feed, fetched):
        reached.set()
        await gate.wait()
        await take(feed, fetched)

    async with FakeCluster(brokers=2) as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            monkeypatch.setattr(Feed, "take", held)
            await table.until(reached.is_set, "an answer accepted, and not yet folded")
            before = table.progress().fresh_as_of
            fake.brokers[2].script.list_offsets.append(NOT_YET)
            move(part, 2)
            await table.until(lambda: table.leaders == [(0, (2, 1))], "the change")
            gate.set()
            await polls(table, fake, 4, node=2)
            assert table.progress().fresh_as_of == before
            fake.brokers[2].script.list_offsets.clear()
            await table.until(lambda: table.progress().fresh_as_of > before, "freshness")


# A log that was cut during a bootstrap


def hold_at(offset):
    """A step that keeps every answer from this offset on back."""

    async def hold(request, answer):
        if request.partitions()["t", 0]["fetch_offset"] >= offset:
            await asyncio.Event().wait()

    return always(hold)


@pytest.mark.parametrize("end", [3, 5])
async def test_a_log_cut_below_the_target_is_ready_at_its_end(end, monkeypatch):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)  # a batch a response
    async with FakeCluster(brokers=2) as fake:
        part = written(fake, batches=10)
        fake.script.fetch.append(hold_at(3))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 3})
            assert (table.progress().target, table.ready) == (10, False)
            part.leader = 2
            part.truncate(end)
            await table.until_ready()
            assert table.progress().target == end
            assert table.values() == {b"%d" % at: b"1" for at in range(end)}
            part.write([(b"new", b"1")])
            await table.until_read({0: end + 1})
            await table.until(lambda: table.view.staleness_ms(boottime()) is not None, "freshness")


async def test_a_log_that_is_cut_below_the_position_is_read_anew(monkeypatch):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)
    async with FakeCluster(brokers=2) as fake:
        part = written(fake, batches=10)
        fake.script.fetch.append(hold_at(3))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 3})
            part.leader = 2
            part.truncate(2)
            fault = await table.ended()
            assert isinstance(fault, LogCut)
            assert "cut" in str(fault)
            assert not table.ready
            await table.until_ready()
            assert table.values() == {b"0": b"1", b"1": b"1"}


async def test_a_target_that_was_reached_is_not_moved_by_an_election():
    async with FakeCluster(brokers=2) as fake:
        part = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            moved_at = boottime()
            move(part, 2)
            part.write([(b"more", b"1")])
            await table.until(lambda: table.progress().fresh_as_of > moved_at, "freshness")
            assert (table.progress().target, table.ready) == (3, True)


# Asking again


async def test_a_leader_that_refuses_is_asked_ever_less_often_until_it_answers():
    now = [boottime()]
    asked = []

    def refuse(request, answer):
        asked.extend(number for _, number in request.partitions())
        return edit("t", 1, error_code=6, records=b"")

    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=2)
        async with following(fake.bootstrap_servers, "t", clock=lambda: now[0]) as table:
            await table.until_ready()
            fake.script.fetch.append(always(refuse))
            for times, pause in enumerate([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], start=1):
                now[0] += pause + 0.001
                await table.until(lambda n=times: asked.count(1) == n, f"question {times}")
                still = asked.count(0) + 5
                now[0] += min(pause * 0.9, 0.45)  # less than half of the next pause's bound
                await table.until(lambda n=still: asked.count(0) >= n, "others meanwhile")
                assert asked.count(1) == times
            fake.script.fetch.clear()
            topic[1].write([(b"b", b"2")])
            now[0] += 1.1
            await table.until_read({0: 0, 1: 1})


@pytest.mark.parametrize("between", ["quota", "broker"])
async def test_an_open_transactions_wait_does_not_begin_anew_after_another(between):
    clock = Clock()
    async with FakeCluster() as fake:
        part = written(fake, batches=1)
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        async with following(
            fake.bootstrap_servers, "t", clock=clock, open_transaction_wait_s=75
        ) as table:
            await table.until(
                lambda: (
                    table.served.view and table.progress().waiting.wait is Wait.OPEN_TRANSACTION
                ),
                "the wait",
            )
            since = table.progress().waiting.since
            clock.ahead = 50.0
            if between == "quota":
                fake.script.fetch.append(lambda _, answer: answer.update(throttle_time_ms=20))
            else:
                await fake.brokers[1].drop_connections()
            wait = Wait.QUOTA if between == "quota" else Wait.BROKER
            await table.until(lambda: table.has_waited(wait), "another wait")
            await table.until(
                lambda: table.progress().waiting.wait is Wait.OPEN_TRANSACTION, "the wait again"
            )
            assert table.progress().waiting.since == since
            assert not table.ready
            clock.ahead = 80.0
            await table.until_ready()
            assert table.progress().target == 1
