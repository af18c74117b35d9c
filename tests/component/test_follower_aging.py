"""What is kept of a table's past goes when nobody has followed it for a while."""

import asyncio

import pytest
from component.rpc_support import Rec, fold, table
from component.watching import SNAPSHOT, held_by, watching
from support.fake_broker import FakeCluster
from support.following import following

from sidecar.core.queue import Keys, Wanted
from sidecar.core.watch import Watches
from sidecar.follower import aging
from sidecar.kafka import reader, topology

PLENTY = 1 << 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)
    monkeypatch.setattr(aging, "_ROUND_S", 0.005)
    monkeypatch.setattr(aging, "_QUIET_ROUNDS", 10)


@pytest.fixture
def rests(monkeypatch):
    told, rest = [], Watches.rest

    def noting(watches, rounds):
        told.append(rest(watches, rounds))
        return told[-1]

    monkeypatch.setattr(Watches, "rest", noting)
    return told


async def test_what_is_past_is_kept_while_somebody_follows_and_let_go_a_while_later(rests):
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"a", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            generation = table.served.current
            watches = generation.watches = Watches(generation.view, PLENTY)
            follower = watches.follow(Wanted(Keys(), latest=False, limit=PLENTY))
            part.write([(b"b", b"2")])
            await table.until(lambda: len(rests) > 30, "many rounds")
            assert [event.key for event in follower.take(9, PLENTY)] == [b"b"]
            assert generation.watches is watches
            assert watches.past_bytes > 0
            watches.leave(follower)
            await table.until(lambda: generation.watches is None, "let go")
            assert rests.count(True) == 1
            await table.until(lambda: watches.past_bytes == 0, "freed")
            part.write([(b"c", b"3")])
            await table.until_read({0: 3})
            assert watches.past_bytes == 0


async def test_who_comes_back_too_late_is_told_so_and_may_begin_anew():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        first = watch(**SNAPSHOT)
        await first.until("snapshot_end")
        watches = users.current.watches
        first.call.cancel()
        while not watches.rest(1):
            await asyncio.sleep(0.001)
        users.current.watches = None
        fold(users, Rec(1, b"b", b"2"))
        assert (await watch(resume_token=first.token).refusal()).reason == "RESUME_EXPIRED"
        again = watch(**SNAPSHOT)
        await again.until("snapshot_end")
        assert again.held == held_by(users)
