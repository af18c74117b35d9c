"""Tables inside a process: lookups, freshness and watches without a server."""

import asyncio
from contextlib import aclosing

import pytest
from support.fake_broker import FakeCluster

import sidecar
from sidecar.core.errors import Reason
from sidecar.embed import Change, Mark, Record, Refused
from sidecar.kafka import reader, topology
from sidecar.ops.config import ConfigError

PLENTY_S = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)


def config(fake, **table):
    return {
        "kafka": {"bootstrap.servers": fake.bootstrap_servers},
        "tables": {"users": {"topic": "t", **table}},
    }


async def until(claim):
    async with asyncio.timeout(PLENTY_S):
        while not claim():
            await asyncio.sleep(0.005)


async def to_the_end(changes):
    async with asyncio.timeout(PLENTY_S):
        async for _ in changes:
            pass


async def test_a_key_is_looked_up_in_the_apps_own_memory():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1"), (b"b", b"2")], timestamp_ms=7)
        async with sidecar.open(config(fake)) as tables:
            users = tables["users"]
            await tables.wait_until_ready(PLENTY_S)
            assert users.get(b"a") == Record(b"a", b"1", 0, 0, 7)
            assert users.get(b"c") is None
            assert users.get_many([b"b", b"c"]) == [Record(b"b", b"2", 0, 1, 7), None]
            assert (users.state.name, users.reason) == ("LIVE", "")
            assert users.freshness.positions == {0: 2}
            assert users.get(b"a", max_staleness_ms=60_000) is not None
            assert [record.key async for record in users.scan()] == [b"a", b"b"]
            assert [record.key async for record in users.scan(b"b")] == [b"b"]


async def test_a_file_is_taken_too(tmp_path):
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        path = tmp_path / "sidecar.yaml"
        servers = fake.bootstrap_servers
        path.write_text(f"kafka: {{bootstrap.servers: {servers!r}}}\ntables: {{t: {{}}}}")
        async with sidecar.open(path) as tables:
            await tables.wait_until_ready(PLENTY_S)
            assert list(tables) == ["t"]
            assert tables["t"].get(b"a").value == b"1"


async def test_what_is_written_is_waited_for_by_its_position():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        async with sidecar.open(config(fake)) as tables:
            users = tables["users"]
            await users.wait_until_ready(PLENTY_S)
            with pytest.raises(TimeoutError):
                await users.wait_for({0: 1}, 0.05)
            waiting = asyncio.create_task(users.wait_for({0: 1}, PLENTY_S))
            part.write([(b"a", b"1")])
            await waiting
            assert users.get(b"a").value == b"1"


async def test_while_it_is_read_nothing_is_answered():
    async with FakeCluster() as fake, sidecar.open(config(fake)) as tables:
        users = tables["users"]
        with pytest.raises(Refused) as caught:
            users.get(b"a")
        assert caught.value.reason in (Reason.BOOTSTRAPPING, Reason.TOPIC_MISSING)
        with pytest.raises(TimeoutError, match="not ready: 'users'"):
            await tables.wait_until_ready(0.05)
        await until(lambda: "does not exist" in users.reason)
        with pytest.raises(TimeoutError, match="does not exist"):
            await users.wait_until_ready(0.05)


async def test_a_watch_gives_the_table_and_then_its_changes():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1"), (b"x", b"2")])
        async with sidecar.open(config(fake)) as tables:
            users, held, marks = tables["users"], {}, 0
            await users.wait_until_ready(PLENTY_S)
            async with asyncio.timeout(PLENTY_S), aclosing(users.watch(snapshot=True)) as changes:
                async for each in changes:
                    if isinstance(each, Mark):
                        marks += 1
                        assert held == {r.key: r.value async for r in users.scan()}
                        assert each.freshness.positions == users.freshness.positions
                        if marks == 1:
                            part.write([(b"a", b"3"), (b"x", None), (b"y", b"4")])
                        elif held == {b"a": b"3", b"y": b"4"}:
                            break
                    elif each.record is None:
                        del held[each.key]
                    else:
                        held[each.key] = each.record.value
            assert len(users._served.current.watches) == 0


async def test_a_watch_of_a_prefix_from_now_on():
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a1", b"1")])
        async with sidecar.open(config(fake)) as tables:
            users = tables["users"]
            await users.wait_until_ready(PLENTY_S)
            async with asyncio.timeout(PLENTY_S), aclosing(users.watch(b"a")) as changes:
                assert isinstance(await anext(changes), Mark)
                part.write([(b"b", b"1"), (b"a2", b"2"), (b"a1", None)])
                assert (await anext(changes)).record.value == b"2"
                assert await anext(changes) == Change(b"a1", None)


async def test_a_watch_ends_when_its_table_is_another_one():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"a", b"1")])
        async with sidecar.open(config(fake)) as tables:
            users = tables["users"]
            await users.wait_until_ready(PLENTY_S)
            async with aclosing(users.watch()) as changes:
                await anext(changes)
                fake.add_topic("t")[0].write([(b"b", b"1")])
                with pytest.raises(Refused) as caught:
                    await to_the_end(changes)
            assert caught.value.reason is Reason.RESUME_EXPIRED


async def test_outside_the_context_there_is_nothing():
    async with FakeCluster() as fake:
        fake.add_topic("t")
        async with sidecar.open(config(fake)) as tables:
            users = tables["users"]
            await users.wait_until_ready(PLENTY_S)
        with pytest.raises(RuntimeError, match="closed"):
            users.get(b"a")
        await until(lambda: sum(broker.connections for broker in fake.brokers.values()) == 0)


def why_not(table):
    """Why nothing is looked up in a table; empty: it is."""
    try:
        table.get(b"a")
    except (Refused, RuntimeError) as error:
        return str(error)
    return ""


async def fails(*_):
    raise ValueError("a bug")


async def test_a_fault_of_ours_is_no_stale_answer(monkeypatch):
    monkeypatch.setattr("sidecar.kafka.backoff.Backoff.next_s", lambda _: 0.0)
    async with FakeCluster() as fake:
        fake.add_topic("t")
        entered = sidecar.open(config(fake))
        users = (await entered.__aenter__())["users"]
        await users.wait_until_ready(PLENTY_S)
        waiting = asyncio.create_task(users.wait_for({0: 99}, PLENTY_S))
        monkeypatch.setattr("sidecar.follower.follower.locate", fails)
        fake.add_topic("t")
        await until(lambda: "nothing feeds" in why_not(users))
        with pytest.raises((RuntimeError, Refused)):
            await waiting
        with pytest.raises(ExceptionGroup):
            await entered.__aexit__(None, None, None)


async def test_what_cannot_be_used_is_told():
    with pytest.raises(ConfigError, match=r"tables\.users\.topik: unknown .* mean topic\?"):
        async with sidecar.open({"tables": {"users": {"topik": "t"}}}):
            pass
    async with FakeCluster() as fake, sidecar.open(config(fake)) as tables:
        with pytest.raises(KeyError, match="no table 'x'; there are: users"):
            tables["x"]
