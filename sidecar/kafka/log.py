"""Reading a topic once, from its first kept offset to its end: for comparing, not serving.

The same reader as a table's does it, so what is compared is the table and the serving,
not a second way to read. Parts are handed over one at a time: the reader goes on when
the part before has been taken, because its bytes stand in a buffer that is used again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

from ..core.model import Batch, Fetched
from ..core.progress import Leader, Wait
from ..core.served import Trouble, incarnation_of
from .cluster import Cluster
from .errors import BadBatch, BrokerFault, KafkaFault, LogFault, leaves_of
from .reader import Reader
from .settings import KafkaSettings
from .topic import Start, Topic, locate, stable_ends

__all__ = ["OnBegin", "read_log"]

OnBegin = Callable[[int, Mapping[int, int], Mapping[int, int]], None]


async def read_log(
    settings: KafkaSettings,
    topic: str,
    clock: Callable[[], float],
    *,
    since: Mapping[int, int],
    on_begin: OnBegin,
) -> AsyncGenerator[Fetched, None]:
    """Yield the parts of a topic's log up to the ends that it has now.

    Args:
        settings: how to reach the cluster, and the isolation level.
        topic: its name.
        clock: seconds, CLOCK_BOOTTIME.
        since: offset to begin at, by partition, where it is past the first kept one.
        on_begin: told the incarnation, where each partition begins and where it ends (under
            read_committed: at its last stable offset), before the first part.

    Raises:
        LogFault: what was read is no longer the log's; it may be begun anew.
        KafkaFault: the topic cannot be found or read.
    """
    cluster = Cluster(settings, clock)
    try:
        found = await locate(cluster, topic, _refuse)
        starts = {
            number: max(start.log_start_offset, since.get(number, 0))
            for number, start in found.partitions.items()
        }
        ends = await stable_ends(cluster, found)
        on_begin(incarnation_of(found.cluster_id, str(found.id)), starts, ends)
        relay = _Relay(starts)
        reading = asyncio.create_task(Reader(cluster, _from(found, starts), relay, clock).run())
        try:
            async for part in relay.parts(ends, reading):
                yield part
        except BadBatch as bad:
            raise KafkaFault(f"topic {topic!r}: {bad}") from bad
        except LogFault as fault:
            raise LogFault(f"topic {topic!r}: {fault}") from fault
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # it was told already, or nobody waits for it any more
    finally:
        cluster.close()


def _refuse(trouble: Trouble) -> None:
    raise BrokerFault(trouble.sentence)


def _from(topic: Topic, starts: Mapping[int, int]) -> Topic:
    partitions = {
        number: start._replace(log_start_offset=starts[number])
        for number, start in topic.partitions.items()
    }
    return topic._replace(partitions=partitions)


class _Relay:
    """A sink that hands one part at a time to whoever iterates `parts`."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)
        self._parts: asyncio.Queue[Fetched] = asyncio.Queue()

    async def take(self, fetched: Fetched) -> None:
        """Wait until the part has been taken."""
        self._parts.put_nowait(fetched)
        await self._parts.join()

    async def parts(
        self, ends: Mapping[int, int], reading: asyncio.Task[None]
    ) -> AsyncGenerator[Fetched, None]:
        """The parts, until every partition has reached its end."""
        while any(self._positions[number] < end for number, end in ends.items()):
            part = asyncio.ensure_future(self._parts.get())
            await asyncio.wait({part, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not part.done():
                part.cancel()
                await _raise_fault(reading)
            fetched = part.result()
            yield fetched._replace(batches=self._followed(fetched))
            self._reach(fetched.partition, fetched.nothing_before or 0)
            self._parts.task_done()

    def _followed(self, fetched: Fetched) -> Iterator[Batch]:
        for batch in fetched.batches:
            yield batch
            self._reach(fetched.partition, batch.next_offset)

    def _reach(self, partition: int, offset: int) -> None:
        self._positions[partition] = max(self._positions[partition], offset)

    def led_by(self, partition: int, leader: Leader) -> None:
        """No matter."""

    def leader_ends_at(self, partition: int, leader: Leader, end: int, told_at: float) -> None:
        """No matter: a log that was cut is a fault by itself."""

    def waits(self, partition: int, wait: Wait, detail: str) -> None:
        """A batch that cannot be read ends it; else whoever reads has a time limit of its own."""
        if wait is Wait.BAD_BATCH:
            raise KafkaFault(f"partition {partition}: {detail}")

    def skips(self, bad: BadBatch) -> bool:
        """What is compared is all of it."""
        raise bad

    def added(self, partition: int, start: Start, asked_at: float) -> None:  # noqa: ARG002
        """What is read once has the partitions with which it began."""
        end = start.target
        raise LogFault(f"partition {partition} was added meanwhile (it ends at {end}); begin again")

    def listed(self, sent_at: float) -> None:
        """No matter."""

    def broker_error(self, name: str) -> None:
        """No matter."""


async def _raise_fault(reading: asyncio.Task[None]) -> None:
    faults: list[Exception] = []
    try:
        await reading
    except* KafkaFault as group:
        faults = leaves_of(group)
    for fault in faults:  # what is raised above would come in a group again
        raise fault
