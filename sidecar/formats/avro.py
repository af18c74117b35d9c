"""Avro's binary encoding, read by its schema into what JSON can say.

=======================================  =================================================
Avro                                     JSON
=======================================  =================================================
record, map                              object
array                                    array
union                                    the value of the branch that was written, bare
int, long                                number, with every digit
float, double                            number; "NaN", "Infinity", "-Infinity"
enum                                     its symbol
bytes, fixed                             base64
decimal                                  string, with every digit of the scale
date                                     "2026-01-31"
time-millis, time-micros                 "12:30:00.123"
timestamp-millis, -micros, -nanos        "2026-01-31T12:30:00.123Z"; local ones without the Z
uuid, and what is not named here         as its underlying type
=======================================  =================================================

The library's reader in Python is used, for its compiled one ends the process over a value that is
nested deeply enough. Numbers that count (an enum's symbol, a union's branch) may not be negative:
it would take them from the list's end.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from io import BytesIO
from math import isfinite, isnan
from typing import Any, Final

from fastavro._read_py import read_data
from fastavro.io.binary_decoder import BinaryDecoder
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from .schema import BadSchema, BadValue

__all__ = ["reader_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400
_LONGEST_VARINT: Final = 10
# Fields of a record, those of records in it included, that take no byte: nulls.
_MOST_EMPTY: Final = 100
# A second's decimal places, by the end of a logical type's name.
_PLACES: Final = {"millis": 3, "micros": 6, "nanos": 9}
_OURS: Final = "kafka-cache-"


def reader_of(schema: str, references: Iterable[str] = ()) -> Callable[[bytes], Any]:
    """What reads values that were written by a schema; it raises BadValue.

    Args:
        schema: the writer's, JSON.
        references: schemas that it names, each behind those that it names itself.

    Raises:
        BadSchema: it is none, or none that can be read safely.
    """
    names: dict[str, Any] = {}
    try:
        for text in references:
            parse_schema(json.loads(text), names)
        root = _ours(parse_schema(json.loads(schema), names))
        known = {name: _ours(one) for name, one in names.items()}
        widths = _Widths(known)
        for one in (root, *known.values()):
            widths.check(one)
    except (SchemaParseException, UnknownType, TypeError, ValueError, KeyError) as error:
        raise BadSchema(f"not an Avro schema: {error}") from None
    except RecursionError:
        raise BadSchema("an Avro schema that is nested too deeply, or holds itself") from None
    return partial(_read, root, {"writer": known, "reader": {}})


def _read(schema: Any, names: Mapping[str, Any], value: bytes) -> Any:
    data = BytesIO(value)
    try:
        tree = read_data(_Decoder(data), schema, names)  # type: ignore[no-untyped-call]
    except EOFError:
        raise BadValue("not of its Avro schema: it ends too early") from None
    except RecursionError:
        raise BadValue("Avro that is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise BadValue(f"not of its Avro schema: text that is not UTF-8, {error.reason}") from None
    except (ValueError, IndexError, OverflowError) as error:
        raise BadValue(f"not of its Avro schema: {error}") from None
    if left := len(value) - data.tell():
        raise BadValue(f"not of its Avro schema: {left} bytes are left over")
    return tree


class _Decoder(BinaryDecoder):
    """The library's, which takes nothing for something else."""

    def read_boolean(self) -> bool:
        data = self.fo.read(1)
        if data not in (b"\0", b"\1"):
            raise ValueError("a boolean that is neither") if data else EOFError
        return bool(data[0])

    def read_long(self) -> int:
        begin = self.fo.tell()
        number: int = super().read_long()  # type: ignore[no-untyped-call]
        if self.fo.tell() - begin > _LONGEST_VARINT:
            raise ValueError("a number that is too long")
        return number

    def read_enum(self) -> int:
        return self._read_place()

    def read_index(self) -> int:
        return self._read_place()

    def _read_place(self) -> int:
        place = self.read_long()
        if place < 0:
            raise ValueError(f"the place {place} in a list")
        return place


# The schema


def _ours(schema: Any) -> Any:
    """A parsed schema, with our own logical types where JSON lacks the type."""
    if isinstance(schema, list):
        return [_ours(one) for one in schema]
    if isinstance(schema, str):
        return _logical(schema, {})
    kind = schema["type"]
    if not isinstance(kind, str):
        return _ours(kind)
    if kind in {"record", "error"}:
        fields = [{"name": one["name"], "type": _ours(one["type"])} for one in schema["fields"]]
        return {"type": "record", "name": schema["name"], "fields": fields}
    if kind == "array":
        return {"type": kind, "items": _ours(schema["items"])}
    if kind == "map":
        return {"type": kind, "values": _ours(schema["values"])}
    if kind == "enum":
        return {"type": kind, "symbols": schema["symbols"]}
    return _logical(kind, schema)


