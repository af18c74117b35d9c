"""Protobuf becomes the JSON that Protobuf defines, or a reason."""

import json

import pytest
from google.protobuf import any_pb2, descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.descriptors import ADDRESS, USER, descriptor_set, message_class

from sidecar.formats import BadSchema, decode_by
from sidecar.formats.protobuf import file_of, framed_reader_of, reader_of

User = message_class("shop.User")


def decoded(value, message="shop.User"):
    return decode_by(reader_of(descriptor_set(), message))(value)


def shown(value):
    found = decoded(value)
    assert found.error == ""
    return json.loads(found.json)


def test_fields_have_their_names_and_the_json_of_the_mapping():
    user = User(user_name="é", big=2**60, ratio=float("nan"), photo=b"\xff\0")
    user.at.city = "Delft"
    user.born.FromMilliseconds(1_700_000_000_123)
    assert shown(user.SerializeToString()) == {
        "user_name": "é",
        "big": str(2**60),
        "ratio": "NaN",
        "photo": "/wA=",
        "at": {"city": "Delft"},
        "born": "2023-11-14T22:13:20.123Z",
    }
    assert shown(b"") == {}


def test_fields_that_the_schema_does_not_know_are_left_out():
    assert shown(b"\x98\x06\x01" + User(user_name="a").SerializeToString()) == {"user_name": "a"}


def nested(levels):
    user = User(user_name="a")
    for _ in range(levels):
        user = User(boss=user)
    return user.SerializeToString()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"\x0a\x05a", "not of its Protobuf schema"),
        (b"\x0a\x01\xff", "not of its Protobuf schema"),
        (nested(50) + b"\x3a\x7f", "not of its Protobuf schema"),
        (b"\x3a\x02" * 200, "not of its Protobuf schema"),
        (b"\x32\x0a\x08" + b"\xff" * 8 + b"\x3f", "that JSON cannot say"),
        (bytes((1 << 20) + 1), "larger than 1048576 bytes"),
    ],
)
def test_what_is_not_of_its_schema_is_told(value, error):
    found = decoded(value)
    assert found.json is None
    assert error in found.error


@pytest.mark.parametrize("levels", [10, 90])
def test_as_many_levels_as_protobuf_allows(levels):
    assert "user_name" in decoded(nested(levels)).json.decode()


def test_a_message_of_any_type_that_is_not_known_is_told():
    packed = any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"1")
    holder = descriptor_pb2.FileDescriptorProto(
        name="h.proto", package="h", dependency=["google/protobuf/any.proto"], syntax="proto3"
    )
    field = holder.message_type.add(name="H").field.add(name="a", number=1, label=1, type=11)
    field.type_name = ".google.protobuf.Any"
    files = descriptor_pb2.FileDescriptorSet(file=[holder]).SerializeToString()
    inside = packed.SerializeToString()
    found = decode_by(reader_of(files, "h.H"))(b"\x0a" + bytes([len(inside)]) + inside)
    assert found.json is None
    assert "that JSON cannot say" in found.error


@pytest.mark.parametrize(
    ("files", "message", "error"),
    [
        (b"\x0a\xff", "shop.User", "not a FileDescriptorSet"),
        (descriptor_set(), "shop.Nobody", "no message 'shop.Nobody'.*shop.Address, .*shop.User"),
        (
            descriptor_pb2.FileDescriptorSet(file=[USER]).SerializeToString(),
            "shop.User",
            "not a Protobuf schema",
        ),
    ],
)
def test_descriptors_that_do_not_fit_are_refused(files, message, error):
    with pytest.raises(BadSchema, match=error):
        reader_of(files, message)


def framed(value):
    files = [file_of("address.proto", ADDRESS.SerializeToString())]
    return decode_by(framed_reader_of(file_of("u", USER.SerializeToString()), files))(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\x0a\x01a", {"user_name": "a"}),
        (b"\x02\x00\x0a\x01a", {"user_name": "a"}),
        (b"\x04\x02\x02\x08\x05", {"n": 5}),
    ],
)
def test_a_value_says_which_message_of_its_file_it_is(value, expected):
    assert json.loads(framed(value).json) == expected


@pytest.mark.parametrize(
    "value",
    [b"", b"\x80", b"\x01", b"\x02", b"\x02\x08", b"\x04\x02\x08", b"\xff\xff\xff\xff\xff\x01"],
)
def test_a_message_that_is_not_there_is_told(value):
    found = framed(value)
    assert found.json is None
    assert "message" in found.error


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_reason(value):
    for found in (decoded(value), framed(value)):
        assert (found.json is None) == bool(found.error)
