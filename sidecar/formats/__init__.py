"""Values as JSON: what a table's format makes of the bytes on the topic."""

from .decoded import DecodedValues, Decoder
from .framed import Missing, SchemaId, Schemas
from .paths import path_of, steps_of
from .rules import rule_of, texts_of
from .schema import BadSchema, BadValue, decode_by
from .text import FORMATS, Decode, Decoded
from .values import SCHEMA_FORMATS, decode_of, file_decode, is_framed

__all__ = [
    "FORMATS",
    "SCHEMA_FORMATS",
    "BadSchema",
    "BadValue",
    "Decode",
    "Decoded",
    "DecodedValues",
    "Decoder",
    "Missing",
    "SchemaId",
    "Schemas",
    "decode_by",
    "decode_of",
    "file_decode",
    "is_framed",
    "path_of",
    "rule_of",
    "steps_of",
    "texts_of",
]
