"""Values as JSON: what a table's format makes of the bytes on the topic."""

from .decoded import DecodedValues, Decoder
from .paths import path_of, steps_of
from .rules import rule_of, texts_of
from .text import FORMATS, Decode, Decoded

__all__ = [
    "FORMATS",
    "Decode",
    "Decoded",
    "DecodedValues",
    "Decoder",
    "path_of",
    "rule_of",
    "steps_of",
    "texts_of",
]
