"""Formats turn values into JSON or say why not, and decoded values are kept within a bound."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.model import origin_of
from sidecar.formats import FORMATS, Decoded, DecodedValues, Decoder

utf8, json_ = FORMATS["utf8"], FORMATS["json"]


def entry(value, *, partition=0, offset=0):
    return (value, origin_of(partition, 0), offset, 1234)


@given(st.text())
def test_text_becomes_the_json_string_of_itself(text):
    decoded = utf8(text.encode())
    assert decoded.error == ""
    assert json.loads(decoded.json) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_passed_on_byte_for_byte(value):
    if value in (float("inf"), float("-inf")) or "Infinity" in json.dumps(value):
        return
    text = json.dumps(value, indent=1, ensure_ascii=False).encode()
    assert json_(text) == Decoded(text)


@pytest.mark.parametrize("value", [b"1" * 5000, b"1e999", b'"\\ud800"', b' {"a": 1, "a": 2} '])
def test_json_that_python_would_trip_over_is_passed_on(value):
    assert json_(value) == Decoded(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", "not JSON at character 0"),
        (b"{", "not JSON at character 1"),
        (b"1 2", "not JSON at character 2"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"\xef\xbb\xbf1", "not JSON at character 0"),
        ("1".encode("utf-16"), "not UTF-8 at byte 0"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_says_why(value, error):
    decoded = json_(value)
    assert decoded.json is None
    assert error in decoded.error


@given(st.binary(max_size=50))
def test_no_value_makes_a_format_raise(value):
    for decode in (utf8, json_):
        decoded = decode(value)
        assert (decoded.json is None) == bool(decoded.error)


def test_a_reason_does_not_quote_the_value():
    for value in (b'{"password": secret}', b"secret\xff"):
        assert "secret" not in json_(value).error + utf8(value).error


def test_bytes_have_no_json_form():
    assert FORMATS["bytes"] is None


def test_a_value_is_decoded_once_while_it_is_kept():
    asked = []

    def decode(value):
        asked.append(value)
        return Decoded(value)

    decoder = Decoder("users", decode, DecodedValues(10_000), lambda table: None)
    for _ in range(3):
        assert decoder(7, entry(b"1")) == Decoded(b"1")
    assert asked == [b"1"]


def test_the_same_slot_of_another_generation_or_partition_is_another_value():
    decoder = Decoder("users", json_, DecodedValues(10_000), lambda table: None)
    assert decoder(7, entry(b"1")).json == b"1"
    assert decoder(8, entry(b"2")).json == b"2"
    assert decoder(7, entry(b"3", partition=1)).json == b"3"
    assert decoder(7, entry(b"1")).json == b"1"


def test_tables_that_share_the_cache_do_not_share_values():
    kept = DecodedValues(10_000)
    users, orders = (Decoder(name, json_, kept, lambda table: None) for name in ("users", "orders"))
    assert users(7, entry(b"1")).json == b"1"
    assert orders(7, entry(b"2")).json == b"2"


def test_kept_values_stay_within_the_bound():
    kept = DecodedValues(10_000)
    decoder = Decoder("users", utf8, kept, lambda table: None)
    for offset in range(1000):
        decoder(7, entry(b"x" * (offset % 200), offset=offset))
        assert kept.currsize <= 10_000
    assert len(kept) > 10


@pytest.mark.parametrize("room", [0, 100, 500])
def test_a_value_larger_than_the_cache_is_decoded_and_not_kept(room):
    kept = DecodedValues(room)
    assert len(Decoder("users", utf8, kept, lambda table: None)(7, entry(b"x" * 1000)).json) == 1002
    assert len(kept) == 0


def test_undecodable_values_are_counted_once_each_and_by_generation():
    counted = []
    decoder = Decoder("users", json_, DecodedValues(10_000), counted.append)
    for offset in (0, 0, 1):
        decoder(7, entry(b"{", offset=offset))
    assert (decoder.undecodable_of(7), decoder.undecodable_of(8)) == (2, 0)
    decoder(8, entry(b"{"))
    assert (decoder.undecodable_of(7), decoder.undecodable_of(8), len(counted)) == (0, 1, 3)
    assert set(counted) == {"users"}
