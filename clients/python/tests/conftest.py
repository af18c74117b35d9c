"""Each test that asks for `connected` runs with both clients: they promise the same."""

import pytest
from both import done
from fake_sidecar import FakeSidecar, served
from kafka_cache_client import connect, connect_async


@pytest.fixture
def sidecar():
    return FakeSidecar()


@pytest.fixture(params=[connect, connect_async], ids=["threads", "asyncio"])
async def connected(request):
    """Makes clients, and closes them after the test."""
    clients = []

    def make(*arguments, **options):
        clients.append(request.param(*arguments, **{"timeout": 10} | options))
        return clients[-1]

    yield make
    for client in clients:
        await done(client.close())


@pytest.fixture
def target(sidecar):
    with served(sidecar) as target:
        yield target


@pytest.fixture
def client(connected, target):
    return connected(target)
