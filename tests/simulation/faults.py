"""The seeded schedule of faults, and the end of all of them.

Each fault is a function of `Faults` by its name; it strikes, and most end by themselves
after a drawn time. `heal` ends all.

`IDENTITY_FAULTS` are those after which the log that was read is no longer the one that is
there, so that another generation must be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.cluster import Broker, Partition
    from simulation.network import Network
    from simulation.writer import Writer

__all__ = ["FAULTS", "IDENTITY_FAULTS", "MISSING_FAULTS", "Faults"]

FAULTS = (
    "kill", "kill", "freeze", "cut", "cut", "drop", "half_open", "slow", "move", "move", "move",
    "bump", "lazy", "throttle", "refuse", "garble", "starve", "lag", "grow", "log_start", "pause",
    "hold_open", "clean", "clean", "relocate", "hasty",
)  # fmt: skip
IDENTITY_FAULTS = ("delete", "recreate", "unclean", "unclean", "log_start_passed")
MISSING_FAULTS = ("blackout", "blackout", "blackout")

_REFUSALS = (-1, 3, 5, 6, 7, 9, 56, 74, 75, 78, 100)
_MOST_PARTITIONS = 4


class Faults:
    """What goes wrong in one run.

    Args:
        network: and its cluster.
        writer: whose transactions may be left open.
        positions: the reader's positions as they are now.
        names: which faults may strike.
    """

    def __init__(
        self,
        network: Network,
        writer: Writer,
        positions: Callable[[], dict[int, int]],
        names: tuple[str, ...],
    ) -> None:
        self._network, self._cluster, self._world = network, network.cluster, network.world
        self._writer, self._positions, self._names = writer, positions, names
        self._chance = network.world.random
        self._healed = False

    def strike(self) -> None:
        """One fault, and another after a while."""
        if self._healed:
            return
        name = self._chance.choice(self._names)
        self._world.note("fault", name)
        getattr(self, name)()
        self._world.at(self._chance.expovariate(2.0), self.strike)

    def clean_often(self) -> None:
        """Every replica has a cleaner, which passes now and then."""
        for partition in self._cluster.partitions:
            for node in partition.replicas:
                if self._chance.random() < 0.5:
                    self._cluster.clean(partition, node)
        self._world.at(self._chance.uniform(0.3, 1.5), self.clean_often)

    def heal(self) -> None:
        """All ends, and nothing new comes."""
        self._world.note("heal")
        self._healed = self._cluster.healed = True
        for broker in self._cluster.brokers.values():
            self._mend(broker)
        if self._cluster.topic is None:
            self._cluster.create(self._chance.randint(1, 2))
        self._writer.holds_open = False
        self._settle()

    def _settle(self) -> None:
        """Replicas copy until nothing is left to copy, for what was lost was not sent again."""
        for partition in self._cluster.partitions:
            for node in partition.replicas:
                self._cluster.replicate(partition, node)
        self._world.at(0.25, self._settle)

    def _mend(self, broker: Broker) -> None:
        if not broker.up:
            self._start(broker)
        if broker.frozen:
            self._network.thaw(broker)
        if broker.unreachable:
            self._network.restore(broker, half_open=self._chance.random() < 0.5)
        broker.lag_s = broker.slow_s = 0.0
        broker.lazy = broker.starved = broker.garbles = False
        broker.throttle_ms = broker.refusal = 0

    def _for(self, least: float, most: float, over: Callable[[], None]) -> None:
        """End a fault after a drawn time."""
        self._world.at(self._chance.uniform(least, most), lambda: None if self._healed else over())

    def _broker(self) -> Broker:
        return self._chance.choice(list(self._cluster.brokers.values()))

    def _partition(self) -> Partition | None:
        return self._chance.choice(self._cluster.partitions) if self._cluster.partitions else None

    # Brokers

    def kill(self) -> None:
        """A broker dies, and comes back, perhaps at another address."""
        broker = self._broker()
        if not broker.up or sum(each.up for each in self._cluster.brokers.values()) < 2:
            return
        broker.up, broker.waiting = False, []
        for link in self._network.to(broker):
            link.lose()
        self._for(0.02, 2.0, lambda: self._mourn(broker))
        self._for(0.5, 6.0, lambda: self._start(broker))

    def _mourn(self, broker: Broker) -> None:
        """The controller notices: others lead what it led."""
        if broker.up:
            return
        self._cluster.publish()
        for partition in self._cluster.partitions:
            if partition.leader != broker.node:
                self._cluster.leave_sync(partition, broker.node)
                continue
            heirs = [node for node in sorted(partition.in_sync) if self._cluster.brokers[node].up]
            if heirs:
                partition.in_sync.discard(broker.node)
                self._cluster.elect(partition, self._chance.choice(heirs))
            else:
                self._cluster.bereave(partition)

    def _start(self, broker: Broker) -> None:
        if broker.up:
            return
        broker.up = True
        if self._chance.random() < 0.5:
            broker.port += 100
        self._cluster.publish()
        for partition in self._cluster.partitions:
            if partition.leader in (-1, broker.node) and broker.node in partition.in_sync:
                self._cluster.elect(partition, broker.node)
            self._cluster.replicate(partition, broker.node)
        self._cluster.changed(None)

    def freeze(self) -> None:
        """A broker's process stops and goes on later."""
        broker = self._broker()
        broker.frozen = True
        self._for(0.2, 4.0, lambda: self._network.thaw(broker))

    def cut(self) -> None:
        """Nothing passes between the sidecar and a broker."""
        broker = self._broker()
        self._network.silence(broker)
        self._for(
            0.2, 5.0, lambda: self._network.restore(broker, half_open=self._chance.random() < 0.3)
        )

    def blackout(self) -> None:
        """Nothing passes between the sidecar and any broker, for longer than tombstones last."""
        brokers = list(self._cluster.brokers.values())
        for broker in brokers:
            self._network.silence(broker)
        self._for(3.0, 7.0, lambda: [self._network.restore(b, half_open=True) for b in brokers])

    def drop(self) -> None:
        """All connections to a broker are reset."""
        for link in self._network.to(self._broker()):
            link.lose()

    def half_open(self) -> None:
        """One connection dies without a word."""
        links = self._network.to(self._broker())
        if links:
            self._chance.choice(links).silent = True

    def slow(self) -> None:
        """A broker's answers are under way for long."""
        broker = self._broker()
        broker.slow_s = self._chance.choice((0.05, 0.3, 1.5))
        self._for(0.5, 5.0, lambda: setattr(broker, "slow_s", 0.0))

    def lazy(self) -> None:
        """A broker does not copy for a while; it falls out of sync."""
        broker = self._broker()
        broker.lazy = True
        self._for(0.1, 1.0, lambda: self._fall_behind(broker))
        self._for(1.0, 5.0, lambda: setattr(broker, "lazy", False))

    def _fall_behind(self, broker: Broker) -> None:
        for partition in self._cluster.partitions:
            self._cluster.leave_sync(partition, broker.node)

    def throttle(self) -> None:
        """A quota is used up."""
        broker = self._broker()
        broker.throttle_ms = self._chance.choice((20, 200, 900))
        self._for(0.3, 3.0, lambda: setattr(broker, "throttle_ms", 0))

    def refuse(self) -> None:
        """A broker answers fetches with an error."""
        broker = self._broker()
        broker.refusal = self._chance.choice(_REFUSALS)
        self._for(0.05, 2.0, lambda: setattr(broker, "refusal", 0))

    def garble(self) -> None:
        """Some answers are cut short."""
        broker = self._broker()
        broker.garbles = True
        self._for(0.1, 1.0, lambda: setattr(broker, "garbles", False))

    def starve(self) -> None:
        """Answers have room for one partition."""
        broker = self._broker()
        broker.starved = True
        self._for(0.5, 5.0, lambda: setattr(broker, "starved", False))

    def lag(self) -> None:
        """A broker learns late what the controller has decided."""
        broker = self._broker()
        broker.lag_s = self._chance.uniform(0.05, 2.0)
        self._cluster.largest_lag_s = max(self._cluster.largest_lag_s, broker.lag_s)
        self._for(0.5, 5.0, lambda: setattr(broker, "lag_s", 0.0))

    def relocate(self) -> None:
        """Every broker goes to another address, one after the other."""
        for broker in self._cluster.brokers.values():
            if not broker.up:
                continue
            broker.port += 1000
            for link in self._network.to(broker):
                link.lose()
        self._cluster.publish()

    # Partitions

    def move(self) -> None:
        """Another replica in sync leads."""
        partition = self._partition()
        if partition is None or partition.leader < 0:
            return
        others = sorted(partition.in_sync - {partition.leader})
        others = [node for node in others if self._cluster.brokers[node].up]
        if others:
            self._cluster.elect(partition, self._chance.choice(others))

    def hasty(self) -> None:
        """A replica leads that knows an old high watermark, while the sidecar is behind."""
        behind = self._positions()
        self._world.pause(0.3)
        for partition in self._cluster.partitions:
            for node, replica in partition.replicas.items():
                if node != partition.leader:
                    replica.hw = min(replica.hw, behind.get(partition.number, replica.hw))
        self.move()

    def bump(self) -> None:
        """The same leader, another term."""
        partition = self._partition()
        if partition is not None and partition.leader >= 0:
            self._cluster.elect(partition, partition.leader)

    def grow(self) -> None:
        """The topic is given a partition."""
        count = len(self._cluster.partitions)
        if 0 < count < _MOST_PARTITIONS:
            self._cluster.grow(count + 1)

    def clean(self) -> None:
        """The cleaner passes over one replica."""
        partition = self._partition()
        if partition is not None and self._cluster.options.committed:
            self._cluster.clean(partition, self._chance.choice(list(partition.replicas)))

    def log_start(self) -> None:
        """Records are deleted, none that the reader has not come to."""
        partition = self._partition()
        if partition is None or partition.number not in self._positions():
            return
        most = min(self._positions()[partition.number], partition.log.hw)
        if partition.log.log_start < most:
            offset = self._chance.randint(partition.log.log_start, most)
            self._cluster.delete_records(partition, offset)

    # The sidecar, and the producers

    def pause(self) -> None:
        """The sidecar's process stops for a while."""
        self._world.pause(self._chance.choice((0.1, 1.0, 6.0)))

    def hold_open(self) -> None:
        """Transactions are left open."""
        self._writer.holds_open = True
        self._for(0.5, 6.0, lambda: setattr(self._writer, "holds_open", False))

    # The topic's identity

    def delete(self) -> None:
        """The topic is deleted, and comes again later."""
        self._cluster.delete()
        self._for(0.5, 5.0, self.recreate)

    def recreate(self) -> None:
        """The topic is deleted, if it is there, and at once another of its name."""
        self._cluster.delete()
        self._cluster.create(self._chance.randint(1, 3))

    def unclean(self) -> None:
        """A replica that fell out of sync leads a little later, and the log is cut."""
        partition = self._partition()
        if partition is None or partition.leader < 0:
            return
        followers = sorted(set(partition.replicas) - {partition.leader})
        if not followers:
            return
        node = self._chance.choice(followers)
        broker = self._cluster.brokers[node]
        broker.lazy = True
        self._cluster.leave_sync(partition, node)
        self._for(0.1, 2.0, lambda: self._lead_unclean(partition, broker))

    def _lead_unclean(self, partition: Partition, broker: Broker) -> None:
        broker.lazy = False
        log = partition.replicas[broker.node]
        # All that it has is of the present branch: what was lost once does not come back.
        part = max(log.leo, log.cleaned_to) <= partition.history.agrees_to(log)
        may = part and broker.up and broker.node not in partition.in_sync
        if partition in self._cluster.partitions and may:
            self._cluster.elect(partition, broker.node)

    def log_start_passed(self) -> None:
        """Records are deleted, also such as the reader has not come to."""
        partition = self._partition()
        if partition is not None:
            self._cluster.lost = True
            self._cluster.delete_records(partition, partition.log.hw)
