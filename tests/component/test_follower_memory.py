"""What does not fit into the memory there is: refused with a reason, before the kernel kills."""

import pytest
from support.fake_broker import FakeCluster
from support.following import boottime, following

from sidecar.core.errors import Reason, Refused
from sidecar.core.served import TableState
from sidecar.follower import feed, follower
from sidecar.kafka import topology
from sidecar.ops.memory import Budget, container_limit, resident_bytes

MIB = 1 << 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Metadata often, and tries that come soon."""
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(follower, "_OVER_BUDGET_S", 0.05)
    monkeypatch.setattr(feed, "_ROUND_S", 0.02)


class Process:
    """How much this process is said to take."""

    def __init__(self, taken=0):
        self.taken = taken

    def __call__(self):
        return self.taken


def state(table):
    return table.served.state(boottime())


async def test_a_first_build_that_does_not_fit_fails_and_is_tried_again():
    process = Process(95 * MIB)
    async with FakeCluster() as fake:
        fake.add_topic("t")[0].write([(b"k", b"1")])
        budget = Budget(100 * MIB, process)
        async with following(fake.bootstrap_servers, "t", budget=budget) as table:
            await table.until(lambda: state(table) is TableState.FAILED, "failed")
            with pytest.raises(Refused) as refused:
                table.served.read(boottime())
            assert refused.value.reason is Reason.TABLE_FAILED
            assert "takes 95 MiB of the 100 MiB" in refused.value.message
            assert "limits.memory" in refused.value.message
            assert "1 entries of 1 of 1 offsets were read" in refused.value.message
            process.taken = 10 * MIB
            await table.until_ready()
            assert table.values() == {b"k": b"1"}


async def test_a_build_beside_what_answers_is_not_begun_where_both_do_not_fit():
    process = Process()
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"k", b"1")])
        part.write([(b"k", b"old")])
        budget = Budget(100 * MIB, process)
        async with following(fake.bootstrap_servers, "t", budget=budget) as table:
            await table.until_ready()
            process.taken = 90 * MIB - 10
            part.truncate(1)
            part.write([(b"k", b"new")])
            await table.until(lambda: len(table.told.ended) > 3, "some tries")
            assert table.values() == {b"k": b"old"}
            assert state(table) is TableState.STALE
            reason = table.served.reason(boottime())
            assert reason.count("the log was cut") == 1
            assert reason.count("are needed to read it anew beside") == 1
            assert table.served.generations == 1
            process.taken = 0
            await table.until(lambda: table.values() == {b"k": b"new"}, "the next generation")


async def test_a_table_that_answers_stops_reading_and_goes_on_when_there_is_room_again(caplog):
    process = Process()
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"k", b"1")])
        budget = Budget(100 * MIB, process)
        async with following(fake.bootstrap_servers, "t", budget=budget) as table:
            await table.until_ready()
            process.taken = 91 * MIB
            part.write([(b"k", b"2")])
            await table.until(lambda: table.served.fault, "the fault")
            assert state(table) is TableState.STALE
            assert "nothing more is read" in table.served.reason(boottime())
            assert table.values() == {b"k": b"1"}
            process.taken = 0
            await table.until_read({0: 2})
            await table.until(lambda: state(table) is TableState.LIVE, "live")
            assert not table.told.ended
        said = [each for each in caplog.records if each.getMessage() == "out of memory"]
        assert len(said) == 1


def test_without_a_limit_nothing_is_lacking():
    assert Budget(None, Process(1 << 50)).lacks(1 << 50) == ""


def test_a_tenth_is_kept_free():
    assert Budget(1000, Process(900)).lacks() == ""
    assert Budget(1000, Process(901)).lacks() != ""
    assert Budget(1000, Process(800)).lacks(101) != ""


def test_the_process_takes_memory():
    before = resident_bytes()
    much = bytearray(64 * MIB)
    much[::4096] = b"x" * len(much[::4096])
    assert resident_bytes() - before > 32 * MIB


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1048576\n"}, 1048576),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "2097152\n"}, 2097152),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_containers_limit(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_limit(tmp_path) == limit
