"""A table is read from a scripted cluster: to its targets, whatever the log looks like."""

import asyncio
import random

import pytest
from support.batches import Rec
from support.fake_broker import CLOSE, FakeCluster, always, edit
from support.following import boottime, following

from sidecar.core.errors import Reason
from sidecar.core.progress import Wait
from sidecar.kafka import reader
from sidecar.kafka.errors import Unsupported


class Clock:
    """Boot time, and as much more as a test says."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return boottime() + self.ahead


# What a log may look like


async def test_a_topic_is_read_to_its_end_and_then_followed():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"2")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"a": b"1", b"b": b"2"}
            part.write([(b"a", None), (b"c", b"3")])
            await table.until_read({0: 4})
            assert table.values() == {b"b": b"2", b"c": b"3"}


async def test_records_come_with_partition_offset_timestamp_and_headers():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=2)
        topic[0].next_offset = 40
        topic[0].write([Rec(b"created", b"1", [(b"h", None), (b"h", b"2")], 5)])
        topic[1].write([(b"appended", b"2")], timestamp_ms=7, append_time=True)
        topic[1].write([(b"timeless", b"3")], timestamp_ms=-1)
        async with following(fake.bootstrap_servers, "t", headers=True) as table:
            await table.until_ready()
            assert table.table() == {
                b"created": (b"1", 0, 40, 5, "create"),
                b"appended": (b"2", 1, 0, 7, "append"),
                b"timeless": (b"3", 1, 1, -1, "create"),
            }
            assert table.view.table.get(b"created")[4] == (("h", None), ("h", b"2"))


async def test_a_table_that_is_ready_settles_by_itself_and_answers_meanwhile():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=2)
        written = {b"%d" % number: b"v" for number in range(5000)}
        for number in range(2):
            topic[number].write([pair for pair in written.items() if int(pair[0]) % 2 == number])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert not table.view.table.settled
            assert table.values() == written
            await table.until(lambda: table.view.table.settled, "settled")
            assert (table.values(), len(table.view.table)) == (written, len(written))


async def test_min_entries_counts_keys_not_records_of_several_partitions():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=2)
        for part in topic:
            part.write([(b"same", b"v")])
        async with following(fake.bootstrap_servers, "t", min_entries=2) as table:
            await table.until(lambda: table.served.view is not None, "found")
            await table.until(lambda: table.view.caught_up and table.view.table.settled, "read")
            assert not table.ready
            topic[0].write([(b"other", b"v")])
            await table.until_ready()


async def test_null_keys_are_no_entries_and_empty_ones_are():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(None, b"x"), (b"", b"key"), (b"value", b""), (None, None)])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"": b"key", b"value": b""}
            assert table.view.table.counters.null_keys == 2


async def test_no_hole_marker_or_empty_partition_holds_up_readiness():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=5)
        topic[1].write([(b"a", b"1")], last_offset_delta=40)  # compaction left one of 41
        topic[2].write([(b"no", b"0")], producer_id=7, transactional=True)
        topic[2].abort(7)
        topic[3].write([(b"gone", b"0")])
        topic[3].delete_before(1)
        topic[4].next_offset = 90
        topic[4].write([(b"b", b"2")], producer_id=7, transactional=True)
        topic[4].commit(7)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"a": b"1", b"b": b"2"}
            assert table.positions() == {0: 0, 1: 41, 2: 2, 3: 1, 4: 92}
            assert fake.of("list_offsets")[0].partitions()["t", 0]["current_leader_epoch"] == 0


async def test_reading_begins_at_the_log_start_inside_a_batch():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
        part.delete_before(2)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"c": b"3"}
            assert fake.of("fetch")[0].partitions()["t", 0]["fetch_offset"] == 2


async def test_a_partition_far_larger_than_a_response_is_read(monkeypatch):
    monkeypatch.setattr(reader, "_MAX_BYTES", 2000)
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 700)
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=3)
        for number in range(3):
            for at in range(20):
                topic[number].write([(b"%d-%d" % (number, at), bytes(3000 if at == 9 else 300))])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert len(table.values()) == 60
            assert table.view.table.counters.records == 60


async def test_a_value_larger_than_the_receive_buffer_arrives_whole():
    value = random.Random(5).randbytes(300_000)
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"small", b"1")])
        part.write([(b"large", value)])
        part.write([(b"after", b"2")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"small": b"1", b"large": value, b"after": b"2"}


async def test_a_batch_that_is_cut_off_at_the_end_of_a_response_is_asked_for_again():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for at in range(4):
            part.write([(b"%d" % at, bytes(40))])
        whole = b"".join(part.batches)
        for cut in (1, 40, 90, len(part.batches[-1]) + 5):
            fake.script.fetch.append(edit("t", 0, records=whole[:-cut]))
            async with following(fake.bootstrap_servers, "t") as table:
                await table.until_ready()
                assert table.view.table.counters.records == 4


async def test_a_table_with_too_few_entries_does_not_become_ready():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t", min_entries=2) as table:
            await table.until_read({0: 1})
            assert not table.ready
            part.write([(b"b", b"1")])
            await table.until_ready()


# Transactions


async def test_aborted_data_is_never_shown_and_committed_data_of_the_same_producer_is():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for round_ in range(3):
            part.write([(b"k", b"aborted")], producer_id=7, transactional=True)
            part.write([(b"k%d" % round_, b"plain")])
            part.write([(b"other", b"%d" % round_)], producer_id=8, transactional=True)
            part.abort(7)
            part.commit(8)
            part.write([(b"c%d" % round_, b"kept")], producer_id=7, transactional=True)
            part.commit(7)
        expected = {b"k%d" % n: b"plain" for n in range(3)} | {b"other": b"2"}
        expected |= {b"c%d" % n: b"kept" for n in range(3)}
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == expected
        async with following(
            fake.bootstrap_servers, "t", isolation_level="read_uncommitted"
        ) as table:
            await table.until_ready()
            assert table.values() == expected | {b"k": b"aborted"}


async def test_aborted_data_is_left_out_when_a_response_begins_in_its_middle(monkeypatch):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)  # a batch a response
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for at in range(3):
            part.write([(b"%d" % at, b"aborted")], producer_id=7, transactional=True)
        part.abort(7)
        part.write([(b"a", b"1")], producer_id=7, transactional=True)
        part.commit(7)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.values() == {b"a": b"1"}


async def test_an_open_transaction_is_waited_for_by_name_and_its_end_makes_ready():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        part.write([(b"b", b"2")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 1})
            await table.until(
                lambda: table.progress().waiting.wait is Wait.OPEN_TRANSACTION, "the wait"
            )
            assert "offset 1 back for 0 s" in table.progress().waiting.detail
            assert "open transaction" in table.served.reason(boottime())
            assert not table.ready
            part.commit(7)
            await table.until_ready()
            assert table.values() == {b"a": b"1", b"tx": b"1", b"b": b"2"}
            assert table.progress().waiting.wait is Wait.NOTHING


async def test_an_open_transaction_holds_readiness_up_no_longer_than_its_limit():
    clock = Clock()
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        part.write([(b"b", b"2")])
        async with following(
            fake.bootstrap_servers, "t", clock=clock, open_transaction_wait_s=75
        ) as table:
            await table.until(
                lambda: (
                    table.served.view and table.progress().waiting.wait is Wait.OPEN_TRANSACTION
                ),
                "the wait",
            )
            clock.ahead = 74.0
            polls = len(fake.of("fetch"))
            fake.script.fetch.append(edit())
            await table.until(lambda: len(fake.of("fetch")) > polls + 1, "two polls")
            assert not table.ready
            clock.ahead = 80.0
            fake.script.fetch.append(edit())
            await table.until_ready()
            assert table.values() == {b"a": b"1"}
            assert table.progress().target == 1
            # Nothing tells how old the state is, until the transaction ends.
            assert table.view.staleness_ms(clock()) is None
            part.abort(7)
            await table.until_read({0: 4})
            assert table.values() == {b"a": b"1", b"b": b"2"}
            await table.until(lambda: table.view.staleness_ms(clock()) is not None, "freshness")


async def test_read_uncommitted_waits_for_no_transaction():
    clock = Clock()
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        part.write([(b"b", b"2")])
        async with following(
            fake.bootstrap_servers, "t", isolation_level="read_uncommitted"
        ) as table:
            await table.until_ready()
            assert set(table.values()) == {b"a", b"tx", b"b"}
            assert table.progress().waiting.wait is Wait.NOTHING
            assert table.view.staleness_ms(clock()) is not None


async def test_read_uncommitted_never_takes_the_last_stable_offset_for_its_target(monkeypatch):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 1)
    clock = Clock()
    gate = asyncio.Event()

    async def hold(request, answer):
        if request.partitions()["t", 0]["fetch_offset"] == 4:
            await gate.wait()
        clock.ahead += 100.0

    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        for at in range(5):
            part.write([(b"%d" % at, b"1")])
        fake.script.fetch.append(always(hold))
        async with following(
            fake.bootstrap_servers,
            "t",
            clock=clock,
            open_transaction_wait_s=1,
            isolation_level="read_uncommitted",
        ) as table:
            await table.until_read({0: 4})
            await table.until(
                lambda: fake.of("fetch")[-1].partitions()["t", 0]["fetch_offset"] == 4,
                "the fetch that is held",
            )
            assert not table.ready
            fake.script.fetch.clear()
            gate.set()
            await table.until_ready()
            assert len(table.values()) == 6


# Before the topic is there


async def test_a_topic_that_is_missing_is_waited_for_and_never_created():
    async with FakeCluster() as fake:
        async with following(fake.bootstrap_servers, "users") as table:
            await table.until(lambda: len(fake.of("metadata")) >= 3, "some questions")
            assert table.served.trouble.reason is Reason.TOPIC_MISSING
            assert "'users' does not exist" in table.served.trouble.sentence
            assert fake.bootstrap_servers in table.served.trouble.sentence
            fake.add_topic("users")[0].write([(b"a", b"1")])
            await table.until_ready()
        assert not any(each.body["allow_auto_topic_creation"] for each in fake.of("metadata"))


async def test_nothing_is_asked_but_what_reading_one_topic_needs():
    async with FakeCluster(brokers=2) as fake:
        fake.add_topic("other")
        topic = fake.add_topic("t", partitions=2)
        topic[1].leader = 2
        topic[0].write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t", client_id="me") as table:
            await table.until_ready()
            polls = len(fake.of("fetch"))
            await table.until(lambda: len(fake.of("fetch")) >= polls + 2, "two polls")
        asked = {(each.api, each.version) for each in fake.requests}
        assert asked <= {
            ("api_versions", 0), ("metadata", 12), ("list_offsets", 5), ("fetch", 13),
            ("describe_configs", 2),
        }  # fmt: skip
        assert {each.client_id for each in fake.requests} == {"me"}
        for each in fake.of("metadata"):
            assert [topic["name"] for topic in each.body["topics"]] == ["t"]
            assert not each.body["allow_auto_topic_creation"]
        for each in fake.of("fetch"):
            assert (each.body["rack_id"], each.body["session_epoch"]) == ("", -1)
            assert all(fake.topics["t"][p].leader == each.node for _, p in each.partitions())


async def test_targets_are_high_watermarks_under_both_isolation_levels():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"tx", b"1")], producer_id=7, transactional=True)
        for level in ("read_committed", "read_uncommitted"):
            async with following(fake.bootstrap_servers, "t", isolation_level=level) as table:
                await table.until(lambda table=table: table.served.view, "begun")
                assert table.progress().target == 1
        assert {each.body["isolation_level"] for each in fake.of("list_offsets")} == {0}
        assert {each.body["isolation_level"] for each in fake.of("fetch")} <= {0, 1}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (29, "grant it: kafka-acls --add --allow-principal User:NAME --operation Read --topic t"),
        (5, "answers LEADER_NOT_AVAILABLE for 't'"),
        (87, "answers error 87 for 't'"),
    ],
)
async def test_an_error_for_the_topic_is_named_and_waited_out(code, words):
    async with FakeCluster() as fake:
        topic = fake.add_topic("t")
        topic.metadata_error = code
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: words in table.served.trouble.sentence, words)
            topic.metadata_error = 0
            await table.until_ready()


async def test_a_partition_without_leader_is_named_and_waited_for():
    async with FakeCluster() as fake:
        topic = fake.add_topic("t", partitions=3)
        topic[1].leader = topic[2].leader = -1
        async with following(fake.bootstrap_servers, "t") as table:
            words = "partitions [1, 2] of topic 't' have no leader"
            await table.until(lambda: table.served.trouble.sentence == words, words)
            topic[1].leader = topic[2].leader = 1
            await table.until_ready()


@pytest.mark.parametrize("code", [6, 74, 75, 78])
async def test_ends_are_asked_for_again_when_the_leader_does_not_know_them(code):
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        fake.script.list_offsets.append(edit("t", 0, error_code=code, offset=-1))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.progress().target == 1
            assert "the leader of partition 0 answers" in table.sentences[0]


async def test_an_illegal_topic_name_is_no_wait():
    async with FakeCluster() as fake:
        fake.add_topic("a b").metadata_error = 17
        async with following(fake.bootstrap_servers, "a b") as table:
            fault = await table.ended()
            assert isinstance(fault, Unsupported)
            assert "'a b' is not a legal topic name" in str(fault)


# The topic's configuration, which a broker may keep to itself


async def test_the_topics_configuration_is_noted():
    async with FakeCluster() as fake:
        fake.add_topic("t", cleanup_policy="compact", delete_retention_ms=1234)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.served.source.cleanup_policy == "compact"
            assert table.served.source.delete_retention_ms == 1234


@pytest.mark.parametrize("broker", ["refuses", "has no such API", "has newer versions only"])
async def test_a_table_does_without_the_topics_configuration(broker):
    async with FakeCluster() as fake:
        fake.add_topic("t", cleanup_policy="compact")[0].write([(b"a", b"1")])
        if broker == "refuses":
            fake.script.describe_configs.append(
                lambda _, answer: {
                    "results": [{**answer["results"][0], "error_code": 29, "configs": []}]
                }
            )
        elif broker == "has no such API":
            del fake.brokers[1].versions[32]
        else:
            fake.brokers[1].versions[32] = (3, 9)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.served.source.cleanup_policy == ""
            assert table.served.source.delete_retention_ms is None


@pytest.mark.parametrize(
    "api", ["api_versions", "metadata", "list_offsets", "describe_configs", "fetch"]
)
async def test_a_connection_that_closes_at_any_question_is_made_again(api):
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"2")])
        getattr(fake.script, api).extend([CLOSE, CLOSE])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.view.table.counters.records == 2
            assert not getattr(fake.script, api)


async def test_entries_below_a_log_start_that_moves_go():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"%d" % number, b"v") for number in range(10)])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.write([(b"8", None), (b"new", b"v")])
            part.delete_before(7)
            await table.until(lambda: len(table.view.table) == 3, "swept")
            assert table.values() == {b"7": b"v", b"9": b"v", b"new": b"v"}
            assert table.view.table.counters.expired == 7
            assert table.ready
