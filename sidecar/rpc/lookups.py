"""Get, MultiGet and Lookup: what is known of a key.

All entries of one answer are taken in one step, with no await in it, so they are of
one position; values are decoded after that. A Lookup stream answers its requests one
after the other: the next is read when the answer before it is written, so a client
that does not read is not read from either, and nothing piles up here.

These are the hot paths. A lookup costs a few microseconds beside the hundred or more
that gRPC takes for the call; measure (``tests/bench``) before adding to them.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

import grpc

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused
from ..core.served import Served
from ..core.view import Reading
from .calls import Context
from .checks import open_gate
from .errors import bad_argument, error_message, internal_error_message, log_bug, shown
from .ports import Limits, Recorder
from .records import RECORD_OVERHEAD_BYTES, fill_positions, fill_state
from .tables import Tables
from .waits import Waits

__all__ = ["PAUSE_BYTES", "Lookups", "too_large"]

# Between two yields to the loop, about this much is put into one response.
PAUSE_BYTES: Final = 256 << 10

# What a LookupResponse adds to the answer that it carries, at most.
_ENVELOPE_BYTES: Final = 32

_FOUND, _ABSENT, _UNKNOWN = pb.PRESENCE_FOUND, pb.PRESENCE_ABSENT, pb.PRESENCE_UNKNOWN


def too_large(served: Served, key: bytes, size: int, limit: int) -> Refused:
    """The answer would pass the message limit, at this key."""
    name = served.definition.name
    return Refused(
        Reason.RESPONSE_TOO_LARGE,
        f"table {name!r}: the answer has {size} bytes at key {shown(key)!r}, the limit is {limit} "
        "(limits.message_bytes)",
        metadata={"table": name, "key": shown(key), "size": str(size), "limit": str(limit)},
    )


class Lookups:
    """Answers lookups by key.

    Args:
        tables: what is served.
        clock: seconds, CLOCK_BOOTTIME.
        limits: of one request.
        recorder: told of every lookup.
        waits: holds up those whose freshness bounds are not met yet.
    """

    def __init__(
        self,
        tables: Tables,
        clock: Callable[[], float],
        limits: Limits,
        recorder: Recorder,
        waits: Waits,
    ) -> None:
        self._tables = tables
        self._waits = waits
        self._clock = clock
        self._max_keys = limits.keys
        self._max_bytes = limits.message_bytes - _ENVELOPE_BYTES
        self._recorder = recorder

    async def get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """Look one key up."""
        if request.HasField("freshness"):
            await self._wait(request, context)
        response = pb.GetResponse()
        self._get(request, response)
        return response

    async def multi_get(self, request: pb.MultiGetRequest, context: Context) -> pb.MultiGetResponse:
        """Look many keys up at one position."""
        if request.HasField("freshness"):
            await self._wait(request, context)
        response = pb.MultiGetResponse()
        await self._multi_get(request, response)
        return response

    async def lookup(self, _: object, context: Context) -> None:
        """Answer the requests of one stream until its client ends it."""
        took = self._recorder.rpc
        while (request := await context.read()) is not grpc.aio.EOF:
            began = perf_counter()
            response = pb.LookupResponse(id=request.id)
            try:
                await self._answer(request, response, context)
            except Refused as refused:
                response = pb.LookupResponse(id=request.id, error=error_message(refused))
            except Exception as error:  # noqa: BLE001 (one request must not end the others)
                log_bug("Lookup", error)
                response = pb.LookupResponse(id=request.id, error=internal_error_message())
            took("Lookup", perf_counter() - began)
            await context.write(response)

    async def _answer(
        self, request: pb.LookupRequest, response: pb.LookupResponse, context: Context
    ) -> None:
        kind = request.WhichOneof("request")
        if kind == "get":
            if request.get.HasField("freshness"):
                await self._wait(request.get, context)
            self._get(request.get, response.get)
        elif kind == "multi_get":
            if request.multi_get.HasField("freshness"):
                await self._wait(request.multi_get, context)
            await self._multi_get(request.multi_get, response.multi_get)
        else:
            raise bad_argument("request", "set get or multi_get")

    def _get(self, request: pb.GetRequest, response: pb.GetResponse) -> None:
        served, reading = self._open(request)
        fill = self._tables.fill_of(served, request, reading.generation)
        key = request.key
        entry = reading.table.get(key)
        if entry is not None:
            presence = _FOUND
            size = fill(response.record, key, entry)
        else:
            presence = _ABSENT if reading.complete else _UNKNOWN
            size = 0
        response.presence = presence
        _finish(request, response, served, reading)
        if size > self._max_bytes >> 1:
            self._check_size(response, served, key)
        self._recorder.lookup(served.definition.name, presence)

    async def _multi_get(self, request: pb.MultiGetRequest, response: pb.MultiGetResponse) -> None:
        keys = request.keys
        if len(keys) > self._max_keys:
            raise _too_many_keys(len(keys), self._max_keys)
        served, reading = self._open(request)
        fill = self._tables.fill_of(served, request, reading.generation)
        entries = reading.table.get_many(keys)
        _finish(request, response, served, reading)
        missing = _ABSENT if reading.complete else _UNKNOWN
        found, size, pause_at = 0, response.ByteSize(), PAUSE_BYTES
        add = response.results.add
        for key, entry in zip(keys, entries, strict=True):
            result = add()
            size += RECORD_OVERHEAD_BYTES
            if entry is None:
                result.presence = missing
                continue
            result.presence = _FOUND
            found += 1
            size += fill(result.record, key, entry)
            if size > pause_at:
                if size > self._max_bytes:
                    self._check_size(response, served, key)
                pause_at = size + PAUSE_BYTES
                await asyncio.sleep(0)
        if size > self._max_bytes:
            self._check_size(response, served, keys[-1])
        self._recorder.lookup(served.definition.name, _FOUND, found)
        self._recorder.lookup(served.definition.name, missing, len(keys) - found)

    async def _wait(self, request: pb.GetRequest | pb.MultiGetRequest, context: Context) -> None:
        served = self._tables.named(request.table)
        await self._waits.until_met(served, request.freshness, context)

    def _open(self, request: pb.GetRequest | pb.MultiGetRequest) -> tuple[Served, Reading]:
        served = self._tables.named(request.table)
        if not request.HasField("freshness"):
            return served, served.read(self._clock())
        reading = open_gate(served, self._clock(), request.freshness, may_be_partial=True)
        return served, reading

    def _check_size(
        self, response: pb.GetResponse | pb.MultiGetResponse, served: Served, key: bytes
    ) -> None:
        size = response.ByteSize()
        if size > self._max_bytes:
            raise too_large(served, key, size, self._max_bytes)


def _finish(
    request: pb.GetRequest | pb.MultiGetRequest,
    response: pb.GetResponse | pb.MultiGetResponse,
    served: Served,
    reading: Reading,
) -> None:
    fill_state(response.state, reading)
    if request.include_positions and served.view is not None:
        view = served.view
        fill_positions(response.state.positions, view.identity[0], view.progress)


def _too_many_keys(asked: int, limit: int) -> Refused:
    return Refused(
        Reason.TOO_MANY_KEYS,
        f"{asked} keys in one MultiGet, the limit is {limit} (limits.keys); ask in parts",
        metadata={"keys": str(asked), "limit": str(limit)},
    )
