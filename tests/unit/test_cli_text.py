"""How bytes, numbers and times are shown and read."""

import base64
import codecs
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import text


@given(st.binary())
def test_escaped_bytes_can_be_read_back(data):
    shown = text.escaped(data)
    back = bytearray()
    for literal, byte, code in re.findall(
        r"(\\[\\nrt]|[^\\])|\\x(..)|\\(u....|U........)", shown, re.DOTALL
    ):
        if byte:
            back.append(int(byte, 16))
        elif code:
            back += chr(int(code[1:], 16)).encode()
        else:
            named = {"\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}
            back += named.get(literal, literal).encode()
    assert bytes(back) == data


@given(st.binary())
def test_no_control_character_reaches_the_terminal(data):
    assert text.escaped(data).isprintable()
    controls = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
    assert not set(controls) & set(text.compact_json(text.json_bytes(data)))


@given(st.binary())
def test_json_loses_nothing(data):
    shown = json.loads(text.compact_json(text.json_bytes(data)))
    back = shown.encode() if isinstance(shown, str) else base64.b64decode(shown["base64"])
    assert back == data


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("São".encode(), "São"),
        (b"a\x1b[31m", "a\\x1b[31m"),
        (b"\xff", "\\xff"),
        ("\u202e".encode(), "\\u202e"),
        (b"a\\n\n", "a\\\\n\\n"),
    ],
)
def test_bytes_are_shown_so(data, shown):
    assert text.escaped(data) == shown


@given(st.binary())
def test_a_key_in_hex_and_in_base64_is_read(data):
    assert text.parse_key(data.hex(), "hex") == data
    assert (
        text.parse_key(codecs.encode(data, "base64").decode().replace("\n", ""), "base64") == data
    )


def test_a_key_that_the_shell_gave_as_raw_bytes_is_read():
    assert text.parse_key(b"\xff\xfe".decode("utf-8", "surrogateescape"), "utf8") == b"\xff\xfe"


@pytest.mark.parametrize(("key", "key_format"), [("zz", "hex"), ("?", "base64")])
def test_a_key_of_another_format_is_an_error(key, key_format):
    with pytest.raises(ValueError, match=r"."):
        text.parse_key(key, key_format)


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (1234, "timestamp 1234 (no date)"),
        (-1, "no timestamp"),
        (1_700_000_000_123, "2023-11-14 22:13:20.123 UTC"),
        (2**62, f"timestamp {2**62} (no date)"),
    ],
)
def test_a_timestamp_is_a_date_only_if_it_can_be_one(milliseconds, shown):
    assert text.timestamp(milliseconds) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (61_000, "1 min 1 s"), (7.2e6, "2 h 0 min")],
)
def test_a_span_is_shown_in_units_that_matter(milliseconds, shown):
    assert text.duration(int(milliseconds)) == shown


def test_sizes_and_counts():
    assert [text.bytes_size(size) for size in (0, 1023, 1536, 3 << 20)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 MiB",
    ]
    assert text.count(1234567) == "1 234 567"
