"""A topic with one partition for the command line's tests, and a sidecar that holds it."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from types import SimpleNamespace

from support.cli_sidecar import FakeSidecar, live

from sidecar._pb import admin_pb2
from sidecar.core.digest import entry_hash
from sidecar.core.model import Batch, Fetched, LogBounds, origin_of

__all__ = ["CONFIG", "Log", "Rec", "digest_of", "holding", "reading_with"]

CONFIG = """
kafka: {bootstrap.servers: "kafka:9092", sasl.password.file: /nowhere/secret}
tables: {users: {topic: users}}
listen: ["127.0.0.1:50051"]
"""


class Rec:
    def __init__(self, offset, key, value):
        self.offset, self.key, self.value = offset, key, value
        self.timestamp, self.headers = 1234, []


class Log:
    """The topic's one partition; `read_log` as the sidecar's own has it."""

    def __init__(self, records, incarnation=7):
        self.records, self.incarnation = records, incarnation
        self.fault = None
        self.faults = []
        self.start_told = -1
        self.before_reading = None
        self.readings = []

    async def __call__(self, config, topic, *, since, on_begin) -> AsyncGenerator[Fetched, None]:
        self.readings.append((config.kafka.bootstrap, topic, dict(since)))
        if self.fault is not None:
            raise self.fault
        if self.faults:
            raise self.faults.pop()
        if self.before_reading is not None:
            self.before_reading(self)
        end = self.records[-1].offset + 1
        on_begin(self.incarnation, {0: 0}, {0: end})
        for one in list(self.records):
            if one.offset >= since.get(0, 0):
                batch = Batch([one], origin_of(0, 0), one.offset, one.offset + 1)
                yield Fetched(0, iter([batch]), LogBounds(self.start_told), 0.0, None, 1)
                await asyncio.sleep(0)


def digest_of(records, position):
    total = sum(entry_hash(one.key, one.value, one.offset) for one in records)
    return admin_pb2.PartitionDigest(
        partition=0,
        position=position,
        entries=len(records),
        digest=(total % (1 << 128)).to_bytes(16, "big"),
    )


def holding(records, position):
    partitions = [admin_pb2.PartitionInfo(partition=0, position=position)]
    return FakeSidecar(
        records=records,
        tables=[live(partitions=partitions)],
        digests=[digest_of(records, position)],
        config_yaml=CONFIG,
    )


def reading_with(monkeypatch, read_log):
    """Put a reader in the place of the sidecar's own, which needs brokers."""
    monkeypatch.setitem(sys.modules, "sidecar.app", SimpleNamespace(read_log=read_log))
