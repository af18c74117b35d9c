"""What a request may ask: each check returns values for the core, or refuses.

A field of the contract that is not honoured yet is refused by its name, never ignored:
a bound that is silently dropped would make an answer look better than it is.
"""

from typing import Final, TypeAlias

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused
from ..core.ordered import prefix_end
from ..core.served import Served
from ..core.view import Reading
from .errors import not_yet

__all__ = ["KeyRange", "open_gate", "range_of"]

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
        Refused: as `Served.read`; BAD_FRESHNESS; NOT_YET.
    """
    given = {field.name: value for field, value in freshness.ListFields()}
    if given.pop("allow_partial", False):
        if given or not may_be_partial:
            raise Refused(
                Reason.BAD_FRESHNESS,
                "allow_partial goes only with Get and MultiGet, and with no other bound",
                metadata={"field": "freshness.allow_partial"},
            )
        return served.read(now, partial=True)
    max_staleness_ms = given.pop("max_staleness_ms", None)
    if given.get("wait_ms") == 0:
        del given["wait_ms"]
    for name in given:
        raise not_yet(f"freshness.{name}")
    return served.read(now, max_staleness_ms=max_staleness_ms)


def range_of(request: pb.ListRequest | pb.ScanRequest) -> KeyRange:
    """The keys that a request's filter selects.

    Raises:
        Refused: BAD_FILTER, BAD_RANGE, NOT_YET.
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
        raise not_yet("filter.index")
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
