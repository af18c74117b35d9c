"""Comparing a running sidecar's table with its topic, in the order that makes it sound.

The digest comes first, then the log is read to the end that it has by then, so that it
covers the digest's positions. Only if the sums differ is the table scanned, and what the
log cannot explain is looked up in the log once more, from the digest's positions on.

A sidecar is behind when it has not reached, within a moment, the end up to which the
log was read. Its positions are asked for after the reading: on a topic that is written
to all the time, those of the digest are below that end by then.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..core.digest import ALGORITHM, Digest
from .failure import ABSENT, SERVER_ERROR, Failed
from .reading import LogMoved, ReadLog, Subject, read
from .verification import (
    Claim,
    Comparison,
    Difference,
    LogFold,
    Stated,
    behind,
    digests_agree,
)

if TYPE_CHECKING:
    from .._pb.admin_pb2 import GetDigestResponse
    from .._pb.cache_pb2 import Record
    from ..rpc.client import Client

__all__ = ["Outcome", "compare"]

# Entries that grow too old for their table within this time are not compared.
_AGING_MS = 10_000
_GRACE_S = 2.0
_PAUSE_S = 0.1
_ATTEMPTS = 3


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

    A log whose start passes the reading, or that gets partitions, is begun with anew.

    Raises:
        CallFailed: of the client.
        Failed: the log cannot be read, or is not the one that the sidecar reads.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(LogMoved):
            return _compare(client, subject, read_log)
    return _compare(client, subject, read_log)


def _compare(client: "Client", subject: Subject, read_log: ReadLog) -> Outcome:
    digest = client.digest(subject.table)
    if digest.algorithm != ALGORITHM:
        raise Failed(f"the sidecar's digest is {digest.algorithm!r}: update this", SERVER_ERROR)
    stated = {
        one.partition: Stated(one.position, Digest(int.from_bytes(one.digest, "big"), one.entries))
        for one in digest.partitions
    }
    positions = {number: one.position for number, one in stated.items()}
    fold = LogFold(positions, keep_headers=subject.headers)
    span = read(read_log, subject, fold, {})
    if span.incarnation != digest.incarnation:
        raise Failed(
            f"the sidecar's table is of another incarnation of topic {subject.topic!r} "
            f"({digest.incarnation}, the brokers have {span.incarnation}): was it re-created, "
            "or is this another cluster?",
            ABSENT,
        )
    comparison = Comparison(fold, span.starts)
    if subject.rule is not None:
        comparison.aging = partial(subject.rule.ages_within, span_ms=_AGING_MS)
    proved = digests_agree(stated, fold)
    if not proved:
        comparison.check(_claims(client, subject, digest))
        comparison.finish(_starts_now(client, subject.table))
        if comparison.suspects:
            read(read_log, subject, fold, positions)
            fold.begins_at(_starts_now(client, subject.table))
    differing, apart = comparison.result()
    return Outcome(
        proved,
        sum(one.digest.entries for one in stated.values()),
        differing,
        apart,
        comparison.not_comparable,
        _behind(client, subject.table, span.ends),
    )


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
