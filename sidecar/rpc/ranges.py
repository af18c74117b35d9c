"""List and Scan: records in key order.

A page, and a chunk of a scan, is one moment of the table: its keys and their entries
are taken in one step, and only filling them into messages is spread out. Between two
chunks the table moves on. A scan remembers the last key that it sent, not a place in
the table, so a record that was there throughout is sent exactly once, whatever came or
went around it.

Neither crosses a swap: another generation is another table, perhaps read to an earlier
position, and half of each would be the fold of nothing (GENERATION_CHANGED).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from .._pb import cache_pb2 as pb
from ..core.model import Entry
from ..core.ordered import OrderedKeys
from ..core.served import Served
from ..core.table import Table
from .calls import Context
from .checks import KeyRange, open_gate, range_of
from .errors import bad_argument
from .lookups import PAUSE_BYTES, too_large
from .ports import Limits
from .records import RECORD_OVERHEAD_BYTES, Fill, fill_positions, fill_state
from .tables import Tables, generation_changed, in_order
from .tokens import next_key, token_for
from .waits import Waits

__all__ = ["Ranges"]

_CHUNK_RECORDS: Final = 1000
_CHUNK_BYTES: Final = 1 << 20


class _Slice(NamedTuple):
    """Some records in order, as they stood at one moment; `more`: others follow."""

    pairs: Sequence[tuple[bytes, Entry]]
    more: bool


class Ranges:
    """Answers requests for many records in order.

    Args:
        tables: what is served.
        clock: seconds, CLOCK_BOOTTIME.
        limits: of one request.
        waits: holds up those whose freshness bounds are not met yet.
    """

    def __init__(
        self, tables: Tables, clock: Callable[[], float], limits: Limits, waits: Waits
    ) -> None:
        self._waits = waits
        self._tables = tables
        self._clock = clock
        self._max_page = limits.page
        self._max_bytes = limits.message_bytes

    async def list_page(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """One page. A page_size above the limit means the limit: "at most this many"."""
        served = self._tables.named(request.table)
        bounds = range_of(request)
        limit = self._page_size(request.page_size)
        await self._waits.until_met(served, request.freshness, context)
        open_gate(served, self._clock(), request.freshness)
        view, ordered = await in_order(served)
        reading = open_gate(served, self._clock(), request.freshness)
        fill = self._tables.fill_of(served, request, reading.generation)
        name, (start, end) = served.definition.name, bounds
        if request.page_token:
            start = next_key(request.page_token, name, bounds, reading.generation)
        part = _take(reading.table, ordered, (start, end), limit)
        response = pb.ListResponse()
        fill_state(response.state, reading)
        if request.include_positions:
            fill_positions(response.state.positions, view)
        filled = await self._fill(served, response, part.pairs, fill)
        if part.more or filled < len(part.pairs):
            following = part.pairs[filled - 1][0] + b"\0"
            response.next_page_token = token_for(name, bounds, reading.generation, following)
            if filled == 1 and response.ByteSize() > self._max_bytes:
                raise too_large(served, part.pairs[0][0], response.ByteSize(), self._max_bytes)
        return response

    async def scan(self, request: pb.ScanRequest, context: Context) -> None:
        """Every matching record, in chunks; at least one, so that its state is known."""
        served = self._tables.named(request.table)
        start, end = range_of(request)
        await self._waits.until_met(served, request.freshness, context)
        reading = open_gate(served, self._clock(), request.freshness)
        fill = self._tables.fill_of(served, request, reading.generation)
        view, ordered = await in_order(served)
        if view.identity[1] != reading.generation:
            raise generation_changed(served)
        limit, more = _CHUNK_RECORDS, True
        while more:
            if served.view is not view:
                raise generation_changed(served)
            reading = served.read(self._clock())
            part = _take(reading.table, ordered, (start, end), limit)
            response = pb.ScanResponse()
            fill_state(response.state, reading)
            if request.include_positions:
                fill_positions(response.state.positions, view)
            filled = await self._fill(served, response, part.pairs, fill)
            await context.write(response)
            more = part.more or filled < len(part.pairs)
            if more:
                start = part.pairs[filled - 1][0] + b"\0"
                # Where values are large, a chunk holds few: do not order many for nothing.
                limit = min(_CHUNK_RECORDS, 2 * filled)

    def _page_size(self, asked: int) -> int:
        if asked < 0:
            raise bad_argument("page_size", "must not be negative")
        return min(asked or self._max_page, self._max_page)

    async def _fill(
        self, served: Served, response: Any, pairs: Sequence[tuple[bytes, Entry]], fill: Fill
    ) -> int:
        """Put records into a response until it is full; returns how many fitted."""
        size, pause_at = response.ByteSize(), PAUSE_BYTES
        full = min(_CHUNK_BYTES, self._max_bytes)
        for number, (key, entry) in enumerate(pairs):
            size += RECORD_OVERHEAD_BYTES + fill(response.records.add(), key, entry)
            if size > full and number:
                del response.records[-1]
                return number
            if size > self._max_bytes and response.ByteSize() > self._max_bytes:
                raise too_large(served, key, response.ByteSize(), self._max_bytes)
            if size > pause_at:
                pause_at = size + PAUSE_BYTES
                await asyncio.sleep(0)
        return len(pairs)


def _take(table: Table, ordered: OrderedKeys, bounds: KeyRange, limit: int) -> _Slice:
    keys = ordered.page(*bounds, limit + 1)
    entries = zip(keys[:limit], table.get_many(keys[:limit]), strict=True)
    # A key of the run has an entry: both change in one step.
    return _Slice([(key, entry) for key, entry in entries if entry is not None], len(keys) > limit)
