"""From one generation to the next: what is lost, what answers meanwhile, and what does not."""

import asyncio
import uuid

import pytest
from support.fake_broker import SILENT, FakeCluster, always, edit
from support.following import boottime, following

from sidecar.core.errors import Reason, Refused
from sidecar.core.progress import Wait
from sidecar.core.served import TableState
from sidecar.follower import Rebuild, feed, follower
from sidecar.follower.setting import Stalled
from sidecar.kafka import cluster, topology
from sidecar.kafka.errors import LogCut, TopicGone


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Metadata often, and doubts that do not last."""
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(topology, "_DOUBT_S", 0.2)
    monkeypatch.setattr(follower, "_PARKED_S", 0.02)
    monkeypatch.setattr(follower, "_MISSING_S", 0.2)


def written(fake, *values, partitions=1):
    topic = fake.add_topic("t", partitions=partitions)
    for part in topic.partitions:
        for value in values:
            part.write([(b"k", value)])
    return topic


def never(fake):
    """Let no fetch be answered from now on; the queue holds what undoes it."""
    held = asyncio.Event()

    async def hold(request, answer):
        await held.wait()

    fake.script.fetch.append(always(hold))
    return held


def state(table):
    return table.served.state(boottime())


def refusal(table):
    with pytest.raises(Refused) as caught:
        table.served.read(boottime())
    return caught.value


def generation(table):
    return table.served.read(boottime()).generation


def cut(part, *values):
    """The log loses all but its first batch, and others come in its place."""
    part.truncate(1)
    for value in values:
        part.write([(b"k", value)])


# A log that was cut: the same topic


async def test_a_cut_log_is_read_anew_beside_what_answers():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            before = generation(table)
            hold = never(fake)
            cut(part, b"new", b"newer")
            fake.script.fetch.clear()
            hold_next = asyncio.Event()

            async def wait(request, answer):
                if request.partitions()["t", 0]["fetch_offset"] == 0:
                    await hold_next.wait()

            fake.script.fetch.append(always(wait))
            hold.set()
            await table.until(lambda: table.served.next is not None, "a next generation")
            assert isinstance(table.told.ended[0], LogCut)
            assert (generation(table), table.values()) == (before, {b"k": b"old"})
            assert state(table) is TableState.STALE
            told = table.served.reason(boottime())
            assert "topic 't': partition 0: the log was cut below offset 2" in told
            assert "being read anew: 0 of 3 offsets" in told
            hold_next.set()
            await table.until(lambda: table.served.next is None, "the swap")
            assert generation(table) != before
            assert table.values() == {b"k": b"newer"}
            await table.until(lambda: state(table) is TableState.LIVE, "live")
            assert table.served.begun == {"start": 1, "log_cut": 1}
            assert table.served.reason(boottime()) == ""


async def test_the_staleness_of_what_answers_grows_while_the_log_is_read_anew():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await table.until(lambda: table.view.staleness_ms(boottime()) is not None, "fresh")
            part.truncate(1)
            part.write([(b"k", b"new")])
            cut_at = boottime()
            never(fake)
            await table.until(lambda: table.told.ended or fake.of("fetch")[-1], "a fetch")
            assert table.view.staleness_ms(boottime()) >= (boottime() - cut_at) * 1000 - 1


async def test_a_generation_that_was_never_ready_is_begun_again():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        part.held_high_watermark = 3  # more than there is: it does not become ready
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 2})
            part.held_high_watermark = None
            cut(part, b"new", b"newer")
            await table.until_ready()
            assert table.values() == {b"k": b"newer"}
            assert [type(each) for each in table.told.ended] == [LogCut]


async def test_drop_old_answers_nothing_meanwhile():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(
            fake.bootstrap_servers, "t", rebuild=Rebuild.DROP_OLD, open_transaction_wait_s=60
        ) as table:
            await table.until_ready()
            cut(part)
            part.write([(b"k", b"open")], producer_id=7, transactional=True)
            part.write([(b"k", b"new")])
            await table.until(lambda: table.served.generations == 2, "a next generation")
            assert state(table) is TableState.BOOTSTRAPPING
            assert refusal(table).reason is Reason.BOOTSTRAPPING
            part.abort(7)
            await table.until_ready()
            assert table.values() == {b"k": b"new"}


async def test_refuse_answers_on_and_reads_nothing():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t", rebuild=Rebuild.REFUSE) as table:
            await table.until_ready()
            cut(part, b"new", b"newer")
            await table.until(lambda: table.served.fault, "the fault")
            asked = len(fake.of("metadata"))
            await table.until(lambda: len(fake.of("metadata")) > asked + 5, "questions")
            assert table.values() == {b"k": b"old"}
            assert state(table) is TableState.STALE
            assert "restart the sidecar" in table.served.reason(boottime())
            assert table.served.generations == 1
            written(fake, b"another topic")
            await table.until(lambda: table.served.replaced, "replaced")
            assert refusal(table).reason is Reason.TOPIC_REPLACED
            assert "restart the sidecar" in refusal(table).message
            assert table.served.generations == 1


async def test_what_is_built_beside_is_begun_again_when_the_log_is_cut_again():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            cut(part, b"2")
            part.held_high_watermark = 9
            await table.until(lambda: table.served.next is not None, "a next generation")
            await table.until(
                lambda: table.served.next.view.progress[0].position == 2, "all that there is"
            )
            part.held_high_watermark = None
            cut(part, b"3", b"4")
            await table.until(lambda: table.values() == {b"k": b"4"}, "the last state")
            assert table.served.begun == {"start": 1, "log_cut": 2}


# Another topic, or none


async def test_a_deleted_topic_is_missing_until_there_is_a_new_one():
    async with FakeCluster() as fake:
        written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            del fake.topics["t"]
            await table.until(lambda: not table.ready, "not ready")
            assert state(table) is TableState.REPLACED
            assert refusal(table).reason is Reason.TOPIC_MISSING
            assert refusal(table).retry_after_ms == 1000
            await table.until(
                lambda: "does not exist" in table.served.reason(boottime()), "looking for it"
            )
            assert "t" not in fake.topics
            written(fake, b"new")
            await table.until_ready()
            assert table.values() == {b"k": b"new"}
            await table.until(lambda: state(table) is TableState.LIVE, "live")
            assert not table.served.replaced
            assert table.served.begun == {"start": 1, "topic_replaced": 1}


async def test_a_re_created_topic_answers_nothing_until_it_is_read():
    async with FakeCluster() as fake:
        old = written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            incarnation = table.served.read(boottime()).incarnation
            new = written(fake)
            new[0].write([(b"k", b"open")], producer_id=7, transactional=True)
            await table.until(lambda: table.served.next is not None, "a next generation")
            refused = refusal(table)
            assert refused.reason is Reason.TOPIC_REPLACED
            assert str(new.topic_id) in refused.message
            assert "0 of 1 offsets" in refused.message
            assert state(table) is TableState.REPLACED
            assert str(old.topic_id) in str(table.told.ended[0])
            with pytest.raises(Refused):
                table.served.read(boottime(), partial=True)
            new[0].commit(7)
            await table.until_ready()
            assert table.values() == {b"k": b"open"}
            assert table.served.read(boottime()).incarnation != incarnation


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("records", [1, 2, 5])
async def test_a_re_created_topic_of_any_size_is_another_one(partitions, records):
    async with FakeCluster() as fake:
        written(fake, b"1", b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            new = fake.add_topic("t", partitions=partitions)
            for part in new.partitions:
                part.write([(b"new-%d" % at, b"1") for at in range(records)])
            keys = {b"new-%d" % at for at in range(records)}
            await table.until(lambda: table.ready and set(table.values()) == keys, "the new topic")
            assert set(table.positions()) == set(range(partitions))


async def test_a_re_created_topic_is_noticed_although_its_old_leader_is_gone():
    async with FakeCluster(brokers=2) as fake:
        written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await fake.brokers[1].stop()
            fake.brokers[1].listed = False
            new = written(fake, b"new")
            new[0].leader = 2
            await table.until(lambda: table.ready and table.values() == {b"k": b"new"}, "the new")
            assert isinstance(table.told.ended[0], TopicGone)


async def test_a_deleted_topic_is_noticed_although_its_leader_is_gone():
    async with FakeCluster(brokers=2) as fake:
        written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await fake.brokers[1].stop()
            fake.brokers[1].listed = False
            del fake.topics["t"]
            await table.until(lambda: state(table) is TableState.REPLACED, "replaced")
            assert refusal(table).reason is Reason.TOPIC_MISSING


async def test_doubts_that_a_leader_dispels_end_nothing():
    def lag(request, answer):
        answer["topics"][0]["topic_id"] = uuid.uuid4()

    async with FakeCluster() as fake:
        written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.metadata.append(always(lag))
            asked = len(fake.of("metadata"))
            for at in range(30):
                fake.topics["t"][0].write([(b"k", b"%d" % at)])
                await table.until_read({0: at + 2})
            await table.until(lambda: len(fake.of("metadata")) > asked + 10, "many answers")
            assert table.ready
            assert not table.told.ended


async def test_a_topic_deleted_while_a_cut_log_is_looked_for_again_is_missing():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.truncate(1)
            fake.script.fetch.append(edit("t", 0, error_code=1))
            del fake.topics["t"]
            fake.script.fetch.append(always(edit("t", 0, error_code=1)))
            await table.until(lambda: state(table) is TableState.REPLACED, "replaced")
            assert refusal(table).reason is Reason.TOPIC_MISSING


async def test_a_topic_replaced_while_its_ends_are_asked_for_never_becomes_ready():
    """They are asked for by name: an end that another topic told says nothing of this one."""
    async with FakeCluster() as fake:
        old = written(fake, b"1", b"old")
        fake.script.list_offsets.append(lambda request, answer: fake.add_topic("t") and None)
        async with following(fake.bootstrap_servers, "t") as table:
            ready_as = []
            await table.until(
                lambda: table.ready and (ready_as.append(table.served.source.topic_id) or True),
                "ready",
            )
            assert ready_as == [str(fake.topics["t"].topic_id)]
            assert str(old.topic_id) in str(table.told.ended[0])


async def test_silent_control_connections_do_not_hide_a_deleted_topic(monkeypatch):
    monkeypatch.setattr(cluster, "_QUICK_S", 0.1)
    async with FakeCluster(brokers=3) as fake:
        written(fake, b"old")
        async with following(fake.bootstrap_servers, "t", request_timeout_s=60) as table:
            await table.until_ready()
            for broker in fake.brokers.values():
                broker.script.metadata.append(SILENT)
            del fake.topics["t"]
            await table.until(lambda: state(table) is TableState.REPLACED, "replaced", 10)


# Another cluster


async def test_another_cluster_behind_the_address_is_another_topic():
    async with FakeCluster() as fake:
        topic = written(fake, b"old")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            before = table.served.read(boottime()).incarnation
            fake.cluster_id = "other-cluster"
            topic[0].write([(b"k", b"new")])
            await table.until(
                lambda: table.ready and table.served.read(boottime()).incarnation != before, "it"
            )
            assert table.values() == {b"k": b"new"}
            assert table.served.source.cluster_id == "other-cluster"


async def test_a_stranger_at_one_address_is_passed_by_while_a_broker_of_ours_answers():
    def strange(request, answer):
        answer["cluster_id"] = "stranger"

    async with FakeCluster(brokers=2) as fake:
        part = written(fake, b"old")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.brokers[2].script.metadata.append(always(strange))
            asked = sum(each.node == 2 for each in fake.of("metadata"))
            await table.until(
                lambda: sum(each.node == 2 for each in fake.of("metadata")) > asked + 3, "asked"
            )
            part.write([(b"k", b"new")])
            await table.until_read({0: 2})
            assert not table.told.ended


async def test_a_stranger_at_an_address_that_was_a_brokers_ends_nothing():
    """Addresses are given to others; only where we were sent may another cluster answer."""

    def strange(request, answer):
        answer["cluster_id"] = "stranger"

    async with FakeCluster(brokers=2) as fake:
        written(fake, b"old")
        async with following(fake.brokers[1].address, "t") as table:
            await table.until_ready()
            await fake.brokers[1].stop()
            fake.brokers[2].script.metadata.append(always(strange))
            asked = sum(each.node == 2 for each in fake.of("metadata"))
            await table.until(
                lambda: sum(each.node == 2 for each in fake.of("metadata")) > asked + 3, "asked"
            )
            assert not table.told.ended
            assert table.values() == {b"k": b"old"}


# Bugs


async def test_a_bug_leads_to_another_generation_and_the_fourth_one_ends_it(monkeypatch):
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()

            def fail(*_):
                raise ZeroDivisionError("a bug")

            monkeypatch.setattr(feed.Feed, "_name_wait", fail)
            part.write([(b"k", b"2")])
            await table.until(lambda: table.served.fault, "the fault")
            assert "a fault of the sidecar itself (ZeroDivisionError" in table.served.fault
            assert state(table) is TableState.STALE
            assert table.ready
            with pytest.raises(ZeroDivisionError):
                await table.until(lambda: False, "the end", timeout=20)
            assert len(table.told.ended) == 4


async def test_a_generation_after_a_bug_answers(monkeypatch):
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            with monkeypatch.context() as broken:
                broken.setattr(feed.Feed, "_name_wait", lambda *_: 1 / 0)
                part.write([(b"k", b"2")])
                await table.ended()
            await table.until(lambda: table.values() == {b"k": b"2"}, "the next generation")
            await table.until(lambda: state(table) is TableState.LIVE, "live")
            assert table.served.begun["bug"] >= 1


async def test_a_reader_that_hangs_is_noticed(monkeypatch):
    monkeypatch.setattr(feed, "_ROUND_S", 0.01)
    monkeypatch.setattr(feed, "_ROUNDS", 60)
    async with FakeCluster() as fake:
        written(fake, b"1")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            never(fake)
            fault = await table.ended()
            assert isinstance(fault, Stalled)
            assert "partitions [0]" in str(fault)
            fake.script.fetch.clear()
            await table.until(lambda: table.served.generations == 2, "another")
            await table.until_ready()


async def test_nobody_leads_and_nobody_answers_is_a_wait_and_no_fault(monkeypatch):
    monkeypatch.setattr(feed, "_ROUND_S", 0.02)
    monkeypatch.setattr(feed, "_ROUNDS", 60)
    async with FakeCluster() as fake:
        part = written(fake, b"1")[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.leader = -1
            await table.until(lambda: table.progress().leader.node == -1, "nobody leads")
            await fake.brokers[1].stop()
            refused = table.broker_errors.count("METADATA_UNANSWERED") + 100
            await table.until(
                lambda: table.broker_errors.count("METADATA_UNANSWERED") > refused, "a long time"
            )
            assert not table.told.ended
            assert table.progress().waiting.wait is Wait.BROKER
            assert "refuses connections" in table.progress().waiting.detail


async def test_a_table_that_refuses_to_be_read_anew_outlives_brokers_that_are_too_old():
    async with FakeCluster() as fake:
        part = written(fake, b"1", b"old")[0]
        async with following(fake.bootstrap_servers, "t", rebuild=Rebuild.REFUSE) as table:
            await table.until_ready()
            cut(part, b"new", b"newer")
            await table.until(lambda: table.served.fault, "the fault")
            fake.brokers[1].versions[3] = (4, 9)
            await fake.brokers[1].drop_connections()
            connected = len(fake.of("api_versions"))
            await table.until(lambda: len(fake.of("api_versions")) > connected + 3, "tries")
            assert table.values() == {b"k": b"old"}
            assert not table.task.done()
