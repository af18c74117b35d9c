"""Bytes, numbers and times as people read them.

Keys and values are bytes. In tables they are text with escapes that lose nothing and let
no control character through to the terminal: a backslash is doubled, `\\xNN` is a byte
that is no UTF-8 or an ASCII control, `\\uNNNN` any other character that does not print
(direction marks among them). In JSON, bytes that are UTF-8 are a string, all others are
`{"base64": "…"}`.

This module does no I/O.
"""

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "KEY_FORMATS",
    "bytes_size",
    "compact_json",
    "count",
    "duration",
    "escaped",
    "escaped_text",
    "json_bytes",
    "parse_key",
    "pretty_json",
    "timestamp",
]

KEY_FORMATS = ("utf8", "hex", "base64")
_NAMED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SURROGATES = range(0xDC80, 0xDD00)  # how "surrogateescape" marks the bytes 80 to ff
# JSON needs no escape for these, but a terminal obeys them.
_CONTROLS = re.compile("[\x7f-\x9f]")
# Earlier than 1973 no Kafka record was written: such a number is a test's, not a time.
_FIRST_LIKELY_MS = 10**11


def escaped(data: bytes) -> str:
    """Bytes as printable text, without loss."""
    return escaped_text(data.decode("utf-8", "surrogateescape"))


def escaped_text(text: str) -> str:
    """Text as printable text, without loss."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code in _SURROGATES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_bytes(data: bytes) -> str | dict[str, str]:
    """Bytes as a value of a JSON document."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def compact_json(value: Any) -> str:
    """JSON on one line."""
    return _without_controls(json.dumps(value, ensure_ascii=False))


def pretty_json(value: Any) -> str:
    """JSON on several lines."""
    return _without_controls(json.dumps(value, ensure_ascii=False, indent=2))


def _without_controls(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def parse_key(text: str, key_format: str) -> bytes:
    """The bytes of a key that was typed in one of `KEY_FORMATS`.

    Raises:
        ValueError: it is not of that format.
    """
    if key_format == "hex":
        return bytes.fromhex(text)
    if key_format == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from error
    # The shell hands over bytes; those that are no UTF-8 come as surrogates.
    return text.encode("utf-8", "surrogateescape")


def count(number: int) -> str:
    """12345678 → 12 345 678."""
    return f"{number:,}".replace(",", " ")


def bytes_size(size: int) -> str:
    """Bytes in the binary unit that reads best."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(milliseconds: int) -> str:
    """A span of time in the one or two units that matter."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def timestamp(milliseconds: int) -> str:
    """A record's time in UTC; a number that cannot be one is shown as a number."""
    if milliseconds < 0:
        return "no timestamp"
    if not _FIRST_LIKELY_MS <= milliseconds < 10**14:
        return f"timestamp {milliseconds} (no date)"
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(" ", "milliseconds").replace("+00:00", " UTC")
