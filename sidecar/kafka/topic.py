"""Finding a topic: who it is, how it is kept, where each partition starts and ends.

A topic that is not there yet is waited for, and so is a leader; none is ever created
(the metadata request says so, whatever the broker's auto-create setting). Every wait
is reported in a sentence.

A partition's target is its high watermark, asked for once. ListOffsets is asked with
isolation read_uncommitted for it: under read_committed the answer would be the last
stable offset, and an open transaction would pass for the end of the log.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..core.errors import Reason
from ..core.progress import Leader
from ..core.served import Trouble
from .assignment import ERROR_NAMES, acl_advice
from .backoff import Backoff
from .cluster import Cluster, TopicMetadata
from .errors import BrokerFault, Unsupported
from .wire import EARLIEST, LATEST

__all__ = ["Start", "Topic", "locate", "stable_ends", "starts_of"]

_UNKNOWN_TOPIC, _INVALID_TOPIC, _NOT_AUTHORIZED = 3, 17, 29


class Start(NamedTuple):
    """Where one partition's reading starts and its bootstrap ends."""

    leader: Leader
    log_start_offset: int
    target: int


class Topic(NamedTuple):
    """A topic as its cluster names it.

    Attributes:
        config: empty where the broker does not tell.
        partitions: all of them, as of `listed_at`.
        listed_at: when the metadata was asked for (seconds, CLOCK_BOOTTIME).
    """

    name: str
    id: uuid.UUID
    cluster_id: str
    config: dict[str, str]
    partitions: dict[int, Start]
    listed_at: float


async def locate(cluster: Cluster, name: str, report: Callable[[Trouble], None]) -> Topic:
    """Wait until a topic exists and all its leaders have told their ends.

    Args:
        cluster: to ask.
        name: of the topic.
        report: told what is waited for, each time that it is still so.

    Raises:
        Unsupported: a broker is too old, or the name can be no topic's.
    """
    backoff = Backoff(largest_s=1.0)
    while True:
        try:
            metadata = await cluster.metadata(name)
            trouble = _trouble(metadata, name, cluster.settings.bootstrap)
            if trouble is None:
                partitions = await starts_of(cluster, name, metadata.leaders)
                config = await cluster.topic_config(name)
                return Topic(
                    name,
                    metadata.topic_id,
                    metadata.cluster_id,
                    config,
                    partitions,
                    metadata.sent_at,
                )
        except BrokerFault as fault:
            trouble = Trouble(Reason.BOOTSTRAPPING, str(fault))
        report(trouble)
        await asyncio.sleep(backoff.next_s())


def _trouble(
    metadata: TopicMetadata, name: str, bootstrap: Iterable[tuple[str, int]]
) -> Trouble | None:
    """What is to be waited for: in the same words, whichever broker answered."""
    code = metadata.error_code
    cluster = ",".join(f"{host}:{port}" for host, port in bootstrap)
    if code == _INVALID_TOPIC:
        raise Unsupported(f"{name!r} is not a legal topic name")
    if code == _UNKNOWN_TOPIC:
        return Trouble(
            Reason.TOPIC_MISSING,
            f"topic {name!r} does not exist on the cluster at {cluster}, and the sidecar "
            "creates none: check the name, or create it with cleanup.policy=compact",
        )
    if code == _NOT_AUTHORIZED:
        return Trouble(Reason.BOOTSTRAPPING, acl_advice(name))
    if code:
        answer = ERROR_NAMES.get(code, f"error {code}")
        return Trouble(
            Reason.BOOTSTRAPPING, f"the cluster at {cluster} answers {answer} for {name!r}"
        )
    leaderless = [number for number, leader in metadata.leaders.items() if leader.node < 0]
    if leaderless or not metadata.leaders:
        return Trouble(
            Reason.BOOTSTRAPPING, f"partitions {leaderless} of topic {name!r} have no leader"
        )
    return None


async def stable_ends(cluster: Cluster, topic: Topic) -> dict[int, int]:
    """Where each partition ends for a reader of the cluster's isolation level.

    Raises:
        BrokerFault: a leader does not answer.
    """
    leaders = {number: start.leader for number, start in topic.partitions.items()}
    committed = cluster.settings.isolation_level == "read_committed"
    return await _ends(cluster, topic.name, leaders, LATEST, committed=committed)


async def starts_of(cluster: Cluster, name: str, leaders: Mapping[int, Leader]) -> dict[int, Start]:
    """Where partitions start and end, as their leaders tell.

    Raises:
        BrokerFault: one does not.
    """
    first = await _ends(cluster, name, leaders, EARLIEST)
    last = await _ends(cluster, name, leaders, LATEST)
    return {
        number: Start(leader, first[number], last[number])
        for number, leader in sorted(leaders.items())
    }


async def _ends(
    cluster: Cluster,
    name: str,
    leaders: Mapping[int, Leader],
    timestamp: int,
    *,
    committed: bool = False,
) -> dict[int, int]:
    by_node: defaultdict[int, dict[int, Leader]] = defaultdict(dict)
    for number, leader in leaders.items():
        by_node[leader.node][number] = leader
    offsets = {}
    for led in by_node.values():
        ends = await cluster.list_offsets(name, led, timestamp, committed=committed)
        for number, end in ends.items():
            if end.error_code:
                answer = ERROR_NAMES.get(end.error_code, f"error {end.error_code}")
                raise BrokerFault(f"the leader of partition {number} answers {answer}")
            offsets[number] = end.offset
    return offsets
