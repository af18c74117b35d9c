"""Get, MultiGet and Lookup tell what is known of a key, and of what it is the truth."""

import asyncio
import itertools
import json

import grpc
import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Clock,
    Counts,
    Rec,
    bootstrapping,
    fold,
    refusal,
    serving,
    table,
)

from sidecar._pb import cache_pb2 as pb

FOUND, ABSENT, UNKNOWN = pb.PRESENCE_FOUND, pb.PRESENCE_ABSENT, pb.PRESENCE_UNKNOWN


async def get(client, key=b"a", **given):
    return await client.cache.Get(pb.GetRequest(key=key, **given))


async def lookups(client, *requests):
    call = client.cache.Lookup()
    for number, request in enumerate(requests):
        await call.write(pb.LookupRequest(id=number, **request))
    await call.done_writing()
    return {response.id: response async for response in call}


async def test_a_key_that_has_a_value_is_found_with_its_origin():
    async with serving(table("users", Rec(0, b"a", b"1", 1234))) as client:
        answer = await get(client)
    assert answer.presence == FOUND
    assert answer.record == pb.Record(
        key=b"a",
        value=b"1",
        partition=0,
        offset=0,
        timestamp_ms=1234,
        timestamp_type=pb.TIMESTAMP_TYPE_CREATE_TIME,
    )


async def test_a_key_that_no_partition_holds_is_absent_and_no_error():
    async with serving(table("users", (b"a", b"1"), (b"a", None))) as client:
        for key in (b"a", b"b"):
            answer = await get(client, key)
            assert answer.presence == ABSENT
            assert not answer.HasField("record")


@pytest.mark.parametrize("view", pb.View.values())
async def test_the_empty_key_is_a_key_and_the_empty_value_a_value(view):
    async with serving(table("users", (b"", b""))) as client:
        answer = await get(client, b"", view=view)
    assert answer.presence == FOUND
    assert answer.HasField("record")
    assert answer.record.HasField("value") == (view not in (pb.VIEW_KEY, pb.VIEW_META))


async def test_every_answer_says_of_what_it_is_the_truth():
    clock = Clock(1000.25)
    async with serving(table("users", (b"a", b"1"), (b"b", b"2")), clock=clock) as client:
        state = (await get(client)).state
    assert state == pb.State(
        staleness_ms=250, incarnation=INCARNATION, generation=GENERATION, revision=2
    )


async def test_staleness_that_is_not_known_is_unset():
    served = table("users", (b"a", b"1"))
    served.view.topology_as_of = None
    async with serving(served) as client:
        assert not (await get(client)).state.HasField("staleness_ms")


async def test_a_staleness_of_months_still_fits_its_field():
    async with serving(table("users", (b"a", b"1")), clock=Clock(1e8)) as client:
        assert (await get(client)).state.staleness_ms == 2**32 - 1


async def test_positions_come_when_asked_for():
    async with serving(table("users", (b"a", b"1"), (b"b", b"2"))) as client:
        assert not (await get(client)).state.HasField("positions")
        positions = (await get(client, include_positions=True)).state.positions
    assert positions == pb.Positions(
        incarnation=INCARNATION,
        next_offsets=[pb.PartitionOffset(partition=0, offset=2, leader_epoch=5)],
    )


@pytest.mark.parametrize(
    ("view", "fields"),
    [
        (pb.VIEW_KEY, {"key"}),
        (pb.VIEW_META, {"key", "offset", "timestamp_ms", "timestamp_type"}),
        (pb.VIEW_RECORD, {"key", "value", "offset", "timestamp_ms", "timestamp_type"}),
        (pb.VIEW_UNSPECIFIED, {"key", "value", "offset", "timestamp_ms", "timestamp_type"}),
        (pb.VIEW_FULL, {"key", "value", "offset", "timestamp_ms", "timestamp_type", "headers"}),
    ],
)
async def test_a_view_selects_what_a_record_carries(view, fields):
    record = Rec(1, b"a", b"1", headers=[("h", b"x"), ("h", None)])
    async with serving(table("users", Rec(0, b"", b""), record, headers=True)) as client:
        answer = await get(client, view=view)
    assert {field.name for field, _ in answer.record.ListFields()} == fields
    if view == pb.VIEW_FULL:
        assert list(answer.record.headers) == [pb.Header(key=b"h", value=b"x"), pb.Header(key=b"h")]


