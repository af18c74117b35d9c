"""Whatever clients send or leave undone, the server goes on answering."""

import asyncio
import gc
import logging
import random
from collections import Counter

import grpc
import pytest
from component.rpc_support import (
    Bell,
    Rec,
    bootstrapping,
    client,
    code_of,
    drained,
    fold,
    refusal,
    serving,
    table,
)

from sidecar._pb import admin_pb2
from sidecar._pb import cache_pb2 as pb

GET = pb.GetRequest(key=b"a")
CACHE = "/kafkacache.v1.CacheService"


@pytest.fixture
def users():
    return table("users", (b"a", b"1"))


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog):
    """No input of a client is an error of ours."""
    with caplog.at_level(logging.WARNING):
        yield
    assert caplog.text == ""


async def still_answers(connected):
    return (await connected.cache.Get(GET, wait_for_ready=True)).record.value == b"1"


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x01\xff", b"\0" * 9])
async def test_a_message_that_cannot_be_parsed_is_an_error_of_its_call(users, body, caplog):
    async with serving(users) as connected:
        for method in ("Get", "MultiGet", "List"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await connected.channel.unary_unary(f"{CACHE}/{method}")(body)
            assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        call = connected.channel.stream_stream(f"{CACHE}/Lookup")()
        await call.write(body + b"\xff")
        assert await code_of(drained(call)) is grpc.StatusCode.INVALID_ARGUMENT
        assert await still_answers(connected)
    assert all(record.name == "grpc._cython.cygrpc" for record in caplog.records)
    caplog.clear()


@pytest.mark.parametrize("method", ["/x", f"{CACHE}/None", "/kafkacache.v2.CacheService/Get"])
async def test_a_method_that_does_not_exist_is_unimplemented(users, method):
    async with serving(users) as connected:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connected.channel.unary_unary(method)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await still_answers(connected)


async def test_what_is_not_http2_does_not_matter(users):
    async with serving(users) as connected:
        host, port = connected.server.addresses[0].split(":")
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        noise = random.Random(7).randbytes(5000)
        for text in (b"GET / HTTP/1.1\r\n\r\n", noise, preface + noise, preface[:9], b""):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(text)
            await asyncio.sleep(0.02)
            writer.close()
        assert await still_answers(connected)


async def test_a_request_over_the_message_limit_is_refused(users):
    async with serving(users, message_bytes=100_000) as connected:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connected.cache.Get(pb.GetRequest(key=b"x" * 200_000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await still_answers(connected)


async def test_long_calls_over_the_limit_are_refused_and_room_comes_back(users):
    waiting = bootstrapping("orders")
    async with serving(users, waiting, calls=3) as connected:
        request = pb.LookupRequest(id=1, get=pb.GetRequest(table="users", key=b"a"))
        streams = [connected.cache.Lookup() for _ in range(2)]
        for stream in streams:
            await stream.write(request)
            assert (await stream.read()).get.presence
        wait = connected.admin.WaitUntil(admin_pb2.WaitUntilRequest(table="orders"))
        await asyncio.sleep(0.05)
        for call in (
            connected.cache.Scan(pb.ScanRequest(table="users")),
            connected.admin.GetDigest(admin_pb2.GetDigestRequest(table="users")),
            connected.admin.WaitUntil(admin_pb2.WaitUntilRequest(table="orders")),
        ):
            failure = await refusal(call)
            assert (failure.code.name, failure.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
            assert failure.metadata == {"limit": "3"}
            assert failure.retry_ms > 0
        # Short calls go on, and each long one that ends makes room.
        await connected.cache.Get(pb.GetRequest(table="users", key=b"a"))
        streams[0].cancel()
        wait.cancel()
        await asyncio.sleep(0.05)
        async for _ in connected.cache.Scan(pb.ScanRequest(table="users")):
            pass


async def test_a_flood_over_every_limit_is_refused_and_passes():
    bell, served = Bell(), bootstrapping("users", target=1)
    async with serving(served, calls=5, bell=bell) as connected:
        waits = [
            asyncio.create_task(code_of(connected.admin.WaitUntil(admin_pb2.WaitUntilRequest())))
            for _ in range(100)
        ]
        while sum(wait.done() for wait in waits) < 95:
            await asyncio.sleep(0.01)
        fold(served, Rec(0, b"a", b"1"))
        bell.ring()
        codes = Counter([(await wait).name for wait in waits])
        assert codes == {"OK": 5, "RESOURCE_EXHAUSTED": 95}
        assert await still_answers(connected)


async def test_calls_that_are_abandoned_leave_nothing_behind():
    served = table("users", *((b"k%06d" % n, b"v" * 100_000) for n in range(100)), (b"a", b"1"))
    async with serving(served) as connected:
        address = connected.server.addresses[0]
        for number in range(20):
            async with client(address) as passing:
                scan = passing.cache.Scan(pb.ScanRequest())
                await scan.read()
                lookup = passing.cache.Lookup()
                for _ in range(50):
                    key = b"k%06d" % number
                    await lookup.write(pb.LookupRequest(id=1, get=pb.GetRequest(key=key)))
                if number % 2:
                    scan.cancel()
                    lookup.cancel()
                # Otherwise the channel closes under them.
        calls = connected.server._calls
        for _ in range(50):
            gc.collect()
            if not calls.active:
                break
            await asyncio.sleep(0.02)
        assert calls.active == 0
        assert calls._long == {}
        assert await still_answers(connected)


async def test_random_requests_get_an_answer_or_a_status_that_is_no_bug(users):
    chance = random.Random(7)
    async with serving(users) as connected:
        for _ in range(300):
            body = chance.randbytes(chance.randrange(20))
            for message in (pb.GetRequest, pb.ListRequest, pb.MultiGetRequest):
                request = message()
                try:
                    request.MergeFromString(body)
                except Exception:
                    continue
                name = message.DESCRIPTOR.name.removesuffix("Request")
                code = await code_of(getattr(connected.cache, name)(request))
                assert code is not grpc.StatusCode.INTERNAL
