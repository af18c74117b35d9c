"""What `sidecar dump` wrote, read back as the log that it is the fold of.

The file is in the order of keys, as a line that says what it is, a line a record, and an end
that counts them. A log is in the order of offsets, and where it stands is known only of what
was read in that order. So all lines are read before the first record is given, partition by
partition. They are kept in short sorted runs and merged while they are folded: sorting a
million records in one go would hold the loop for a second.

What the first line says is believed, and every other line is held to it: a record lies below
the position of its partition, its key begins with the prefix and stands in no other line. A
file that is not exactly what was written is refused, by the line, for a test must not pass on
half a table.

What came after version 1's first form, a reader may do without: `timestamp_type` stands in a
record's line where it is not CREATE_TIME.
"""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..core.model import Batch, Headers, origin_of
from ..core.served import incarnation_of

__all__ = ["Dump", "DumpFault", "DumpedLog", "open_dump"]

_VERSION = 1
_LONGEST_FIRST = 1 << 20
# How many lines are read, or records given, before others may run.
_SLICE, _RUN = 256, 4096
_PARTITIONS, _OFFSETS, _TIMES = range(1 << 30), range(1 << 63), range(-(1 << 63), 1 << 63)
_INCARNATIONS = range(1 << 64)
_TIMESTAMP_TYPES = ("CREATE_TIME", "LOG_APPEND_TIME")

# Offset, line, timestamp type, timestamp, key, value, headers. Plain tuples, for the collector
# soon looks at these no more.
_Fields: TypeAlias = tuple[int, int, int, int, bytes, bytes, Headers]
_KIND = itemgetter(2)


class DumpFault(Exception):  # noqa: N818 (of a file, by our own rule)
    """A file cannot be served; the message says which line, why, and what to do."""


class Dump(NamedTuple):
    """What the first line of a dump says.

    Attributes:
        path: of the file, as it was given.
        table: that was dumped.
        topic: that had fed it.
        format: of its values.
        incarnation: of the topic.
        positions: by partition, the next offset to read: of which the records are the fold.
        prefix: with which all keys begin; empty: it is the whole table.
        first: the line itself.
    """

    path: str
    table: str
    topic: str
    format: str
    incarnation: int
    positions: dict[int, int]
    prefix: bytes
    first: bytes

    @property
    def name(self) -> str:
        """The path as text that can be shown."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")


class _Record(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def open_dump(path: str) -> Dump:
    """Read a dump's first line.

    Raises:
        DumpFault: it cannot be read, or is no dump that this version knows.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise DumpFault(f"{path}: expected a file, which can be read twice")
        with Path(path).open("rb") as file:
            first = file.readline(_LONGEST_FIRST)
    except OSError as error:
        raise DumpFault(f"{path}: cannot be read: {error.strerror}") from error
    try:
        told = json.loads(first)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or "dump" not in told:
        raise DumpFault(
            f"{path}: expected a file that `sidecar dump -f` wrote, whose first line says "
            '{"dump": 1, …}'
        )
    if told["dump"] != _VERSION:
        raise DumpFault(
            f"{path}: is a dump of version {json.dumps(told['dump'])}, and this sidecar reads "
            f"version {_VERSION}: use the version that wrote it, or dump the table with this one"
        )
    try:
        return _dump(path, told, first)
    except ValueError as error:
        raise DumpFault(f"{path}, line 1: {error}; dump the table again") from None


def _dump(path: str, told: dict[str, Any], first: bytes) -> Dump:
    table = _text(told, "table")
    topic = _text({"topic": table} | told, "topic")
    positions = told.get("positions")
    if not isinstance(positions, dict) or not all(map(str.isdecimal, positions)):
        raise ValueError('expected positions by partition, such as {"0": 41873}')
    told = {"incarnation": incarnation_of("", topic), "format": "bytes", "prefix": ""} | told
    return Dump(
        path=path,
        table=table,
        topic=topic,
        format=_text(told, "format"),
        incarnation=_whole(told, "incarnation", _INCARNATIONS),
        positions={int(name): _whole(positions, name, _OFFSETS) for name in positions},
        prefix=_bytes(told["prefix"], "prefix"),
        first=first,
    )


