"""A table with a rule, fed from a cluster: what it takes, and what grows too old."""

import asyncio
import time

import pytest
from support.fake_broker import FakeCluster
from support.following import following

from sidecar.core import progress
from sidecar.core.rule import Load
from sidecar.follower import aging
from sidecar.formats import FORMATS, rule_of
from sidecar.kafka import reader, topology

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(topology, "_EVERY_S", 0.02)
    monkeypatch.setattr(reader, "_MAX_WAIT_MS", 20)
    monkeypatch.setattr(aging, "_ROUND_S", 0.02)


def rule(now_ms=lambda: NOW_MS, **wanted):
    return rule_of(Load(**wanted), FORMATS["json"], now_ms)


async def test_only_what_the_rule_wants_is_held_from_the_bootstrap_on_and_later():
    active = rule(key_prefix=b"eu/", path="$.on", any_of=("true",), project=("$.id",))
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"eu/1", b'{"on":true,"id":1,"x":9}'), (b"us/1", b'{"on":true,"id":2}')])
        part.write([(b"eu/2", b'{"on":true,"id":3}'), (b"eu/2", b'{"on":false,"id":3}')])
        part.write([(b"eu/3", b"not JSON")])
        async with following(fake.bootstrap_servers, "t", rule=active) as table:
            await table.until_ready()
            assert table.values() == {b"eu/1": b'{"id":1}', b"eu/3": b"not JSON"}
            part.write([(b"eu/3", b'{"on":true,"id":3}'), (b"eu/1", b'{"on":false}')])
            await table.until_read({0: 7})
            assert table.values() == {b"eu/3": b'{"id":3}'}
            counted = table.view.table.counters
            assert (counted.turned_away, counted.null_keys, counted.records) == (3, 0, 4)


async def test_what_grows_too_old_goes_while_nobody_writes():
    now_ms = NOW_MS
    async with FakeCluster() as fake:
        part = fake.add_topic("t")[0]
        part.write([(b"too old", b"1")], timestamp_ms=NOW_MS - 60_001)
        part.write([(b"old", b"1")], timestamp_ms=NOW_MS - 50_000)
        part.write([(b"new", b"1")], timestamp_ms=NOW_MS)
        aging_ = rule(lambda: now_ms, expire_after_ms=60_000)
        async with following(fake.bootstrap_servers, "t", rule=aging_) as table:
            await table.until_ready()
            assert set(table.values()) == {b"old", b"new"}
            now_ms += 10_001
            await table.until(lambda: set(table.values()) == {b"new"}, "old is gone")
            part.write([(b"new", b"2")], timestamp_ms=NOW_MS + 40_000)
            await table.until_read({0: 4})
            now_ms += 60_000
            await asyncio.sleep(0.1)
            assert table.values() == {b"new": b"2"}
            assert table.view.table.counters.aged == 1


async def test_a_log_that_is_read_once_more_is_seen_through_the_rule(monkeypatch):
    """Else every key with a prefix that is stripped would be taken for one that was missed."""
    monkeypatch.setattr(progress, "_LEAST_KEPT_S", 0.2)
    async with FakeCluster() as fake:
        part = fake.add_topic("t", cleanup_policy="compact", delete_retention_ms=0)[0]
        framed = b"\x00\x00\x00\x00\x01"
        part.write([(framed + b"a", b"1"), (framed + b"b", b"1"), (framed + b"b", None)])
        async with following(fake.bootstrap_servers, "t", rule=rule(strip_schema_id=True)) as table:
            await table.until_ready()
            part.write([(framed + b"c", b"1")])
            await table.until_read({0: 4})
            await table.until(lambda: table.progress().doubt is None, "no doubt")
            assert table.values() == {b"a": b"1", b"c": b"1"}
