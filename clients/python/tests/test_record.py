"""Records as values."""

import dataclasses

import pytest
from kafka_cache_client import Record

RECORD = Record(b"k", b'{"name": "Ada"}', partition=2, offset=9, timestamp_ms=5)


def test_json_reads_the_value():
    assert RECORD.json() == {"name": "Ada"}


def test_json_of_what_is_not_json_is_a_value_error():
    with pytest.raises(ValueError, match="Expecting"):
        dataclasses.replace(RECORD, value=b"").json()


def test_json_without_a_value_says_why():
    undecodable = dataclasses.replace(RECORD, value=None, decode_error="no schema 7")
    with pytest.raises(ValueError, match="no schema 7"):
        undecodable.json()
    with pytest.raises(ValueError, match="without its value"):
        dataclasses.replace(RECORD, value=None).json()


def test_repr_shows_the_place_but_not_the_value():
    shown = "Record(key=b'k', value=<15 bytes>, partition=2, offset=9, timestamp_ms=5)"
    assert repr(RECORD) == shown


def test_a_record_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.offset = 1
    assert hash(RECORD) == hash(dataclasses.replace(RECORD))
