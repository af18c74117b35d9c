"""Values as JSON: what a table's format makes of the bytes on the topic."""

from .decoded import DecodedValues, Decoder
from .paths import path_of, steps_of
from .rules import parsed, rule_of
from .text import FORMATS, Decode, Decoded

__all__ = [
    "FORMATS",
    "Decode",
    "Decoded",
    "DecodedValues",
    "Decoder",
    "parsed",
    "path_of",
    "rule_of",
    "steps_of",
]
