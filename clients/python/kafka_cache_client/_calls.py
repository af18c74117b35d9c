"""What is asked of the sidecar: each call as a value, which either client sends.

A `Call` is a method's name, its request, the time it may take, and the function that reads
the response. The clients add nothing but the sending, so they cannot drift apart.

This module does no I/O and reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar

from . import _wire, model
from ._pb import admin_pb2, cache_pb2
from .errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Call", "CallOptions", "Calls", "Key", "LookupOptions", "ReadOptions"]

T = TypeVar("T")
Key = TypeVar("Key", bytes, str)
# Prefix, start, end.
Selection = tuple[bytes | str | None, bytes | str | None, bytes | str | None]

VIEWS = {
    "record": cache_pb2.VIEW_RECORD,
    "full": cache_pb2.VIEW_FULL,
    "meta": cache_pb2.VIEW_META,
    "key": cache_pb2.VIEW_KEY,
}
ENCODINGS = {"raw": cache_pb2.ENCODING_RAW, "json": cache_pb2.ENCODING_JSON}


class CallOptions(TypedDict, total=False):
    """Options of every call.

    table: the table, where it is not the client's.
    timeout: seconds that the call may take, where it is not the client's; a page is one call.
    """

    table: str | None
    timeout: float | None


class ReadOptions(CallOptions, total=False):
    """Options of every read, beside those of every call.

    Each freshness bound that is set holds, or the call fails NotFresh.

    max_staleness_ms: the answer's staleness is known, and no more than this.
    min_offsets: partition to offset, as a producer was acknowledged: these records are applied.
    at_least: the table is read at least as far as these positions of an earlier answer.
    wait_ms: how long to wait for the bounds; 0 fails at once; unset, the sidecar's default.
    encoding: "raw", the bytes on the topic (default), or "json", decoded by the table's format.
    view: "record" (default), "full" (with headers), "meta" (no value), or "key".
    include_positions: the answer's state carries positions, for a later at_least.
    """

    max_staleness_ms: int | None
    min_offsets: Mapping[int, int] | None
    at_least: model.Positions | None
    wait_ms: int | None
    encoding: Literal["raw", "json"]
    view: Literal["record", "full", "meta", "key"]
    include_positions: bool


class LookupOptions(ReadOptions, total=False):
    """Options of lookups by key, beside those of every read.

    allow_partial: answer while the table is still being read; a key not seen by then is UNKNOWN.
    """

    allow_partial: bool


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One unary call, ready to be sent."""

    method: str
    request: Any = field(repr=False)
    timeout: float
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one client: they know its table and its timeout."""

    table: str
    timeout: float

    def lookup(self, key: bytes | str, options: LookupOptions) -> Call[model.Answer]:
        """One key."""
        request = cache_pb2.GetRequest(key=as_bytes(key), **self._read(options, LookupOptions))
        return Call("Get", request, self._timeout(options), _wire.answer)

    def lookup_many(
        self, keys: Iterable[bytes | str], options: LookupOptions
    ) -> Call[tuple[model.Answer, ...]]:
        """Many keys at one position: never cut into several calls."""
        request = cache_pb2.MultiGetRequest(
            keys=[as_bytes(key) for key in keys], **self._read(options, LookupOptions)
        )
        return Call("MultiGet", request, self._timeout(options), _wire.answers)

    def page(self, selected: Selection, size: int, options: ReadOptions) -> Call[model.Page]:
        """The first page of the records that are selected."""
        request = cache_pb2.ListRequest(
            filter=_filter(*selected), page_size=size, **self._read(options, ReadOptions)
        )
        return Call("List", request, self._timeout(options), _wire.page)

    def tables(self, timeout: float | None) -> Call[tuple[model.Table, ...]]:
        """The state of all tables."""
        return Call(
            "ListTables",
            admin_pb2.ListTablesRequest(),
            self.timeout if timeout is None else timeout,
            _tables,
        )

    def wait_until(self, table: str, timeout: float) -> Call[tuple[model.Table, ...]]:
        """The state of a table, or of all that readiness needs, once they are ready."""
        return Call("WaitUntil", admin_pb2.WaitUntilRequest(table=table), timeout, _tables)

    def table_or_own(self, table: str | None) -> str:
        """The table that is named, or the client's."""
        return self.table if table is None else table

    def _timeout(self, options: CallOptions) -> float:
        timeout = options.get("timeout")
        return self.timeout if timeout is None else timeout

    def _read(self, options: LookupOptions | ReadOptions, known: Any) -> dict[str, Any]:
        """The fields that all reads share."""
        if unknown := options.keys() - known.__optional_keys__:
            raise TypeError(
                f"unexpected option {min(unknown)!r}: "
                f"known are {', '.join(sorted(known.__optional_keys__))}"
            )
        return {
            "table": self.table_or_own(options.get("table")),
            "freshness": _freshness(options),
            "view": _choice("view", VIEWS, options.get("view", "record")),
            "encoding": _choice("encoding", ENCODINGS, options.get("encoding", "raw")),
            "include_positions": options.get("include_positions", False),
        }


