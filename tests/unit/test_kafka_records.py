"""Our own reading of records: as aiokafka reads them, and further where it gives up."""

import struct

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Rec, batch, crc32c, varint

from sidecar.kafka.batches import decode_batches, find_batches
from sidecar.kafka.errors import LogFault
from sidecar.kafka.records import Frame, RecordError, parse_records

BYTES = st.none() | st.binary(max_size=200)
I64 = 1 << 63


def frame(records, base_offset=0, next_offset=100, base_timestamp=0, append_timestamp=None):
    return Frame(records, base_offset, next_offset, base_timestamp, append_timestamp)


def parsed(data, records=1, **more):
    return list(parse_records(memoryview(data), frame(records, **more)))


def written(*records):
    return batch(records)[61:]


@st.composite
def batches(draw, header_keys):
    headers = st.lists(st.tuples(header_keys, BYTES), max_size=3)
    stamps = st.integers(0, 1 << 41)
    rec = st.builds(Rec, BYTES, BYTES, headers, stamps)
    records = draw(st.lists(rec, max_size=6))
    deltas = sorted(draw(st.sets(st.integers(0, 1 << 20), min_size=6, max_size=6)))
    records = [rec._replace(delta=delta) for rec, delta in zip(records, deltas, strict=False)]
    return records, batch(
        records,
        base_offset=draw(st.integers(0, 1 << 50)),
        timestamp_ms=draw(stamps),
        append_time=draw(st.booleans()),
    )


def of_batch(data):
    base, last = struct.unpack_from(">q", data)[0], struct.unpack_from(">i", data, 23)[0]
    first, greatest, count = struct.unpack_from(">qq14xi", data, 27)
    stamped = greatest if data[22] & 8 else None
    return list(
        parse_records(memoryview(data)[61:], Frame(count, base, base + last + 1, first, stamped))
    )


def told(record):
    return (record.offset, record.timestamp, record.key, record.value, list(record.headers))


UTF8 = st.text(max_size=9).map(str.encode)


@settings(max_examples=300)
@given(batches(UTF8))
def test_valid_batches_are_read_as_aiokafka_reads_them(made):
    _, data = made
    theirs = [told(record) for record in DefaultRecordBatch(data)]
    assert [told(record) for record in of_batch(data)] == theirs


@settings(max_examples=200)
@given(batches(st.binary(max_size=9)))
def test_header_keys_come_back_as_the_bytes_that_they_were(made):
    records, data = made
    (only,) = decode_batches(0, find_batches(0, memoryview(data)), [])
    assert [
        (rec.key, rec.value, [(k.encode("utf-8", "surrogateescape"), v) for k, v in rec.headers])
        for rec in only.each()
    ] == [(rec.key, rec.value, list(rec.headers)) for rec in records]


def test_no_records_are_no_records():
    assert parsed(b"", 0) == []


def body(*parts):
    data = b"".join(parts)
    return varint(len(data)) + data


def numbers(*values):
    return b"".join(map(varint, values))


START = b"\0" + numbers(0, 0)
NO_KEY_NO_VALUE = numbers(-1, -1)
OVERLONG = b"\x80" * 10 + b"\0"

SENSELESS = {
    "nothing": (b"", "inside a number"),
    "a length that never ends": (b"\xff" * 30, "too long"),
    "a length of 65 bits": (b"\xff" * 9 + b"\x02", "too long"),
    "a negative length": (varint(-1), r"length \(-1\)"),
    "a length past the end": (varint(5) + b"abcd", r"length \(5\)"),
    "a length past all memory": (varint(I64 - 1), "length"),
    "no attributes": (body(), "inside a number"),
    "attributes alone": (body(b"\0"), "inside a number"),
    "an overlong delta": (body(b"\0", OVERLONG), "too long"),
    "an offset before the batch": (body(b"\0", numbers(0, -1), NO_KEY_NO_VALUE), "offset -1"),
    "an offset behind the batch": (body(b"\0", numbers(0, 100), NO_KEY_NO_VALUE), "offset 100"),
    "a timestamp of 65 bits": (body(b"\0", numbers(-I64, 0), NO_KEY_NO_VALUE), "timestamp"),
    "a key past the end": (body(START, varint(3), b"ab"), "3 bytes do not fit"),
    "a key past all memory": (body(START, varint(I64 - 1)), "do not fit"),
    "a value past the end": (body(START, varint(-1), varint(1)), "1 bytes do not fit"),
    "a negative number of headers": (body(START, NO_KEY_NO_VALUE, varint(-1)), "-1 headers"),
    "too many headers": (body(START, NO_KEY_NO_VALUE, varint(2), b"\0\0"), "2 headers"),
    "a header without a key": (body(START, NO_KEY_NO_VALUE, numbers(1, -1, 0)), "no key"),
    "a header key past the end": (body(START, NO_KEY_NO_VALUE, numbers(1, 9, 0)), "fit"),
    "something behind the headers": (body(START, NO_KEY_NO_VALUE, varint(0), b"x"), "1 bytes"),
    "something behind the records": (written((b"k", b"v")) + b"xy", "2 bytes are left behind 1"),
}


@pytest.mark.parametrize(("data", "words"), SENSELESS.values(), ids=SENSELESS)
def test_what_makes_no_sense_is_named(data, words):
    with pytest.raises(RecordError, match=words):
        parsed(data, base_timestamp=-1)


def test_a_negative_number_of_records_makes_no_sense():
    with pytest.raises(RecordError, match="-1 records"):
        parsed(b"", -1)


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4
)


@settings(max_examples=800, deadline=None)
@given(batches(st.binary(max_size=9)), MUTATIONS, st.integers(0, 400))
def test_damaged_records_are_read_or_named(made, mutations, cut):
    data = bytearray(made[1])
    for place, byte in mutations:
        data[21 + place % (len(data) - 21)] = byte
    data = data[: max(61, len(data) - cut)] if cut < 100 else data
    count = struct.unpack_from(">i", data, 57)[0]
    struct.pack_into(">i", data, 57, min(count, 1 << 20))
    # By our parser alone: aiokafka's may look behind the end of its buffer.
    try:
        for record in of_batch(bytes(data)):
            assert len(record.key or b"") + len(record.value or b"") <= len(data)
    except RecordError:
        pass


@settings(max_examples=300, deadline=None)
@given(batches(st.binary(max_size=9)), MUTATIONS)
def test_damaged_records_that_were_packed_are_read_or_a_fault(made, mutations):
    """As above, through the decoder, where a number may be read past the end without harm."""
    data = made[1]
    records = bytearray(data[61:]) or bytearray(b"\0")
    for place, byte in mutations:
        records[place % len(records)] = byte
    whole = bytearray(data[:61]) + bytes(cramjam.zstd.compress(bytes(records)))
    whole[22] |= 4
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    struct.pack_into(">I", whole, 17, crc32c(whole[21:]))
    try:
        for each in decode_batches(0, find_batches(0, memoryview(whole)), []):
            list(each.each())
    except LogFault as fault:
        assert "partition 0: the batch at offset" in str(fault)  # noqa: PT017
