"""Fetch v13, by a second encoder that knows nothing of the first: support.protocol."""

import random
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.protocol import APIS, decode, encode

from sidecar.core.model import LogBounds
from sidecar.kafka.errors import BrokerFault
from sidecar.kafka.wire import FETCH, FETCH_VERSION, Wanted, encode_fetch, parse_fetch

FETCH_API = APIS[FETCH]
TOPIC = uuid.UUID(int=0x0123456789ABCDEF0123456789ABCDEF)

int16, int32, int64 = (st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (16, 32, 64))


# Requests


def requested(data):
    """Take a request apart: (header, body) as the second decoder reads them."""
    (size,) = struct.unpack_from(">i", data)
    assert size == len(data) - 4
    api, version, correlation, name_size = struct.unpack_from(">hhih", data, 4)
    behind = 14 + name_size
    assert data[behind] == 0  # no tags in the header
    header = api, version, correlation, data[14:behind].decode()
    return header, decode(FETCH_API.request, data[behind + 1 :], version, flexible=True)


def fetch_of(*wanted, committed=True, client_id="sidecar"):
    return encode_fetch(
        5,
        client_id,
        TOPIC,
        wanted,
        committed=committed,
        max_wait_ms=500,
        max_bytes=1 << 24,
        partition_max_bytes=1 << 20,
    )


def test_a_fetch_says_what_is_wanted_by_topic_id():
    header, body = requested(fetch_of(Wanted(3, 7, 1 << 40, 6)))
    assert header == (FETCH, FETCH_VERSION, 5, "sidecar")
    (topic,) = body.pop("topics")
    assert topic["topic_id"] == TOPIC
    assert topic["partitions"] == [
        {
            "partition": 3,
            "current_leader_epoch": 7,
            "fetch_offset": 1 << 40,
            "last_fetched_epoch": 6,
            "log_start_offset": -1,
            "partition_max_bytes": 1 << 20,
        }
    ]
    assert body == {
        "replica_id": -1,
        "max_wait_ms": 500,
        "min_bytes": 1,
        "max_bytes": 1 << 24,
        "isolation_level": 1,
        "session_id": 0,
        "session_epoch": -1,
        "forgotten_topics_data": [],
        "rack_id": "",
    }


@pytest.mark.parametrize(("committed", "level"), [(True, 1), (False, 0)])
def test_the_isolation_level_is_read_committed_or_not(committed, level):
    _, body = requested(fetch_of(Wanted(0, 0, 0, -1), committed=committed))
    assert body["isolation_level"] == level


@given(st.lists(st.builds(Wanted, int32, int32, int64, int32), max_size=300))
def test_every_partition_that_is_wanted_is_asked_for_in_order(wanted):
    _, body = requested(fetch_of(*wanted))
    asked = body["topics"][0]["partitions"]
    assert [
        (
            one["partition"],
            one["current_leader_epoch"],
            one["fetch_offset"],
            one["last_fetched_epoch"],
        )
        for one in asked
    ] == wanted


@pytest.mark.parametrize("client_id", ["", "ünder-ström", "x" * 300])
def test_a_client_id_may_be_any_text(client_id):
    header, _ = requested(fetch_of(Wanted(0, 0, 0, 0), client_id=client_id))
    assert header[3] == client_id


# Responses

diverging = st.none() | st.fixed_dictionaries({"epoch": int32, "end_offset": int64})
partitions = st.fixed_dictionaries(
    {
        "partition": int32,
        "error_code": int16,
        "high_watermark": int64,
        "last_stable_offset": int64,
        "log_start_offset": int64,
        "aborted_transactions": st.none()
        | st.lists(
            st.fixed_dictionaries({"producer_id": int64, "first_offset": int64}), max_size=3
        ),
        "preferred_read_replica": int32,
        "records": st.none() | st.binary(max_size=200),
        "diverging_epoch": diverging,
        "current_leader": st.none()
        | st.fixed_dictionaries({"leader_id": int32, "leader_epoch": int32}),
    }
)
responses = st.fixed_dictionaries(
    {
        "throttle_time_ms": int32,
        "error_code": int16,
        "session_id": int32,
        "topics": st.lists(
            st.fixed_dictionaries(
                {"topic_id": st.uuids(), "partitions": st.lists(partitions, max_size=4)}
            ),
            max_size=2,
        ),
    }
)


def framed(response, correlation_id=9):
    body = encode(FETCH_API.response, response, FETCH_VERSION, flexible=True)
    return struct.pack(">iB", correlation_id, 0) + body


