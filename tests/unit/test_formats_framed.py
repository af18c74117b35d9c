"""Values that name their schema, and those in Debezium's envelope."""

import pytest

from sidecar.core.served import Definition
from sidecar.formats import Decoded, DecodedValues, Decoder, Schemas, decode_of
from sidecar.formats.debezium import unwrapped
from sidecar.formats.text import FORMATS


def upper(value):
    return Decoded(value.upper())


def test_a_schema_is_noted_once_and_brought():
    schemas, wanted = Schemas(), []
    schemas.wanted = lambda: wanted.append(1)
    decode, note = schemas.decode_of("avro"), schemas.note_of("avro")
    assert note(b"\0\0\0\0\x07a") == b"\0\0\0\0\x07a"
    assert note(b"\0\0\0\0\x07b") == b"\0\0\0\0\x07b"
    assert list(schemas.untried()) == [("avro", 7)]
    assert wanted == [1]
    told = decode(b"\0\0\0\0\x07a")
    assert told == Decoded(None, "its schema 7 is not here: it is being fetched", pending=True)
    schemas.missing["avro", 7].reason = "nobody answers"
    assert "nobody answers" in decode(b"\0\0\0\0\x07a").error
    schemas.bring(("avro", 7), upper)
    assert decode(b"\0\0\0\0\x07a") == Decoded(b"A")
    assert not schemas.missing
    assert "schema 7" in schemas.decode_of("protobuf")(b"\0\0\0\0\x07a").error


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b'{"a": 1}', b"\x01\0\0\0\x07a"])
def test_what_names_no_schema_asks_for_none(value):
    schemas = Schemas()
    assert schemas.note_of("avro")(value) == value
    assert schemas.decode_of("avro")(value) == Decoded(
        None, "no schema's id: it does not begin with a zero byte and four more"
    )
    assert not schemas.missing


def test_not_every_number_is_asked_for():
    schemas = Schemas()
    decode = schemas.decode_of("avro")
    for number in range(1, 1500):
        decode(b"\0" + number.to_bytes(4, "big"))
    assert len(schemas.missing) == 1000
    assert "1000 others are missing" in decode(b"\0\0\0\xff\xff").error


def test_what_lacks_its_schema_is_neither_kept_nor_counted():
    schemas, counted = Schemas(), []
    decoder = Decoder("t", schemas.decode_of("avro"), DecodedValues(10_000), counted.append)
    entry = (b"\0\0\0\0\x07a", 0, 0, 0)
    assert decoder(1, entry).pending
    schemas.bring(("avro", 7), upper)
    assert decoder(1, entry) == Decoded(b"A")
    assert counted == []


def test_a_file_that_is_gone_is_a_reason():
    definition = Definition(name="t", topic="t", format="avro", schema_file="/no/such.avsc")
    found = decode_of(definition, Schemas())(b"a")
    assert found.json is None
    assert "/no/such.avsc" in found.error


JSON = unwrapped(FORMATS["json"])


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (b'{"before": null, "after": {"id": 1.10}, "op": "c", "ts_ms": 1}', b'{"id":1.10}'),
        (b'{"schema": {}, "payload": {"after": [1], "op": "u"}}', b"[1]"),
        (b'{"before": {"id": 1}, "after": null, "op": "d"}', b"null"),
        (b'{"before": {"id": 1}, "op": "d"}', b"null"),
    ],
)
def test_an_event_is_the_row_after_it(value, row):
    assert JSON(value) == Decoded(row)


@pytest.mark.parametrize("value", [b"{}", b"1", b'{"op": "u"}', b'{"after": {}}', b"null", b"{"])
def test_what_is_no_event_is_told(value):
    found = JSON(value)
    assert found.json is None
    assert found.error
