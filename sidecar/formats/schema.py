"""What the formats with a schema have in common: their errors, and how a value becomes JSON."""

import json
from collections.abc import Callable
from typing import Any, Final

from .text import Decode, Decoded

__all__ = ["BadSchema", "BadValue", "decode_by"]

# Decoding happens between lookups: a value of this size may take some tenths of a second.
_LARGEST: Final = 1 << 20


class BadSchema(Exception):  # noqa: N818
    """A schema by which nothing can be read; the message says why."""


class BadValue(Exception):  # noqa: N818
    """A value that is not of its schema; the message says why, and quotes nothing of it."""


def decode_by(read: Callable[[bytes], Any]) -> Decode:
    """The format of values that `read` makes what JSON can say of, or raises BadValue."""

    def decode(value: bytes) -> Decoded:
        if len(value) > _LARGEST:
            return Decoded(None, f"larger than {_LARGEST} bytes, which are decoded at most")
        try:
            tree = read(value)
            text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return Decoded(text.encode())
        except BadValue as error:
            return Decoded(None, str(error))
        except RecursionError:
            return Decoded(None, "a value that is nested too deeply")

    return decode