def with_pairs(each):
    return [(one["producer_id"], one["first_offset"]) for one in each or ()]


@given(responses, int32)
def test_a_response_says_what_the_broker_wrote(response, correlation_id):
    parsed = parse_fetch(memoryview(framed(response, correlation_id)))
    written = [each for topic in response["topics"] for each in topic["partitions"]]
    assert parsed.correlation_id == correlation_id
    assert (parsed.throttle_ms, parsed.error_code) == (
        response["throttle_time_ms"],
        response["error_code"],
    )
    assert len(parsed.answers) == len(written)
    for answer, each in zip(parsed.answers, written, strict=True):
        diverged = each["diverging_epoch"]
        assert answer.partition == each["partition"]
        assert answer.error_code == each["error_code"]
        assert answer.bounds == LogBounds(
            log_start_offset=each["log_start_offset"],
            high_watermark=each["high_watermark"],
            last_stable_offset=each["last_stable_offset"],
        )
        assert answer.aborted == with_pairs(each["aborted_transactions"])
        assert answer.preferred_read_replica == each["preferred_read_replica"]
        assert answer.records == (each["records"] or b"")
        assert answer.diverging == (diverged and (diverged["epoch"], diverged["end_offset"]))


def one_partition(**fields):
    return {"topics": [{"topic_id": TOPIC, "partitions": [fields]}]}


def test_records_are_a_slice_of_the_frame_and_not_a_copy():
    frame = bytearray(framed(one_partition(records=b"whole batches")))
    (answer,) = parse_fetch(memoryview(frame)).answers
    frame[frame.index(b"whole")] = ord("W")
    assert bytes(answer.records) == b"Whole batches"


def test_tags_that_we_do_not_know_are_passed_over():
    frame = framed(one_partition(current_leader={"leader_id": 4, "leader_epoch": 2}))
    (answer,) = parse_fetch(memoryview(frame)).answers
    assert answer.diverging is None
    header = struct.pack(">iB", 9, 1) + b"\x05\x03abc"
    assert parse_fetch(memoryview(header + frame[5:])).correlation_id == 9


FULL = framed(
    {
        "throttle_time_ms": 3,
        "topics": [
            {
                "topic_id": TOPIC,
                "partitions": [
                    {
                        "partition": 1,
                        "aborted_transactions": [{"producer_id": 5, "first_offset": 6}],
                        "records": b"r" * 200,
                        "diverging_epoch": {"epoch": 1, "end_offset": 2},
                    },
                    {"partition": 2},
                ],
            }
        ],
    }
)


@pytest.mark.parametrize("size", range(len(FULL)))
def test_a_response_that_is_cut_short_is_a_fault_of_the_broker(size):
    with pytest.raises(BrokerFault, match=rf"{size} bytes makes no sense"):
        parse_fetch(memoryview(FULL)[:size])


def test_a_tag_that_passes_the_end_is_a_fault_of_the_broker():
    assert parse_fetch(memoryview(FULL[:-1] + b"\1\5\2ab")).answers
    with pytest.raises(BrokerFault, match="pass its end"):
        parse_fetch(memoryview(FULL[:-1] + b"\1\5\3ab"))


def parsed_or_refused(data):
    """Nothing but `BrokerFault` may come out of a response, whatever is in it."""
    try:
        parse_fetch(memoryview(data))
    except BrokerFault:
        return


@settings(max_examples=500)
@given(st.binary(max_size=120))
def test_random_bytes_are_parsed_or_refused(data):
    parsed_or_refused(data)
    parsed_or_refused(FULL[:5] + data)
    parsed_or_refused(FULL[:15] + b"\2" + TOPIC.bytes + data)


@given(responses, st.data())
def test_a_damaged_response_is_parsed_or_refused(response, data):
    frame = bytearray(framed(response))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(
            st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF])
        )
    parsed_or_refused(frame)


def test_each_single_byte_may_be_damaged():
    numbers = random.Random(7)
    for place in range(len(FULL)):
        for _ in range(8):
            parsed_or_refused(FULL[:place] + bytes([numbers.randrange(256)]) + FULL[place + 1 :])


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x0f", b"\x80" * 5, b"\xff" * 9, b"\x80"])
def test_a_length_that_makes_no_sense_is_refused(length):
    for place in (4, 15):
        with pytest.raises(BrokerFault):
            parse_fetch(memoryview(FULL[:place] + length))
