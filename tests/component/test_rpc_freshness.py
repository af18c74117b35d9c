"""Bounds on freshness: met at once, waited for, or refused with what is missing."""

import asyncio
from functools import partial

import grpc
import pytest
from component.rpc_support import (
    INCARNATION,
    Clock,
    Rec,
    bootstrapping,
    drained,
    failure_of,
    fold,
    refusal,
    serving,
    swap,
    table,
)

from sidecar._pb import admin_pb2
from sidecar._pb import cache_pb2 as pb

CODE = grpc.StatusCode
METHODS = ["Get", "MultiGet", "List", "Scan", "Lookup"]
OFFSET_1 = {"min_offsets": [pb.PartitionOffset(partition=0, offset=1)]}


def at_least(*next_offsets, incarnation=INCARNATION):
    offsets = [pb.PartitionOffset(partition=n, offset=at) for n, at in enumerate(next_offsets)]
    return {"at_least": pb.Positions(next_offsets=offsets, incarnation=incarnation)}


async def ask(client, method, **bounds):
    """The values that a call of this method finds for the keys "a" and "b"."""
    freshness = pb.Freshness(**bounds)
    many = pb.MultiGetRequest(keys=[b"a", b"b"], freshness=freshness)
    if method == "Get":
        answer = await client.cache.Get(pb.GetRequest(key=b"b", freshness=freshness))
        return [answer.record.value]
    if method == "MultiGet":
        return [each.record.value for each in (await client.cache.MultiGet(many)).results]
    if method == "List":
        answer = await client.cache.List(pb.ListRequest(freshness=freshness))
        return [record.value for record in answer.records]
    if method == "Scan":
        chunks = client.cache.Scan(pb.ScanRequest(freshness=freshness))
        return [record.value async for chunk in chunks for record in chunk.records]
    call = client.cache.Lookup()
    await call.write(pb.LookupRequest(id=1, multi_get=many))
    await call.done_writing()
    (answer,) = [each async for each in call]
    assert not answer.HasField("error"), answer.error.reason
    return [each.record.value for each in answer.multi_get.results]