class DumpedLog:
    """The records of a dump.

    Args:
        dump: its first line.

    Attributes:
        entries: how many records it has, once all is read.
    """

    def __init__(self, dump: Dump) -> None:
        self.entries = 0
        self._dump = dump
        self._ended = False
        self._keys: set[bytes] = set()
        self._runs: dict[int, list[list[_Fields]]] = {}

    def read(self) -> Iterator[float]:
        """Read the file, in steps; each gives the share that was read.

        Raises:
            DumpFault: it is not a whole dump.
        """
        dump = self._dump
        try:
            with Path(dump.path).open("rb") as file:
                size, done = os.fstat(file.fileno()).st_size, len(dump.first)
                if file.readline(_LONGEST_FIRST) != dump.first:
                    raise DumpFault(f"{dump.path}: has changed just now; start the sidecar again")
                for number, line in enumerate(file, 2):
                    self._take(number, line)
                    done += len(line)
                    if not number % _SLICE:
                        yield min(1.0, done / size)
        except OSError as error:
            raise DumpFault(f"{dump.path}: cannot be read: {error.strerror}") from error
        if not self._ended:
            raise self._cut_off(f"{self.entries} records, and the line that ends a dump is missing")
        self._keys.clear()

    def batches(self, partition: int) -> Iterator[Batch]:
        """One partition's log, once; nothing of it is kept behind what was given.

        Raises:
            DumpFault: two records are said to be one.
        """
        runs = self._runs.pop(partition, [])
        for run in runs[-1:]:
            run.sort()
        ordered = self._each_once(partition, merge(*runs))
        for kind, alike in groupby(ordered, key=_KIND):
            while some := list(islice(alike, _SLICE)):
                records = [_Record(at, time, key, value, list(headers))
                           for at, _, _, time, key, value, headers in some]  # fmt: skip
                origin = origin_of(partition, kind)
                yield Batch(records, origin, records[0].offset, records[-1].offset + 1)

    def _each_once(self, partition: int, ordered: Iterable[_Fields]) -> Iterator[_Fields]:
        last, before = -1, 0
        for fields in ordered:
            offset, line = fields[:2]
            if offset == last:
                raise self._fault(
                    line, f"offset {offset} of partition {partition} stands in line {before} too"
                )
            last, before = offset, line
            yield fields

    def _take(self, number: int, line: bytes) -> None:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            if not line.endswith(b"\n"):
                raise self._cut_off(f"it ends in the middle of line {number}") from None
            raise self._fault(number, "expected a line of JSON") from None
        if self._ended:
            raise self._fault(number, "expected nothing behind the line that ends the dump")
        if not isinstance(told, dict):
            raise self._fault(number, "expected a record")
        try:
            (self._end if "end" in told else self._put)(number, told)
        except ValueError as error:
            raise self._fault(number, str(error)) from None

    def _put(self, number: int, told: dict[str, Any]) -> None:
        key = _bytes(told.get("key"), "key")
        partition = _whole(told, "partition", _PARTITIONS)
        offset = _whole(told, "offset", _OFFSETS)
        end = self._dump.positions.get(partition, 0)
        if offset >= end:
            raise ValueError(
                f"expected an offset below {end}, which the first line states as the position of "
                f"partition {partition}, got {offset}"
            )
        if key in self._keys:
            raise ValueError("expected a key of its own, got one of an earlier line")
        if not key.startswith(self._dump.prefix):
            raise ValueError("expected a key that begins with the prefix of the first line")
        self._keys.add(key)
        self.entries += 1
        self._add(partition, (offset, number, *_content(told), key, *_values(told)))

    def _add(self, partition: int, fields: _Fields) -> None:
        runs = self._runs.setdefault(partition, [[]])
        runs[-1].append(fields)
        if len(runs[-1]) == _RUN:
            runs[-1].sort()
            runs.append([])

    def _end(self, _: int, told: dict[str, Any]) -> None:
        if told.get("entries") != self.entries:
            raise self._cut_off(
                f"its end counts {json.dumps(told.get('entries'))} records, and there are "
                f"{self.entries}"
            )
        self._ended = True

    def _fault(self, number: int, why: str) -> DumpFault:
        return DumpFault(f"{self._dump.path}, line {number}: {why}; dump the table again")

    def _cut_off(self, why: str) -> DumpFault:
        return DumpFault(f"{self._dump.path}: is not whole: {why}; dump the table again")


# What stands in a line


def _content(told: dict[str, Any]) -> tuple[int, int]:
    """Timestamp type and timestamp."""
    kind = told.get("timestamp_type", _TIMESTAMP_TYPES[0])
    if kind not in _TIMESTAMP_TYPES:
        raise ValueError(f"expected a timestamp_type of {' or '.join(_TIMESTAMP_TYPES)}")
    return _TIMESTAMP_TYPES.index(kind), _whole(told, "timestamp_ms", _TIMES)


def _values(told: dict[str, Any]) -> tuple[bytes, Headers]:
    """Value and headers."""
    headers = told.get("headers", [])
    if not isinstance(headers, list):
        raise ValueError("expected headers, a list of pairs")  # noqa: TRY004 (as all others)
    return _bytes(told.get("value"), "value"), tuple(map(_header, headers))


def _header(pair: Any) -> tuple[str, bytes | None]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError("expected headers, a list of pairs")
    name, value = pair
    text = _bytes(name, "a header's key").decode("utf-8", "surrogateescape")
    return text, None if value is None else _bytes(value, "a header's value")


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise ValueError(f"expected {name}, a text")  # noqa: TRY004 (as all others)
    return value


def _whole(told: dict[str, Any], name: str, allowed: range) -> int:
    value = told.get(name)
    if type(value) is not int or value not in allowed:
        raise ValueError(f"expected {name}, a whole number from {allowed[0]} on")
    return value


def _bytes(told: Any, name: str) -> bytes:
    """Text, or {"base64": …} for what is none."""
    try:
        if isinstance(told, dict):
            return base64.b64decode(told["base64"], validate=True)
        return str.encode(told)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'expected {name}, a text or {{"base64": "…"}}') from None
