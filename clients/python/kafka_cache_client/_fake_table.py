"""A table of the fake sidecar, and what a watch of it is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._pb import cache_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["GENERATION", "FakeTable", "progress", "selects", "snapshot", "told"]

GENERATION, INCARNATION = 4242, 77


class FakeTable:
    """A table of a `FakeSidecar`.

    Attributes:
        records: by key.
        staleness_ms: that each answer tells.
    """

    def __init__(self, values: Mapping[Any, bytes | str] | None = None) -> None:
        self.records: dict[bytes, cache_pb2.Record] = {}
        self.staleness_ms = 7
        self.generation = GENERATION
        self.events: list[cache_pb2.WatchEvent] = []
        for key, value in (values or {}).items():
            self.put(key, value)

    @classmethod
    def from_dump(cls, path: str | Path) -> FakeTable:
        """A table as ``sidecar dump -f`` wrote it.

        Raises:
            ValueError: the file is no dump, or not a whole one.
        """
        table, end = cls(), None
        with Path(path).open(encoding="utf-8") as lines:
            first = json.loads(next(lines, "{}"))
            if first.get("dump") != 1:
                raise ValueError(f"{path}: expected a file that `sidecar dump` wrote")
            for line in lines:
                one = json.loads(line)
                if "end" in one:
                    end = one["entries"]
                    break
                told = {name: one[name] for name in ("partition", "offset", "timestamp_ms")}
                table.put(_bytes(one["key"]), _bytes(one["value"]), **told)
        if end != len(table.records):
            raise ValueError(f"{path}: the dump is not whole: it lacks its last line, or records")
        return table

    def put(self, key: bytes | str, value: bytes | str, **fields: Any) -> None:
        """Set a key's value; `fields` of its record: partition, offset, timestamp_ms, …"""
        known = {"partition": 0, "offset": len(self.events), "timestamp_ms": 1_700_000} | fields
        record = cache_pb2.Record(key=_bytes(key), value=_bytes(value), **known)
        self.records[record.key] = record
        self.events.append(cache_pb2.WatchEvent(upsert=record))

    def delete(self, key: bytes | str) -> None:
        """Delete a key; KeyError where there is none."""
        del self.records[_bytes(key)]
        gone = cache_pb2.Deletion(key=_bytes(key), cause=cache_pb2.DELETION_CAUSE_TOMBSTONE)
        self.events.append(cache_pb2.WatchEvent(deletion=gone))

    def rebuild(self, values: Mapping[Any, bytes | str] | None = None) -> None:
        """Be another generation, with these values; watches of the one before end."""
        self.generation += 1
        self.records, self.events = {}, []
        for key, value in (values or {}).items():
            self.put(key, value)

    def state(self, positions: bool = False) -> cache_pb2.State:  # noqa: FBT001, FBT002
        """Of what an answer is the truth."""
        state = cache_pb2.State(
            staleness_ms=self.staleness_ms,
            generation=self.generation,
            revision=len(self.events),
            incarnation=INCARNATION,
        )
        if positions:
            state.positions.incarnation = INCARNATION
            state.positions.next_offsets.add(partition=0, offset=len(self.events))
        return state


def snapshot(table: FakeTable, request: Any, revision: int) -> Iterator[cache_pb2.WatchResponse]:
    """The table as it is, and its end."""
    for record in list(table.records.values()):
        if selects(request.filter, record.key):
            yield told(table, cache_pb2.WatchEvent(upsert=record))
    end = cache_pb2.WatchEvent(snapshot_end=progress(table, revision))
    yield told(table, end, revision)


def told(
    table: FakeTable, event: cache_pb2.WatchEvent, revision: int | None = None
) -> cache_pb2.WatchResponse:
    """A response with one event; with a token where going on behind it leaves no gap."""
    token = "" if revision is None else f"{table.generation}:{revision}"
    return cache_pb2.WatchResponse(
        events=[event],
        resume_token=token,
        generation=table.generation,
        incarnation=INCARNATION,
    )


def progress(table: FakeTable, revision: int) -> cache_pb2.WatchProgress:
    """How far it is."""
    progress = cache_pb2.WatchProgress(revision=revision, staleness_ms=table.staleness_ms)
    progress.positions.incarnation = INCARNATION
    progress.positions.next_offsets.add(partition=0, offset=revision)
    return progress


def selects(chosen: Any, key: bytes) -> bool:
    """Whether a filter takes a key."""
    if chosen.HasField("key_prefix"):
        return bool(key.startswith(chosen.key_prefix))
    bounds = chosen.key_range
    return bool(key >= bounds.start and (not bounds.end or key < bounds.end))


def _bytes(text: Any) -> bytes:
    """Bytes, text, or what a dump has for bytes that are no text."""
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return text.encode() if isinstance(text, str) else bytes(text)
