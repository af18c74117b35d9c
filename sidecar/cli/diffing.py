"""Comparing two running sidecars: what is asked of whom, in the order that makes it sound.

The digests come first: equal positions and sums prove the tables equal. Else both tables
are scanned side by side, and what does not agree is asked for again, key by key: one side
first, then the other once it has read as far. On a topic at rest one such round settles
all; on a moving one each round leaves fewer keys.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from ..core.digest import ALGORITHM
from .failure import SERVER_ERROR, USAGE, Failed, failed_call
from .options import Connection
from .pairing import Had, Pairing, Point, behind, merged
from .progress import Counting

if TYPE_CHECKING:
    from .._pb.admin_pb2 import GetDigestResponse, TableInfo
    from .._pb.cache_pb2 import Record
    from ..rpc.client import Client

__all__ = ["Diff", "Side", "diff_tables"]

_ROUNDS = 8
_KEYS = 500
_GRACE_S = 3.0
_PAUSE_S = 0.1


class Side:
    """One of the two sidecars; a context manager. Its failures begin with its name."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._stack = ExitStack()
        self._client: Client | None = None

    def __enter__(self) -> Self:
        try:
            self._client = self._stack.enter_context(self._connection.open())
        except Failed as failed:
            raise Failed(f"{self.name}: {failed.message}", failed.exit_code) from failed
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def digest(self, table: str) -> "GetDigestResponse":
        """What it holds, as sums."""
        with self._told() as client:
            return client.digest(table)

    def info(self, table: str) -> "TableInfo":
        """How the table stands."""
        with self._told() as client:
            return client.table(table)

    def point(self, table: str) -> Point:
        """How far it has read."""
        parts = self.info(table).partitions
        positions = {one.partition: one.position for one in parts}
        return Point(positions, {one.partition: one.log_start_offset for one in parts})

    def entries(self, table: str) -> Iterator[Had]:
        """All entries in key order."""
        with self._told() as client:
            for chunk in client.scan(table, headers=True):
                yield from map(_scanned, chunk.records)

    def get(self, table: str, keys: Sequence[bytes]) -> list[Had | None]:
        """Entries of some keys, in their order."""
        with self._told() as client:
            found = client.get(table, keys).results
        return [_looked_up(one.record) if one.HasField("record") else None for one in found]

    @contextmanager
    def _told(self) -> "Iterator[Client]":
        from ..rpc.client import CallFailed

        assert self._client is not None, "not entered"  # noqa: S101
        try:
            yield self._client
        except CallFailed as error:
            code, reason, text = error.code, error.reason, error.message
            endpoint, lost = self._connection.endpoint, error.unreachable
            failed = failed_call(endpoint, code, reason, text, unreachable=lost)
            message = f"{self.name} ({endpoint}): {failed.message}"
            raise Failed(message, failed.exit_code) from error


class Diff(NamedTuple):
    """What came of it.

    Attributes:
        verdict: equal, differs, other_incarnation or not_comparable.
        proved: the digests agree.
        incarnations: of the topic, as each side has it.
        entries: of the first side, when its digest was made.
        several: keys that several partitions hold, as the sides count them.
        pairing: key by key.
        behind: by the name of a side that did not reach the other's position, offsets to go
            by partition.
    """

    verdict: str
    proved: bool
    incarnations: tuple[int, int]
    entries: int
    several: int
    pairing: Pairing
    behind: Mapping[str, Mapping[int, int]]


