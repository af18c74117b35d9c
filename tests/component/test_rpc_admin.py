"""AdminService and the health service tell how the tables stand."""

import asyncio
import hashlib
import struct

import grpc
import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Bell,
    Clock,
    Rec,
    bootstrapping,
    fold,
    refusal,
    serving,
    swap,
    table,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sidecar._pb import admin_pb2 as pb
from sidecar._pb import cache_pb2
from sidecar.core.errors import Reason
from sidecar.core.progress import Wait
from sidecar.core.served import Definition, Served, Trouble

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def about(client, name=""):
    return (await client.admin.GetTable(pb.GetTableRequest(table=name))).table


async def digest(client):
    return await client.admin.GetDigest(pb.GetDigestRequest())


def failed_table(name="users"):
    served = Served(Definition(name=name, topic="t"))
    served.trouble = Trouble(Reason.TOPIC_MISSING, "no permission", final=True)
    return served


async def test_the_server_tells_version_and_limits():
    async with serving(table(), keys=7, page=8, message_bytes=9999) as client:
        info = await client.admin.GetServerInfo(pb.GetServerInfoRequest())
    assert info == pb.GetServerInfoResponse(
        version="1.2.3",
        uptime_ms=10_000,
        max_keys=7,
        max_page_size=8,
        max_message_bytes=9999,
        resident_bytes=4096,
    )


async def test_a_live_table_tells_everything_about_itself():
    records = [Rec(0, b"a", b"1"), Rec(1, b"a", None), Rec(2, None, b""), Rec(3, b"b", b"22")]
    served = bootstrapping("users", target=5, format="json")
    served.current.fetched_bytes = 77
    fold(served, *records, end=5, sent_at=1000.0)
    async with serving(served, clock=Clock(1000.5)) as client:
        info = await about(client)
    assert info.memory_bytes > 0
    info.ClearField("memory_bytes")
    assert info == pb.TableInfo(
        name="users",
        topic="users-topic",
        state=pb.TABLE_STATE_LIVE,
        cluster_id="cluster",
        topic_id="topic-id",
        incarnation=INCARNATION,
        generation=GENERATION,
        entries=1,
        payload_bytes=3,
        partitions=[
            pb.PartitionInfo(
                leader=1, leader_epoch=5, position=5, target=5, high_watermark=5,
                last_stable_offset=5, staleness_ms=500, caught_up=True,
            )
        ],
        counters=pb.TableCounters(records=3, tombstones=1, null_keys=1, fetched_bytes=77),
        staleness_ms=500,
        bootstrap_ms=10_000,
        generations=1,
        format="json",
        cleanup_policy="compact",
        delete_retention_ms=86_400_000,
        definition_hash=served.definition.hash,
        required=True,
    )  # fmt: skip


async def test_a_table_that_is_being_read_tells_how_far_and_what_it_waits_for():
    served = bootstrapping("users", target=10)
    fold(served, *(Rec(n, b"k%d" % n, b"") for n in range(5)))
    served.view.change(0, lambda p: p.waits(Wait.BROKER, 996.5, "broker 3 does not answer"))
    async with serving(served, clock=Clock(1000.0)) as client:
        info = await about(client)
    assert info.state == pb.TABLE_STATE_BOOTSTRAPPING
    assert "5 of 10 offsets" in info.reason
    assert info.eta_ms == 10_000
    assert info.bootstrap_ms == 0
    assert info.partitions[0].wait == pb.PARTITION_WAIT_BROKER
    assert info.partitions[0].detail == "broker 3 does not answer"
    assert info.partitions[0].waiting_ms == 3500
    assert not info.partitions[0].caught_up


async def test_a_table_without_a_view_tells_why():
    async with serving(failed_table()) as client:
        info = await about(client)
    assert (info.state, info.reason) == (pb.TABLE_STATE_FAILED, "no permission")
    assert not info.HasField("delete_retention_ms")
    assert not info.partitions


async def test_tables_come_by_name_and_count_what_could_not_be_decoded():
    users = table("users", (b"a", b"{"), format="json")
    async with serving(users, table("orders"), bootstrapping("items")) as client:
        request = cache_pb2.GetRequest(table="users", key=b"a", encoding=cache_pb2.ENCODING_JSON)
        await client.cache.Get(request)
        tables = (await client.admin.ListTables(pb.ListTablesRequest())).tables
    assert [info.name for info in tables] == ["items", "orders", "users"]
    assert [info.counters.undecodable for info in tables] == [0, 0, 1]


@pytest.mark.parametrize("method", ["GetTable", "GetDigest", "WaitUntil"])
async def test_a_table_that_is_not_served_is_unknown(method):
    async with serving(table("users"), table("orders")) as client:
        request = getattr(pb, f"{method}Request")(table="none")
        failure = await refusal(getattr(client.admin, method)(request))
        assert failure.reason == "UNKNOWN_TABLE"
        if method != "WaitUntil":
            request = getattr(pb, f"{method}Request")()
            failure = await refusal(getattr(client.admin, method)(request))
            assert failure.reason == "TABLE_REQUIRED"


# WaitUntil


async def test_a_wait_for_a_ready_table_is_answered_at_once():
    async with serving(table("users"), bootstrapping("orders")) as client:
        answer = await client.admin.WaitUntil(pb.WaitUntilRequest(table="users"))
    assert [info.name for info in answer.tables] == ["users"]