async def test_the_one_who_set_the_timestamp_is_told():
    served = bootstrapping("users", target=1)
    fold(served, Rec(0, b"a", b"1"), timestamp_type=1)
    async with serving(served) as client:
        record = (await get(client)).record
    assert record.timestamp_type == pb.TIMESTAMP_TYPE_LOG_APPEND_TIME


async def test_many_keys_are_answered_in_request_order_from_one_state():
    async with serving(table("users", (b"a", b"1"), (b"b", b"2"))) as client:
        keys = [b"b", b"x", b"a", b"b"]
        answer = await client.cache.MultiGet(pb.MultiGetRequest(keys=keys))
    assert [result.presence for result in answer.results] == [FOUND, ABSENT, FOUND, FOUND]
    assert [result.record.value for result in answer.results] == [b"2", b"", b"1", b"2"]
    assert answer.state.revision == 2


async def test_many_keys_are_read_at_one_moment_whatever_is_written_meanwhile():
    keys = [b"%d" % number for number in range(50)]
    served = table("users", *((key, b"0") for key in keys))

    async def write():
        for at in itertools.count(1):
            fold(served, *(Rec(at * len(keys) + n, key, b"%d" % at) for n, key in enumerate(keys)))
            await asyncio.sleep(0)

    async with serving(served) as client:
        writing = asyncio.create_task(write())
        try:
            for _ in range(20):
                answer = await client.cache.MultiGet(pb.MultiGetRequest(keys=keys))
                assert len({result.record.value for result in answer.results}) == 1
        finally:
            writing.cancel()


async def test_no_keys_are_answered_with_no_results():
    async with serving(table("users")) as client:
        answer = await client.cache.MultiGet(pb.MultiGetRequest())
    assert not answer.results
    assert answer.state.generation == GENERATION


async def test_during_the_bootstrap_a_partial_answer_is_found_or_unknown_and_absent_once_ready():
    served = bootstrapping("users", target=3)
    fold(served, Rec(0, b"a", b"1"))
    partial = pb.Freshness(allow_partial=True)
    async with serving(served) as client:
        assert (await get(client, freshness=partial)).presence == FOUND
        assert (await get(client, b"b", freshness=partial)).presence == UNKNOWN
        many = pb.MultiGetRequest(keys=[b"a", b"b"], freshness=partial)
        results = (await client.cache.MultiGet(many)).results
        assert [result.presence for result in results] == [FOUND, UNKNOWN]
        fold(served, Rec(2, b"c", b"3"))
        assert (await get(client, b"b", freshness=partial)).presence == ABSENT


async def test_a_bound_on_staleness_that_holds_is_answered():
    async with serving(table("users", (b"a", b"1")), clock=Clock(1000.125)) as client:
        for bound in ({"max_staleness_ms": 125}, {"max_staleness_ms": 125, "wait_ms": 0}, {}):
            answer = await get(client, freshness=pb.Freshness(**bound))
            assert answer.presence == FOUND


async def test_text_comes_as_a_json_string_and_json_as_it_stands():
    users = table("users", (b"a", "ä".encode()), format="utf8")
    orders = table("orders", (b"a", b' {"n":1}'), format="json")
    async with serving(users, orders) as client:
        text = await get(client, table="users", encoding=pb.ENCODING_JSON)
        value = await get(client, table="orders", encoding=pb.ENCODING_JSON)
        raw = await get(client, table="users", encoding=pb.ENCODING_RAW)
    assert json.loads(text.record.value) == "ä"
    assert value.record.value == b' {"n":1}'
    assert raw.record.value == "ä".encode()


