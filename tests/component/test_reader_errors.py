"""What a broker may answer to a fetch: what is waited out, and what ends a generation."""

import gzip
import struct
import uuid

import pytest
from support.batches import batch, crc32c
from support.fake_broker import FakeCluster, always, edit
from support.following import boottime, following

from sidecar.core.progress import Wait
from sidecar.kafka import topology
from sidecar.kafka.errors import LogCut, TopicGone

PASSING = {
    -1: "UNKNOWN_SERVER_ERROR",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    13: "NETWORK_EXCEPTION",
    56: "KAFKA_STORAGE_ERROR",
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    78: "OFFSET_NOT_AVAILABLE",
    100: "UNKNOWN_TOPIC_ID",
    103: "INCONSISTENT_TOPIC_ID",
}
UNREADABLE = {2: "CORRUPT_MESSAGE", 76: "UNSUPPORTED_COMPRESSION_TYPE"}


@pytest.fixture
def quick_metadata(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)


def written(fake, name="t", partitions=1):
    topic = fake.add_topic(name, partitions=partitions)
    for part in topic.partitions:
        part.write([(b"a", b"1")])
    return topic


async def ends_with(table, *words, kind=LogCut):
    fault = await table.ended()
    assert isinstance(fault, kind), repr(fault)
    for each in words:
        assert each in str(fault), str(fault)


# Errors of one partition


@pytest.mark.parametrize("code", PASSING)
async def test_a_passing_error_is_named_counted_and_followed_by_new_metadata(code):
    async with FakeCluster() as fake:
        written(fake)
        refused = edit("t", 0, error_code=code, records=b"")
        fake.script.fetch.extend([refused, refused])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.waited == [(0, Wait.LEADER, table.waited[0][2])] * 2
            assert PASSING[code] in table.waited[0][2]
            assert table.broker_errors == [PASSING[code]] * 2
            assert table.progress().waiting.wait is Wait.NOTHING
            asked = [each.api for each in fake.requests]
            assert "metadata" in asked[asked.index("fetch") :]


@pytest.mark.parametrize("code", UNREADABLE)
async def test_a_batch_that_the_broker_cannot_give_stops_its_partition_alone(code):
    async with FakeCluster() as fake:
        topic = written(fake, partitions=2)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.fetch.append(always(edit("t", 1, error_code=code, records=b"")))
            await table.blocked(UNREADABLE[code], partition=1)
            topic[0].write([(b"b", b"2")])
            topic[1].write([(b"c", b"3")])
            await table.until_read({0: 2, 1: 1})
            assert table.ready
            fake.script.fetch.clear()
            await table.until_read({0: 2, 1: 2})
            assert table.progress(1).waiting.wait is Wait.NOTHING


async def test_an_error_that_nobody_knows_is_waited_out():
    async with FakeCluster() as fake:
        written(fake)
        fake.script.fetch.append(edit("t", 0, error_code=87, records=b""))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.has_waited(Wait.BROKER, "the leader answers error 87")


async def test_one_partitions_error_does_not_hold_up_the_others():
    async with FakeCluster() as fake:
        topic = written(fake, partitions=2)
        stuck = always(edit("t", 1, error_code=3, records=b""))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.fetch.append(stuck)
            topic[0].write([(b"b", b"2")])
            topic[1].write([(b"c", b"3")])
            await table.until_read({0: 2, 1: 1})
            fake.script.fetch.clear()
            await table.until_read({0: 2, 1: 2})


async def test_a_refusal_is_named_and_asked_about_once_a_second():
    now = [boottime()]
    asked = []

    def refuse(request, answer):
        asked.extend(number for _, number in request.partitions())
        return edit("t", 1, error_code=29, records=b"")

    async with FakeCluster() as fake:
        topic = written(fake, partitions=2)
        async with following(fake.bootstrap_servers, "t", clock=lambda: now[0]) as table:
            await table.until_ready()
            fake.script.fetch.append(always(refuse))
            await table.until(lambda: asked.count(0) > 20, "twenty fetches")
            assert asked.count(1) == 1
            assert table.has_waited(Wait.AUTHORIZATION, "kafka-acls --add")
            now[0] += 0.9
            await table.until(lambda: asked.count(0) > 40, "twenty fetches more")
            assert asked.count(1) == 1
            now[0] += 0.2
            await table.until(lambda: asked.count(1) == 2, "a second question")
            assert table.values() == {b"a": b"1"}
            fake.script.fetch.clear()
            topic[1].write([(b"b", b"2")])
            now[0] += 1.1
            await table.until_read({0: 1, 1: 2})
            assert table.progress(1).waiting.wait is Wait.NOTHING