def _logical(kind: str, schema: Mapping[str, Any]) -> Any:
    name = f"{_OURS}{schema.get('logicalType')}"
    if f"{kind}-{name}" not in LOGICAL_READERS:
        name = f"{_OURS}{kind}"
    kept = {key: schema[key] for key in ("size", "scale") if key in schema}
    if f"{kind}-{name}" not in LOGICAL_READERS:
        return kind
    return {"type": kind, "logicalType": name, **kept}


class _Widths:
    """How few bytes the values of types take, and how many of their parts take none.

    An array of what takes no byte may say that it has any number of elements, and a record of
    many such parts costs time that its bytes do not pay for.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._known: dict[str, tuple[int, int]] = {}

    def check(self, schema: Any) -> None:
        """Raises ValueError; RecursionError where a record holds itself."""
        if isinstance(schema, list):
            for one in schema:
                self.check(one)
        if not isinstance(schema, dict):
            return
        for inner in (schema.get("items"), schema.get("values")):
            self.check(inner)
        for field in schema.get("fields", ()):
            self.check(field["type"])
        if schema["type"] == "array" and not self._of(schema["items"])[0]:
            raise ValueError("an array of what takes no byte may be of any length")
        if self._of(schema)[1] > _MOST_EMPTY:
            raise ValueError(f"more than {_MOST_EMPTY} fields take no byte")

    def _of(self, schema: Any) -> tuple[int, int]:
        """The least bytes, and the parts that take none."""
        if schema == "null":
            return 0, 1
        if isinstance(schema, str) and schema in self._names:
            if schema not in self._known:
                self._known[schema] = self._of(self._names[schema])
            return self._known[schema]
        if isinstance(schema, dict) and schema["type"] == "record":
            parts = [self._of(field["type"]) for field in schema["fields"]]
            return sum(least for least, _ in parts), 1 + sum(empty for _, empty in parts)
        if isinstance(schema, dict) and schema["type"] == "fixed":
            return int(schema["size"]), 0
        return 1, 0


# Logical types


def _base64(data: bytes, *_: Any) -> str:
    return base64.b64encode(data).decode()


def _number(data: float, *_: Any) -> float | str:
    if isfinite(data):
        return data
    return "NaN" if isnan(data) else "Infinity" if data > 0 else "-Infinity"


def _decimal(data: bytes, schema: Mapping[str, Any], *_: Any) -> str:
    unscaled = int.from_bytes(data, "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return f"{Decimal((int(unscaled < 0), digits, -int(schema.get('scale', 0)))):f}"


def _date(days: int, *_: Any) -> str:
    return (_EPOCH.date() + timedelta(days=days)).isoformat()


def _time(places: int, count: int, *_: Any) -> str:
    second, rest = divmod(count, 10**places)
    if not 0 <= second < _DAY_S:
        raise ValueError("a time of no day")
    return f"{_EPOCH + timedelta(seconds=second):%H:%M:%S}.{rest:0{places}}"


def _timestamp(places: int, zone: str, count: int, *_: Any) -> str:
    second, rest = divmod(count, 10**places)
    moment = _EPOCH + timedelta(seconds=second)
    return f"{moment.replace(tzinfo=None).isoformat()}.{rest:0{places}}{zone}"


def _register() -> None:
    """The library knows logical types for the whole process: ours have names of our own."""
    readers: dict[str, Callable[..., Any]] = {
        "bytes-bytes": _base64,
        "fixed-fixed": _base64,
        "float-float": _number,
        "double-double": _number,
        "bytes-decimal": _decimal,
        "fixed-decimal": _decimal,
        "int-date": _date,
        "int-time-millis": partial(_time, 3),
        "long-time-micros": partial(_time, 6),
    }
    for unit, places in _PLACES.items():
        readers[f"long-timestamp-{unit}"] = partial(_timestamp, places, "Z")
        readers[f"long-local-timestamp-{unit}"] = partial(_timestamp, places, "")
    for name, reader in readers.items():
        kind, _, logical = name.partition("-")
        LOGICAL_READERS[f"{kind}-{_OURS}{logical}"] = reader


_register()
