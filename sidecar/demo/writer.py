"""Writes the demo's topic: everything once, then changes at a steady rate.

The broker drops what exceeds its bound, and a log that starts later than its first
record would not be a compacted topic's. So the writer counts what it writes, and stops
changing the data before the bound; what is there stays served.
"""

import asyncio
from typing import Final

from confluent_kafka import Producer

from .airports import Airports
from .broker import PARTITION_BYTES

__all__ = ["Writer"]

_OVERHEAD: Final = 100  # bytes: a record that travels alone has a batch's header too
_QUEUED: Final = 10_000


class Writer:
    """One producer for one topic.

    Attributes:
        written: an upper bound on the bytes written.
        paused: nothing is changed while it is set.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions: int) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "linger.ms": 5, "log_level": 0}
        )
        self._topic = topic
        # Keys spread over the partitions evenly, but not perfectly.
        self._budget = partitions * PARTITION_BYTES * 3 // 4
        self.written = 0
        self.paused = False

    @property
    def full(self) -> bool:
        """No more may be written."""
        return self.written > self._budget

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write one record; None deletes the key."""
        self._producer.produce(self._topic, key=key, value=value)
        self.written += len(key) + len(value or b"") + _OVERHEAD

    def flush(self) -> None:
        """Wait until all is written."""
        self._producer.flush()

    def fill(self, airports: Airports) -> int:
        """Write everything, and wait until it is there; how many records."""
        written = 0
        for written, (key, value) in enumerate(airports.everything(), 1):
            self.put(key, value)
            if written % _QUEUED == 0:
                self.flush()
        self.flush()
        return written

    async def change(self, airports: Airports, *, rate: float, stop: asyncio.Event) -> bool:
        """Change `rate` records a second until `stop`; false: the broker's bound came first."""
        while not stop.is_set():
            if self.full:
                return False
            if not self.paused:
                self.put(*airports.change())
            self._producer.poll(0)
            try:
                async with asyncio.timeout(1 / rate):
                    await stop.wait()
            except TimeoutError:
                continue
        return True
