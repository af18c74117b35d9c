"""The constant writer: plain records and transactions, each with its fate on record.

A line is written once a record's fate is known:

    committed   acknowledged by all in-sync replicas, and its transaction by its coordinator
    aborted     its transaction was, and its commit was never asked for
    unknown     no acknowledgement, or a commit whose end was not heard of

`commit_from` is the earliest moment at which it may count, `decided` the one from which
on it surely does (or never will). A key belongs to one partition and is never written to
another one: of a key in several, the winner hangs on what compaction has left.

Every value names its incarnation, writer and number, so that no two are the same (a few
empty ones aside).
"""

from __future__ import annotations

import collections
import itertools
import random
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.cluster import TOPIC
from chaos.history import now, text_of
from confluent_kafka import KafkaError, KafkaException, Producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chaos.cluster import Site
    from chaos.history import Event, Recorder

__all__ = ["KEYS_A_PARTITION", "Acknowledged", "Board", "Writers", "keys_of"]

KEYS_A_PARTITION = 40
_TRANSACTION_TIMEOUT_MS = 12_000
_SETTINGS = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "message.timeout.ms": 30_000,
    "topic.metadata.refresh.interval.ms": 1000,
    "log_level": 0,
}


def keys_of(partition: int) -> list[bytes]:
    """The keys that only this partition holds; the empty one is among the first's."""
    odd = [b""] if partition == 0 else [b"p%d-\xff\x00" % partition]
    return [*odd, *(b"p%d-%03d" % (partition, n) for n in range(KEYS_A_PARTITION - 1))]


class Acknowledged(NamedTuple):
    """A record that counts: what a client may ask to read from now on."""

    topic_id: str
    partition: int
    offset: int
    key: bytes


class Board:
    """The latest acknowledged records, for readers of their own writes."""

    def __init__(self) -> None:
        self._latest: collections.deque[Acknowledged] = collections.deque(maxlen=30)

    def post(self, event: Event) -> None:
        """A record counts."""
        key = event["key"].encode("latin-1")
        self._latest.append(
            Acknowledged(event["topic_id"], event["partition"], event["offset"], key)
        )

    def draw(self, chance: random.Random) -> Acknowledged | None:
        """One of the latest, most often the very latest."""
        latest = list(self._latest)
        if not latest:
            return None
        return latest[-1] if chance.random() < 0.6 else chance.choice(latest)


class _Data:
    """Records to write, the same for the same seed."""

    def __init__(self, name: str, seed: int, ordinal: int) -> None:
        self.chance = random.Random(f"{seed} {ordinal} {name}")
        self._name = f"{ordinal}:{name}".encode()
        self._numbers = itertools.count()

    def next(self, topic_id: str, partitions: int) -> Event:
        chance = self.chance
        partition = chance.randrange(partitions)
        kind = chance.random()
        value: bytes | None = b"%s:%d:%s" % (
            self._name, next(self._numbers), chance.randbytes(chance.randrange(24)),
        )  # fmt: skip
        if kind < 0.18:
            value = None
        elif kind < 0.21:
            value = b""
        return {
            "op": "write",
            "topic_id": topic_id,
            "partition": partition,
            "key": text_of(chance.choice(keys_of(partition))),
            "value": text_of(value),
            "ts": int(time.time() * 1000) + chance.randrange(-40, 40),
            "offset": None,
            "sent": now(),
            "acked": None,
        }


