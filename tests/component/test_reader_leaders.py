"""Several brokers: partitions that move, brokers that fall silent, break or move away."""

import asyncio
import contextlib
import random

import pytest
from support.fake_broker import SILENT, FakeCluster, always, edit
from support.following import following
from support.process import free_port

from sidecar.core.progress import Wait
from sidecar.kafka import reader, topology


@pytest.fixture
def quick_metadata(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)


class Relay:
    """Passes connections on to a broker; each is cut after so many bytes of answers."""

    def __init__(self, broker):
        self.broker, self.port, self.limits = broker, free_port(), []
        self._server, self._open = None, set()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader_, writer):
        task = asyncio.current_task()
        self._open.add(task)
        limit = self.limits.pop(0) if self.limits else 1 << 40
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.broker.port)
            writers.append(far_writer)
            there = asyncio.create_task(self._pass(reader_, far_writer, 1 << 40))
            await self._pass(far_reader, writer, limit)
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the end of a connection is told by closing both
        finally:
            for each in writers:
                each.close()
            self._open.discard(task)

    async def _pass(self, source, target, limit):
        with contextlib.suppress(OSError):
            while limit and (data := await source.read(min(limit, 1 << 16))):
                target.write(data)
                await target.drain()
                limit -= len(data)


def spread(fake, partitions, brokers):
    topic = fake.add_topic("t", partitions=partitions)
    for number, part in enumerate(topic.partitions):
        part.leader = number % brokers + 1
        part.write([(b"%d" % number, b"1")])
    return topic


def move(part, leader):
    part.leader, part.leader_epoch = leader, part.leader_epoch + 1


# Who leads


async def test_each_partition_is_fetched_from_its_leader_in_one_request():
    async with FakeCluster(brokers=3) as fake:
        topic = spread(fake, 6, 3)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            assert len(table.values()) == 6
        for each in fake.of("fetch"):
            assert {topic[number].leader for _, number in each.partitions()} == {each.node}
        assert {len(each.partitions()) for each in fake.of("fetch")} == {2}


async def test_a_leader_that_moved_is_found_at_once_and_reading_goes_on_where_it_was():
    async with FakeCluster(brokers=2) as fake:
        part = spread(fake, 1, 1)[0]
        async with following(fake.brokers[1].address, "t") as table:
            await table.until_ready()
            before = len(fake.of("fetch"))
            move(part, 2)
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert table.view.table.counters.records == 2
            assert table.leaders == [(0, (2, 1))]
            first = next(each for each in fake.of("fetch")[before:] if each.node == 2)
            asked = first.partitions()["t", 0]
            assert (asked["fetch_offset"], asked["current_leader_epoch"]) == (1, 1)
            assert table.broker_errors[0] in ("NOT_LEADER_OR_FOLLOWER", "FENCED_LEADER_EPOCH")


async def test_a_new_term_of_the_same_leader_is_taken():
    async with FakeCluster() as fake:
        part = spread(fake, 1, 1)[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            move(part, 1)
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert set(table.broker_errors) == {"FENCED_LEADER_EPOCH"}


async def test_an_older_term_that_a_lagging_broker_names_is_not_gone_back_to(quick_metadata):
    def lag(request, answer):
        for each in answer["topics"][0]["partitions"]:
            each.update(leader_id=1, leader_epoch=0)

    async with FakeCluster(brokers=2) as fake:
        part = spread(fake, 1, 1)[0]
        move(part, 2)
        async with following(fake.brokers[2].address, "t") as table:
            await table.until_ready()
            fake.brokers[1].script.metadata.append(always(lag))
            asked = len(fake.of("metadata"))
            await table.until(lambda: len(fake.of("metadata")) > asked + 4, "metadata of both")
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert table.leaders == []
            assert {each.node for each in fake.of("fetch")} == {2}


async def test_a_partition_whose_leader_is_gone_is_named_and_taken_up_again(quick_metadata):
    async with FakeCluster(brokers=2) as fake:
        topic = spread(fake, 2, 2)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            move(topic[1], -1)
            await table.until(
                lambda: (
                    table.progress(1).waiting[::2] == (Wait.LEADER, "the partition has no leader")
                ),
                "the wait",
            )
            topic[0].write([(b"x", b"1")])
            await table.until_read({0: 2, 1: 1})
            assert table.ready
            move(topic[1], 1)
            topic[1].write([(b"y", b"1")])
            await table.until_read({0: 2, 1: 2})
            assert table.progress(1).waiting.wait is Wait.NOTHING


async def test_an_answer_that_crosses_a_move_is_dropped_not_applied_twice(quick_metadata):
    held, let_go = asyncio.Event(), asyncio.Event()

    async def hold(request, answer):
        held.set()
        await let_go.wait()

    async with FakeCluster(brokers=2) as fake:
        topic = spread(fake, 2, 1)  # the other partition keeps node 1's connection
        fake.script.fetch.append(hold)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(held.is_set, "an answer that is held back, with records")
            move(topic[0], 2)
            topic[0].write([(b"x", b"1")])
            await table.until(
                lambda: table.served.view and table.progress(0).position == 2, "node 2's answer"
            )
            let_go.set()
            await table.until_read({0: 2, 1: 1})
            assert table.view.table.counters.records == 3


async def test_a_throttled_answer_is_applied_before_the_next_leaders():
    def throttle(request, answer):
        answer["throttle_time_ms"] = 400
        return edit("t", 0, records=part.batches[0])(request, answer)

    async with FakeCluster(brokers=2) as fake:
        part = spread(fake, 1, 1)[0]
        part.write([(b"b", b"2")])
        fake.script.fetch.append(throttle)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: table.has_waited(Wait.QUOTA), "throttled")
            move(part, 2)
            await table.until_read({0: 2})
            assert table.values() == {b"0": b"1", b"b": b"2"}
            assert table.view.table.counters.records == 2


