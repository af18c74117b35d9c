"""Writing to topics, with and without transactions, through librdkafka."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import KafkaError, KafkaException, Message, Producer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Outgoing", "Transaction", "Writable", "produce", "transaction"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; None as the key or the value is null, b"" is empty."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


Writable = Outgoing | tuple[bytes | None, bytes | None]


class _Writer:
    def __init__(self, bootstrap: str, topic: str, settings: dict[str, Any]) -> None:
        self.topic = topic
        self._error: KafkaError | None = None
        self._written: dict[int, tuple[int, int]] = {}
        self._sent = 0
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "log_level": 0,
                **{key.replace("_", "."): value for key, value in settings.items()},
            }
        )

    def write(self, records: Iterable[Writable], partition: int | None) -> list[tuple[int, int]]:
        first = self._sent
        for record in records:
            self._send(record if isinstance(record, Outgoing) else Outgoing(*record), partition)
        if self.producer.flush(60) or self._error is not None:
            raise KafkaException(self._error or KafkaError(KafkaError._TIMED_OUT))
        return [self._written[number] for number in range(first, self._sent)]

    def _send(self, record: Outgoing, partition: int | None) -> None:
        number, self._sent = self._sent, self._sent + 1
        where = partition if record.partition is None else record.partition

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._error = error
            self._written[number] = (message.partition(), message.offset())

        options: dict[str, Any] = {} if where is None else {"partition": where}
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        if record.headers:
            options["headers"] = list(record.headers)
        while True:
            try:
                self.producer.produce(
                    self.topic, record.value, record.key, on_delivery=delivered, **options
                )
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Writable],
    *,
    codec: str = "none",
    partition: int | None = None,
    **settings: Any,
) -> list[tuple[int, int]]:
    """Write records (`Outgoing`, or pairs of key and value); give each one's (partition, offset).

    `codec`: none, gzip, snappy, lz4, zstd. More librdkafka settings go with
    underscores: `linger_ms=500, batch_num_messages=10, enable_idempotence=True`.
    """
    settings["compression.type"] = codec
    return _Writer(bootstrap, topic, settings).write(records, partition)


class Transaction:
    """A transaction that was begun and whose records the broker has."""

    def __init__(self, writer: _Writer, partition: int | None) -> None:
        self._writer: _Writer | None = writer
        self._partition = partition
        self.written: list[tuple[int, int]] = []
        """Each record's (partition, offset)."""

    def produce(self, records: Iterable[Writable]) -> None:
        """Write more records into it."""
        self.written += self._live.write(records, self._partition)

    def commit(self) -> None:
        """End it so that its records count; the marker is written when this returns."""
        self._live.producer.commit_transaction(30)
        self.close()

    def abort(self) -> None:
        """End it so that its records never count."""
        self._live.producer.abort_transaction(30)
        self.close()

    def close(self) -> None:
        """Drop the producer and leave the transaction as it is: open, until it times out."""
        self._writer = None

    @property
    def _live(self) -> _Writer:
        if self._writer is None:
            raise RuntimeError("this transaction's producer is closed")
        return self._writer


def transaction(
    bootstrap: str,
    topic: str,
    records: Iterable[Writable],
    outcome: Literal["commit", "abort", "open"] = "commit",
    *,
    codec: str = "none",
    partition: int | None = None,
    transactional_id: str | None = None,
    timeout_ms: int = 60_000,
    **settings: Any,
) -> Transaction:
    """Write records in one transaction, and end it or leave it open."""
    settings |= {
        "compression.type": codec,
        "transactional.id": transactional_id or f"tx-{uuid.uuid4().hex}",
        "transaction.timeout.ms": timeout_ms,
    }
    writer = _Writer(bootstrap, topic, settings)
    writer.producer.init_transactions(60)
    writer.producer.begin_transaction()
    begun = Transaction(writer, partition)
    begun.produce(records)
    if outcome == "commit":
        begun.commit()
    elif outcome == "abort":
        begun.abort()
    return begun
