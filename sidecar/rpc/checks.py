"""What a request may ask: each check returns values for the core, or refuses.

A field of the contract that is not honoured yet is refused by its name, never ignored:
a bound that is silently dropped would make an answer look better than it is.
"""

from typing import Final, TypeAlias

from .._pb import cache_pb2 as pb
from ..core.bounds import Bounds
from ..core.errors import Reason, Refused
from ..core.index import word_range
from ..core.ordered import prefix_end
from ..core.served import Served
from ..core.view import Reading

__all__ = ["KeyRange", "bad_freshness", "bounds_of", "index_of", "open_gate", "range_of"]

# start <= key < end; an empty end is no end.
KeyRange: TypeAlias = tuple[bytes, bytes]

_EVERYTHING: Final = (b"", b"")


def open_gate(
    served: Served, now: float, freshness: pb.Freshness, *, may_be_partial: bool = False
) -> Reading:
    """Open a table's read gate under the bounds of a request.

    Args:
        served: the table.
        now: seconds, CLOCK_BOOTTIME.
        freshness: the request's bounds; those not set bind nothing.
        may_be_partial: whether the call has an answer for keys not seen yet.

    Raises:
        Refused: as `Served.read`; BAD_FRESHNESS.
    """
    if freshness.allow_partial:
        if len(freshness.ListFields()) > 1 or not may_be_partial:
            raise bad_freshness(
                "allow_partial", "goes only with Get and MultiGet, and with no other bound"
            )
        return served.read(now, partial=True)
    return served.read(now, bounds_of(freshness))


def bounds_of(freshness: pb.Freshness) -> Bounds:
    """What a request's bounds mean for a table; those not set bind nothing.

    A record is applied once its partition's position is behind it.

    Raises:
        Refused: BAD_FRESHNESS.
    """
    positions: dict[int, int] = {}
    for name, asked, behind in (
        ("min_offsets", freshness.min_offsets, 1),
        ("at_least", freshness.at_least.next_offsets, 0),
    ):
        for partition, offset in ((one.partition, one.offset) for one in asked):
            if partition < 0 or offset < 0:
                raise bad_freshness(name, f"no partition {partition} or offset {offset}")
            positions[partition] = max(positions.get(partition, 0), offset + behind)
    return Bounds(
        positions=positions,
        incarnation=_incarnation_of(freshness),
        max_staleness_ms=(
            freshness.max_staleness_ms if freshness.HasField("max_staleness_ms") else None
        ),
    )


def _words_of(query: pb.IndexQuery) -> KeyRange:
    match = query.WhichOneof("match")
    if not query.index or match is None:
        raise Refused(
            Reason.BAD_FILTER,
            "the filter's index needs a name, and equals or prefix (which may be empty, for all)",
            metadata={"field": "filter.index"},
        )
    return word_range(getattr(query, match), prefix=match == "prefix")


def _incarnation_of(freshness: pb.Freshness) -> int | None:
    told = {freshness.incarnation} if freshness.HasField("incarnation") else set()
    if freshness.at_least.incarnation:
        told.add(freshness.at_least.incarnation)
    if len(told) > 1:
        raise bad_freshness("at_least", "belongs to another incarnation than min_offsets")
    return min(told, default=None)


def bad_freshness(name: str, problem: str) -> Refused:
    """A bound that makes no sense, by its field."""
    field = f"freshness.{name}"
    return Refused(Reason.BAD_FRESHNESS, f"{field}: {problem}", metadata={"field": field})


def index_of(request: pb.ListRequest | pb.ScanRequest) -> str:
    """The index by which a request wants its records; empty: by their keys."""
    return request.filter.index.index if request.filter.HasField("index") else ""


def range_of(request: pb.ListRequest | pb.ScanRequest | pb.WatchRequest) -> KeyRange:
    """The keys that a request's filter selects; with an index, its words.

    Raises:
        Refused: BAD_FILTER, BAD_RANGE.
    """
    if not request.HasField("filter"):
        return _EVERYTHING
    by = request.filter.WhichOneof("by")
    if by is None:
        raise Refused(
            Reason.BAD_FILTER,
            "the filter sets nothing; set key_prefix or key_range, or leave it out for all",
            metadata={"field": "filter"},
        )
    if by == "index":
        return _words_of(request.filter.index)
    if by == "key_prefix":
        prefix = request.filter.key_prefix
        return prefix, prefix_end(prefix)
    start, end = request.filter.key_range.start, request.filter.key_range.end
    if end and start > end:
        raise Refused(
            Reason.BAD_RANGE,
            "the range ends before it starts; start is inclusive, end exclusive",
            metadata={"field": "filter.key_range"},
        )
    return start, end
