"""List pages and Scan streams go through a table in key order, also while it changes."""

import asyncio
import random

import grpc
import pytest
from component.rpc_support import (
    Rec,
    bootstrapping,
    client,
    fold,
    refusal,
    server_of,
    serving,
    swap,
    table,
)

from sidecar._pb import cache_pb2 as pb
from sidecar.core.changes import SHARDS
from sidecar.rpc.tables import in_order

MIB = 1 << 20


def numbered(count, size=1, **definition):
    """Keys k000000 … with values of `size` bytes, folded in no order."""
    numbers = list(range(count))
    random.Random(7).shuffle(numbers)
    return table("users", *((b"k%06d" % n, b"v" * size) for n in numbers), **definition)


def keys_of(*responses):
    return [record.key for response in responses for record in response.records]


async def pages_of(client, **given):
    token, pages = "", []
    while not pages or token:
        page = await client.cache.List(pb.ListRequest(page_token=token, **given))
        pages.append(page)
        token = page.next_page_token
    return pages


async def scan_of(client, **given):
    return [chunk async for chunk in client.cache.Scan(pb.ScanRequest(**given))]


async def refused(client, method, **given):
    return await refusal(getattr(client.cache, method)(getattr(pb, f"{method}Request")(**given)))


@pytest.mark.parametrize("page_size", [1, 3, 10, 11])
async def test_pages_go_through_all_records_in_order(page_size):
    async with serving(numbered(10)) as client:
        pages = await pages_of(client, page_size=page_size)
    assert keys_of(*pages) == [b"k%06d" % n for n in range(10)]
    assert len(pages) == -(-10 // page_size)


async def test_a_page_size_that_is_left_out_or_too_large_means_the_limit():
    async with serving(numbered(25), page=10) as client:
        for page_size in (0, 10, 11, 2**31 - 1):
            pages = await pages_of(client, page_size=page_size)
            assert [len(page.records) for page in pages] == [10, 10, 5]
        failure = await refused(client, "List", page_size=-1)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.metadata == {"field": "page_size"}


@pytest.mark.parametrize("size", [100, 50_000, 600_000, 2 * MIB])
async def test_pages_and_chunks_end_near_a_mebibyte(size):
    count = max(5, 3 * MIB // size) if size > 100 else 3000
    async with serving(numbered(count, size)) as client:
        for parts in (await pages_of(client), await scan_of(client)):
            assert keys_of(*parts) == [b"k%06d" % n for n in range(count)]
            assert all(part.ByteSize() < MIB or len(part.records) == 1 for part in parts)
            assert all(len(part.records) <= 1000 for part in parts)
            assert len(parts) < 2 + count * (size + 80) * 2 // MIB or size == 100


KEYS = [b"", b"a", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"\xff\xffx"]


@pytest.mark.parametrize("method", [pages_of, scan_of])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, KEYS),
        ({"key_prefix": b""}, KEYS),
        ({"key_prefix": b"ab"}, [b"ab", b"abc"]),
        ({"key_prefix": b"\xff\xff"}, [b"\xff\xff", b"\xff\xffx"]),
        ({"key_prefix": b"c"}, []),
        ({"key_range": pb.KeyRange()}, KEYS),
        ({"key_range": pb.KeyRange(start=b"ab", end=b"b")}, [b"ab", b"abc"]),
        ({"key_range": pb.KeyRange(end=b"a")}, [b""]),
        ({"key_range": pb.KeyRange(start=b"b")}, [b"b", b"\xff", b"\xff\xff", b"\xff\xffx"]),
        ({"key_range": pb.KeyRange(start=b"a", end=b"a")}, []),
    ],
)
async def test_a_filter_selects_keys_by_unsigned_bytes(method, given, expected):
    served = table("users", *((name, b"1") for name in reversed(KEYS)))
    given = {"filter": pb.Filter(**given)} if given else {}
    if method is pages_of:
        given["page_size"] = 2
    async with serving(served) as client:
        parts = await method(client, **given)
    assert keys_of(*parts) == expected


