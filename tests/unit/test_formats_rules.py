"""The part of a rule that looks inside values, and the one that looks at keys."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.counters import Counters
from sidecar.core.rule import Load
from sidecar.formats import FORMATS, rule_of
from sidecar.formats.keys import strip_schema_id


def through(value, **wanted):
    made = rule_of(Load(**wanted), FORMATS["json"], lambda: 0)
    ((_, _, _, kept, _, _),) = made.records([Rec(0, b"k", value)], Counters())
    return kept


def key_through(key, **wanted):
    made = rule_of(Load(**wanted), None, lambda: 0)
    ((_, _, kept, _, _, _),) = made.records([Rec(0, key, b"1")], Counters())
    return kept


def test_a_table_that_wants_all_has_no_rule():
    assert rule_of(Load(), FORMATS["json"], lambda: 0) is None


@pytest.mark.parametrize(
    ("any_of", "value", "taken"),
    [
        ((), b'{"a":null}', True),
        ((), b'{"b":1}', False),
        (('"x"',), b'{"a":"x"}', True),
        (('"x"', "2"), b'{"a":2}', True),
        (("2",), b'{"a":2.0}', True),
        (("1",), b'{"a":true}', False),
        (("true",), b'{"a":1}', False),
        (("true",), b'{"a":true}', True),
        (("null",), b'{"a":null}', True),
        (('"x"',), b'{"a":["x"]}', False),
    ],
)
def test_a_path_decides_whose_values_are_taken(any_of, value, taken):
    assert through(value, path="$.a", any_of=any_of) == (value if taken else None)


def test_a_path_with_many_finds_takes_what_one_of_them_does():
    wanted = {"path": "$.roles[*]", "any_of": ('"admin"',)}
    assert through(b'{"roles":["x","admin"]}', **wanted) is not None
    assert through(b'{"roles":["x"]}', **wanted) is None


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b'{"a": 1, "b": {"c": "x", "d": 2}, "e": 3}', b'{"a":1,"b":{"c":"x"}}'),
        (b'{"b": {"d": 2}}', b'{"b":{}}'),
        (b'{"b": 7, "a": null}', b'{"a":null}'),
        (b'{"a": {"z": [1.10, 12345678901234567890123, 1e400]}}',
         b'{"a":{"z":[1.10,12345678901234567890123,1E+400]}}'),
        (b'{"a": "\\u00e9\\u20ac"}', '{"a":"é€"}'.encode()),
        (b'{"a": "\\ud800"}', b'{"a":"\\ud800"}'),
        (b"[1]", b"{}"),
        (b"1", b"{}"),
    ],
)  # fmt: skip
def test_a_projection_keeps_the_named_fields_where_they_stood(value, kept):
    assert through(value, project=("$.a", "$.b.c")) == kept


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b'{"a":NaN}', b"[" * 100_000])
def test_what_cannot_be_decoded_is_kept_as_it_is(value):
    assert through(value, path="$.a", project=("$.a",)) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_projected_value_is_the_value_of_its_field(tree):
    value = json.dumps({"a": tree, "b": 1}).encode()
    assert json.loads(through(value, project=("$.a",))) == {"a": tree}


def test_a_key_without_its_schema_id():
    framed = b"\x00\x00\x00\x00\x07user-1"
    assert strip_schema_id(framed) == b"user-1"
    assert strip_schema_id(b"user-1") is None
    assert strip_schema_id(b"\x00\x00") is None
    assert key_through(framed, strip_schema_id=True) == b"user-1"
    assert key_through(b"plain", strip_schema_id=True) == b"plain"
    assert key_through(framed, strip_schema_id=True, key_prefix=b"user") == b"user-1"
    assert key_through(framed, key_prefix=b"user") is None
