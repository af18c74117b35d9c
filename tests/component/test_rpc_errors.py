"""Each refusal has its code, its reason and what a caller needs to act on it."""

import logging

import grpc
import pytest
from component.rpc_support import (
    Clock,
    Counts,
    bootstrapping,
    code_of,
    refusal,
    serving,
    table,
    view_of,
)

from sidecar._pb import cache_pb2 as pb
from sidecar.core.errors import Reason
from sidecar.core.served import Definition, Served, Trouble
from sidecar.rpc.errors import CODES

CODE = grpc.StatusCode
INDEX = pb.Filter(index=pb.IndexQuery(index="i", equals="x"))


async def refused(client, method="Get", **given):
    if method == "MultiGet" and "key" in given:
        given["keys"] = [given.pop("key")]
    request = getattr(pb, f"{method}Request")(**given)
    return await refusal(getattr(client.cache, method)(request))


def test_every_reason_has_a_code():
    assert set(CODES) == set(Reason)


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
async def test_a_table_that_is_being_read_is_unavailable_and_says_how_far_it_is(method):
    async with serving(bootstrapping("users", target=100)) as client:
        failure = await refused(client, method)
    assert failure.code is CODE.UNAVAILABLE
    assert failure.reason == "BOOTSTRAPPING"
    assert failure.metadata == {"table": "users", "position": "0", "target": "100"}
    assert failure.retry_ms > 0
    assert "0 of 100 offsets" in failure.message


@pytest.mark.parametrize(
    ("trouble", "reason", "retried"),
    [
        (Trouble(), "BOOTSTRAPPING", True),
        (Trouble(Reason.TOPIC_MISSING, "no such topic"), "TOPIC_MISSING", True),
        (Trouble(Reason.TOPIC_REPLACED, "another topic"), "TOPIC_REPLACED", True),
        (Trouble(Reason.TOPIC_MISSING, "no permission", final=True), "TABLE_FAILED", False),
    ],
)
async def test_a_table_without_a_view_tells_its_trouble(trouble, reason, retried):
    served = Served(Definition(name="users", topic="t"))
    served.trouble = trouble
    async with serving(served) as client:
        failure = await refused(client, freshness=pb.Freshness(allow_partial=True))
    assert (failure.code, failure.reason) == (CODE.UNAVAILABLE, reason)
    assert (failure.retry_ms is not None) == retried
    assert trouble.sentence in failure.message


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
async def test_a_table_must_be_named_where_there_are_several(method):
    async with serving(table("users"), table("orders")) as client:
        failure = await refused(client, method)
        assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "TABLE_REQUIRED")
        assert failure.metadata == {"tables": "orders, users"}
        failure = await refused(client, method, table="user")
        assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "UNKNOWN_TABLE")
        assert failure.metadata == {"table": "user", "tables": "orders, users"}
        assert "orders, users" in failure.message


async def test_what_a_client_sends_is_cut_before_it_goes_into_a_status():
    many = [table(f"table-{number:03}") for number in range(200)]
    async with serving(*many) as client:
        failure = await refused(client, table="x" * 100_000)
    assert failure.reason == "UNKNOWN_TABLE"
    assert len(failure.message) < 1000
    assert "(200 in all)" in failure.metadata["tables"]


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
@pytest.mark.parametrize("known", [True, False])
async def test_a_bound_on_staleness_that_does_not_hold_fails_at_once(method, known):
    served = table("users")
    if not known:
        served.view.topology_as_of = None
    async with serving(served, clock=Clock(1000.25)) as client:
        bound = pb.Freshness(max_staleness_ms=249, wait_ms=0)
        failure = await refused(client, method, freshness=bound)
    assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NOT_FRESH")
    assert failure.metadata["positions"] == "0:0"
    assert failure.metadata["staleness_ms"] == ("250" if known else "")


@pytest.mark.parametrize(
    ("method", "freshness"),
    [
        ("Get", {"max_staleness_ms": 0}),
        ("Get", {"wait_ms": 0}),
        ("MultiGet", {"incarnation": 0}),
        ("MultiGet", {"min_offsets": [pb.PartitionOffset()]}),
        ("MultiGet", {"at_least": pb.Positions()}),
        ("List", {}),
        ("Scan", {}),
    ],
)
async def test_a_partial_answer_goes_only_with_lookups_and_alone(method, freshness):
    asked = pb.Freshness(allow_partial=True, **freshness)
    async with serving(table("users")) as client:
        failure = await refused(client, method, freshness=asked)
    assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "BAD_FRESHNESS")


@pytest.mark.parametrize("method", ["List", "Scan"])
async def test_an_index_that_is_not_there_is_refused_with_those_that_are(method):
    async with serving(table("users")) as client:
        failure = await refused(client, method, filter=INDEX)
    assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "UNKNOWN_INDEX")
    assert failure.metadata == {"table": "users", "index": "i", "indexes": "none"}


