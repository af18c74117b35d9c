"""The few Kafka messages that the fake broker speaks, as tables of fields.

A field is (name, type, since version, until version). A type is a name of
`_FIXED`, `string`, `bytes`, a list (an array of one type, or of structs),
or `Tagged`. Messages are dicts; a field that is missing from one gets its
type's empty value. Strings, bytes and arrays may be null (None).
"""

from __future__ import annotations

import struct
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["APIS", "Api", "decode", "encode"]

_FIXED = {name: struct.Struct(">" + code) for name, code in
          {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "bool": "?"}.items()}  # fmt: skip
_EMPTY = {"string": "", "bytes": b"", "uuid": uuid.UUID(int=0), "bool": False}


class Tagged(NamedTuple):
    """A tagged struct: written only where the message has it."""

    tag: int
    fields: list[Any]


class Api(NamedTuple):
    """One API: its name, versions spoken here, first flexible version, and messages."""

    name: str
    versions: tuple[int, int]
    flexible: int
    request: list[Any]
    response: list[Any]


APIS = {
    1: Api("fetch", (4, 13), 12, [
        ("replica_id", "int32"), ("max_wait_ms", "int32"), ("min_bytes", "int32"),
        ("max_bytes", "int32"), ("isolation_level", "int8"),
        ("session_id", "int32", 7), ("session_epoch", "int32", 7),
        ("topics", [("topic", "string", 0, 12), ("topic_id", "uuid", 13), ("partitions", [
            ("partition", "int32"), ("current_leader_epoch", "int32", 9),
            ("fetch_offset", "int64"), ("last_fetched_epoch", "int32", 12),
            ("log_start_offset", "int64", 5), ("partition_max_bytes", "int32")])]),
        ("forgotten_topics_data", [("topic", "string", 0, 12), ("topic_id", "uuid", 13),
                                   ("partitions", ["int32"])], 7),
        ("rack_id", "string", 11),
    ], [
        ("throttle_time_ms", "int32"), ("error_code", "int16", 7), ("session_id", "int32", 7),
        ("topics", [("topic", "string", 0, 12), ("topic_id", "uuid", 13), ("partitions", [
            ("partition", "int32"), ("error_code", "int16"), ("high_watermark", "int64"),
            ("last_stable_offset", "int64"), ("log_start_offset", "int64", 5),
            ("aborted_transactions", [("producer_id", "int64"), ("first_offset", "int64")]),
            ("preferred_read_replica", "int32", 11), ("records", "bytes"),
            ("diverging_epoch", Tagged(0, [("epoch", "int32"), ("end_offset", "int64")]), 12),
            ("current_leader", Tagged(1, [("leader_id", "int32"), ("leader_epoch", "int32")]), 12),
        ])]),
    ]),
    2: Api("list_offsets", (1, 8), 6, [
        ("replica_id", "int32"), ("isolation_level", "int8", 2),
        ("topics", [("name", "string"), ("partitions", [
            ("partition", "int32"), ("current_leader_epoch", "int32", 4),
            ("timestamp", "int64")])]),
    ], [
        ("throttle_time_ms", "int32", 2), ("topics", [("name", "string"), ("partitions", [
            ("partition", "int32"), ("error_code", "int16"), ("timestamp", "int64"),
            ("offset", "int64"), ("leader_epoch", "int32", 4)])]),
    ]),
    3: Api("metadata", (4, 12), 9, [
        ("topics", [("topic_id", "uuid", 10), ("name", "string")]),
        ("allow_auto_topic_creation", "bool"),
        ("include_cluster_authorized_operations", "bool", 8, 10),
        ("include_topic_authorized_operations", "bool", 8),
    ], [
        ("throttle_time_ms", "int32"),
        ("brokers", [("node_id", "int32"), ("host", "string"), ("port", "int32"),
                     ("rack", "string")]),
        ("cluster_id", "string"), ("controller_id", "int32"),
        ("topics", [("error_code", "int16"), ("name", "string"), ("topic_id", "uuid", 10),
                    ("is_internal", "bool"), ("partitions", [
                        ("error_code", "int16"), ("partition", "int32"), ("leader_id", "int32"),
                        ("leader_epoch", "int32", 7), ("replicas", ["int32"]),
                        ("isr", ["int32"]), ("offline_replicas", ["int32"], 5)]),
                    ("topic_authorized_operations", "int32", 8)]),
        ("cluster_authorized_operations", "int32", 8, 10),
    ]),
    18: Api("api_versions", (0, 3), 3, [
        ("client_software_name", "string", 3), ("client_software_version", "string", 3),
    ], [
        ("error_code", "int16"),
        ("api_keys", [("api_key", "int16"), ("min_version", "int16"), ("max_version", "int16")]),
        ("throttle_time_ms", "int32", 1),
    ]),
    23: Api("offset_for_leader_epoch", (2, 4), 4, [
        ("replica_id", "int32", 3), ("topics", [("topic", "string"), ("partitions", [
            ("partition", "int32"), ("current_leader_epoch", "int32"),
            ("leader_epoch", "int32")])]),
    ], [
        ("throttle_time_ms", "int32"), ("topics", [("topic", "string"), ("partitions", [
            ("error_code", "int16"), ("partition", "int32"), ("leader_epoch", "int32"),
            ("end_offset", "int64")])]),
    ]),
    32: Api("describe_configs", (1, 4), 4, [
        ("resources", [("resource_type", "int8"), ("resource_name", "string"),
                       ("configuration_keys", ["string"])]),
        ("include_synonyms", "bool"), ("include_documentation", "bool", 3),
    ], [
        ("throttle_time_ms", "int32"), ("results", [
            ("error_code", "int16"), ("error_message", "string"), ("resource_type", "int8"),
            ("resource_name", "string"), ("configs", [
                ("name", "string"), ("value", "string"), ("read_only", "bool"),
                ("config_source", "int8"), ("is_sensitive", "bool"),
                ("synonyms", [("name", "string"), ("value", "string"), ("source", "int8")]),
                ("config_type", "int8", 3), ("documentation", "string", 3)])]),
    ]),
}  # fmt: skip


