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
from ..core.served import Served
from ..core.table import Table
from .calls import Context
from .checks import index_of, open_gate, range_of
from .errors import bad_argument
from .lookups import PAUSE_BYTES, too_large
from .ports import Limits
from .records import RECORD_OVERHEAD_BYTES, Fill, fill_positions, fill_state
from .tables import Order, Tables, generation_changed, in_order
from .tokens import next_key, token_for
from .waits import Waits

__all__ = ["Ranges"]

_CHUNK_RECORDS: Final = 1000
_CHUNK_BYTES: Final = 1 << 20


class _Slice(NamedTuple):
    """Some records in order, each with its word and key, as they stood at one moment.

    `last` is the last word that was looked at; `more`: others follow.
    """

    found: Sequence[tuple[bytes, bytes, Entry]]
    last: bytes
    more: bool

    def behind(self, filled: int) -> bytes:
        """The word at which those behind the first `filled` begin; empty: there are none."""
        if filled < len(self.found):
            return self.found[filled - 1][0] + b"\0"
        return self.last + b"\0" if self.more else b""


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
        index, (start, end) = index_of(request), range_of(request)
        limit = self._page_size(request.page_size)
        await self._waits.until_met(served, request.freshness, context)
        open_gate(served, self._clock(), request.freshness)
        view, ordered = await in_order(served, index)
        reading = open_gate(served, self._clock(), request.freshness)
        fill = self._tables.fill_of(served, request, reading.generation)
        name, bounds = served.definition.name, (start, end, *([index.encode()] if index else []))
        if request.page_token:
            start = next_key(request.page_token, name, bounds, reading.generation)
        part = _take(reading.table, ordered, (bounds[0], start, end), limit)
        response = pb.ListResponse()
        fill_state(response.state, reading)
        if request.include_positions:
            fill_positions(response.state.positions, view.identity[0], view.progress)
        filled = await self._fill(served, response, part.found, fill)
        if following := part.behind(filled):
            response.next_page_token = token_for(name, bounds, reading.generation, following)
            if filled == 1 and response.ByteSize() > self._max_bytes:
                raise too_large(served, part.found[0][1], response.ByteSize(), self._max_bytes)
        return response

    async def scan(self, request: pb.ScanRequest, context: Context) -> None:
        """Every matching record, in chunks; at least one, so that its state is known."""
        served = self._tables.named(request.table)
        (first, end), index = range_of(request), index_of(request)
        await self._waits.until_met(served, request.freshness, context)
        reading = open_gate(served, self._clock(), request.freshness)
        fill = self._tables.fill_of(served, request, reading.generation)
        view, ordered = await in_order(served, index)
        if view.identity[1] != reading.generation:
            raise generation_changed(served)
        limit, start, more = _CHUNK_RECORDS, first, True
        while more:
            if served.view is not view:
                raise generation_changed(served)
            reading = served.read(self._clock())
            part = _take(reading.table, ordered, (first, start, end), limit)
            response = pb.ScanResponse()
            fill_state(response.state, reading)
            if request.include_positions:
                fill_positions(response.state.positions, view.identity[0], view.progress)
            filled = await self._fill(served, response, part.found, fill)
            await context.write(response)
            start = part.behind(filled)
            more = bool(start)
            # Where values are large, a chunk holds few: do not order many for nothing.
            limit = max(1, min(_CHUNK_RECORDS, 2 * filled))

    def _page_size(self, asked: int) -> int:
        if asked < 0:
            raise bad_argument("page_size", "must not be negative")
        return min(asked or self._max_page, self._max_page)

    async def _fill(
        self, served: Served, response: Any, found: Sequence[tuple[bytes, bytes, Entry]], fill: Fill
    ) -> int:
        """Put records into a response until it is full; returns how many fitted."""
        size, pause_at = response.ByteSize(), PAUSE_BYTES
        full = min(_CHUNK_BYTES, self._max_bytes)
        for number, (_, key, entry) in enumerate(found):
            size += RECORD_OVERHEAD_BYTES + fill(response.records.add(), key, entry)
            if size > full and number:
                del response.records[-1]
                return number
            if size > self._max_bytes and response.ByteSize() > self._max_bytes:
                raise too_large(served, key, response.ByteSize(), self._max_bytes)
            if size > pause_at:
                pause_at = size + PAUSE_BYTES
                await asyncio.sleep(0)
        return len(found)


def _take(table: Table, order: Order, bounds: tuple[bytes, bytes, bytes], limit: int) -> _Slice:
    """Up to `limit`; the bounds: where the whole begins, where this does, where both end."""
    first, start, end = bounds
    words = order.page(start, end, limit + 1)
    keys = [order.key_of(word) for word in words[:limit]]
    found = [
        (word, key, entry)
        for word, key, entry in zip(words, keys, table.get_many(keys), strict=False)
        # What stands in an order has an entry, unless that is hidden: both change in one step.
        if entry is not None and not order.repeats(word, key, entry, first)
    ]
    return _Slice(found, words[limit - 1] if len(words) > limit else b"", len(words) > limit)
