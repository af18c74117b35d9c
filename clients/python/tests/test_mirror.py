"""A table in the application's own memory, for threads and for asyncio."""

import asyncio
import dataclasses
import inspect
import logging
import time

import grpc
import pytest
from both import done
from fake_sidecar import failure, served
from kafka_cache_client import (
    Change,
    InvalidRequest,
    NotFresh,
    NotReady,
    Outdated,
    Unavailable,
    UnknownTable,
    _mirroring,
)

CODES = grpc.StatusCode
PLENTY = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_mirroring, "LONGEST_PAUSE", 0.1)


@pytest.fixture
async def mirrored(client):
    """Makes mirrors of the client, and closes them before it."""
    mirrors = []

    def make(**options):
        mirrors.append(client.mirror(**{"progress": 0.02} | options))
        return mirrors[-1]

    yield make
    for mirror in mirrors:
        await done(mirror.close())


async def until(claim):
    end = time.monotonic() + PLENTY
    while not claim():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def values(mirror):
    return {record.key: record.value for record in mirror.records()}


async def test_it_holds_the_table_and_follows_it(mirrored, sidecar):
    sidecar.put(b"a", b"1", offset=5)
    sidecar.put(b"b", b"2")
    mirror = mirrored()
    await done(mirror.wait_until_ready(PLENTY))
    assert (mirror.get(b"a").value, mirror.get("a").offset, mirror.get("c")) == (b"1", 5, None)
    assert "b" in mirror
    assert b"c" not in mirror
    assert len(mirror) == 2
    sidecar.put(b"c", b"3")
    sidecar.delete(b"a")
    await done(mirror.wait_for({0: 4}, PLENTY))
    assert values(mirror) == {b"b": b"2", b"c": b"3"}
    assert mirror.positions.incarnation == 77
    await done(mirror.wait_for(mirror.positions, PLENTY))


async def test_positions_of_another_topic_are_not_waited_for(mirrored, sidecar):
    mirror = mirrored()
    await done(mirror.wait_until_ready(PLENTY))
    other = dataclasses.replace(mirror.positions, incarnation=78)
    with pytest.raises(Outdated, match="incarnation 77 of the topic, the positions belong to 78"):
        await done(mirror.wait_for(other, PLENTY))


async def test_a_part_of_the_table(mirrored, sidecar):
    sidecar.put(b"eu/1", b"1")
    sidecar.put(b"us/1", b"1")
    mirror = mirrored(prefix="eu/")
    await done(mirror.wait_until_ready(PLENTY))
    sidecar.put(b"us/2", b"1")
    sidecar.put(b"eu/2", b"1")
    await done(mirror.wait_for({0: 4}, PLENTY))
    assert set(values(mirror)) == {b"eu/1", b"eu/2"}


async def test_before_the_snapshot_is_whole_nothing_is_absent(mirrored, sidecar):
    sidecar.failures = [failure(CODES.UNAVAILABLE, "BOOTSTRAPPING")] * 2000
    mirror = mirrored()
    with pytest.raises(NotReady):
        mirror.get(b"a")
    assert not mirror.ready
    with pytest.raises(NotReady, match=r"not ready after 0\.2 s"):
        await done(mirror.wait_until_ready(0.2))
    sidecar.failures = []
    await done(mirror.wait_until_ready(PLENTY))
    assert mirror.get(b"a") is None


async def test_where_it_was_cut_off_it_goes_on_and_nothing_comes_twice(mirrored, sidecar):
    changes = []
    mirror = mirrored(on_change=changes.append)
    await done(mirror.wait_until_ready(PLENTY))
    for number in range(10):
        sidecar.put(b"k", b"%d" % number)
        sidecar.cut()
        await done(mirror.wait_for({0: number + 1}, PLENTY))
    assert [change.new.value for change in changes] == [b"%d" % n for n in range(10)]
    assert [change.old and change.old.value for change in changes[1:]] == [
        b"%d" % n for n in range(9)
    ]


async def test_another_build_takes_its_place_as_a_whole_and_the_difference_is_told(
    mirrored, sidecar
):
    changes = []
    for key in (b"same", b"other", b"gone"):
        sidecar.put(key, b"1")
    mirror = mirrored(on_change=changes.append)
    await done(mirror.wait_until_ready(PLENTY))
    assert {change.key for change in changes} == {b"same", b"other", b"gone"}
    same = mirror.get("same")
    changes.clear()
    sidecar.rebuild(same=b"1", other=b"2", new=b"3")
    await until(lambda: b"new" in mirror)
    assert values(mirror) == {b"same": b"1", b"other": b"2", b"new": b"3"}
    assert mirror.get("same") == same
    told = {change.key: (change.old and change.old.value, change.new and change.new.value)
            for change in changes}  # fmt: skip
    assert told == {b"other": (b"1", b"2"), b"new": (None, b"3"), b"gone": (b"1", None)}