def diff_tables(a: Side, b: Side, table: str) -> Diff:
    """Compare a table of two sidecars.

    Raises:
        Failed: one does not answer, or the tables are not meant to be equal.
    """
    ours, theirs = a.digest(table), b.digest(table)
    _check_comparable(ours, theirs)
    incarnations = ours.incarnation, theirs.incarnation
    entries = sum(one.entries for one in ours.partitions)
    pairing = Pairing((a.name, b.name))
    lags: dict[str, dict[int, int]] = {}
    verdict, proved, several = "equal", _sums(ours) == _sums(theirs), 0
    if ours.incarnation != theirs.incarnation:
        verdict, proved = "other_incarnation", False
    elif not proved:
        lags = _compare(a, b, table, pairing)
        several = max(side.info(table).counters.cross_partition_keys for side in (a, b))
        if pairing.differing:
            verdict = "differs"
        elif pairing.open:
            verdict = "not_comparable"
    return Diff(verdict, proved, incarnations, entries, several, pairing, lags)


def _check_comparable(ours: "GetDigestResponse", theirs: "GetDigestResponse") -> None:
    for one in (ours, theirs):
        if one.algorithm != ALGORITHM:
            raise Failed(f"a sidecar's digest is {one.algorithm!r}: update this", SERVER_ERROR)
    if ours.definition_hash != theirs.definition_hash:
        raise Failed(
            "the tables are not meant to be equal: their definitions differ (A "
            f"{ours.definition_hash or 'none'}, B {theirs.definition_hash or 'none'}); compare "
            "isolation.level and the tables in both configurations (`sidecar config show`)",
            USAGE,
        )


def _sums(digest: "GetDigestResponse") -> dict[int, tuple[int, bytes]]:
    return {one.partition: (one.position, one.digest) for one in digest.partitions}


def _compare(a: Side, b: Side, table: str, pairing: Pairing) -> dict[str, dict[int, int]]:
    """Scan both, then ask again; which side stayed behind, and by what."""
    with Counting("compared {} keys") as counting:
        at = a.point(table), b.point(table)
        for _, left, right in merged(a.entries(table), b.entries(table)):
            pairing.scanned(left, right, at)
            counting.show(pairing.compared)
    stuck: dict[str, dict[int, int]] = {}
    with Counting("looking again at {} keys") as counting:
        for number in range(_ROUNDS):
            if not pairing.open or len(stuck) > 1:
                break
            swap = bool(number % 2)
            first, second = (b, a) if swap else (a, b)
            if second.name not in stuck:
                lag = _ask_again(first, second, table, pairing, counting)
                stuck |= {second.name: lag} if lag else {}
    return stuck if pairing.open else {}


def _ask_again(
    first: Side, second: Side, table: str, pairing: Pairing, counting: Counting
) -> dict[int, int]:
    """One round over the open keys; offsets that the second side is behind, if it stays so."""
    keys = sorted(pairing.open)
    for begin in range(0, len(keys), _KEYS):
        counting.show(len(keys) - begin)
        chunk = keys[begin : begin + _KEYS]
        before = first.point(table)
        had = first.get(table, chunk)
        goal = first.point(table)
        left, after = _reach(second, table, goal)
        if left:
            return left
        found = second.get(table, chunk)
        swap = first.name != pairing.names[0]
        for key, one, other in zip(chunk, had, found, strict=True):
            # The log's start may have risen since, and hides at once.
            points = before._replace(starts=goal.starts), after
            pairing.asked(key, one, other, points, swap=swap)
    return {}


def _reach(side: Side, table: str, goal: Point) -> tuple[dict[int, int], Point]:
    """Wait a moment until a side has read as far as the other; what is missing, and its point."""
    deadline = time.monotonic() + _GRACE_S
    while True:
        point = side.point(table)
        left = behind(point, goal)
        if not left or time.monotonic() > deadline:
            return left, point
        time.sleep(_PAUSE_S)


def _scanned(record: "Record") -> Had:
    headers = tuple(
        (one.key, one.value if one.HasField("value") else None) for one in record.headers
    )
    content = hash((record.value, record.timestamp_ms, headers))
    return Had(record.key, record.partition, record.offset, content)


def _looked_up(record: "Record") -> Had:
    content = hash((record.value, record.timestamp_ms))
    return Had(record.key, record.partition, record.offset, content)
