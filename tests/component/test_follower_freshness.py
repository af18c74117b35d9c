"""How old an answer is said to be, when the sidecar or its broker stood still."""

import asyncio

import pytest
from support.fake_broker import FakeCluster, always
from support.following import boottime, following

from sidecar.kafka import reader, topology


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short polls, and metadata often."""
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)


async def test_an_answer_that_waited_in_the_socket_counts_from_when_it_was_asked_for():
    """A paused process reads it late: what it says was true then."""
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"k", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            await table.until(lambda: table.view.staleness_ms(boottime()) is not None, "fresh")
            late = asyncio.Event()
            held = asyncio.Event()

            async def hold(request, answer):
                held.set()
                await late.wait()

            fake.script.fetch.append(hold)
            await held.wait()
            asked_by = boottime()
            await asyncio.sleep(0.3)
            fake.script.fetch.append(always(lambda request, answer: asyncio.sleep(3600)))
            before = table.progress().fresh_as_of
            late.set()
            await table.until(lambda: table.progress().fresh_as_of != before, "the late answer")
            assert table.progress().fresh_as_of <= asked_by
            assert table.view.staleness_ms(boottime()) >= 300


async def test_a_frozen_broker_makes_the_answers_older():
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"k", b"1")])
        async with following(fake.bootstrap_servers, "t") as table:
            await table.until_ready()
            never = asyncio.Event()

            async def hold(request, answer):
                await never.wait()

            fake.script.fetch.append(always(hold))
            asked = len(fake.of("fetch"))
            await table.until(lambda: len(fake.of("fetch")) > asked, "a fetch")
            frozen = boottime()
            await asyncio.sleep(0.5)
            poll_s = 0.1
            assert table.view.staleness_ms(boottime()) >= (boottime() - frozen - poll_s) * 1000
            fake.script.fetch.clear()