async def test_an_error_of_the_whole_response_is_a_broken_broker():
    async with FakeCluster() as fake:
        written(fake)
        fake.script.fetch.append(lambda _, answer: {**answer, "error_code": 56, "topics": []})
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.has_waited(Wait.BROKER, "answers a fetch with KAFKA_STORAGE_ERROR")
            assert table.broker_errors == ["BROKER_LOST"]


async def test_a_response_that_makes_no_sense_is_a_broken_broker():
    async with FakeCluster() as fake:
        written(fake)
        fake.script.fetch.append(
            {
                "throttle_time_ms": 0,
                "error_code": 0,
                "session_id": 0,
                "topics": [
                    {
                        "topic_id": uuid.UUID(int=0),
                        "partitions": [
                            {
                                "partition": 0,
                                "records": b"",
                                "aborted_transactions": [],
                                "diverging_epoch": None,
                            }
                        ],
                    }
                ],
            }
        )
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()


async def test_an_answer_for_a_partition_that_was_not_asked_for_is_dropped():
    def stray(request, answer):
        answer["topics"][0]["partitions"].append(
            {**answer["topics"][0]["partitions"][0], "partition": 9}
        )

    async with FakeCluster() as fake:
        written(fake)
        fake.script.fetch.append(stray)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.view.table.counters.records == 1


# Who the topic is


