"""The brokers, the topic and its replicas; who leads, and what is committed.

Followers copy from the leader a little later; the high watermark is what all replicas
in sync have, and a follower learns it one fetch later still. So a new leader knows less
of it than was acknowledged, until its followers have fetched in its term (KIP-207).

What controllers decide is published as an image. A broker answers Metadata from the
newest image that is older than its lag.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from simulation.history import History
from simulation.log import Batch, Rec, Replica, Txn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simulation.clock import World

__all__ = ["Broker", "Image", "Options", "Partition", "SimulatedCluster", "Topic"]

NAME = "topic"
# Between two rounds of a cleaner: the first leaves every tombstone.
_ROUND_S = 2.0


@dataclass(kw_only=True)
class Options:
    """What is drawn once a seed.

    Attributes:
        retention_s: how long tombstones stay once cleaned.
        missed_tombstones: they go even if the reader has not come to them.
        cleans_tail: the cleaner may take the end of the log too, as some brokers do.
    """

    brokers: int = 1
    partitions: int = 1
    committed: bool = True
    retention_s: float = 5.0
    missed_tombstones: bool = False
    cleans_tail: bool = False
    keys: int = 10


@dataclass
class Broker:
    """One broker, and what is wrong with it."""

    node: int
    port: int
    up: bool = True
    frozen: bool = False
    unreachable: bool = False
    lag_s: float = 0.0
    slow_s: float = 0.0
    lazy: bool = False
    """It does not copy from leaders."""
    throttle_ms: int = 0
    refusal: int = 0
    """The error that it answers to fetches."""
    starved: bool = False
    """Its answers have room for one partition only."""
    garbles: bool = False
    waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return f"broker{self.node}", self.port


class Partition:
    """Replicas of one log, who leads them, and the truth about it."""

    def __init__(self, number: int, nodes: Iterable[int], now: float) -> None:
        self.number = number
        self.replicas = {node: Replica() for node in nodes}
        self.leader = next(iter(self.replicas))
        self.epoch = 0
        self.in_sync = set(self.replicas)
        self.acked: dict[int, int] = {}
        self.history = History(now)
        self.strays: set[int] = set()
        """Followers that still have to cut off what the leader does not have."""
        self.log.begin_epoch(0)

    @property
    def log(self) -> Replica:
        """The leader's, or that of the last leader where there is none."""
        return self.replicas[self.leader if self.leader >= 0 else next(iter(self.in_sync))]


class Topic:
    """One incarnation of the topic."""

    def __init__(self, topic_id: uuid.UUID, now: float) -> None:
        self.id, self.created = topic_id, now
        self.partitions: list[Partition] = []
        self.deleted_at: float | None = None


class Image(NamedTuple):
    """The cluster as its controller published it: leaders are (node, epoch)."""

    since: float
    brokers: dict[int, tuple[str, int]]
    topic_id: uuid.UUID | None
    leaders: list[tuple[int, int]]


