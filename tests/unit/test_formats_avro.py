"""Avro becomes the JSON that is documented, or a reason; hostile bytes and schemas end neither."""

import base64
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.formats import BadSchema, decode_by
from sidecar.formats.avro import reader_of

LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}


def written(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def decoded(schema, value):
    return decode_by(reader_of(json.dumps(schema)))(value)


def shown(schema, value):
    found = decoded(schema, written(schema, value))
    assert found.error == ""
    return json.loads(found.json)


def logical(kind, name):
    return {"type": kind, "logicalType": name}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ("null", None, None),
        ("boolean", True, True),
        ("long", -(2**63), -(2**63)),
        ("double", 0.1, 0.1),
        ("double", float("nan"), "NaN"),
        ("double", float("inf"), "Infinity"),
        ("float", float("-inf"), "-Infinity"),
        ("string", "é\u0000\U0001f600", "é\u0000\U0001f600"),
        ("bytes", b"\xff\x00", "/wA="),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", "YWI="),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        (["null", "string"], "a", "a"),
        (["null", "bytes"], b"a", "YQ=="),
        ({"type": "map", "values": "int"}, {"a": 1}, {"a": 1}),
        ({"type": "array", "items": ["null", "int"]}, [None, 1], [None, 1]),
        (LIST, {"next": {"next": None}}, {"next": {"next": None}}),
        (DECIMAL, Decimal("-0.07"), "-0.07"),
        (DECIMAL, Decimal("123456789012345678.90"), "123456789012345678.90"),
        (logical("int", "date"), date(2026, 1, 31), "2026-01-31"),
        (logical("string", "uuid"), "no uuid", "no uuid"),
        (logical("string", "of-their-own"), "a", "a"),
    ],
)
def test_each_type_has_its_json(schema, value, expected):
    if schema == logical("string", "uuid"):
        found = decoded(schema, written("string", value))
        assert json.loads(found.json) == expected
    else:
        assert shown(schema, value) == expected


