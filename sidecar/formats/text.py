"""The formats that need no schema: bytes, utf8 and json.

A format turns one value into JSON text, or says why it cannot. It never raises: a
value that is not of its format is data, not a fault, and the next record may heal it.

- ``bytes`` has no JSON form. To invent one (base64, say) would be a guess.
- ``utf8`` becomes a JSON string.
- ``json`` is passed on as it stands, once it is known to be JSON by RFC 8259: UTF-8
  without a byte order mark, and none of NaN, Infinity and -Infinity, which Python's
  parser takes but other parsers reject. Numbers are checked, never converted, so none
  is too long or too large.

A reason never quotes the value.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, NoReturn, TypeAlias

__all__ = ["FORMATS", "Decode", "Decoded"]


class Decoded(NamedTuple):
    """A value as JSON (UTF-8); or None, and in `error` why not, in a sentence.

    `pending`: it may be otherwise a moment later.
    """

    json: bytes | None
    error: str = ""
    pending: bool = False


Decode: TypeAlias = Callable[[bytes], Decoded]


class _NotJsonError(ValueError):
    """A constant that JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJsonError(f"{name} is not JSON")


_parser: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)


def _utf8(value: bytes) -> Decoded:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return Decoded(None, _not_utf8(error))
    return Decoded(json.dumps(text, ensure_ascii=False).encode())


def _json(value: bytes) -> Decoded:
    try:
        _parser.decode(value.decode())
    except UnicodeDecodeError as error:
        return Decoded(None, _not_utf8(error))
    except json.JSONDecodeError as error:
        return Decoded(None, f"not JSON at character {error.pos}: {error.msg}")
    except _NotJsonError as error:
        return Decoded(None, str(error))
    except RecursionError:
        return Decoded(None, "JSON that is nested too deeply")
    return Decoded(value)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 at byte {error.start}: {error.reason}"


# By the name of the format; None: it has no JSON form.
FORMATS: Final[Mapping[str, Decode | None]] = {"bytes": None, "utf8": _utf8, "json": _json}
