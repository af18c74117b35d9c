"""The Python client's mirror, made only of what a Watch tells, is the table at every mark.

A seeded course goes on meanwhile: values, tombstones and what a rule turns away in two partitions
and more, the log's start moving, entries that grow too old, connections that are cut, frozen and
slow, more changes at once than may wait, the table built anew, its topic created again. Whatever
the table was is kept by generation and revision; each mark names both.
"""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Clock,
    Rec,
    fold,
    fold_into,
    serving,
    view_of,
)
from kafka_cache_client import NotReady, SidecarError, _mirroring, connect, connect_async
from kafka_cache_client._pb import cache_pb2 as pb
from kafka_cache_client._replica import Replica, Wanted
from support.proxy import TcpProxy

from sidecar.core.errors import Reason
from sidecar.core.model import VALUE, LogBounds
from sidecar.core.progress import Leader, Progress
from sidecar.core.rule import Ruled
from sidecar.core.served import Definition, Generation, Served, Source, Trouble

KEYS = [b"%s/%d" % (area, number) for area in (b"eu", b"us") for number in range(8)]
PLENTY_S = 60
STEPS = 120


class Course:
    """A table that changes at random, and all that it ever was."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.served = Served(Definition(name="users", topic="users"))
        self.was = {}
        self._number, self._incarnation = GENERATION, INCARNATION
        self._begin()

    def _begin(self):
        """Another generation, whose log holds something already."""
        view = view_of("users", partitions=2, generation=self._number)
        view.identity = (self._incarnation, self._number)
        self._offsets = [0, 0]
        for _ in range(self.random.randrange(20)):
            partition, record = self._record()
            fold_into(view, record, partition=partition)
        topic = f"topic-{self._incarnation}"
        self.served.begin(Generation(Source("cluster", topic, self._incarnation), view, 990.0))
        assert self.served.try_ready(1000.0)
        self._number += 1
        self._keep()

    def _record(self):
        partition = self.random.randrange(len(self._offsets))
        value = None if self.random.random() < 0.3 else b"%d" % self.random.randrange(10**6)
        value = value and value * self.random.choice([1, 1, 50])
        offset, key = self._offsets[partition], self.random.choice(KEYS)
        self._offsets[partition] += self.random.choice([1, 1, 3])
        if value is None and self.random.random() < 0.3:
            return partition, Ruled(offset, offset, key, None, turned_away=True)
        return partition, Rec(offset, key, value, offset)

    def values(self, prefix=b""):
        known = self.served.view.table
        entries = ((key, known.get(key)) for key in known if key.startswith(prefix))
        return {key: entry[VALUE] for key, entry in entries if entry is not None}

    def _keep(self):
        view = self.served.view
        self.was[view.identity[1], view.table.revision] = self.values()

    # What happens to it

    async def write(self, number=5):
        for _ in range(number):
            partition, record = self._record()
            fold(self.served, record, partition=partition)
            self._keep()

    async def burst(self):
        """More at once than may wait for a watch."""
        await self.write(400)

    async def lose_the_start(self):
        table = self.served.view.table
        table.raise_floor(0, self._offsets[0] // 2)
        await asyncio.sleep(0.02)
        for _ in table.sweep(1000):
            pass
        self._keep()

    async def age(self):
        for key in self.random.sample(list(self.values()), len(self.values()) // 3):
            self.served.view.table.expire(key)
            self._keep()

    async def grow(self):
        number = len(self._offsets)
        self.served.view.add(Progress(number, 0, 0, LogBounds(0, 0, 0), Leader(1, 5)))
        self._offsets.append(0)

    async def rebuild(self):
        self.served.cut_off("its log was cut")
        self._begin()

    async def replace(self):
        """The topic is deleted and created again."""
        self.served.drop(Trouble(Reason.TOPIC_REPLACED, "another topic now"), replaced=True)
        await asyncio.sleep(0.05)
        self.served.current, self.served.replaced = None, False
        self._incarnation += 1
        self._begin()


@pytest.fixture
def checked(monkeypatch):
    """Compares each mirror with what the table was, at each of its marks."""
    wrong, counted, mark, courses = [], [0], Replica._mark, []

    def compare(self, progress):
        mark(self, progress)
        held = {key: record.value for key, record in self.records.items()}
        prefix = self.wanted.prefix
        was = {k: v for k, v in courses[0].was[self._at].items() if k.startswith(prefix)}
        counted[0] += 1
        if held != was:
            wrong.append((self._at, held, was))

    monkeypatch.setattr(Replica, "_mark", compare)
    monkeypatch.setattr(_mirroring, "LONGEST_PAUSE", 0.05)
    yield courses, counted
    assert wrong == []


async def until(claim, what):
    end = time.monotonic() + PLENTY_S
    while not claim():
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.01)


def values(mirror):
    try:
        return {record.key: record.value for record in mirror.records()}
    except NotReady:
        return None


@pytest.mark.parametrize("seed", range(4))
async def test_a_mirror_is_the_table_at_every_mark(seed, checked):
    courses, counted = checked
    course = Course(seed)
    courses.append(course)
    async with serving(course.served, watch_bytes=30_000) as connected:
        host, port = connected.server.addresses[0].split(":")
        with TcpProxy(host, int(port)) as network:
            client, other = connect_async(network.address), connect(network.address)
            told = {}
            mirrors = {
                b"": client.mirror(progress=0.01, on_change=lambda one: apply(told, one)),
                b"eu/": client.mirror(progress=0.01, prefix="eu/"),
                b"us/": other.mirror(progress=0.01, prefix="us/"),
            }
            try:
                await run(course, network)
                for prefix, mirror in mirrors.items():
                    await until(
                        lambda m=mirror, p=prefix: values(m) == course.values(p),
                        lambda m=mirror: repr((m, m.failure)),
                    )
                assert told == course.values()
                assert counted[0] > 8, "too few marks to tell"
            finally:
                await mirrors[b""].close()
                await mirrors[b"eu/"].close()
                await asyncio.to_thread(mirrors[b"us/"].close)
                await client.close()
                other.close()


def apply(told, change):
    """What a follower of changes makes of them; it is told what was there, too."""
    assert told.get(change.key) == (change.old and change.old.value)
    if change.new is None:
        del told[change.key]
    else:
        told[change.key] = change.new.value


def replica_of(clock):
    return Replica(Wanted("users", b"", 0, 1.0, None), clock)


def told(*events, revision=None, kind="progress"):
    """What a watch tells: these keys, then a mark at a revision."""
    response = pb.WatchResponse(generation=1, resume_token="token")
    for key in events:
        response.events.add().upsert.key = key
    if revision is not None:
        getattr(response.events.add(), kind).revision = revision
    return response


def test_half_of_a_snapshot_never_answers():
    replica = replica_of(lambda: 0.0)
    replica.request()
    replica.take(told(b"a"))
    with pytest.raises(NotReady):
        replica.held()
    replica.take(told(revision=1, kind="snapshot_end"))
    replica.fail(SidecarError("too late", reason="RESUME_EXPIRED"))
    replica.request()
    replica.take(told(b"b"))
    assert set(replica.held()) == {b"a"}
    replica.take(told(revision=9, kind="snapshot_end"))
    assert set(replica.held()) == {b"b"}


def test_a_mirror_is_as_old_as_the_sidecar_was_when_it_was_asked_not_when_that_came():
    clock = Clock(100.0)
    replica = replica_of(clock)
    replica.request()
    replica.take(told(revision=5, kind="snapshot_end"))
    assert replica.staleness() is None, "nobody was asked yet"
    state = pb.State(generation=1, revision=7, staleness_ms=500)
    replica.answered(state, asked_at=100.0)
    clock.now = 110.0
    replica.take(told(revision=6))
    assert replica.staleness() is None, "it has not come so far"
    replica.take(told(revision=7))
    assert replica.staleness() == 10.5


async def run(course, network):
    """The course, and what happens to the network meanwhile."""
    rare = [course.burst, course.lose_the_start, course.age, course.grow, course.rebuild]
    steps = [course.write] * 12 + rare
    faults = [network.cut, network.freeze, network.heal, lambda: network.slow(50_000)]
    for number in range(STEPS):
        await course.random.choice(steps)()
        if number % 8 == 4:
            await asyncio.to_thread(course.random.choice(faults))
        if number % 8 == 7:
            await asyncio.to_thread(network.heal)
        if number % 40 == 39:
            await course.replace()
        await asyncio.sleep(course.random.choice([0, 0, 0.01, 0.05]))
    await asyncio.to_thread(network.heal)