async def test_an_unknown_topic_id_alone_ends_nothing():
    async with FakeCluster() as fake:
        part = written(fake)[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.fetch.extend([edit("t", 0, error_code=100)] * 3)
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert table.has_waited(Wait.LEADER, "UNKNOWN_TOPIC_ID")
            assert len(fake.of("metadata")) >= 2


@pytest.mark.parametrize("lagging", ["names another id", "knows no such topic"])
async def test_one_lagging_broker_ends_nothing(lagging, quick_metadata):
    def lag(request, answer):
        if lagging == "names another id":
            answer["topics"][0]["topic_id"] = uuid.uuid4()
            answer["topics"][0]["partitions"] *= 2
        else:
            answer["topics"] = [{"error_code": 3, "name": "t"}]

    async with FakeCluster() as fake:
        part = written(fake)[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fresh = table.view.topology_as_of
            fake.script.metadata.extend([lag, lag])
            await table.until(lambda: not fake.script.metadata, "the lagging answers")
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            await table.until(lambda: table.view.topology_as_of > fresh, "a new listing")


async def test_a_deleted_topic_ends_the_reading():
    async with FakeCluster() as fake:
        written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            del fake.topics["t"]
            await ends_with(table, "deleted", kind=TopicGone)
        assert not any(each.body["allow_auto_topic_creation"] for each in fake.of("metadata"))


async def test_a_topic_that_was_created_again_ends_the_reading():
    async with FakeCluster() as fake:
        old = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            new = fake.add_topic("t")
            new[0].write([(b"x", b"1"), (b"y", b"2"), (b"z", b"3")])
            await ends_with(
                table, "created again", str(old.topic_id), str(new.topic_id), kind=TopicGone
            )


async def test_another_cluster_behind_the_same_address_ends_the_reading(quick_metadata):
    async with FakeCluster() as fake:
        written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.cluster_id = "other-cluster"
            await ends_with(
                table, "another cluster", "other-cluster", "fake-cluster", kind=TopicGone
            )


async def test_an_added_partition_is_followed_from_its_start(quick_metadata):
    async with FakeCluster() as fake:
        topic = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            before = table.values()
            topic.grow(3)
            topic[1].write([(b"new-1", b"1")])
            topic[2].write([(b"new-2", b"2"), (b"new-3", b"3"), (b"new-3", None)])
            await table.until_read({0: 1, 1: 1, 2: 3})
            assert table.values() == {**before, b"new-1": b"1", b"new-2": b"2"}
            assert table.ready
            topic[1].write([(b"new-1", b"again")])
            await table.until_read({0: 1, 1: 2, 2: 3})
            assert table.values()[b"new-1"] == b"again"


async def test_while_an_added_partition_cannot_be_read_staleness_grows(quick_metadata):
    async with FakeCluster() as fake:
        topic = written(fake)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            topic.grow(2)
            topic[1].leader = -1
            listed = table.view.topology_as_of
            await table.until(lambda: len(fake.of("metadata")) > 10, "some metadata")
            known = table.view.topology_as_of
            asked = len(fake.of("metadata"))
            await table.until(lambda: len(fake.of("metadata")) > asked + 5, "some more")
            assert table.view.topology_as_of == known >= listed
            topic[1].leader = 1
            await table.until(lambda: table.view.topology_as_of > known, "listed again")
            assert set(table.positions()) == {0, 1}


# A log that was cut


async def test_the_last_batchs_epoch_goes_with_each_fetch_and_at_first_the_leaders():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.leader_epoch = 4
        part.write([(b"a", b"1")], leader_epoch=2)
        part.write([(b"b", b"1")], leader_epoch=3)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await table.until(lambda: len(fake.of("fetch")) == 2, "a second fetch")
        asked = [each.partitions()["t", 0] for each in fake.of("fetch")]
        assert [each["last_fetched_epoch"] for each in asked] == [4, 3]
        assert [each["current_leader_epoch"] for each in asked] == [4, 4]
        assert [each["fetch_offset"] for each in asked] == [0, 2]


async def test_a_log_that_was_cut_and_has_grown_again_ends_the_reading():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for at in range(3):
            part.write([(b"%d" % at, b"old")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.truncate(1)
            for at in range(5):
                part.write([(b"%d" % at, b"new")])
            await ends_with(table, "partition 0", "cut below offset 3", "epoch 0 ends at 1")


async def test_a_log_that_was_cut_and_is_shorter_ends_the_reading():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for at in range(3):
            part.write([(b"%d" % at, b"old")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.truncate(1, leader_epoch=0)
            fake.script.fetch.append(edit("t", 0, diverging_epoch=None, error_code=1))
            await ends_with(table, "partition 0", "OFFSET_OUT_OF_RANGE")


@pytest.mark.parametrize("end", [2, 5])
async def test_a_divergence_behind_the_batch_that_it_names_is_no_cut(end):
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"1")])
        odd = edit("t", 0, diverging_epoch={"epoch": 0, "end_offset": end}, records=b"")
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.fetch.append(odd)
            await table.until(lambda: not fake.script.fetch, "the odd answer")
            part.write([(b"c", b"1")])
            await table.until_read({0: 3})
            assert not table.told.ended


async def test_a_log_that_was_cut_before_anything_of_it_was_read_is_read_anew():
    """It is empty where it begins, so no batch names it: the leader's epoch does."""
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        for value in (b"1", b"2", b"3"):
            part.write([(b"k", value)])
        part.delete_before(3)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            part.log_start_offset = 0
            part.truncate(0)
            for key in (b"a", b"b", b"c", b"d"):
                part.write([(key, b"new")])
            await table.until(lambda: len(table.values()) == 4, "what was below the position too")
            assert [type(each) for each in table.told.ended] == [LogCut]


@pytest.mark.parametrize(("epoch", "end"), [(0, 1), (-1, 2), (-1, -1)])
async def test_any_other_divergence_is_a_cut(epoch, end):
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.script.fetch.append(
                edit("t", 0, diverging_epoch={"epoch": epoch, "end_offset": end}, records=b"")
            )
            await ends_with(table, "partition 0", f"epoch {epoch} ends at {end}")


# Bytes that cannot be read


def with_attributes(data, attributes):
    """The batch with other attributes, and the CRC that goes with them."""
    tail = struct.pack(">h", attributes) + data[23:]
    return data[:17] + struct.pack(">I", crc32c(tail)) + tail


GOOD = batch([(b"good", b"1")])
NEXT = {"base_offset": 1}
BAD = {
    "wrong CRC": (batch([(b"x", b"1")], wrong_crc=True, **NEXT), "offset 1 has a wrong CRC"),
    "old format": (batch([(b"x", b"1")], **NEXT)[:16] + b"\1" + batch([(b"x", b"1")])[17:],
                   "offset 1 has message format v1"),
    "future format": (batch([(b"x", b"1")], **NEXT)[:16] + b"\3" + batch([(b"x", b"1")])[17:],
                      "offset 1 has message format v3"),
    "unknown codec": (with_attributes(batch([(b"x", b"1")], **NEXT), 5),
                      "offset 1 cannot be read: compression codec 5 is not known"),
    "garbled lz4": (batch([(b"x", b"1")], codec="lz4", compress=lambda _: b"nonsense", **NEXT),
                    "cannot be read"),
    "garbled zstd": (batch([(b"x", b"1")], codec="zstd", compress=lambda _: b"nonsense", **NEXT),
                     "cannot be read"),
    "garbled gzip": (batch([(b"x", b"1")], codec="gzip", compress=lambda _: b"nonsense", **NEXT),
                     "cannot be read"),
    "garbled snappy": (batch([(b"x", b"1")], codec="snappy", compress=lambda _: b"nonsense",
                             **NEXT), "cannot be read"),
    "too few records": (batch([(b"x", b"1")], record_count=2, **NEXT), "cannot be read"),
    "too many records": (batch([(b"x", b"1"), (b"y", b"1")], record_count=1, **NEXT),
                         "cannot be read"),
    "too large": (batch([(b"x", b"1" * 200)], codec="gzip", **NEXT), "(limits.batch_bytes)"),
    "negative length": (batch([(b"x", b"1")], **NEXT)[:8] + b"\xff" * 4
                        + batch([(b"x", b"1")])[12:], "offset 1 has a senseless header"),
}  # fmt: skip


@pytest.mark.parametrize("codec", BAD)
@pytest.mark.parametrize("together", [True, False], ids=["one response", "two"])
async def test_bytes_that_cannot_be_read_stop_the_partition_behind_the_good_ones(codec, together):
    bad, words = BAD[codec]
    async with FakeCluster() as fake:
        part = fake.add_topic("t", partitions=3)[2]
        part.batches, part.next_offset = [GOOD], 5
        if together:
            part.batches.append(bad)
        fake.topics["t"][0].write([(b"zero", b"0")])
        async with following(fake.bootstrap_servers, "t", batch_bytes=150) as table:
            if not together:
                await table.until_read({0: 1, 1: 0, 2: 1})
                part.batches.append(bad)
            await table.blocked(words, partition=2)
            found = table.values()
            assert found.pop(b"x", b"1") == b"1"  # the good records of a batch with a bad end
            assert found == {b"good": b"1", b"zero": b"0"}
            assert not table.ready


async def test_a_batch_with_bad_records_behind_good_ones_gives_the_good_ones():
    records = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        cut = batch(records, codec="gzip", compress=lambda body: gzip.compress(body[:-2]))
        part.batches = [cut]
        part.next_offset = 3
        async with following(fake.bootstrap_servers, "t") as table:
            await table.blocked("cannot be read: record 3 of 3")
            assert table.values() == {b"a": b"1", b"b": b"2"}
            assert table.positions() == {0: 2}


async def test_header_keys_that_are_no_utf8_are_kept():
    headers = [(b"\xff", b"h")]
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"2", headers), (b"c", b"3", headers)])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_read({0: 3})
            assert table.values() == {b"a": b"1", b"b": b"2", b"c": b"3"}


