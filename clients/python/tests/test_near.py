"""The near-cache: answers of a bounded number, for a bounded time."""

import threading

import grpc
import pytest
from both import done
from fake_sidecar import failure
from kafka_cache_client import Client, NotReady, near
from kafka_cache_client.near import AsyncNearCache, NearCache


@pytest.fixture
def clock(monkeypatch):
    clock = type("Clock", (), {"now": 1000.0, "monotonic": lambda self: self.now})()
    monkeypatch.setattr(near, "time", clock)
    return clock


@pytest.fixture
def cache(client, clock):
    kind = NearCache if isinstance(client, Client) else AsyncNearCache
    return kind(client, maxsize=2, ttl=1.0)


async def test_an_answer_is_kept_for_its_time_and_no_longer(cache, sidecar, clock):
    sidecar.put(b"a", b"1")
    assert (await done(cache.get("a"))).value == b"1"
    sidecar.put(b"a", b"2")
    clock.now += 0.9
    assert (await done(cache.get(b"a"))).value == b"1"
    assert (len(sidecar.requests), cache.hits, cache.misses) == (1, 1, 1)
    clock.now += 0.2
    assert (await done(cache.get("a"))).value == b"2"


async def test_absence_is_an_answer_and_an_error_is_none(cache, sidecar):
    assert await done(cache.get("a")) is None
    assert await done(cache.get("a")) is None
    assert len(sidecar.requests) == 1
    sidecar.failures = [failure(grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING")]
    with pytest.raises(NotReady):
        await done(cache.get("b"))
    assert await done(cache.get("b")) is None


async def test_no_more_are_kept_than_said(cache, sidecar):
    for key in "abc":
        await done(cache.get(key))
    await done(cache.get("c"))
    assert len(sidecar.requests) == 3
    await done(cache.get("a"))
    assert len(sidecar.requests) == 4


async def test_what_is_forgotten_is_asked_for_again(cache, sidecar):
    await done(cache.get("a"))
    cache.forget("a")
    cache.forget("never asked for")
    sidecar.put(b"a", b"1")
    assert (await done(cache.get("a"))).value == b"1"


def test_an_answer_that_was_asked_for_earlier_takes_no_later_ones_place(clock):
    sent, go_on = threading.Event(), threading.Event()

    class Slow:
        def get(self, key):
            if not sent.is_set():
                sent.set()
                assert go_on.wait(20)
                return "older"
            return "newer"

    cache, found = NearCache(Slow()), []
    first = threading.Thread(target=lambda: found.append(cache.get("a")))
    first.start()
    assert sent.wait(20)
    clock.now += 0.1
    assert cache.get("a") == "newer"
    go_on.set()
    first.join(20)
    assert found == ["older"]
    assert cache.get("a") == "newer"


@pytest.mark.parametrize("wrong", [{"maxsize": 0}, {"ttl": 0}])
def test_bounds_are_greater_than_nothing(wrong):
    with pytest.raises(ValueError, match="must be greater than 0"):
        NearCache(None, **wrong)