async def test_a_value_that_cannot_be_decoded_keeps_its_raw_bytes_and_the_reason():
    counts = Counts()
    served = table("users", (b"a", b"{"), (b"b", b"{}"), format="json", headers=True)
    async with serving(served, counts=counts) as client:
        for _ in range(2):
            record = (await get(client, encoding=pb.ENCODING_JSON, view=pb.VIEW_FULL)).record
            assert not record.HasField("value")
            assert record.raw_value == b"{"
            assert record.decode_error.startswith("not JSON")
        fold(served, Rec(2, b"a", b"[]"))
        healed = (await get(client, encoding=pb.ENCODING_JSON)).record
    assert (healed.value, healed.decode_error, healed.HasField("raw_value")) == (b"[]", "", False)
    assert counts.undecodables == ["users"]


async def test_views_without_a_value_decode_nothing():
    counts = Counts()
    async with serving(table("users", (b"a", b"{"), format="json"), counts=counts) as client:
        answer = await get(client, encoding=pb.ENCODING_JSON, view=pb.VIEW_META)
    assert answer.record.decode_error == ""
    assert counts.undecodables == []


async def test_one_table_needs_no_name_and_several_are_told_apart():
    async with serving(table("users", (b"a", b"1"))) as client:
        assert (await get(client)).record.value == b"1"
        assert (await get(client, table="users")).record.value == b"1"
    async with serving(table("users", (b"a", b"1")), table("orders", (b"a", b"2"))) as client:
        assert (await get(client, table="orders")).record.value == b"2"


async def test_a_stream_answers_each_request_with_its_id():
    async with serving(table("users", (b"a", b"1"))) as client:
        answers = await lookups(
            client,
            {"get": pb.GetRequest(key=b"a")},
            {"multi_get": pb.MultiGetRequest(keys=[b"a", b"b"])},
            {"get": pb.GetRequest(key=b"b")},
        )
    assert answers[0].get.record.value == b"1"
    assert [result.presence for result in answers[1].multi_get.results] == [FOUND, ABSENT]
    assert answers[2].get.presence == ABSENT


async def test_the_error_of_one_request_does_not_end_the_stream():
    waiting = bootstrapping("orders")
    async with serving(table("users", (b"a", b"1")), waiting) as client:
        answers = await lookups(
            client,
            {"get": pb.GetRequest(key=b"a")},
            {"get": pb.GetRequest(table="orders", key=b"a")},
            {"multi_get": pb.MultiGetRequest(table="none")},
            {},
            {"get": pb.GetRequest(table="users", key=b"a")},
        )
    codes = [answers[number].error.code for number in range(5)]
    status = grpc.StatusCode
    assert codes == [
        status.INVALID_ARGUMENT.value[0],
        status.UNAVAILABLE.value[0],
        status.NOT_FOUND.value[0],
        status.INVALID_ARGUMENT.value[0],
        0,
    ]
    error = answers[1].error
    assert (error.reason, error.metadata["table"]) == ("BOOTSTRAPPING", "orders")
    assert error.retry_after_ms > 0
    assert not answers[2].error.HasField("retry_after_ms")
    assert answers[4].get.presence == FOUND


async def test_a_reader_that_does_not_read_is_not_read_from():
    counts = Counts()
    served = table("users", (b"a", b"x" * 100_000))
    async with serving(served, counts=counts) as client:
        call = client.cache.Lookup()
        written = 0
        for number in range(1000):
            await call.write(pb.LookupRequest(id=number, get=pb.GetRequest(key=b"a")))
            written += 1
        done = len([name for name in counts.rpcs if name == "Lookup"])
        assert done < written / 2
        # Nobody else is held up.
        assert (await get(client)).presence == FOUND
        call.cancel()


async def test_lookups_and_calls_are_counted():
    counts = Counts()
    async with serving(table("users", (b"a", b"1")), counts=counts) as client:
        await get(client)
        await get(client, b"b")
        await client.cache.MultiGet(pb.MultiGetRequest(keys=[b"a", b"b", b"c"]))
        await lookups(client, {"get": pb.GetRequest(key=b"a")})
        await refusal(client.cache.Get(pb.GetRequest(table="none")))
    assert counts.lookups == {("users", FOUND): 3, ("users", ABSENT): 3}
    assert sorted(counts.rpcs) == ["Get", "Get", "Get", "Lookup", "Lookup", "MultiGet"]