class _Writer(threading.Thread, ABC):
    def __init__(self, name: str, site: Site, record: Recorder, board: Board, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.site, self.record, self.board = site, record, board
        self.ending = threading.Event()
        self.data = _Data(name, seed, site.ordinal)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.write_on()
        except BaseException as error:
            self.failure = error
            raise

    @abstractmethod
    def write_on(self) -> None:
        """What it does until it is told to end."""

    def batch(self, most: int) -> Iterator[Event]:
        for _ in range(self.data.chance.randrange(1, most)):
            yield self.data.next(self.site.topic_id, self.site.partitions)

    def conclude(self, event: Event, outcome: str, commit_from: float, decided: float) -> None:
        event |= {"outcome": outcome, "commit_from": commit_from, "decided": decided}
        self.record.note(**event)
        if outcome == "committed":
            self.board.post(event)


class _Plain(_Writer):
    """Records without transactions, by an idempotent producer."""

    def write_on(self) -> None:
        producer = self._producer()
        while not self.ending.is_set():
            if len(producer) < 200:
                for event in self.batch(7):
                    _send(producer, event, self._delivered(event))
            producer.poll(0)
            self.ending.wait(0.06)
        producer.flush(20)
        producer.purge()
        producer.flush(5)

    def _producer(self) -> Producer:
        return Producer({"bootstrap.servers": self.site.direct, **_SETTINGS})

    def _delivered(self, event: Event) -> Callable[[KafkaError | None, Any], None]:
        def delivered(error: KafkaError | None, message: Any) -> None:
            at = now()
            if error is None:
                event["offset"], event["acked"] = message.offset(), at
            outcome = "unknown" if error is not None else "committed"
            self.conclude(event, outcome, event["sent"], at)

        return delivered


class _Transactional(_Writer):
    """Transactions: most commit, some abort, some stay open for a while."""

    def write_on(self) -> None:
        self._numbers = itertools.count()
        producer = self._producer()
        while not self.ending.is_set():
            producer = self._transact(producer) or self._producer()
            self.ending.wait(0.05)

    def _producer(self) -> Producer:
        """A new one: the broker ends what the one before has left open."""
        name = f"{self.name}-{self.site.ordinal}"
        own = {
            "transactional.id": name,
            "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
            "message.timeout.ms": _TRANSACTION_TIMEOUT_MS,
        }
        producer = Producer({"bootstrap.servers": self.site.direct, **_SETTINGS, **own})
        _again(lambda: producer.init_transactions(20))
        return producer

    def _transact(self, producer: Producer) -> Producer | None:
        """One transaction; gives the producer to go on with, None: this one is of no more use."""
        number = f"{self.name}-{next(self._numbers)}"
        events: list[Event] = []
        asked: list[float] = []
        following: Producer | None = producer
        try:
            producer.begin_transaction()
            for event in self.batch(9):
                event["tx"] = number
                if _send(producer, event, _acknowledged(event)):
                    events.append(event)
            producer.flush(20)
            outcome = self._end(producer, asked)
        except KafkaException as error:
            following = self._give_up(producer, error)
            outcome = "unknown" if asked else "aborted"
        at = now()
        for event in events:
            self.conclude(event, outcome, asked[0] if asked else at, at)
        return following

    def _end(self, producer: Producer, asked: list[float]) -> str:
        chance = self.data.chance
        if chance.random() < 0.1:
            self.ending.wait(chance.uniform(0.5, 4))
        if chance.random() < 0.3:
            _again(lambda: producer.abort_transaction(20))
            return "aborted"
        asked.append(now())
        _again(lambda: producer.commit_transaction(20))
        return "committed"

    def _give_up(self, producer: Producer, error: KafkaException) -> Producer:
        """End a failed transaction: by aborting it, or by a new producer, which has it aborted."""
        if error.args[0].txn_requires_abort():
            try:
                _again(lambda: producer.abort_transaction(20))
            except KafkaException:
                pass
            else:
                return producer
        return self._producer()


def _send(producer: Producer, event: Event, delivered: Callable[..., None]) -> bool:
    """Hand a record over; false: the client has not heard of its partition yet."""
    value = event["value"]
    try:
        producer.produce(
            TOPIC,
            None if value is None else value.encode("latin-1"),
            event["key"].encode("latin-1"),
            partition=event["partition"],
            timestamp=event["ts"],
            on_delivery=delivered,
        )
    except KafkaException as error:
        if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
            raise
        return False
    return True


def _acknowledged(event: Event) -> Callable[[KafkaError | None, Any], None]:
    def delivered(error: KafkaError | None, message: Any) -> None:
        if error is None:
            event["offset"], event["acked"] = message.offset(), now()

    return delivered


def _again(step: Callable[[], None]) -> None:
    """Try while the client says that trying again may help."""
    for _ in range(5):
        try:
            return step()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
    return step()


class Writers:
    """All who write into one incarnation of the topic."""

    def __init__(self, site: Site, record: Recorder, board: Board, seed: int) -> None:
        given = (site, record, board, seed)
        self.threads: list[_Writer] = [
            _Plain("plain", *given),
            _Transactional("tx-a", *given),
            _Transactional("tx-b", *given),
        ]

    def start(self) -> None:
        """Begin to write."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End; when this returns every record's fate is on record.

        Raises whatever has ended a writer before that.
        """
        for thread in self.threads:
            thread.ending.set()
        for thread in self.threads:
            thread.join(150)
        self.check()
        for thread in self.threads:
            if thread.is_alive():
                raise TimeoutError(f"writer {thread.name} does not end")

    def check(self) -> None:
        """Raise what has ended a writer, if anything has."""
        for thread in self.threads:
            if thread.failure is not None:
                raise thread.failure
