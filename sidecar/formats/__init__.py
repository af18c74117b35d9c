"""Values as JSON: what a table's format makes of the bytes on the topic."""

from .decoded import DecodedValues, Decoder
from .text import FORMATS, Decode, Decoded

__all__ = ["FORMATS", "Decode", "Decoded", "DecodedValues", "Decoder"]