async def test_while_the_sidecar_is_gone_it_answers_on_and_says_how_old(
    connected, sidecar, tmp_path, caplog
):
    address = f"unix://{tmp_path}/s.sock"
    sidecar.put(b"a", b"1")
    client = connected(address)
    with served(sidecar, address):
        mirror = client.mirror(progress=0.02)
        try:
            await done(mirror.wait_until_ready(PLENTY))
            await until(lambda: mirror.staleness is not None)
            assert mirror.staleness < 5
            assert mirror.failure is None
        except BaseException:
            await done(mirror.close())
            raise
    await until(lambda: mirror.failure is not None)
    assert isinstance(mirror.failure, Unavailable)
    assert mirror.get("a").value == b"1"
    before = mirror.staleness
    await asyncio.sleep(0.2)
    assert mirror.staleness >= before + 0.2
    assert any("mirror of table" in each.message for each in caplog.records)
    sidecar.put(b"a", b"2")
    with served(sidecar, address):
        await until(lambda: mirror.get("a").value == b"2")
        await until(lambda: mirror.staleness < 0.2)
        await done(mirror.close())


async def test_a_bound_turns_age_into_an_error(mirrored, sidecar):
    sidecar.put(b"a", b"1")
    mirror = mirrored(max_staleness=1.0)
    await done(mirror.wait_until_ready(PLENTY))
    assert mirror.get("a").value == b"1"
    sidecar.staleness_ms = 1500
    await until(lambda: mirror.staleness > 1)
    with pytest.raises(NotFresh, match=r"the bound is 1\.0 s"):
        mirror.get("a")


async def test_a_topic_that_is_another_one_is_answered_no_more(mirrored, sidecar):
    sidecar.put(b"a", b"1")
    mirror = mirrored()
    await done(mirror.wait_until_ready(PLENTY))
    sidecar.failures = [failure(CODES.UNAVAILABLE, "TOPIC_REPLACED")] * 2000
    sidecar.rebuild()
    await until(lambda: not mirror.ready)
    with pytest.raises(NotReady):
        mirror.get("a")
    sidecar.failures = []
    await done(mirror.wait_until_ready(PLENTY))
    assert mirror.get("a") is None


async def test_what_trying_again_cannot_mend_ends_it(mirrored, sidecar):
    sidecar.failures = [failure(CODES.NOT_FOUND, "UNKNOWN_TABLE")] * 2000
    mirror = mirrored(table="nobody")
    with pytest.raises(UnknownTable):
        await done(mirror.wait_until_ready(PLENTY))
    with pytest.raises(UnknownTable):
        mirror.get("a")


async def test_a_callback_that_fails_is_logged_and_counted(mirrored, sidecar, caplog):
    def fails(change: Change) -> None:
        raise ValueError("so it is")

    sidecar.put(b"a", b"1")
    mirror = mirrored(on_change=fails)
    with caplog.at_level(logging.ERROR):
        await done(mirror.wait_until_ready(PLENTY))
        # What has changed is told behind the change itself.
        await until(lambda: mirror.callback_errors == 1)
        await until(lambda: "on_change failed" in caplog.text)
    assert mirror.get("a").value == b"1"


async def test_a_closed_one_answers_nothing(client, sidecar):
    mirror = client.mirror()
    await done(mirror.wait_until_ready(PLENTY))
    await done(mirror.close())
    with pytest.raises(RuntimeError, match="the mirror is closed"):
        mirror.get("a")
    with pytest.raises(RuntimeError, match="the mirror is closed"):
        await done(mirror.wait_until_ready(PLENTY))


@pytest.mark.parametrize("bad", [{"encoding": "xml"}, {"progress": 0}])
async def test_what_makes_no_sense_is_refused(client, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        client.mirror(**bad)


async def test_a_repr_shows_no_values(mirrored, sidecar):
    sidecar.put(b"secret key", b"secret value")
    mirror = mirrored()
    await done(mirror.wait_until_ready(PLENTY))
    assert "secret" not in repr(mirror)
    assert "records=1" in repr(mirror)


def test_both_have_the_same_methods():
    from kafka_cache_client import AsyncMirror, Mirror

    def public(kind):
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(f).parameters.keys() for name, f in found if name[0] != "_"}

    assert public(Mirror) == public(AsyncMirror)
    assert issubclass(UnknownTable, InvalidRequest)


async def test_that_it_is_closed_is_no_failure_worth_a_word(mirrored, sidecar, caplog):
    sidecar.put(b"a", b"1")
    mirror = mirrored()
    await done(mirror.wait_until_ready(PLENTY))
    with caplog.at_level(logging.INFO):
        await done(mirror.close())
    assert caplog.records == []