@pytest.mark.parametrize("method", ["List", "Scan"])
async def test_a_filter_that_selects_by_nothing_or_backwards_is_an_error(method):
    backwards = pb.Filter(key_range=pb.KeyRange(start=b"b", end=b"a"))
    async with serving(table("users")) as client:
        failure = await refused(client, method, filter=pb.Filter())
        assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "BAD_FILTER")
        failure = await refused(client, method, filter=backwards)
        assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "BAD_RANGE")


async def test_an_empty_table_is_one_empty_part_that_tells_its_state():
    async with serving(table("users")) as client:
        for parts in (await pages_of(client), await scan_of(client)):
            assert [len(part.records) for part in parts] == [0]
            assert parts[0].state.generation


async def test_every_part_has_view_state_and_positions():
    async with serving(numbered(5)) as client:
        given = {"view": pb.VIEW_KEY, "include_positions": True}
        for part in await pages_of(client, page_size=2, **given) + await scan_of(client, **given):
            assert part.state.revision == 5
            assert part.state.positions.next_offsets[0].offset == 5
            assert not any(record.HasField("value") for record in part.records)


async def test_values_come_as_json_and_the_undecodable_ones_raw():
    served = table("users", (b"a", b"{"), (b"b", b"{}"), format="json")
    async with serving(served) as client:
        for parts in (
            await pages_of(client, encoding=pb.ENCODING_JSON),
            await scan_of(client, encoding=pb.ENCODING_JSON),
        ):
            bad, good = parts[0].records
            assert (bad.raw_value, bad.HasField("value"), good.value) == (b"{", False, b"{}")


async def test_a_record_that_was_there_throughout_is_on_one_page_whatever_changes():
    served = numbered(20)
    async with serving(served) as client:
        first = await client.cache.List(pb.ListRequest(page_size=10))
        changes = [
            Rec(20, b"k000009", None),  # the last key of the page before is gone
            Rec(21, b"k000010", None),
            Rec(22, b"k000003x", b"before"),
            Rec(23, b"k000010x", b"behind"),
        ]
        fold(served, *changes)
        token = first.next_page_token
        second = await client.cache.List(pb.ListRequest(page_size=20, page_token=token))
    assert keys_of(second) == [b"k000010x", *(b"k%06d" % n for n in range(11, 20))]
    assert second.next_page_token == ""
    assert second.state.revision == first.state.revision + 4


async def test_a_token_is_bound_to_its_table_and_filter_but_not_to_the_form():
    prefix = pb.Filter(key_prefix=b"k")
    other = table("orders", *((b"k%d" % n, b"") for n in range(5)))
    async with serving(numbered(10), other) as client:
        page = await client.cache.List(pb.ListRequest(table="users", filter=prefix, page_size=2))
        token = page.next_page_token
        for given in (
            {"table": "orders", "filter": prefix},
            {"table": "users"},
            {"table": "users", "filter": pb.Filter(key_prefix=b"k0")},
        ):
            failure = await refused(client, "List", page_token=token, **given)
            assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "BAD_TOKEN")
        request = pb.ListRequest(
            table="users", filter=prefix, page_token=token, page_size=3, view=pb.VIEW_KEY
        )
        assert len((await client.cache.List(request)).records) == 3


async def test_a_token_that_is_not_ours_is_refused():
    async with serving(numbered(10)) as client:
        token = (await client.cache.List(pb.ListRequest(page_size=2))).next_page_token
        flip = {"A": "B"}
        wrong = [
            *(token[:n] + flip.get(token[n], "A") + token[n + 1 :] for n in range(len(token))),
            *("x", "AAAA", "ä", "=", "A" * 100_000, token + "AAAA", token[:-4], f" {token}"),
        ]
        for text in wrong:
            failure = await refused(client, "List", page_token=text)
            assert failure.reason == "BAD_TOKEN", text


