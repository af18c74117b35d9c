"""What keys do in the demo, with a broker and a writer that only take notes."""

import asyncio

import pytest

from sidecar.cli.stage import Stage


class Broker:
    def __init__(self):
        self.frozen = False
        self.done = []

    def freeze(self, *, frozen):
        self.frozen = frozen
        self.done.append("freeze" if frozen else "thaw")

    def create_topic(self):
        self.done.append("create")

    def delete_topic(self):
        self.done.append("delete")


class Writer:
    """Notes, with the broker, when it fills and when it ends."""

    def __init__(self, broker):
        self.broker, self.paused = broker, False

    def fill(self, airports):
        self.broker.done.append("fill")
        return 28_000

    async def change(self, airports, *, rate, stop):
        await stop.wait()
        self.broker.done.append("writer ended")
        return True


class Played:
    """A stage that was given keys one after the other and then q."""

    def __init__(self):
        self.broker, self.said, self.writers = Broker(), [], []

    def writer(self):
        self.writers.append(Writer(self.broker))
        return self.writers[-1]

    async def keys(self, keys):
        stage = Stage(self.broker, self.writer, None, 1.0, self.said.append, " -e x:1")
        stop = asyncio.Event()
        await stage.fill()
        for key in keys:
            stage.press(key)
        await stage.run(stop)
        assert stop.is_set()
        return self.broker.done


@pytest.fixture
def played():
    return Played()


async def test_q_quits(played):
    assert await played.keys("q") == ["fill", "writer ended"]
    assert played.said == []


async def test_other_keys_do_nothing(played):
    assert await played.keys("x\x1b q") == ["fill", "writer ended"]


async def test_f_freezes_and_thaws_and_the_writer_waits_meanwhile(played):
    assert await played.keys("fq") == ["fill", "freeze", "writer ended"]
    assert played.writers[0].paused
    assert "says STALE" in played.said[0]
    assert "sidecar status -e x:1" in played.said[0]
    played.broker.done.clear()
    assert await played.keys("Fq") == ["fill", "thaw", "writer ended"]


async def test_d_deletes_the_topic_once_the_writer_has_ended_and_then_creates_it(played):
    done = await played.keys("ddq")
    assert done == ["fill", "writer ended", "delete", "create", "fill", "writer ended"]
    assert "d creates it anew" in played.said[0]
    assert "28 000 airports" in played.said[1]


async def test_a_frozen_broker_is_thawed_before_its_topic_goes(played):
    assert await played.keys("fdq") == ["fill", "freeze", "writer ended"]
    assert "press f first" in played.said[-1]


async def test_quitting_without_a_topic(played):
    assert await played.keys("dq") == ["fill", "writer ended", "delete"]


async def test_the_demos_end_ends_the_stage(played):
    stage = Stage(played.broker, played.writer, None, 1.0, played.said.append, "")
    stop = asyncio.Event()
    await stage.fill()
    running = asyncio.create_task(stage.run(stop))
    stop.set()
    await running
    assert played.broker.done == ["fill", "writer ended"]
