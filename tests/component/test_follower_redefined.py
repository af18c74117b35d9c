"""A table that is defined anew while it runs: the old one answers until the new one is ready."""

import asyncio

import pytest
from support.fake_broker import FakeCluster, always
from support.following import boottime, following

from sidecar.core.rule import Load
from sidecar.core.served import Definition, TableState
from sidecar.follower import Policy, Rebuild
from sidecar.formats import FORMATS, rule_of
from sidecar.kafka import reader, topology


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)


def defined(**given):
    load = Load(**{name: given.pop(name) for name in ("project", "key_prefix") if name in given})
    return Definition(name="table", topic="t", format="json", load=load, **given)


def shaped(definition):
    return rule_of(definition.load, FORMATS[definition.format], lambda: 0)


class Held:
    """Fetches from the log's start wait until they are let go."""

    def __init__(self, fake):
        self.go, self.asked = asyncio.Event(), 0
        self._queue = fake.script.fetch
        self._queue.append(always(self._hold))

    async def _hold(self, request, answer):
        if request.partitions()["t", 0]["fetch_offset"] == 0:
            self.asked += 1
            await self.go.wait()

    def release(self):
        self._queue.clear()
        self.go.set()


async def test_the_old_one_is_followed_live_until_the_new_one_is_ready():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b'{"x":1,"y":2}')])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            before = table.served.current
            held = Held(fake)
            wanted = defined(project=("$.x",))
            table.follower.redefine(wanted, Policy())
            await table.until(lambda: held.asked, "the next one is read")
            part.write([(b"b", b'{"x":3,"y":4}')])
            await table.until_read({0: 2})
            assert table.values() == {b"a": b'{"x":1,"y":2}', b"b": b'{"x":3,"y":4}'}
            assert table.served.state(boottime()) is TableState.LIVE
            assert table.served.definition is not wanted
            held.release()
            await table.until(lambda: table.served.current is not before, "swapped")
            assert table.values() == {b"a": b'{"x":1}', b"b": b'{"x":3}'}
            assert table.served.definition is wanted
            part.write([(b"c", b'{"x":5,"y":6}')])
            await table.until_read({0: 3})
            assert table.values()[b"c"] == b'{"x":5}'
            await table.until(lambda: len(before.view.table) == 0, "the old one is freed")
            assert table.served.begun == {"start": 1, "definition": 1}


async def test_what_decides_nothing_of_the_entries_is_taken_at_once():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            before, known = table.served.current, table.served.definition
            wanted = Definition(name="table", topic="t", stale_after_ms=77)
            table.follower.redefine(wanted, Policy())
            await table.until(lambda: table.served.definition is wanted, "taken")
            assert known is not wanted
            assert table.served.current is before
            assert table.served.begun == {"start": 1}


async def test_a_table_that_is_still_read_begins_anew():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"1")])
        held = Held(fake)
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until(lambda: held.asked, "a fetch that is held")
            table.follower.redefine(defined(key_prefix=b"a"), Policy())
            await table.until(lambda: "definition" in table.served.begun, "begun anew")
            held.release()
            await table.until_ready()
            assert table.values() == {b"a": b"1"}


async def test_where_the_old_one_is_dropped_nothing_answers_meanwhile():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"1")])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            held = Held(fake)
            policy = Policy(rebuild=Rebuild.DROP_OLD)
            table.follower.redefine(defined(key_prefix=b"a"), policy)
            await table.until(lambda: held.asked, "the next one is read")
            assert not table.ready
            held.release()
            await table.until_ready()
            assert table.values() == {b"a": b"1"}


async def test_another_definition_while_one_is_built_takes_its_place():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            held = Held(fake)
            table.follower.redefine(defined(key_prefix=b"a"), Policy())
            await table.until(lambda: held.asked == 1, "the next one is read")
            wanted = defined(key_prefix=b"b")
            table.follower.redefine(wanted, Policy())
            await table.until(lambda: held.asked == 2, "the one after it is read")
            held.release()
            await table.until(lambda: table.served.definition is wanted, "swapped")
            assert table.values() == {b"b": b"1"}


async def test_back_to_what_is_served_gives_up_what_is_built():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"b", b"1")])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            known, held = table.served.definition, Held(fake)
            table.follower.redefine(defined(key_prefix=b"a"), Policy())
            await table.until(lambda: held.asked, "the next one is read")
            table.follower.redefine(known, Policy())
            await table.until(lambda: table.served.next is None, "given up")
            held.release()
            part.write([(b"c", b"1")])
            await table.until_read({0: 3})
            assert set(table.values()) == {b"a", b"b", b"c"}


async def test_a_topic_that_goes_while_the_next_one_is_built_is_noticed():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t", rule_of=shaped) as table:
            await table.until_ready()
            held = Held(fake)
            table.follower.redefine(defined(key_prefix=b"b"), Policy())
            await table.until(lambda: held.asked, "the next one is read")
            part = fake.add_topic("t")[0]
            part.write([(b"b", b"2")])
            held.release()
            await table.until(lambda: table.ready and table.values() == {b"b": b"2"}, "the new one")
