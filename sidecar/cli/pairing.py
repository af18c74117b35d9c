"""Whether two sidecars hold the same table, though both go on reading.

Entries are compared by origin: partition and offset. Each side's positions are asked for
before its entries, so what it gives is the fold of the log up to these or further. A key
differs only if that leaves no way out:

- Both have the same offset, and value, timestamp or headers are not equal.
- One has an older record than the other, and had read past the newer one.
- One lacks a key and had read past the other's record, and the other, asked later and
  having read at least as far, still has it: nothing deleted it in between.

For the last two one side is asked *first*, and the *second* one once it has read as far
as the first had. Where that does not settle a key they change places. A key that changes
each time, and is each time newer with the second, is *moving*: both follow it.

Entries below either side's log start are left out, and so are keys that the two have
from different partitions: those are told apart.

This module does no I/O.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Had", "Pairing", "Point", "behind", "merged"]


class Had(NamedTuple):
    """One entry of a table."""

    key: bytes
    partition: int
    offset: int
    content: object


class Point(NamedTuple):
    """How far one side has read, and where the log begins for it; by partition."""

    positions: Mapping[int, int]
    starts: Mapping[int, int]

    def past(self, entry: Had) -> bool:
        """Whether the entry's record was read."""
        return entry.offset < self.positions.get(entry.partition, 0)

    def fallen(self, entry: Had) -> bool:
        """Whether the log begins behind the entry's record."""
        return entry.offset < self.starts.get(entry.partition, 0)


def behind(point: Point, other: Point) -> dict[int, int]:
    """Partitions in which one has not read as far as another, and the offsets between."""
    return {
        number: end - point.positions.get(number, 0)
        for number, end in sorted(other.positions.items())
        if point.positions.get(number, 0) < end
    }


def merged(
    ours: Iterable[Had], theirs: Iterable[Had]
) -> Iterator[tuple[bytes, Had | None, Had | None]]:
    """Two tables in key order, side by side."""
    left, right = iter(ours), iter(theirs)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.key < b.key):
            assert a is not None  # noqa: S101 (one of them is there)
            yield a.key, a, None
            a = next(left, None)
        elif a is None or b.key < a.key:
            yield b.key, None, b
            b = next(right, None)
        else:
            yield a.key, a, b
            a, b = next(left, None), next(right, None)


@dataclass(slots=True)
class Pairing:
    """What was found so far.

    Attributes:
        names: of the two sides.
        compared: keys.
        differing: keys that differ, and why.
        apart: keys that the sides have from different partitions.
        open: keys that are to be looked at again; the value tells which side had the newer
            record as the second one the last time (-1: neither).
        moving: keys that change too quickly, with both sides following.
        gone: entries that the log no longer holds for one side.
    """

    names: tuple[str, str]
    compared: int = 0
    differing: dict[bytes, str] = field(default_factory=dict)
    apart: dict[bytes, str] = field(default_factory=dict)
    open: dict[bytes, int] = field(default_factory=dict)
    moving: int = 0
    gone: int = 0

    def scanned(self, a: Had | None, b: Had | None, at: tuple[Point, Point]) -> None:
        """Take one key of two scans; `at`: the points before them."""
        self.compared += 1
        key = (a or b or _NOBODY).key
        if not self._settled(key, a, b, at):
            self.open[key] = -1

    def asked(
        self,
        key: bytes,
        first: Had | None,
        second: Had | None,
        at: tuple[Point, Point],
        *,
        swap: bool,
    ) -> None:
        """Take one open key, the second side having read as far as the first before it was asked.

        Args:
            key: which.
            first: what the first side has.
            second: what the second side has.
            at: the points of the first and the second side, before each was asked.
            swap: the first side is the second of `names`.
        """
        newer_before = self.open.pop(key)
        a, b = (second, first) if swap else (first, second)
        points = (at[1], at[0]) if swap else at
        if self._settled(key, a, b, points):
            return
        if first is None and second is not None and at[0].past(second):
            lacking, having = self.names[swap], self.names[not swap]
            self.differing[key] = (
                f"{lacking} lacks it, though it has read past offset {second.offset} of partition "
                f"{second.partition}, where {having} has it"
            )
        elif newer_before == swap:
            self.moving += 1  # in the round before the other side was the newer one
        else:
            self.open[key] = int(not swap)

    def _settled(self, key: bytes, a: Had | None, b: Had | None, at: tuple[Point, Point]) -> bool:
        """Whether a key needs no further look."""
        if a is None or b is None:
            one = a or b
            fell = one is not None and any(point.fallen(one) for point in at)
            self.gone += fell
            return one is None or fell
        if a.partition != b.partition:
            self.apart[key] = (
                f"{self.names[0]} has it from partition {a.partition}, "
                f"{self.names[1]} from partition {b.partition}"
            )
            return True
        if a.offset == b.offset:
            if a.content != b.content:
                where = f"offset {a.offset} of partition {a.partition}"
                self.differing[key] = f"not the same value, timestamp or headers at {where}"
            return True
        return self._older(key, a, b, at)

    def _older(self, key: bytes, a: Had, b: Had, at: tuple[Point, Point]) -> bool:
        turned = a.offset > b.offset
        old, new = (b, a) if turned else (a, b)
        if not at[turned].past(new):
            return False
        name = self.names[turned]
        self.differing[key] = (
            f"{name} has offset {old.offset} of partition {old.partition}, though it has read past "
            f"offset {new.offset}, which the other has"
        )
        return True


_NOBODY = Had(b"", 0, 0, None)
