"""Comparing a running sidecar's table with its topic, in the order that makes it sound.

The digest comes first, then the log is read to the end that it has by then, so that it
covers the digest's positions. Only if the sums differ is the table scanned, and what the
log cannot explain is looked up in the log once more, from the digest's positions on.

A sidecar is behind when it has not reached, within a moment, the end up to which the
log was read. Its positions are asked for after the reading: on a topic that is written
to all the time, those of the digest are below that end by then.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..core.digest import ALGORITHM, Digest
from ..core.model import Fetched
from .failure import ABSENT, CANNOT_CONNECT, SERVER_ERROR, Failed
from .progress import ReadingProgress
from .text import escaped_text
from .verification import (
    Claim,
    Comparison,
    Difference,
    LogFold,
    LogSpan,
    Stated,
    behind,
    digests_agree,
)

if TYPE_CHECKING:
    from .._pb.admin_pb2 import GetDigestResponse
    from .._pb.cache_pb2 import Record
    from ..ops.config import Config
    from ..rpc.client import Client

__all__ = ["Outcome", "ReadLog", "Subject", "compare"]

_GRACE_S = 2.0
_PAUSE_S = 0.1
_STALLED_S = 30.0


class ReadLog(Protocol):
    """Reads a topic once.

    Yields the parts of the log from its first kept offsets, or from `since` where that is
    later, to the ends that the partitions have when the reading begins (with
    read_committed: their last stable offsets); then it ends. `on_begin` is called once,
    before the first part, with the topic's incarnation, the first kept offsets and the
    ends of all partitions.

    Raises:
        KafkaFault: the log cannot be read.
    """

    def __call__(
        self,
        config: "Config",
        topic: str,
        *,
        since: Mapping[int, int],
        on_begin: Callable[[int, Mapping[int, int], Mapping[int, int]], None],
    ) -> AsyncGenerator[Fetched, None]:
        """See the class."""


class Subject(NamedTuple):
    """What is compared: a table of a sidecar, its topic, and how to reach that."""

    table: str
    topic: str
    config: "Config"
    headers: bool


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        proved: the digests agree.
        entries: that the sidecar stated.
        differing: keys that differ, in order.
        apart: keys of several partitions that look different.
        not_comparable: entries that moved on, or whose record is gone from the log.
        behind: offsets to go, by partition.
    """

    proved: bool
    entries: int
    differing: list[Difference]
    apart: list[Difference]
    not_comparable: int
    behind: dict[int, int]

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.differing:
            return "differs"
        return "behind" if self.behind else "equal"


def compare(client: "Client", subject: Subject, read_log: ReadLog) -> Outcome:
    """Compare a sidecar's table with its topic.

    Raises:
        CallFailed: of the client.
        Failed: the log cannot be read, or is not the one that the sidecar reads.
    """
    digest = client.digest(subject.table)
    if digest.algorithm != ALGORITHM:
        raise Failed(f"the sidecar's digest is {digest.algorithm!r}: update this", SERVER_ERROR)
    stated = {
        one.partition: Stated(one.position, Digest(int.from_bytes(one.digest, "big"), one.entries))
        for one in digest.partitions
    }
    positions = {number: one.position for number, one in stated.items()}
    fold = LogFold(positions, keep_headers=subject.headers)
    span = _read(read_log, subject, fold, {})
    if span.incarnation != digest.incarnation:
        raise Failed(
            f"the sidecar's table is of another incarnation of topic {subject.topic!r} "
            f"({digest.incarnation}, the brokers have {span.incarnation}): was it re-created, "
            "or is this another cluster?",
            ABSENT,
        )
    comparison = Comparison(fold, span.starts)
    proved = digests_agree(stated, fold)
    if not proved:
        comparison.check(_claims(client, subject, digest))
        comparison.finish(_starts_now(client, subject.table))
        if comparison.suspects:
            _read(read_log, subject, fold, positions)
    differing, apart = comparison.result()
    return Outcome(
        proved,
        sum(one.digest.entries for one in stated.values()),
        differing,
        apart,
        comparison.not_comparable,
        _behind(client, subject.table, span.ends),
    )


def _read(read_log: ReadLog, subject: Subject, fold: LogFold, since: Mapping[int, int]) -> LogSpan:
    from ..kafka.errors import BrokerFault, KafkaFault

    try:
        return asyncio.run(_fold(read_log, subject, fold, since))
    except TimeoutError as error:
        raise Failed(
            f"topic {subject.topic!r}: the brokers sent nothing for {_STALLED_S:g} s; does the "
            "topic exist, and may this user read it? (--bootstrap-servers, --topic, --config)",
            CANNOT_CONNECT,
        ) from error
    except KafkaFault as error:
        code = CANNOT_CONNECT if isinstance(error, BrokerFault) else SERVER_ERROR
        raise Failed(f"cannot read the topic: {escaped_text(str(error))}", code) from error


async def _fold(
    read_log: ReadLog, subject: Subject, fold: LogFold, since: Mapping[int, int]
) -> LogSpan:
    spans: list[LogSpan] = []
    parts = read_log(
        subject.config,
        subject.topic,
        since=since,
        on_begin=lambda *given: spans.append(LogSpan(*given)),
    )
    progress = ReadingProgress(subject.topic)
    try:
        async with aclosing(parts):
            while (part := await _next(parts)) is not None:
                fold.add(part)
                progress.show(fold.reached, {**spans[0].starts, **since}, spans[0].ends)
    finally:
        progress.clear()
    return spans[0]


async def _next(parts: AsyncGenerator[Fetched, None]) -> Fetched | None:
    async with asyncio.timeout(_STALLED_S):
        return await anext(parts, None)


def _claims(client: "Client", subject: Subject, digest: "GetDigestResponse") -> Iterator[Claim]:
    for chunk in client.scan(subject.table, headers=subject.headers):
        if chunk.state.generation != digest.generation:
            raise Failed("the table was rebuilt meanwhile: run the command again", SERVER_ERROR)
        for record in chunk.records:
            yield _claim(record, headers=subject.headers)


def _claim(record: "Record", *, headers: bool) -> Claim:
    pairs = tuple(
        (
            header.key.decode("utf-8", "surrogateescape"),
            header.value if header.HasField("value") else None,
        )
        for header in record.headers
    )
    return Claim(
        record.key,
        record.value,
        record.partition,
        record.offset,
        record.timestamp_ms,
        pairs if headers else None,
    )


def _starts_now(client: "Client", table: str) -> dict[int, int]:
    return {one.partition: one.log_start_offset for one in client.table(table).partitions}


def _behind(client: "Client", table: str, ends: Mapping[int, int]) -> dict[int, int]:
    deadline = time.monotonic() + _GRACE_S
    while True:
        positions = {one.partition: one.position for one in client.table(table).partitions}
        missing = behind(positions, ends)
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(_PAUSE_S)