def as_bytes(key: bytes | str) -> bytes:
    """A key as on the topic; text goes as UTF-8."""
    if isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    raise TypeError(f"a key is bytes or str, not {type(key).__name__}")


def many(keys: Iterable[Key]) -> tuple[Key, ...]:
    """The keys of one call; a lone key, which would be taken for its characters, is refused."""
    if isinstance(keys, bytes | str):
        raise TypeError("keys is several keys; for one, use get or lookup")
    return tuple(keys)


def page_after(call: Call[model.Page], page: model.Page) -> Call[model.Page] | None:
    """The call for the page after this one, None at the end."""
    if not page.next_page_token:
        return None
    request = cache_pb2.ListRequest()
    request.CopyFrom(call.request)
    request.page_token = page.next_page_token
    return replace(call, request=request)


def record_or_none(answer: model.Answer) -> model.Record | None:
    """The record, or None for an absent key; a key that is not known yet is neither."""
    if answer.presence is model.Presence.UNKNOWN:
        raise _unknown(1)
    return answer.record


def records_by_key(
    keys: tuple[Key, ...], answers: tuple[model.Answer, ...]
) -> dict[Key, model.Record]:
    """The records that were found, under the keys as they were given."""
    if unknown := sum(answer.presence is model.Presence.UNKNOWN for answer in answers):
        raise _unknown(unknown)
    return {
        key: answer.record
        for key, answer in zip(keys, answers, strict=True)
        if answer.record is not None
    }


def _filter(
    prefix: bytes | str | None, start: bytes | str | None, end: bytes | str | None
) -> cache_pb2.Filter | None:
    """The filter for a prefix or a range of keys; None for all."""
    if prefix is not None:
        if start is not None or end is not None:
            raise ValueError("prefix: cannot be combined with start or end")
        return cache_pb2.Filter(key_prefix=as_bytes(prefix))
    if start is None and end is None:
        return None
    return cache_pb2.Filter(
        key_range=cache_pb2.KeyRange(start=as_bytes(start or b""), end=as_bytes(end or b""))
    )


def _unknown(count: int) -> NotReady:
    return NotReady(
        "the table is still being read and has not shown what was asked for",
        reason="KEY_UNKNOWN",
        metadata={"keys": str(count)},
    )


def _freshness(options: LookupOptions | ReadOptions) -> cache_pb2.Freshness | None:
    at_least = options.get("at_least")
    freshness = cache_pb2.Freshness(
        min_offsets=[
            cache_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in (options.get("min_offsets") or {}).items()
        ],
        at_least=None if at_least is None else _wire.positions_message(at_least),
        max_staleness_ms=options.get("max_staleness_ms"),
        wait_ms=options.get("wait_ms"),
        allow_partial=bool(options.get("allow_partial", False)),
    )
    return freshness if freshness.ListFields() else None


def _choice(name: str, choices: Mapping[str, Any], chosen: str) -> Any:
    if chosen not in choices:
        raise ValueError(f"{name}: {chosen!r} is none of {', '.join(choices)}")
    return choices[chosen]


def _tables(
    response: admin_pb2.ListTablesResponse | admin_pb2.WaitUntilResponse,
) -> tuple[model.Table, ...]:
    return tuple(map(_wire.table, response.tables))
