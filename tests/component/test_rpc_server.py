"""The server takes its addresses for itself alone, and leaves nobody without a status."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import grpc
import pytest
from component.rpc_support import (
    Bell,
    Rec,
    bootstrapping,
    client,
    drained,
    fold,
    refusal,
    server_of,
    serving,
    table,
)

from sidecar._pb import admin_pb2
from sidecar._pb import cache_pb2 as pb
from sidecar.core.served import Served
from sidecar.rpc.ports import Tls
from sidecar.rpc.server import Server
from sidecar.rpc.sockets import CannotListen

GET = pb.GetRequest(key=b"a")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "s.sock"


@pytest.fixture
def users() -> Served:
    return table("users", (b"a", b"1"))


def large_table():
    return table("users", *((b"k%06d" % n, b"v" * 100_000) for n in range(500)))


async def answers(address):
    async with client(address) as connected:
        return (await connected.cache.Get(GET)).record.value == b"1"


# Addresses


async def test_it_listens_on_sockets_and_ports_at_once(users, path):
    server = server_of(users, listen=(f"unix://{path}", "127.0.0.1:0", "[::1]:0"))
    assert server.addresses == ()
    await server.start()
    assert server.addresses[0] == f"unix://{path}"
    assert server.addresses[2].startswith("[::1]:")
    assert not server.addresses[1].endswith(":0")
    for address in server.addresses:
        assert await answers(address)
    await server.stop(0)


async def test_user_and_group_may_connect_and_nobody_else(users, path):
    async with serving(users, listen=(f"unix://{path}",)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["s.sock", "s.sock.lock"]
    assert not path.exists()


async def test_a_second_server_does_not_take_the_socket_of_the_first(users, path):
    address = f"unix://{path}"
    async with serving(users, listen=(address,)):
        second = server_of(users, listen=("127.0.0.1:0", address))
        with pytest.raises(CannotListen, match=r"s\.sock: another server is listening"):
            await second.start()
        await second.stop(0)
        assert await answers(address)
    third = server_of(users, listen=(address,))
    await third.start()
    assert await answers(address)
    await third.stop(0)


async def test_a_socket_that_a_dead_server_left_is_replaced(users, path):
    for name in (path, f"{path}~"):
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(name))
        dead.close()
    async with serving(users, listen=(f"unix://{path}",)):
        assert await answers(f"unix://{path}")


async def test_only_our_own_socket_is_removed(users, path):
    async with serving(users, listen=(f"unix://{path}",)):
        path.unlink()
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(path))
    assert path.is_socket()
    other.close()


async def test_a_file_that_is_no_socket_is_left_alone(users, path):
    path.write_text("precious")
    with pytest.raises(CannotListen, match="exists and is no socket"):
        await server_of(users, listen=(f"unix://{path}",)).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "why"), [("none/s.sock", "No such file or directory"), ("x" * 120, "longer than")]
)
async def test_a_path_that_cannot_be_used_says_why(users, tmp_path, name, why):
    with pytest.raises(CannotListen, match=why):
        await server_of(users, listen=(f"unix://{tmp_path}/{name}",)).start()


async def test_a_port_that_is_taken_is_an_error_that_names_it(users, path):
    async with serving(users) as connected:
        taken = connected.server.addresses[0]
        second = server_of(users, listen=(f"unix://{path}", taken))
        with pytest.raises(CannotListen, match=f"{taken}: Address already in use"):
            await second.start()
        # Nor can anybody share the port, who would take half of the calls.
        host, port = taken.split(":")
        with socket.socket() as sharing:
            sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="already in use"):
                sharing.bind((host, int(port)))
    assert not path.exists()


@pytest.mark.parametrize(
    "address", ["localhost", ":1", "host:x", "127.0.0.1:99999", "no.invalid:1"]
)
async def test_an_address_that_is_none_is_an_error_that_names_it(users, address):
    with pytest.raises(CannotListen, match=f"cannot listen on .?{address}"):
        await server_of(users, listen=(address,)).start()


async def test_a_server_that_could_not_start_can_be_tried_again(users, path):
    blocker = socket.create_server(("127.0.0.1", 0))
    taken = f"127.0.0.1:{blocker.getsockname()[1]}"
    server = server_of(users, listen=(f"unix://{path}", taken))
    with pytest.raises(CannotListen):
        await server.start()
    blocker.close()
    await server.start()
    assert await answers(f"unix://{path}")
    await server.stop(0)


async def test_ports_are_encrypted_where_asked_for_and_sockets_are_not(users, path, tls):
    ca, both = tls.ca.read_bytes(), tls.broker_keystore.read_bytes()
    material = Tls(certificate=both, key=both, client_ca=ca)
    assert "key=" not in repr(material)
    listen = ("localhost:0", f"unix://{path}")
    server = server_of(users, listen=listen, tls=material)
    await server.start()
    assert await answers(f"unix://{path}")
    key, certificate = tls.client_key.read_bytes(), tls.client_cert.read_bytes()
    known = grpc.ssl_channel_credentials(ca, key, certificate)
    async with grpc.aio.secure_channel(server.addresses[0], known) as channel:
        get = channel.unary_unary("/kafkacache.v1.CacheService/Get")
        assert pb.GetResponse.FromString(await get(GET.SerializeToString())).presence
    nobody = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(server.addresses[0], nobody) as channel:
        get = channel.unary_unary("/kafkacache.v1.CacheService/Get")
        with pytest.raises(grpc.aio.AioRpcError):
            await get(GET.SerializeToString())
    await server.stop(0)


def test_making_a_server_does_nothing_yet(users, path):
    assert isinstance(server_of(users, listen=(f"unix://{path}",)), Server)
    assert os.listdir(path.parent) == []


# The stop


async def test_a_running_call_may_finish_while_new_ones_are_refused():
    async with serving(large_table()) as connected:
        chunks = aiter(connected.cache.Scan(pb.ScanRequest()))
        count = len((await anext(chunks)).records)
        stopping = asyncio.create_task(connected.server.stop(10))
        await asyncio.sleep(0.05)
        failure = await refusal(connected.cache.Get(GET))
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        failure = await refusal(connected.cache.Scan(pb.ScanRequest()))
        assert failure.reason == "SHUTTING_DOWN"
        assert not stopping.done()
        async for chunk in chunks:
            count += len(chunk.records)
        assert count == 500
        await stopping


async def test_a_call_that_does_not_finish_in_time_gets_a_status():
    async with serving(large_table()) as connected:
        chunks = aiter(connected.cache.Scan(pb.ScanRequest()))
        await anext(chunks)
        await connected.server.stop(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in chunks:
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("busy", [False, True])
async def test_streams_of_lookups_are_ended_at_once(users, busy):
    async with serving(users) as connected:
        call = connected.cache.Lookup()
        for number in range(100 if busy else 1):
            await call.write(pb.LookupRequest(id=number, get=GET))
        await call.read()
        stop = connected.server.stop(30)
        await asyncio.wait_for(stop, 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drained(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in caught.value.details()


async def test_waits_are_ended_at_once():
    async with serving(bootstrapping()) as connected:
        call = connected.admin.WaitUntil(admin_pb2.WaitUntilRequest())
        waiting = asyncio.create_task(refusal(call))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(connected.server.stop(30), 5)
        assert (await waiting).reason == "SHUTTING_DOWN"


async def test_a_stop_without_a_start_and_a_second_stop_do_nothing(users):
    server = server_of(users)
    await server.stop(1)
    await server.start()
    await server.stop(1)
    await server.stop(1)


async def test_a_stop_that_is_cancelled_says_so(users):
    async with serving(large_table()) as connected:
        chunks = aiter(connected.cache.Scan(pb.ScanRequest()))
        await anext(chunks)
        stopping = asyncio.create_task(connected.server.stop(30))
        await asyncio.sleep(0.05)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping


async def test_a_server_stops_in_every_phase_of_its_tables():
    bell, served = Bell(), bootstrapping(target=1)
    async with serving(served, bell=bell):
        pass
    async with serving(served, bell=bell):
        fold(served, Rec(0, b"a", b"1"))
        bell.ring()
