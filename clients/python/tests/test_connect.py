"""Targets, channels, and the life of a client."""

import asyncio
import socket

import grpc
import pytest
from both import done
from fake_sidecar import served
from kafka_cache_client import AsyncClient, Unavailable, _channel, connect, connect_async


async def test_it_speaks_over_a_unix_socket(connected, sidecar, tmp_path):
    with served(sidecar, f"unix://{tmp_path}/sidecar.sock") as address:
        assert await done(connected(address).get(b"a")) is None


async def test_credentials_make_the_connection_secure(connected, sidecar):
    with served(sidecar, credentials=grpc.local_server_credentials()) as target:
        client = connected(target, credentials=grpc.local_channel_credentials())
        assert await done(client.get(b"a")) is None


async def test_the_environment_names_the_target(connected, target, monkeypatch):
    monkeypatch.setenv("SIDECAR_ENDPOINT", target)
    assert await done(connected().get(b"a")) is None


def test_without_any_target_it_is_the_sidecars_default(monkeypatch):
    monkeypatch.delenv("SIDECAR_ENDPOINT", raising=False)
    assert _channel.target_or_default(None) == "127.0.0.1:50051"
    assert _channel.target_or_default("a:1") == "a:1"


async def test_making_a_client_connects_to_nothing(connected):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        connected(f"127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            listener.accept()


async def test_a_proxy_of_the_application_is_not_used(connected, target, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await done(connected(target).get(b"a")) is None


async def test_a_value_may_be_larger_than_grpcs_own_limit(client, sidecar):
    sidecar.put(b"large", bytes(6_000_000))
    assert len((await done(client.get(b"large"))).value) == 6_000_000


async def test_options_of_the_caller_win(connected, target, sidecar):
    client = connected(target, options=[("grpc.max_receive_message_length", 100)])
    sidecar.put(b"large", bytes(1000))
    with pytest.raises(Exception, match="larger than max"):
        await done(client.get(b"large"))


async def test_a_closed_client_says_so(client):
    await done(client.get(b"a"))
    await done(client.close())
    with pytest.raises(RuntimeError, match="closed"):
        await done(client.get(b"a"))
    await done(client.close())


async def test_closing_ends_the_calls_under_way(connected, target, sidecar):
    sidecar.delay = 0.5
    client = connected(target)
    get = (
        client.get(b"a") if isinstance(client, AsyncClient) else asyncio.to_thread(client.get, b"a")
    )
    task = asyncio.create_task(get)
    await asyncio.to_thread(sidecar.called.wait)
    await done(client.close())
    with pytest.raises(Unavailable):
        await task


def test_the_context_closes_the_client(target):
    with connect(target) as client:
        client.get(b"a")
    with pytest.raises(RuntimeError):
        client.get(b"a")


async def test_the_async_context_closes_the_client(target):
    async with connect_async(target) as client:
        await client.get(b"a")
    with pytest.raises(RuntimeError):
        await client.get(b"a")


def test_an_async_client_may_be_made_before_there_is_a_loop(target):
    client = connect_async(target)

    async def use():
        async with client:
            return await client.get(b"a")

    assert asyncio.run(use()) is None


async def test_a_cancelled_task_cancels_its_call(target, sidecar):
    sidecar.delay = 0.3
    async with connect_async(target, timeout=10) as client:
        task = asyncio.create_task(client.get(b"a"))
        await asyncio.to_thread(sidecar.called.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("make", [connect, connect_async])
def test_a_timeout_is_positive(make):
    with pytest.raises(ValueError, match="timeout"):
        make(timeout=0)