async def waiting(served, call):
    """Start a call, and return its task once it waits for the table."""
    task = asyncio.create_task(call)
    while not len(served.arrivals) and not task.done():
        await asyncio.sleep(0.001)
    assert not task.done(), task.result()
    return task


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return failure_of(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bounds", [OFFSET_1, at_least(2), {**OFFSET_1, **at_least(1)}])
async def test_a_bound_that_holds_is_answered_at_once(method, bounds):
    async with serving(table("users", (b"a", b"1"), (b"b", b"2"))) as client:
        assert (await ask(client, method, **bounds, wait_ms=0))[-1] == b"2"
        assert (await ask(client, method, **bounds))[-1] == b"2"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bounds", [OFFSET_1, at_least(2)])
async def test_a_write_that_was_acknowledged_is_waited_for_and_seen(method, bounds):
    served = table("users", (b"a", b"1"))
    async with serving(served) as client:
        call = await waiting(served, ask(client, method, **bounds))
        fold(served, Rec(1, b"b", b"2"))
        assert (await call)[-1] == b"2"
        assert len(served.arrivals) == 0


async def test_a_position_behind_a_marker_is_reached_though_no_record_is_there():
    served = table("users", (b"a", b"1"))
    async with serving(served) as client:
        call = await waiting(served, ask(client, "MultiGet", **at_least(3)))
        fold(served, end=3)
        assert await call == [b"1", b""]


async def test_another_partitions_progress_wakes_nobody():
    served = bootstrapping("users", target=0)
    async with serving(served) as client:
        served.try_ready(1000.0)
        call = await waiting(served, ask(client, "Get", **OFFSET_1))
        served.arrivals.reached(1, 100)
        assert len(served.arrivals) == 1
        fold(served, Rec(1, b"b", b"2"))
        assert await call == [b"2"]


async def test_a_bound_on_staleness_is_waited_for():
    served, clock = table("users", (b"b", b"2")), Clock(1001.0)
    async with serving(served, clock=clock) as client:
        call = await waiting(served, ask(client, "Get", max_staleness_ms=100))
        fold(served, end=1, sent_at=1001.0)
        served.view.topology_as_of = 1001.0
        served.arrivals.reached(0, 1)
        assert await call == [b"2"]


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
@pytest.mark.parametrize("wait", [{"wait_ms": 0}, {"wait_ms": 20}])
async def test_a_bound_that_is_not_met_in_time_says_what_is_missing(method, wait):
    served = table("users", (b"a", b"1"))
    async with serving(served, clock=Clock(1000.5)) as client:
        failure = await refused(ask(client, method, **OFFSET_1, **wait))
    assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NOT_FRESH")
    assert "partition 0 is at 1, the bound is position 2" in failure.message
    assert failure.metadata == {
        "table": "users", "partition": "0", "positions": "0:1", "staleness_ms": "500",
    }  # fmt: skip
    assert len(served.arrivals) == 0


async def test_in_a_stream_the_refusal_is_the_answer():
    async with serving(table("users")) as client:
        call = client.cache.Lookup()
        bound = pb.Freshness(**OFFSET_1, wait_ms=1)
        await call.write(pb.LookupRequest(id=7, get=pb.GetRequest(key=b"a", freshness=bound)))
        await call.write(pb.LookupRequest(id=8, get=pb.GetRequest(key=b"a")))
        await call.done_writing()
        first, second = [answer async for answer in call]
    assert (first.id, first.error.reason) == (7, "NOT_FRESH")
    assert (second.id, second.get.presence) == (8, pb.PRESENCE_ABSENT)


async def test_the_answer_comes_before_the_calls_deadline():
    async with serving(table("users"), wait_ms=60_000) as client:
        request = pb.GetRequest(key=b"a", freshness=pb.Freshness(**OFFSET_1))
        failure = await refused(client.cache.Get(request, timeout=1))
    assert failure.reason == "NOT_FRESH"


async def test_nobody_waits_longer_than_the_limit():
    async with serving(table("users"), wait_ms=20) as client:
        failure = await refused(ask(client, "Get", **OFFSET_1, wait_ms=3_600_000))
    assert failure.reason == "NOT_FRESH"


async def test_a_partition_that_is_not_known_is_waited_for():
    missing = {"min_offsets": [pb.PartitionOffset(partition=9, offset=0)]}
    async with serving(table("users")) as client:
        failure = await refused(ask(client, "Get", **missing, wait_ms=10))
    assert (failure.reason, failure.metadata["partition"]) == ("NOT_FRESH", "9")
    assert "partition 9 is not known" in failure.message


@pytest.mark.parametrize(
    "bounds", [{**OFFSET_1, "incarnation": 5}, at_least(0, incarnation=5), {"incarnation": 5}]
)
async def test_positions_of_another_incarnation_fail_at_once(bounds):
    async with serving(table("users")) as client:
        failure = await refused(ask(client, "Get", **bounds))
    assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "INCARNATION_MISMATCH")
    assert failure.metadata == {"table": "users", "incarnation": str(INCARNATION), "asked": "5"}


async def test_the_right_incarnation_is_no_hindrance():
    async with serving(table("users", (b"b", b"2"))) as client:
        assert await ask(client, "Get", incarnation=INCARNATION) == [b"2"]


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("min_offsets", {"min_offsets": [pb.PartitionOffset(partition=-1)]}),
        ("min_offsets", {"min_offsets": [pb.PartitionOffset(offset=-1)]}),
        ("at_least", at_least(-1)),
        ("at_least", {**at_least(0), "incarnation": 5}),
    ],
)
@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
async def test_a_bound_that_makes_no_sense_is_refused_by_its_name(method, field, bounds):
    async with serving(table("users")) as client:
        failure = await refused(ask(client, method, **bounds))
    assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "BAD_FRESHNESS")
    assert failure.metadata == {"field": f"freshness.{field}"}


