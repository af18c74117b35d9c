"""The seeded workload: what producers write to the topic.

Keys are few, so each is overwritten and deleted often. A key has a partition; some are
written to any, as by producers that hash differently. Values are never the same twice,
save the empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.log import Txn

if TYPE_CHECKING:
    from simulation.cluster import Partition, SimulatedCluster

__all__ = ["Writer"]

_EPOCH_MS = 1_700_000_000_000
_MOST_OPEN = 3
_PRODUCERS = 4
_GZIP, _APPEND_TIME = 1, 8


class Writer:
    """Producers, plain and transactional.

    Attributes:
        keys: all that are ever written.
        holds_open: transactions are left open for now.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster, self._chance = cluster, cluster.world.random
        self.keys = [b"", *(b"key-%d" % n for n in range(cluster.options.keys))]
        self.holds_open = False
        self._stray_share = self._chance.choice((0.0, 0.0, 0.05, 0.4))
        self._transactional = self._chance.choice((0.0, 0.3, 0.6))
        self._rate_s = self._chance.choice((0.02, 0.05, 0.2))
        self._running = False
        self._written = 0
        self._open: dict[Txn, set[int]] = {}

    def prefill(self, steps: int) -> None:
        """Write before anybody reads."""
        for _ in range(steps):
            self.write()
            self.cluster.world.run_until(self.cluster.world.now + 0.01)

    def start(self) -> None:
        """Write now and then, until stopped."""
        self._running = True
        self._later()

    def stop(self) -> None:
        """Write no more; what is open is ended."""
        self._running = False
        self.holds_open = False
        self.end_all()

    def end_all(self) -> None:
        """End every transaction."""
        for txn in list(self._open):
            self._end(txn)

    def write(self) -> None:
        """One step of one producer."""
        if self._open and not self.holds_open and self._chance.random() < 0.3:
            self._end(self._chance.choice(list(self._open)))
            return
        txn = None
        if self._chance.random() < self._transactional:
            txn = self._transaction()
        partitions = self.cluster.partitions
        if not partitions:
            return
        home = self._chance.choice(partitions)
        if not self.cluster.writable(home):
            return
        records = [self._record(home) for _ in range(self._chance.randint(1, 5))]
        flags = _GZIP if self._chance.random() < 0.1 else 0
        if self._chance.random() < 0.05:
            flags |= _APPEND_TIME
            records = [(key, value, records[0][2]) for key, value, _ in records]
        if txn is not None:
            self._open.setdefault(txn, set()).add(home.number)
        self.cluster.append(home, records, txn=txn, flags=flags)

    def _later(self) -> None:
        if self._running:
            self.write()
            wait_s = self._chance.expovariate(1 / self._rate_s)
            self.cluster.world.at(min(wait_s, 1.0), self._later)

    def _record(self, home: Partition) -> tuple[bytes | None, bytes | None, int]:
        chance, world = self._chance, self.cluster.world
        stamp = _EPOCH_MS + int(world.now * 1000) - chance.choice((0, 0, 0, 3, 2000))
        self._written += 1
        if chance.random() < 0.03:
            return None, b"no key", stamp
        count = len(self.cluster.partitions)
        own = self.keys[home.number :: count] or self.keys
        key = chance.choice(self.keys if chance.random() < self._stray_share else own)
        kind = chance.random()
        value = None if kind < 0.25 else b"" if kind < 0.3 else b"value-%d" % self._written
        return key, value, stamp

    def _transaction(self) -> Txn | None:
        """One of the open transactions, or another.

        A producer has one at a time: its coordinator lets it begin the next one when all
        markers of the last are replicated.
        """
        logs = [log for each in self.cluster.partitions for log in each.replicas.values()]
        busy = {txn.pid for txn in self._open}
        busy |= {txn.pid for log in logs if log.lso >= 0 for txn in log.open}
        free = [pid for pid in range(1, _PRODUCERS + 1) if pid not in busy]
        if free and len(self._open) < _MOST_OPEN and self._chance.random() < 0.5:
            return Txn(self._chance.choice(free))
        return self._chance.choice(list(self._open)) if self._open else None

    def _end(self, txn: Txn) -> None:
        numbers = self._open.pop(txn)
        txn.committed = self._chance.random() < 0.6
        for number in sorted(numbers):
            if number < len(self.cluster.partitions):
                self._mark(self.cluster.partitions[number], txn)

    def _mark(self, partition: Partition, txn: Txn) -> None:
        """Write the marker, again and again while there is no leader to take it."""
        if partition not in self.cluster.partitions:
            return
        if self.cluster.writable(partition):
            self.cluster.end(partition, txn)
        else:
            self.cluster.world.at(0.1, lambda: self._mark(partition, txn))
