"""What can be known of a topic without reading it: brokers, leaders, ends, settings, a sample.

Nothing is waited for, created or committed, and no fault is raised: each stands with the
broker or partition that it concerns, for whoever judges. What one step gives is kept when
a later one fails, or when the time is over.

Brokers are asked side by side, each request within a sixth of the limit, so a broker that
takes connections and says nothing is named while there is time left for the others; it
is asked nothing more.

The high watermarks are asked for before the last stable offsets: a transaction that ends
between the two does not look open.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..core.progress import Leader
from ..core.served import incarnation_of
from .assignment import ERROR_NAMES
from .batches import decode_batches, find_batches
from .cluster import Cluster
from .connection import Frames, open_connection
from .errors import BrokerFault, KafkaFault, LogFault, Unsupported
from .settings import KafkaSettings
from .wire import EARLIEST, LATEST, FetchAnswer, Wanted, encode_fetch, parse_fetch

__all__ = ["BrokerFacts", "Examined", "PartitionFacts", "Sample", "examine"]

_SAMPLE_BYTES = 1 << 20
_SAMPLE_PARTITION_BYTES = 1 << 16
_REQUESTS_IN_LIMIT = 6


class BrokerFacts(NamedTuple):
    """One broker.

    Attributes:
        node: its id; -1: one of the bootstrap addresses, none of which named any broker.
        address: where it listens.
        fault: why it cannot be used; empty: it answers and is new enough.
        too_old: it answers, and that is the fault.
    """

    node: int
    address: str
    fault: str = ""
    too_old: bool = False


class PartitionFacts(NamedTuple):
    """One partition; offsets are -1 while not known, `fault` says why."""

    partition: int
    leader: Leader
    log_start_offset: int = -1
    high_watermark: int = -1
    last_stable_offset: int = -1
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What small fetches from the log starts gave; two of them add up.

    Attributes:
        records: with a key.
        tombstones: among them.
        payload_bytes: of their keys and values.
        errors: names of the errors that partitions were answered with.
        faults: sentences: what could not be fetched or decoded.
    """

    records: int = 0
    tombstones: int = 0
    payload_bytes: int = 0
    errors: frozenset[str] = frozenset()
    faults: tuple[str, ...] = ()

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(
            self.records + other.records,
            self.tombstones + other.tombstones,
            self.payload_bytes + other.payload_bytes,
            self.errors | other.errors,
            self.faults + other.faults,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A topic as its cluster shows it to this user.

    Attributes:
        topic: its name.
        brokers: all that the cluster names.
        error_code: Kafka's, where metadata tells no topic; None: no metadata came.
        topic_id: a UUID.
        incarnation: as `core.served.incarnation_of` makes it.
        partitions: in order.
        config: empty where the brokers do not tell.
        sample: None: nothing was fetched.
    """

    topic: str
    brokers: tuple[BrokerFacts, ...] = ()
    error_code: int | None = None
    topic_id: str = ""
    incarnation: int = 0
    partitions: tuple[PartitionFacts, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    sample: Sample | None = None


async def examine(
    settings: KafkaSettings, topic: str, clock: Callable[[], float], *, limit_s: float
) -> Examined:
    """Gather what the brokers tell of a topic.

    Args:
        settings: how to reach the cluster, and the isolation level.
        topic: its name.
        clock: seconds, CLOCK_BOOTTIME.
        limit_s: after so long the facts are what is known by then.
    """
    request_s = min(settings.request_timeout_s, limit_s / _REQUESTS_IN_LIMIT)
    cluster = Cluster(replace(settings, request_timeout_s=request_s), clock)
    addresses = ", ".join(f"{host}:{port}" for host, port in settings.bootstrap)
    silent = BrokerFacts(-1, addresses, f"{addresses} did not answer within {limit_s:g} s")
    found = Examined(topic=topic, brokers=(silent,))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s), aclosing(_stages(cluster, topic)) as stages:
                async for stage in stages:
                    found = stage
    finally:
        cluster.close()
    return found


async def _stages(cluster: Cluster, topic: str) -> AsyncGenerator[Examined, None]:
    """The facts, each time with more of them."""
    try:
        metadata = await cluster.metadata(topic)
    except KafkaFault as fault:
        addresses = ", ".join(f"{host}:{port}" for host, port in cluster.settings.bootstrap)
        too_old = isinstance(fault, Unsupported)
        yield Examined(topic=topic, brokers=(BrokerFacts(-1, addresses, str(fault), too_old),))
        return
    parts = [PartitionFacts(number, leader) for number, leader in sorted(metadata.leaders.items())]
    found = Examined(
        topic=topic,
        brokers=tuple(await asyncio.gather(*(_broker(cluster, node) for node in cluster.brokers))),
        error_code=metadata.error_code,
        topic_id=str(metadata.topic_id),
        incarnation=incarnation_of(metadata.cluster_id, str(metadata.topic_id)),
        partitions=tuple(parts),
    )
    yield found
    if metadata.error_code:
        return
    with suppress(BrokerFault):
        found = replace(found, config=await cluster.topic_config(topic))
    yield found
    faults = {one.node: one.fault for one in found.brokers}
    led: defaultdict[int, list[PartitionFacts]] = defaultdict(list)
    for part in parts:
        led[part.leader.node].append(part)
    ended = await asyncio.gather(
        *(_ends(cluster, topic, node, some, faults) for node, some in led.items())
    )
    partitions = tuple(sorted(part for some in ended for part in some))
    found = replace(found, partitions=partitions)
    yield found
    samples = await asyncio.gather(
        *(
            _sample(cluster, metadata.topic_id, some)
            for some in ended
            if some[0].high_watermark >= 0
        )
    )
    if samples:
        yield replace(found, sample=sum(samples, Sample()))


async def _broker(cluster: Cluster, node: int) -> BrokerFacts:
    host, port = cluster.brokers[node]
    address = f"{host}:{port}"
    try:
        connection = await open_connection(cluster.settings, host, port)
    except KafkaFault as fault:
        return BrokerFacts(node, address, str(fault), isinstance(fault, Unsupported))
    connection.close()
    return BrokerFacts(node, address)


async def _ends(
    cluster: Cluster, topic: str, node: int, parts: list[PartitionFacts], faults: Mapping[int, str]
) -> list[PartitionFacts]:
    """The ends of the partitions that one broker leads; those without a fault come first."""
    leaders = {part.partition: part.leader for part in parts}
    fault = "it has no leader" if node < 0 else faults.get(node, "")
    if fault:
        return [part._replace(fault=fault) for part in parts]
    try:
        starts = await cluster.list_offsets(topic, leaders, EARLIEST)
        ends = await cluster.list_offsets(topic, leaders, LATEST)
        stable = await cluster.list_offsets(topic, leaders, LATEST, committed=True)
    except KafkaFault as error:
        return [part._replace(fault=str(error)) for part in parts]
    told = []
    for part in parts:
        answers = [asked[part.partition] for asked in (starts, ends, stable)]
        codes = [answer.error_code for answer in answers if answer.error_code]
        if codes:
            told.append(part._replace(fault=f"its leader answers {_name(codes[0])}"))
            continue
        start, end, last_stable = (answer.offset for answer in answers)
        told.append(PartitionFacts(part.partition, part.leader, start, end, last_stable))
    return sorted(told, key=lambda part: bool(part.fault))


async def _sample(cluster: Cluster, topic_id: uuid.UUID, parts: list[PartitionFacts]) -> Sample:
    try:
        frames = await cluster.fetch_connection(parts[0].leader.node)
    except KafkaFault as fault:
        return Sample(faults=(str(fault),))
    try:
        return await _fetch(cluster.settings, frames, topic_id, parts)
    except KafkaFault as fault:
        return Sample(faults=(f"{frames.address}: {fault}",))
    finally:
        frames.close()


async def _fetch(
    settings: KafkaSettings, frames: Frames, topic_id: uuid.UUID, parts: list[PartitionFacts]
) -> Sample:
    committed = settings.isolation_level == "read_committed"
    request = encode_fetch(
        frames.next_id(),
        settings.client_id,
        topic_id,
        [
            Wanted(part.partition, part.leader.epoch, part.log_start_offset, -1)
            for part in parts
            if not part.fault
        ],
        committed=committed,
        max_wait_ms=0,
        max_bytes=_SAMPLE_BYTES,
        partition_max_bytes=_SAMPLE_PARTITION_BYTES,
    )
    limit_s = settings.request_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            response = parse_fetch(await frames.send(request))
    except TimeoutError as error:
        raise BrokerFault(f"a fetch was not answered within {limit_s:g} s") from error
    if response.error_code:
        return Sample(errors=frozenset({_name(response.error_code)}))
    return sum((_decoded(answer, committed=committed) for answer in response.answers), Sample())


def _decoded(answer: FetchAnswer, *, committed: bool) -> Sample:
    if answer.error_code:
        return Sample(errors=frozenset({_name(answer.error_code)}))
    records = tombstones = size = 0
    faults: tuple[str, ...] = ()
    try:
        spans = find_batches(answer.partition, answer.records)
        for batch in decode_batches(answer.partition, spans, answer.aborted if committed else []):
            for record in batch.each():
                if record.key is not None:
                    records += 1
                    tombstones += record.value is None
                    size += len(record.key) + len(record.value or b"")
    except LogFault as fault:
        faults = (str(fault),)
    return Sample(records, tombstones, size, faults=faults)


def _name(error_code: int) -> str:
    return ERROR_NAMES.get(error_code, f"error {error_code}")