async def test_a_leader_that_metadata_does_not_name_is_waited_for(quick_metadata):
    async with FakeCluster(brokers=2) as fake:
        topic = spread(fake, 2, 1)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            fake.brokers[2].listed = False
            move(topic[0], 2)
            await table.until(
                lambda: table.has_waited(Wait.LEADER, "broker 2 is not known to the cluster"),
                "the wait",
            )
            fake.brokers[2].listed = True
            topic[0].write([(b"x", b"1")])
            await table.until_read({0: 2, 1: 1})


# What breaks


async def test_connections_that_drop_are_made_again_and_nothing_is_lost_or_applied_twice():
    async with FakeCluster(brokers=2) as fake:
        topic = spread(fake, 4, 2)
        async with following(fake.bootstrap_servers, "t") as table:
            for at in range(20):
                topic[at % 4].write([(b"k%d" % at, b"1")])
                await fake.brokers[at % 2 + 1].drop_connections()
                ends = {number: part.next_offset for number, part in enumerate(topic.partitions)}
            await table.until_read(ends)
            assert table.view.table.counters.records == 24


@pytest.mark.parametrize("seed", range(4))
async def test_a_connection_may_break_at_any_byte(seed, quick_metadata, monkeypatch):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 400)
    chance = random.Random(seed)

    def through_relay(request, answer):
        answer["brokers"][0]["port"] = relay.port

    async with FakeCluster() as fake, Relay(fake.brokers[1]) as relay:
        part = fake.add_topic("t")[0]
        for at in range(30):
            part.write([(b"%d" % at, chance.randbytes(chance.randrange(300)))])
        fake.script.metadata.append(always(through_relay))
        relay.limits = [chance.randrange(1, 1500) for _ in range(12)]
        async with following(relay.address, "t") as table:
            await table.until(lambda: not relay.limits, "twelve broken connections")
            await table.until_ready()
            assert table.view.table.counters.records == 30
            assert len(table.values()) == 30


async def test_a_broker_that_falls_silent_is_named_and_left():
    async with FakeCluster() as fake:
        part = spread(fake, 1, 1)[0]
        async with following(fake.bootstrap_servers, "t", request_timeout_s=0.2) as table:
            await table.until_ready()
            fake.script.fetch.append(SILENT)
            await table.until(lambda: table.has_waited(Wait.BROKER, "did not"), "the wait")
            assert table.waited == [
                (0, Wait.BROKER, f"{fake.bootstrap_servers} has not answered for 0.35 s"),
                (0, Wait.BROKER, f"{fake.bootstrap_servers} did not answer within 0.7 s"),
            ]
            assert "BROKER_LOST" in table.broker_errors
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert table.progress().waiting.wait is Wait.NOTHING
            assert table.ready


@pytest.mark.parametrize("api", ["api_versions", "metadata", "list_offsets", "describe_configs"])
async def test_a_broker_that_is_silent_from_the_start_is_named_and_asked_again(api):
    async with FakeCluster() as fake:
        spread(fake, 1, 1)
        # Metadata is asked for twice before it is said to be missing.
        times = 2 if api in {"api_versions", "metadata"} else 1
        getattr(fake.script, api).extend([SILENT] * times)
        async with following(fake.bootstrap_servers, "t", request_timeout_s=0.15) as table:
            await table.until_ready()
            assert f"{fake.bootstrap_servers} did not answer" in table.sentences[0]