def _at(fields: list[Any], version: int) -> Iterator[tuple[str, Any]]:
    for name, kind, *span in fields:
        since, until = (*span, 0, 99)[:2] if len(span) != 1 else (span[0], 99)
        if since <= version <= until:
            yield name, kind


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def encode(fields: list[Any], message: Mapping[str, Any], version: int, flexible: bool) -> bytes:
    """Write a struct."""
    out, tags = bytearray(), {}
    for name, kind in _at(fields, version):
        if isinstance(kind, Tagged):
            if message.get(name) is not None:
                tags[kind.tag] = encode(kind.fields, message[name], version, flexible)
        else:
            value = message[name] if name in message else _empty(kind)
            out += _put(kind, value, version, flexible)
    if flexible:
        out += uvarint(len(tags))
        for tag, data in sorted(tags.items()):
            out += uvarint(tag) + uvarint(len(data)) + data
    return bytes(out)


def _empty(kind: Any) -> Any:
    return [] if isinstance(kind, list) else _EMPTY.get(kind, 0)


def _put(kind: Any, value: Any, version: int, flexible: bool) -> bytes:
    if isinstance(kind, list):
        head = _length("list", None if value is None else len(value), flexible)
        return head + b"".join(_put_one(kind, each, version, flexible) for each in value or ())
    if kind == "uuid":
        return bytes(value.bytes)
    if kind in _FIXED:
        return _FIXED[kind].pack(value)
    data = value.encode() if isinstance(value, str) else value
    return _length(kind, None if data is None else len(data), flexible) + (data or b"")


def _put_one(kind: list[Any], each: Any, version: int, flexible: bool) -> bytes:
    if isinstance(kind[0], str):
        return _put(kind[0], each, version, flexible)
    return encode(kind, each, version, flexible)


def _length(kind: str, length: int | None, flexible: bool) -> bytes:
    if flexible:
        return uvarint(0 if length is None else length + 1)
    return struct.pack(">h" if kind == "string" else ">i", -1 if length is None else length)


class _Input:
    def __init__(self, data: bytes, flexible: bool) -> None:
        self.data, self.at, self.flexible = data, 0, flexible

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a request ends too early")
        return self.data[self.at - size : self.at]

    def uvarint(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def length(self, kind: str) -> int:
        if self.flexible:
            return self.uvarint() - 1
        code = ">h" if kind == "string" else ">i"
        return int(struct.unpack(code, self.take(struct.calcsize(code)))[0])

    def tags(self) -> None:
        for _ in range(self.uvarint() if self.flexible else 0):
            self.uvarint()
            self.take(self.uvarint())


def decode(fields: list[Any], data: bytes, version: int, flexible: bool) -> dict[str, Any]:
    """Read a struct that fills the data; unknown tagged fields are passed over."""
    source = _Input(data, flexible)
    message = _struct(fields, source, version)
    if source.at != len(data):
        raise ValueError(f"{len(data) - source.at} bytes are left over")
    return message


def _struct(fields: list[Any], source: _Input, version: int) -> dict[str, Any]:
    message = {
        name: _get(kind, source, version)
        for name, kind in _at(fields, version)
        if not isinstance(kind, Tagged)
    }
    source.tags()
    return message


def _get(kind: Any, source: _Input, version: int) -> Any:
    if kind == "uuid":
        return uuid.UUID(bytes=source.take(16))
    if isinstance(kind, str) and kind in _FIXED:
        return _FIXED[kind].unpack(source.take(_FIXED[kind].size))[0]
    length = source.length("list" if isinstance(kind, list) else kind)
    if length < 0:
        return None
    if not isinstance(kind, list):
        data = source.take(length)
        return data.decode() if kind == "string" else data
    if isinstance(kind[0], str):
        return [_get(kind[0], source, version) for _ in range(length)]
    return [_struct(kind, source, version) for _ in range(length)]