class SimulatedCluster:
    """The cluster; see the module.

    Attributes:
        topics: every incarnation that there was, the present one last.
        changed: called after a partition's ends or leader changed.
        passed: whether the reader is beyond an offset of a partition.
        largest_lag_s: of any broker's image, so far.
        healed: brokers give as much as there is.
        lost: a log was cut, or its start has passed the reader.
    """

    def __init__(self, world: World, options: Options) -> None:
        self.world, self.options = world, options
        self.brokers = {node: Broker(node, 9000 + node) for node in range(1, options.brokers + 1)}
        self.topics: list[Topic] = []
        self.images: list[Image] = []
        self.changed: Callable[[Partition | None], None] = lambda _: None
        self.passed: Callable[[int, int], bool] = lambda *_: True
        self.largest_lag_s = 0.0
        self.lost = self.healed = False
        self.cluster_id = f"cluster-{world.random.getrandbits(32)}"

    @property
    def topic(self) -> Topic | None:
        """The topic as it is now; None: there is none."""
        last = self.topics[-1]
        return last if last.deleted_at is None else None

    @property
    def partitions(self) -> list[Partition]:
        """Those of the topic as it is now."""
        return self.topic.partitions if self.topic else []

    # What a controller does

    def create(self, partitions: int) -> None:
        """Create the topic, or another incarnation of it."""
        self.topics.append(Topic(uuid.UUID(int=self.world.random.getrandbits(128)), self.world.now))
        self.world.note("create", partitions)
        self.grow(partitions)

    def delete(self) -> None:
        """Delete the topic."""
        if self.topic:
            self.topic.deleted_at = self.world.now
            self.world.note("delete")
            self.publish()
            self.changed(None)

    def grow(self, total: int) -> None:
        """Add partitions, up to so many."""
        nodes = [node for node, broker in self.brokers.items() if broker.up]
        for number in range(len(self.partitions), total):
            placed = self.world.random.sample(nodes, min(len(nodes), 3))
            self.partitions.append(Partition(number, placed, self.world.now))
        self.world.note("partitions", total)
        self.publish()

    def elect(self, partition: Partition, node: int) -> None:
        """Make a replica the leader; one that is not in sync may cut the log."""
        unclean = node not in partition.in_sync
        partition.epoch += 1
        partition.leader = node
        log = partition.replicas[node]
        if unclean:
            partition.in_sync = {node}
            agreed = partition.history.agrees_to(log)
            if agreed < partition.history.hw:
                partition.history = partition.history.fork(agreed, self.world.now)
                self.lost = True
        partition.acked = {}
        partition.strays = set(partition.replicas) - {node}
        log.begin_epoch(partition.epoch)
        self.world.note("elect", partition.number, node, partition.epoch, log.leo, log.hw, unclean)
        self.publish()
        self._spread(partition, self.world.random.choice((0.02, 0.5, 1.5)))
        self.advance(partition)
        self.world.at(0.05, lambda: self._end_decided(partition))

    def bereave(self, partition: Partition) -> None:
        """The leader is gone, and nobody is in sync."""
        partition.leader = -1
        partition.epoch += 1
        self.world.note("leaderless", partition.number)
        self.publish()
        self.changed(partition)

    def leave_sync(self, partition: Partition, node: int) -> None:
        """A follower is no longer waited for."""
        if node in partition.in_sync and partition.leader not in (-1, node):
            partition.in_sync.discard(node)
            self.advance(partition)

    def publish(self) -> None:
        """Make known how things stand."""
        topic = self.topic
        leaders = [(part.leader, part.epoch) for part in self.partitions]
        live = {node: each.address for node, each in self.brokers.items() if each.up}
        self.images.append(Image(self.world.now, live, topic.id if topic else None, leaders))

    def image(self, broker: Broker) -> Image:
        """What a broker knows."""
        at = len(self.images) - 1
        while at and self.images[at].since > self.world.now - broker.lag_s:
            at -= 1
        return self.images[at]

    def find(self, topic_id: uuid.UUID) -> Topic | None:
        """The topic of an id, if it is there now."""
        return self.topic if self.topic and self.topic.id == topic_id else None

    # What producers do

    def writable(self, partition: Partition) -> bool:
        """Whether there is a leader that takes writes."""
        return partition.leader >= 0 and self.brokers[partition.leader].up

    def append(
        self,
        partition: Partition,
        records: list[tuple[bytes | None, bytes | None, int]],
        *,
        txn: Txn | None = None,
        control: bool = False,
        flags: int = 0,
    ) -> None:
        """Write a batch of (key, value, timestamp in ms), or a transaction's marker."""
        log = partition.log
        base = log.leo
        recs = [Rec(base + place, *record) for place, record in enumerate(records)]
        last = base + max(0, len(recs) - 1)
        log.append(
            Batch(recs, base=base, last=last, epoch=partition.epoch, txn=txn,
                  control=control, flags=flags)
        )  # fmt: skip
        self._spread(partition)
        self.advance(partition)

    def end(self, partition: Partition, txn: Txn) -> None:
        """Write the marker of a transaction that was decided, unless it is there."""
        log = partition.log
        if self.writable(partition) and txn in log.open and txn not in log.ended:
            self.append(partition, [], txn=txn, control=True)

    def delete_records(self, partition: Partition, offset: int) -> None:
        """Move the log start."""
        self.world.note("log start", partition.number, offset)
        for replica in partition.replicas.values():
            replica.raise_start(offset)
        self.changed(partition)

    def _end_decided(self, partition: Partition) -> None:
        """A coordinator writes the marker again where an election has lost it."""
        if partition.leader >= 0:
            for txn in [txn for txn in partition.log.open if txn.committed is not None]:
                self.end(partition, txn)

    # What replicas do

    def _spread(self, partition: Partition, most_s: float = 0.02) -> None:
        for node in partition.replicas:
            if node != partition.leader:
                delay = self.world.random.uniform(0.001, most_s)
                self.world.at(delay, lambda node=node: self.replicate(partition, node))

    def replicate(self, partition: Partition, node: int, *, again: bool = True) -> None:
        """A follower fetches from the leader."""
        leader = partition.leader
        broker = self.brokers[node]
        if node not in partition.replicas or leader in (-1, node) or broker.lazy:
            return
        if any(not each.up or each.frozen for each in (broker, self.brokers[leader])):
            return
        log, copy = partition.replicas[leader], partition.replicas[node]
        if node in partition.strays:
            copy.follow(log)
            partition.strays.discard(node)
        # A follower that has been away for longer than tombstones are kept would bring back what
        # they deleted. That is Kafka's own fault, and its operators'; here it begins anew.
        if any(offset >= copy.leo for offset in partition.history.expired):
            copy.forget(log.log_start)
        copy.copy_from(log)
        copy.hw = max(copy.hw, min(log.hw, copy.leo))
        partition.acked[node] = copy.leo
        partition.in_sync.add(node)
        before = log.hw
        self.advance(partition)
        if again and log.hw > before:
            delay = self.world.random.uniform(0.01, 0.5)
            self.world.at(delay, lambda: self.replicate(partition, node, again=False))

    def advance(self, partition: Partition) -> None:
        """Move the high watermark to what all in sync have."""
        log = partition.log
        others = partition.in_sync - {partition.leader}
        if partition.leader >= 0:
            ends = [partition.acked.get(node, -1) for node in others]
            log.hw = max(log.hw, min([log.leo, *ends]))
            partition.history.reach(log.hw, self.world.now, log)
        self.changed(partition)

    def clean(self, partition: Partition, node: int) -> None:
        """One replica's cleaner passes."""
        log, options, chance = partition.replicas[node], self.options, self.world.random
        history = partition.history
        if history.agrees_to(log) < log.hw:
            return
        tail = 0 if options.cleans_tail else chance.randint(1, 6)
        end = min(log.lso, log.hw)
        if tail and len(log.batches) >= tail:
            end = min(end, log.batches[-tail].base)
        number = partition.number
        replaced, expired = log.clean(
            end,
            self.world.now,
            max(options.retention_s, _ROUND_S)
            if options.missed_tombstones
            else options.retention_s,
            lambda offset: options.missed_tombstones or self.passed(number, offset),
            lambda: chance.random() < 0.3,
        )
        history.replaced |= replaced
        history.expired |= expired
        self.world.note("clean", number, node, end, len(replaced), len(expired))
        self.changed(partition)