async def test_a_token_of_another_build_says_so():
    served = numbered(10)
    async with serving(served) as client:
        token = (await client.cache.List(pb.ListRequest(page_size=2))).next_page_token
        swap(served, (b"k000000", b"1"))
        failure = await refused(client, "List", page_token=token)
        assert (failure.code.name, failure.reason) == ("ABORTED", "GENERATION_CHANGED")
        assert keys_of(*await pages_of(client)) == [b"k000000"]


async def test_a_scan_sends_what_was_there_throughout_exactly_once():
    served = numbered(5000, 1000)
    stable = {b"k%06d" % n for n in range(0, 5000, 2)}
    seen, offset, chunks = [], 5000, 0
    async with serving(served) as client:
        async for chunk in client.cache.Scan(pb.ScanRequest(view=pb.VIEW_KEY)):
            seen += keys_of(chunk)
            chunks += 1
            changes = []
            for n in random.Random(chunks).sample(range(5000), 200):
                key = b"k%06d" % (n | 1)
                changes += [Rec(offset, key, None), Rec(offset + 1, key + b"x", b"new")]
                changes.append(Rec(offset + 2, b"k%06d" % (n & ~1), b"changed"))
                offset += 3
            fold(served, *changes)
    assert chunks > 3
    assert seen == sorted(set(seen))
    assert stable <= set(seen)


async def test_a_scan_meets_another_generation():
    served = numbered(5000, 5000)
    async with serving(served) as client:
        chunks = aiter(client.cache.Scan(pb.ScanRequest()))
        await anext(chunks)
        swap(served, (b"a", b"1"))
        failure = await refusal(chunks)
    assert (failure.code.name, failure.reason) == ("ABORTED", "GENERATION_CHANGED")


async def test_the_bound_of_a_scan_holds_when_it_begins():
    served = numbered(3000)
    async with serving(served) as client:
        bound = pb.Freshness(max_staleness_ms=0)
        chunks = aiter(client.cache.Scan(pb.ScanRequest(freshness=bound)))
        first = await anext(chunks)
        served.view.topology_as_of = None
        rest = [chunk async for chunk in chunks]
    assert len(first.records) + sum(len(chunk.records) for chunk in rest) == 3000


async def test_a_slow_reader_of_a_scan_is_waited_for_and_holds_up_nobody():
    served = numbered(300, 100_000)
    async with serving(served) as client:
        chunks = aiter(client.cache.Scan(pb.ScanRequest()))
        await anext(chunks)
        await asyncio.sleep(0.1)
        assert (await client.cache.Get(pb.GetRequest(key=b"k000000"))).presence == 1
        count = sum([len(chunk.records) async for chunk in chunks])
    assert 250 < count < 300


async def test_first_users_of_the_order_share_the_sorting():
    served = numbered(2000)
    ordered = served.view.ordered()
    built = []
    build_one = ordered.build_one
    ordered.build_one = lambda: (built.append(1), build_one())
    async with asyncio.TaskGroup() as group:
        uses = [group.create_task(in_order(served, "")) for _ in range(5)]
    assert len(built) == SHARDS
    assert all(use.result() == (served.view, ordered) for use in uses)


async def test_a_first_user_that_gives_up_leaves_the_order_to_the_others():
    served = numbered(2000)
    first, second = (asyncio.create_task(in_order(served, "")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    _, ordered = await second
    assert ordered.page(b"", b"", 3000) == [b"k%06d" % n for n in range(2000)]


async def test_a_swap_while_the_order_is_made_ends_the_request():
    served = numbered(2000)
    server = server_of(served)
    await server.start()
    async with client(server.addresses[0]) as connected:
        builds = served.view.ordered()
        build_one, view = builds.build_one, served.view
        builds.build_one = lambda: (build_one(), swap(served, (b"a", b"1")))
        failure = await refused(connected, "List")
        assert failure.reason == "GENERATION_CHANGED"
        assert served.view is not view
    await server.stop(0)


async def test_nothing_is_sorted_for_a_table_that_is_not_ready():
    served = bootstrapping()
    async with serving(served) as client:
        await refused(client, "List")
        await refused(client, "Scan")
    assert not served.view.ordered().built
