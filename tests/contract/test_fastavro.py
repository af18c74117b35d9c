"""fastavro's reader in Python, which is no public name and which formats/avro relies on."""

import inspect
import io

import fastavro
import pytest
from fastavro import _read_py
from fastavro.io.binary_decoder import BinaryDecoder
from fastavro.schema import parse_schema


def read(schema, value):
    names = {}
    root = parse_schema(schema, names)
    return _read_py.read_data(
        BinaryDecoder(io.BytesIO(value)), root, {"writer": names, "reader": {}}
    )


def test_it_reads_by_a_decoder_a_schema_and_names():
    assert list(inspect.signature(_read_py.read_data).parameters)[:3] == [
        "decoder",
        "writer_schema",
        "named_schemas",
    ]
    assert read({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}, b"\x02")


def test_places_in_lists_are_read_by_methods_of_their_own():
    called = []

    class Decoder(BinaryDecoder):
        def read_enum(self):
            called.append("enum")
            return super().read_enum()

        def read_index(self):
            called.append("index")
            return super().read_index()

    union = parse_schema(["null", {"type": "enum", "name": "E", "symbols": ["A"]}])
    assert _read_py.read_data(Decoder(io.BytesIO(b"\x02\0")), union, {"writer": {}}) == "A"
    assert called == ["index", "enum"]


def test_nesting_that_is_too_deep_raises():
    nested = {"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}
    with pytest.raises(RecursionError):
        read(nested, b"\x02" * 100_000 + b"\0")


def test_logical_types_are_shared_by_both_readers():
    assert _read_py.LOGICAL_READERS is fastavro.read.LOGICAL_READERS