@pytest.mark.parametrize(
    ("kind", "name", "count", "expected"),
    [
        ("int", "time-millis", 45_000_123, "12:30:00.123"),
        ("long", "time-micros", 86_399_999_999, "23:59:59.999999"),
        ("long", "timestamp-millis", 1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        ("long", "timestamp-micros", -1, "1969-12-31T23:59:59.999999Z"),
        ("long", "timestamp-nanos", 1, "1970-01-01T00:00:00.000000001Z"),
        ("long", "local-timestamp-millis", 0, "1970-01-01T00:00:00.000"),
    ],
)
def test_times_are_text(kind, name, count, expected):
    assert json.loads(decoded(logical(kind, name), written(kind, count)).json) == expected


@pytest.mark.parametrize(
    ("schema", "value", "error"),
    [
        ("string", b"\x04a", "it ends too early"),
        ("string", b"\x02aa", "1 bytes are left over"),
        ("string", b"\x02\xff", "text that is not UTF-8"),
        ("string", b"\x03", "it ends too early"),
        ("boolean", b"\x02", "a boolean that is neither"),
        ("long", b"\xff" * 11 + b"\x01", "a number that is too long"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "the place -1 in a list"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "out of range"),
        (["null", "string"], b"\x01\x02a", "the place -1 in a list"),
        (logical("long", "timestamp-millis"), b"\xfe" + b"\xff" * 8 + b"\x01", "int"),
        (logical("int", "time-millis"), b"\x01", "a time of no day"),
        (LIST, b"\x02" * 100_000 + b"\0", "nested too deeply"),
        ({"type": "array", "items": "int"}, b"\x80\x80\x80\x80\x80\x80\x80\x80\x10", "too early"),
        ("bytes", b"\x80\x80\x80\x01" + bytes(1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_what_is_not_of_its_schema_is_told(schema, value, error):
    found = decoded(schema, value)
    assert found.json is None
    assert error in found.error


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ("{", "not an Avro schema"),
        ('"Unknown"', "not an Avro schema"),
        ('{"type": "record"}', "not an Avro schema"),
        ('{"type": "array", "items": "null"}', "an array of what takes no byte"),
        (
            '{"type": "array", "items": {"type": "record", "name": "R", "fields": []}}',
            "an array of what takes no byte",
        ),
        (
            json.dumps(
                {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", {
                    "type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}]}]}
            ),
            "an array of what takes no byte",
        ),
        (
            '{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}',
            "holds itself",
        ),
        ("[" * 100_000, "not an Avro schema|nested too deeply"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_read_by_is_refused(schema, error):
    with pytest.raises(BadSchema, match=error):
        reader_of(schema)


def test_a_few_names_cannot_stand_for_more_than_can_be_read():
    laughs = [{"type": "record", "name": "A0", "fields": [{"name": "n", "type": "null"}]}]
    for number in range(1, 40):
        both = [{"name": name, "type": f"A{number - 1}"} for name in "ab"]
        laughs.append({"type": "record", "name": f"A{number}", "fields": both})
    with pytest.raises(BadSchema, match="fields take no byte"):
        reader_of('"A39"', [json.dumps(one) for one in laughs])


def test_a_schema_may_name_others():
    address = {"type": "record", "name": "org.Address", "fields": [{"name": "a", "type": "bytes"}]}
    user = {"type": "record", "name": "U", "fields": [{"name": "at", "type": "org.Address"}]}
    decode = decode_by(reader_of(json.dumps(user), [json.dumps(address)]))
    assert decode(b"\x02\xff").json == b'{"at":{"a":"/w=="}}'


def test_the_process_keeps_its_own_logical_types():
    decoded(DECIMAL, b"\x02\x01")
    assert fastavro.schemaless_reader(
        io.BytesIO(b"\x02\x01"), fastavro.parse_schema(DECIMAL), None
    ) == Decimal("0.01")


# Any schema with a value of it, and what the value is in JSON.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAVES = st.one_of(
    st.tuples(st.just("long"), st.integers(-(2**63), 2**63 - 1)).map(lambda p: (*p, p[1])),
    st.tuples(st.just("string"), st.text()).map(lambda p: (*p, p[1])),
    st.tuples(st.just("boolean"), st.booleans()).map(lambda p: (*p, p[1])),
    st.tuples(st.just("bytes"), st.binary()).map(
        lambda p: (*p, base64.b64encode(p[1]).decode())
    ),
    st.integers(-(2**40), 2**40).map(
        lambda ms: (
            logical("long", "timestamp-millis"),
            _EPOCH + timedelta(milliseconds=ms),
            (_EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        )
    ),
)  # fmt: skip


def _record(fields):
    number = abs(hash(str(fields)))
    schema = {
        "type": "record",
        "name": f"R{number}",
        "fields": [{"name": f"f{n}", "type": one[0]} for n, one in enumerate(fields)],
    }
    values = {f"f{n}": one[1] for n, one in enumerate(fields)}
    return schema, values, {f"f{n}": one[2] for n, one in enumerate(fields)}


_ANY = st.recursive(
    _LEAVES,
    lambda inner: (
        inner.map(lambda one: ({"type": "array", "items": one[0]}, [one[1]] * 2, [one[2]] * 2))
        | inner.map(lambda one: ({"type": "map", "values": one[0]}, {"k": one[1]}, {"k": one[2]}))
        | st.lists(_LEAVES, max_size=4).map(_record)
    ),
    max_leaves=4,
)


@given(_ANY.filter(lambda one: "'fields': []" not in str(one[0])))
def test_what_fastavro_wrote_comes_back(one):
    schema, value, expected = one
    assert shown(schema, value) == expected


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_reason(value):
    schema = {
        "type": "record",
        "name": "U",
        "fields": [
            {"name": "a", "type": ["null", LIST]},
            {"name": "b", "type": {"type": "array", "items": DECIMAL}},
            {"name": "c", "type": logical("long", "timestamp-micros")},
            {"name": "d", "type": {"type": "map", "values": "double"}},
        ],
    }
    found = decoded(schema, value)
    assert (found.json is None) == bool(found.error)
    if found.json is not None:
        json.loads(found.json)