async def test_a_wait_without_a_name_is_for_all_required_tables():
    bell, orders = Bell(), bootstrapping("orders", target=1)
    optional = bootstrapping("optional", required=False)
    async with serving(table("users"), orders, optional, bell=bell) as client:
        waiting = asyncio.create_task(_wait(client))
        await asyncio.sleep(0.05)
        bell.ring()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        fold(orders, Rec(0, b"a", b"1"))
        bell.ring()
        assert [info.name for info in (await waiting).tables] == ["orders", "users"]


async def test_a_wait_for_a_table_that_fails_ends_at_once():
    bell, served = Bell(), Served(Definition(name="users", topic="t"))
    async with serving(served, bell=bell) as client:
        waiting = asyncio.create_task(refusal(_wait(client)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        served.trouble = failed_table().trouble
        bell.ring()
        assert (await waiting).reason == "TABLE_FAILED"


async def test_a_wait_ends_with_the_deadline_of_its_call():
    async with serving(bootstrapping()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.admin.WaitUntil(pb.WaitUntilRequest(), timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _wait(client, name=""):
    return await client.admin.WaitUntil(pb.WaitUntilRequest(table=name))


# GetDigest


def hashed(key, value, offset):
    text = struct.pack(">I", len(key)) + key + struct.pack(">I", len(value)) + value
    text += struct.pack(">q", offset)
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "big")


async def test_a_digest_is_the_sum_that_the_contract_defines():
    served = table("users", (b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    async with serving(served) as client:
        answer = await digest(client)
    total = (hashed(b"a", b"3", 2) + hashed(b"b", b"2", 1)) % 2**128
    assert answer == pb.GetDigestResponse(
        partitions=[pb.PartitionDigest(position=3, entries=2, digest=total.to_bytes(16, "big"))],
        incarnation=INCARNATION,
        definition_hash=served.definition.hash,
        generation=GENERATION,
        revision=3,
        algorithm="sha256-128-sum",
    )


async def test_a_digest_made_while_writes_go_on_holds_where_it_ends():
    served = table("users", *((b"k%d" % n, b"v") for n in range(20_000)))
    async with serving(served) as client:
        call = asyncio.ensure_future(digest(client))
        offset = 20_000
        while not call.done():
            fold(served, Rec(offset, b"k%d" % (offset * 7919 % 25_000), b"new%d" % offset))
            offset += 1
            await asyncio.sleep(0)
        moving = await call
        assert offset > 20_050
        stated = moving.partitions[0].position
        assert stated <= offset
        rest = table("users", *((b"k%d" % n, b"v") for n in range(20_000)))
        late = [Rec(n, b"k%d" % (n * 7919 % 25_000), b"new%d" % n) for n in range(20_000, stated)]
        fold(rest, *late)
        async with serving(rest) as other:
            assert (await digest(other)).partitions == moving.partitions


async def test_a_digest_before_ready_is_unavailable_and_after_a_swap_aborted():
    async with serving(bootstrapping()) as client:
        failure = await refusal(client.admin.GetDigest(pb.GetDigestRequest()))
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "BOOTSTRAPPING")
    served = table("users", *((b"k%d" % n, b"v") for n in range(20_000)))
    async with serving(served) as client:
        before = served.view.table
        call = asyncio.ensure_future(refusal(client.admin.GetDigest(pb.GetDigestRequest())))
        while not before._observers:
            await asyncio.sleep(0)
        swap(served, (b"a", b"1"))
        assert (await call).reason == "GENERATION_CHANGED"
        assert before._observers == ()


async def test_a_digest_that_nobody_waits_for_follows_the_table_no_longer():
    served = table("users", *((b"k%d" % n, b"v") for n in range(20_000)))
    async with serving(served) as client:
        call = client.admin.GetDigest(pb.GetDigestRequest())
        while not served.view.table._observers:
            await asyncio.sleep(0)
        call.cancel()
        while served.view.table._observers:
            await asyncio.sleep(0.01)


# Health and reflection


async def check(client, service=""):
    stub = health_pb2_grpc.HealthStub(client.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_follows_the_required_tables():
    bell, users = Bell(), bootstrapping("users", target=1)
    optional = bootstrapping("optional", required=False)
    async with serving(users, optional, table("orders"), bell=bell) as client:
        assert await check(client) == NOT_SERVING
        assert await check(client, "kafkacache.v1.CacheService") == NOT_SERVING
        assert await check(client, "users") == NOT_SERVING
        assert await check(client, "orders") == SERVING
        fold(users, Rec(0, b"a", b"1"))
        bell.ring()
        await asyncio.sleep(0.05)
        assert await check(client) == SERVING
        assert await check(client, "kafkacache.v1.CacheService") == SERVING
        assert await check(client, "users") == SERVING
        assert await check(client, "optional") == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(client, "none")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_table_that_is_stale_still_serves():
    served = table("users")
    served.view.topology_as_of = None
    async with serving(served) as client:
        assert await check(client) == SERVING


async def test_health_watchers_hear_of_changes_and_of_the_end():
    bell, users = Bell(), bootstrapping("users", target=1)
    async with serving(users, bell=bell) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 2
        fold(users, Rec(0, b"a", b"1"))
        bell.ring()
        assert [(await watch.read()).status for watch in watches] == [SERVING] * 2
        await client.server.stop(0)
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 2


async def test_reflection_lists_the_services():
    async with serving(table()) as client:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        names = {
            service.name
            async for response in call
            for service in response.list_services_response.service
        }
    assert {
        "kafkacache.v1.CacheService",
        "kafkacache.v1.AdminService",
        "grpc.health.v1.Health",
    } <= names