async def test_a_table_that_is_being_read_is_unavailable_whatever_the_bound():
    async with serving(bootstrapping("users")) as client:
        failure = await refused(ask(client, "Get", **OFFSET_1))
    assert (failure.code, failure.reason) == (CODE.UNAVAILABLE, "BOOTSTRAPPING")


async def test_a_wait_goes_on_in_the_next_generation():
    served = table("users", (b"a", b"1"))
    async with serving(served) as client:
        call = await waiting(served, ask(client, "Get", **OFFSET_1))
        swap(served, (b"a", b"1"), (b"b", b"2"))
        assert await call == [b"2"]


async def test_a_stop_ends_those_who_wait_with_a_status():
    served = table("users")
    async with serving(served) as client:
        calls = [await waiting(served, ask(client, "Get", **OFFSET_1))]
        wait = admin_pb2.WaitUntilRequest(freshness=pb.Freshness(**OFFSET_1))
        calls.append(asyncio.ensure_future(client.admin.WaitUntil(wait)))
        while len(served.arrivals) < len(calls):
            await asyncio.sleep(0.001)
        await client.server.stop(30)
        for call in calls:
            assert (await refused(call)).reason == "SHUTTING_DOWN"


# WaitUntil


async def test_wait_until_waits_for_ready_and_then_for_the_bounds():
    served = bootstrapping("users", target=1)
    async with serving(served) as client:
        request = admin_pb2.WaitUntilRequest(freshness=pb.Freshness(**at_least(3)))
        call = asyncio.ensure_future(client.admin.WaitUntil(request))
        await asyncio.sleep(0.02)
        fold(served, Rec(0, b"a", b"1"))
        client.server._readiness.wake()
        while not len(served.arrivals):
            await asyncio.sleep(0.001)
        assert not call.done()
        fold(served, Rec(1, b"a", b"2"), Rec(2, b"a", b"3"))
        (info,) = (await call).tables
    assert (info.name, info.partitions[0].position) == ("users", 3)


@pytest.mark.parametrize(
    ("served", "reason"),
    [(table("users"), "NOT_FRESH"), (bootstrapping("users"), "BOOTSTRAPPING")],
)
async def test_wait_until_with_a_limit_says_why_it_gave_up(served, reason):
    bounds = pb.Freshness(**at_least(3), wait_ms=20)
    async with serving(served) as client:
        wait = partial(admin_pb2.WaitUntilRequest, freshness=bounds)
        assert (await refusal(client.admin.WaitUntil(wait()))).reason == reason
        assert (await refusal(client.admin.WaitUntil(wait(table="users")))).reason == reason


async def test_wait_until_with_bounds_needs_one_table():
    request = admin_pb2.WaitUntilRequest(freshness=pb.Freshness(**at_least(3)))
    async with serving(table("users"), table("orders")) as client:
        assert (await refusal(client.admin.WaitUntil(request))).reason == "TABLE_REQUIRED"


async def test_wait_until_knows_no_partial_answer():
    request = admin_pb2.WaitUntilRequest(freshness=pb.Freshness(allow_partial=True))
    async with serving(table("users")) as client:
        assert (await refusal(client.admin.WaitUntil(request))).reason == "BAD_FRESHNESS"


# WatchTables


async def test_the_state_of_the_tables_is_sent_at_once_and_again():
    served = bootstrapping("users", target=1)
    async with serving(served, table("orders")) as client:
        call = client.admin.WatchTables(admin_pb2.WatchTablesRequest(interval_ms=1))
        first = await call.read()
        assert [each.name for each in first.tables] == ["orders", "users"]
        assert first.tables[1].state == admin_pb2.TABLE_STATE_BOOTSTRAPPING
        fold(served, Rec(0, b"a", b"1"))
        while (await call.read()).tables[1].state != admin_pb2.TABLE_STATE_LIVE:
            pass
        await client.server.stop(30)
        assert (await refused(drained(call))).reason == "SHUTTING_DOWN"