@pytest.mark.parametrize("size", [1, 30, 61, 65])
async def test_a_response_with_nothing_but_a_torn_batch_stops_the_partition(size):
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        fake.script.fetch.append(always(edit("t", 0, records=GOOD[:size])))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.blocked("offset 0", "cut off")


async def test_aborted_bytes_need_not_be_readable_but_their_checksum_must_hold():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"x", b"1")], codec="lz4", compress=lambda _: b"nonsense", producer_id=7,
                   transactional=True)  # fmt: skip
        part.abort(7)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
        part.write([(b"x", b"1")], wrong_crc=True, producer_id=7, transactional=True)
        part.abort(7)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.blocked("offset 2 has a wrong CRC")


# Throttling


async def test_a_throttled_broker_is_named_and_asked_again_later():
    async with FakeCluster() as fake:
        written(fake)
        fake.script.fetch.append({"throttle_time_ms": 20, "topics": []})
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert table.waited == [(0, Wait.QUOTA, "the broker throttles by 20 ms")]
            assert table.progress().waiting.wait is Wait.NOTHING


async def test_records_of_a_throttled_response_do_not_wait_for_its_end():
    async with FakeCluster() as fake:
        part = written(fake)[0]
        fake.script.fetch.append(lambda _, answer: answer.update(throttle_time_ms=600_000))
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await table.until(lambda: table.progress().waiting.wait is Wait.QUOTA, "the wait")
            part.write([(b"b", b"2")])
            assert len(fake.of("fetch")) == 1
