"""Protobuf's binary encoding, read by its descriptors into the JSON that Protobuf defines.

Fields have the names that they have in the schema. As the mapping says, 64-bit integers are
strings, bytes are base64, enums their names, and a field that is not set is left out (a scalar
without presence that has its default value counts as not set). Fields that the schema does not
know are left out.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

from .schema import BadSchema, BadValue

__all__ = ["file_of", "framed_reader_of", "reader_of"]

# What schemas may import without saying what it is.
_WELL_KNOWN: Final = (
    any_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2,
    wrappers_pb2,
)  # fmt: skip
_MOST_INDEXES: Final = 32


def reader_of(descriptor_set: bytes, message: str) -> Callable[[bytes], Any]:
    """What reads values of one message; it raises BadValue.

    Args:
        descriptor_set: a FileDescriptorSet that was written with all imports.
        message: its full name.

    Raises:
        BadSchema: they do not belong together, or are none.
    """
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    except DecodeError:
        raise BadSchema("not a FileDescriptorSet, as protoc --descriptor_set_out writes") from None
    pool = _pool(files)
    try:
        found = pool.FindMessageTypeByName(message)
    except KeyError:
        known = sorted(
            f"{one.package}.{m.name}".lstrip(".") for one in files for m in one.message_type
        )
        raise BadSchema(
            f"no message {message!r} in the descriptor set; it has {', '.join(known[:20])}"
        ) from None
    return partial(_read, pool, message_factory.GetMessageClass(found))


def framed_reader_of(
    file: descriptor_pb2.FileDescriptorProto,
    references: Iterable[descriptor_pb2.FileDescriptorProto],
) -> Callable[[bytes], Any]:
    """What reads values that begin with which message of a file they are; it raises BadValue.

    Args:
        file: the schema.
        references: the files that it imports, each behind those that it imports itself.

    Raises:
        BadSchema: they do not belong together.
    """
    pool = _pool([*references, file])
    return partial(_read_framed, pool, pool.FindFileByName(file.name), {})


def file_of(name: str, serialized: bytes) -> descriptor_pb2.FileDescriptorProto:
    """A file's descriptor, under the name by which others import it.

    Raises:
        BadSchema: it is none.
    """
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    except DecodeError:
        raise BadSchema("not a FileDescriptorProto") from None
    file.name = name
    return file


def _pool(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    pool, given = descriptor_pool.DescriptorPool(), list(files)
    names = {file.name for file in given}
    for known in _WELL_KNOWN:
        if known.DESCRIPTOR.name not in names:
            pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    try:
        for file in given:
            pool.AddSerializedFile(file.SerializeToString())
    except (TypeError, ValueError) as error:
        raise BadSchema(f"not a Protobuf schema: {error}") from None
    return pool


def _read(pool: descriptor_pool.DescriptorPool, kind: Any, value: bytes) -> Any:
    try:
        message = kind.FromString(value)
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, descriptor_pool=pool
        )
    except DecodeError as error:
        raise BadValue(f"not of its Protobuf schema: {error}") from None
    except (TypeError, ValueError, OverflowError, json_format.Error) as error:
        raise BadValue(f"Protobuf that JSON cannot say: {error}") from None


def _read_framed(
    pool: descriptor_pool.DescriptorPool, file: Any, kinds: dict[bytes, Any], value: bytes
) -> Any:
    indexes, begin = _indexes(value)
    kind = kinds.get(value[:begin])
    if kind is None:
        kind = kinds[value[:begin]] = message_factory.GetMessageClass(_message(file, indexes))
    return _read(pool, kind, value[begin:])


def _message(file: Any, indexes: list[int]) -> Any:
    messages, found = list(file.message_types_by_name.values()), None
    for index in indexes:
        if not 0 <= index < len(messages):
            raise BadValue(f"the schema has no message at {indexes}")
        found = messages[index]
        messages = list(found.nested_types)
    return found


def _indexes(value: bytes) -> tuple[list[int], int]:
    """Which message: how many numbers and these, each zigzag; only 0: the first message."""
    count, at = _zigzag(value, 0)
    if count == 0:
        return [0], at
    if not 0 < count <= _MOST_INDEXES:
        raise BadValue("no list of Protobuf message indexes behind the schema's id")
    indexes = []
    for _ in range(count):
        index, at = _zigzag(value, at)
        indexes.append(index)
    return indexes, at


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for byte in value[at : at + 5]:
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
    raise BadValue("no list of Protobuf message indexes behind the schema's id")
