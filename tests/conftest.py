"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from support.kafka import KafkaCluster, proxied_cluster
from support.tls import Tls, make_tls

if TYPE_CHECKING:
    from support.proxy import TcpProxy

_KAFKA_FIXTURES = {"kafka", "kafka_proxy"}

# A shell lets what runs in its background ignore Ctrl-C, and so would all that is tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# For planted bugs: that one is found is enough, no smaller example is looked for.
settings.register_profile("first-found", phases=[Phase.explicit, Phase.generate])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _KAFKA_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> Tls:
    """Certificates for localhost: those of the shared broker's SSL listener, too."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def _shared(tls):
    with proxied_cluster(tls=tls, sasl={"alice": "alice-secret"}) as started:
        yield started


@pytest.fixture(scope="session")
def kafka(_shared) -> KafkaCluster:
    """The shared broker, node 1; leave it running and unpaused."""
    return _shared[0]


@pytest.fixture
def kafka_proxy(_shared):
    """The proxy before the shared broker's PROXIED listener; healed after each test."""
    proxy: TcpProxy = _shared[1][1]
    yield proxy
    proxy.heal()


_numbers = itertools.count(1)


@pytest.fixture
def topic_name(request) -> str:
    """A topic name of this test's own; `topic_name + "-2"` is one too."""
    test = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60].strip("-")
    return f"{test}-{os.getpid()}-{next(_numbers)}"