@pytest.mark.parametrize("query", [{}, {"index": "i"}, {"equals": "x"}])
async def test_an_index_needs_a_name_and_a_text(query):
    chosen = pb.Filter(index=pb.IndexQuery(**query))
    async with serving(table("users")) as client:
        failure = await refused(client, "List", filter=chosen)
    assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "BAD_FILTER")
    assert failure.metadata == {"field": "filter.index"}


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
@pytest.mark.parametrize("given", [{"view": 99}, {"view": -1}, {"encoding": 3}, {"encoding": -1}])
async def test_a_number_that_names_nothing_is_an_error(method, given):
    async with serving(table("users", (b"a", b"1"))) as client:
        failure = await refused(client, method, **given)
    assert failure.code is CODE.INVALID_ARGUMENT
    assert failure.metadata["field"] in given


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
async def test_a_table_without_a_format_for_json_says_what_to_do(method):
    async with serving(table("users", (b"a", b"1"))) as client:
        failure = await refused(client, method, encoding=pb.ENCODING_JSON)
    assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NO_FORMAT")
    assert "tables.users.format" in failure.message


async def test_too_many_keys_name_the_limit():
    async with serving(table("users"), keys=2) as client:
        failure = await refusal(client.cache.MultiGet(pb.MultiGetRequest(keys=[b"a"] * 3)))
        await client.cache.MultiGet(pb.MultiGetRequest(keys=[b"a"] * 2))
    assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "TOO_MANY_KEYS")
    assert failure.metadata == {"keys": "3", "limit": "2"}


@pytest.mark.parametrize("method", ["Get", "MultiGet", "List", "Scan"])
async def test_an_answer_over_the_message_limit_names_the_key_and_the_size(method):
    served = table("users", (b"\xff", b"x" * 100_000))
    given = {"key": b"\xff"} if method in ("Get", "MultiGet") else {}
    async with serving(served, message_bytes=100_000) as client:
        failure = await refused(client, method, **given)
        key_only = await client.cache.Get(pb.GetRequest(key=b"\xff", view=pb.VIEW_META))
    assert (failure.code, failure.reason) == (CODE.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
    assert failure.metadata["key"] == "\\xff"
    assert int(failure.metadata["size"]) > 100_000
    assert key_only.presence == pb.PRESENCE_FOUND


async def test_many_keys_together_may_pass_the_limit_too():
    served = table("users", *((b"%d" % n, b"x" * 10_000) for n in range(20)))
    keys = [b"%d" % n for n in range(20)]
    async with serving(served, message_bytes=100_000) as client:
        failure = await refused(client, "MultiGet", keys=keys)
        answer = await client.cache.MultiGet(pb.MultiGetRequest(keys=keys[:9]))
    assert failure.reason == "RESPONSE_TOO_LARGE"
    assert len(answer.results) == 9


@pytest.mark.parametrize("size", range(99_900, 100_010, 5))
async def test_at_the_limit_an_answer_comes_or_is_refused_by_us(size):
    """Whatever passes our own check passes gRPC's, too."""
    served = table("users", (b"a", b"x" * size))
    async with serving(served, message_bytes=100_000) as client:
        call = client.cache.Lookup()
        await call.write(pb.LookupRequest(id=2**63, get=pb.GetRequest(key=b"a")))
        response = await call.read()
        assert response.WhichOneof("outcome") == "get" or response.error.reason
        calls = [
            client.cache.Get(pb.GetRequest(key=b"a")),
            client.cache.MultiGet(pb.MultiGetRequest(keys=[b"a"])),
            client.cache.List(pb.ListRequest()),
        ]
        refusals = [await refusal(call) for call in calls if await code_of(call) is not CODE.OK]
        assert {failure.reason for failure in refusals} <= {"RESPONSE_TOO_LARGE"}


async def test_a_status_fits_its_trailers_whatever_it_has_to_tell():
    served = table("users")
    served.current.view = view_of(partitions=5000)
    served.view.try_ready()
    async with serving(served) as client:
        failure = await refused(client, freshness=pb.Freshness(max_staleness_ms=1, wait_ms=0))
    assert failure.reason == "NOT_FRESH"
    assert failure.metadata["positions"].startswith("0:0,1:0")


async def test_a_bug_is_answered_internal_and_logged_without_what_it_says(caplog):
    served = table("users", (b"a", b"secret"))

    def broken(now, **_):
        raise KeyError(b"secret")

    served.read = broken
    async with serving(served) as client:
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.cache.Get(pb.GetRequest(key=b"a"))
        call = client.cache.Lookup()
        await call.write(pb.LookupRequest(id=1, get=pb.GetRequest(key=b"a")))
        in_stream = (await call.read()).error
        call.cancel()
    assert caught.value.code() is CODE.INTERNAL
    assert in_stream.code == CODE.INTERNAL.value[0]
    assert in_stream.message == caught.value.details()
    assert [record.fields["method"] for record in caplog.records] == ["Get", "Lookup"]
    for record in caplog.records:
        assert record.fields["error"] == "KeyError"
        assert record.fields["where"].endswith(" broken")
        assert "secret" not in str(record.__dict__)
    assert "secret" not in caught.value.details()


async def test_a_refused_call_is_timed_too():
    counts = Counts()
    async with serving(bootstrapping(), counts=counts) as client:
        await refused(client)
    assert counts.rpcs == ["Get"]