async def test_a_broker_that_is_silent_to_metadata_does_not_stop_the_reading(quick_metadata):
    async with FakeCluster() as fake:
        part = spread(fake, 1, 1)[0]
        async with following(fake.bootstrap_servers, "t", request_timeout_s=0.15) as table:
            await table.until_ready()
            fake.script.metadata.append(always(SILENT))
            await table.until(lambda: "METADATA_UNANSWERED" in table.broker_errors, "silence")
            known = table.view.topology_as_of
            part.write([(b"b", b"2")])
            await table.until_read({0: 2})
            assert table.view.topology_as_of == known
            fake.script.metadata.clear()
            await table.until(lambda: table.view.topology_as_of > known, "metadata again")


async def test_a_broker_that_stops_is_named_and_its_return_is_seen():
    async with FakeCluster() as fake:
        part = spread(fake, 1, 1)[0]
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await fake.brokers[1].stop()
            await table.until(
                lambda: table.has_waited(Wait.BROKER, "refuses connections; is the broker running"),
                "the wait",
            )
            assert table.ready
            part.write([(b"b", b"2")])
            await fake.brokers[1].start()
            await table.until_read({0: 2})


async def test_bootstrap_addresses_are_tried_again_when_all_known_brokers_have_moved():
    async with FakeCluster(brokers=2) as fake, Relay(fake.brokers[1]) as door:
        topic = spread(fake, 2, 2)
        async with following(door.address, "t") as table:
            await table.until_ready()
            for broker in fake.brokers.values():
                await broker.stop()
                broker.port = free_port()
                await broker.start()
            topic[0].write([(b"x", b"1")])
            topic[1].write([(b"y", b"1")])
            await table.until_read({0: 2, 1: 2})


async def test_one_dead_bootstrap_address_is_no_matter():
    async with FakeCluster() as fake:
        spread(fake, 1, 1)
        dead = f"127.0.0.1:{free_port()}"
        async with following(f"{dead},{fake.bootstrap_servers}", "t") as table:
            await table.until_ready()
            assert table.sentences == []


async def test_brokers_are_asked_for_metadata_in_turn(quick_metadata):
    async with FakeCluster(brokers=3) as fake:
        spread(fake, 1, 1)
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until(lambda: len(fake.of("metadata")) >= 9, "nine questions")
            nodes = [each.node for each in fake.of("metadata")]
            assert nodes[:9] == [1, 2, 3] * 3


# All of it at once


class Fate:
    """Writes to a topic and troubles its cluster, the same way for the same seed."""

    ACTIONS = ("move", "move", "throttle", "refuse", "redirect", "drop", "nothing", "nothing")

    def __init__(self, fake, topic, seed):
        self.fake, self.topic, self.chance = fake, topic, random.Random(seed)
        self.table = {}

    def write(self, step):
        number = self.chance.randrange(4)
        key = b"%d of %d" % (self.chance.randrange(30), number)
        value = None if self.chance.random() < 0.2 else b"%d" % step
        self.topic[number].write([(key, value)])
        self.table[key] = value
        if value is None:
            self.table.pop(key)

    async def trouble(self, action):
        broker = self.fake.brokers[self.chance.randrange(1, 4)]
        if action == "move":
            move(self.chance.choice(self.topic.partitions), self.chance.choice([1, 2, 3, -1]))
        elif action == "drop":
            await broker.drop_connections()
        elif action != "nothing":
            step = {
                "throttle": lambda _, answer: answer.update(throttle_time_ms=20),
                "refuse": edit(error_code=self.chance.choice([3, 6, 56, 100])),
                "redirect": edit(records=b"", preferred_read_replica=9),
                "silence": SILENT,
            }[action]
            broker.script.fetch.append(step)

    def heal(self):
        for part in self.topic.partitions:
            move(part, self.chance.randrange(1, 4))
        for broker in self.fake.brokers.values():
            broker.script.fetch.clear()


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_the_table_ends_as_the_fold_of_the_log(
    seed, quick_metadata, monkeypatch
):
    monkeypatch.setattr(reader, "_PARTITION_BYTES", 300)
    monkeypatch.setattr(reader, "_RETRY_S", 0.01)
    async with FakeCluster(brokers=3) as fake:
        topic = fake.add_topic("t", partitions=4)
        fate = Fate(fake, topic, seed)
        async with following(fake.bootstrap_servers, "t", request_timeout_s=0.2) as table:
            for step in range(150):
                fate.write(step)
                action = "silence" if step in (50, 100) else fate.chance.choice(fate.ACTIONS)
                await fate.trouble(action)
                await asyncio.sleep(fate.chance.choice([0, 0, 0.001, 0.01]))
            fate.heal()
            await table.until_read({n: part.next_offset for n, part in enumerate(topic.partitions)})
            assert table.values() == fate.table
            assert table.view.table.counters.records == 150
