"""What a table's values are: the format that its definition names, with what that needs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .debezium import unwrapped
from .framed import Schemas
from .schema import BadSchema, decode_by
from .text import FORMATS, Decode, Decoded

if TYPE_CHECKING:
    from ..core.served import Definition

__all__ = ["SCHEMA_FORMATS", "decode_of", "file_decode", "is_framed"]

# The formats whose values cannot be read without a schema, of a file or of a registry.
SCHEMA_FORMATS: Final = frozenset({"avro", "protobuf"})


def is_framed(definition: "Definition") -> bool:
    """Its values say by which schema of a registry they are to be read."""
    return definition.format in SCHEMA_FORMATS and not definition.schema_file


def decode_of(definition: "Definition", schemas: Schemas) -> Decode | None:
    """What makes JSON of a table's values; None: they have no such form.

    A schema file that has become unreadable since the settings were checked is a reason why
    values cannot be decoded.
    """
    if is_framed(definition):
        decode: Decode | None = schemas.decode_of(definition.format)
    elif definition.format in SCHEMA_FORMATS:
        try:
            decode = file_decode(definition.format, definition.schema_file, definition.message)
        except (BadSchema, OSError) as error:
            decode = partial(_fail, f"schema_file {definition.schema_file}: {error}")
    else:
        decode = FORMATS[definition.format]
    return unwrapped(decode) if decode and definition.unwrap else decode


def file_decode(form: str, path: str, message: str) -> Decode:
    """What makes JSON of values whose schema is in a file.

    Args:
        form: avro or protobuf.
        path: an Avro schema; or descriptors as ``protoc --include_imports
            --descriptor_set_out`` writes them.
        message: of Protobuf: its full name.

    Raises:
        BadSchema: it is none.
        OSError: the file cannot be read.
    """
    data = Path(path).read_bytes()
    if form == "protobuf":
        from . import protobuf  # late, for most sidecars have none of these

        return decode_by(protobuf.reader_of(data, message))
    from . import avro

    try:
        return decode_by(avro.reader_of(data.decode()))
    except UnicodeDecodeError:
        raise BadSchema("not an Avro schema: not UTF-8") from None


def _fail(reason: str, _: bytes) -> Decoded:
    return Decoded(None, reason)
