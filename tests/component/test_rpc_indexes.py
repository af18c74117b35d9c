"""Lists and scans by an index, over the wire."""

import grpc
from component.rpc_support import Rec, fold, refusal, serving, swap, table

from sidecar._pb import cache_pb2 as pb

INDEXES = (("city", "$.city"), ("roles", "$.roles[*]"))


def users(*values):
    pairs = [(b"%03d" % n, value) for n, value in enumerate(values)]
    return table("users", *pairs, format="json", indexes=INDEXES)


def by(index, **match):
    return pb.Filter(index=pb.IndexQuery(index=index, **match))


async def listed(client, **request):
    """All keys, and how many there were a page."""
    keys, sizes, token = [], [], ""
    while True:
        page = await client.cache.List(pb.ListRequest(**request, page_token=token))
        keys += [record.key for record in page.records]
        sizes.append(len(page.records))
        token = page.next_page_token
        if not token:
            return keys, sizes


async def test_records_are_found_by_what_is_in_their_values_page_by_page():
    cities = [b'{"city":"%s"}' % city for city in (b"Delft", b"Gouda", b"Delft", b"Den Haag")]
    async with serving(users(*cities, b"not JSON", b'{"city":null}', b'{"city":7}')) as client:
        assert (await listed(client, filter=by("city", equals="Delft")))[0] == [b"000", b"002"]
        assert (await listed(client, filter=by("city", equals="7")))[0] == [b"006"]
        found = await listed(client, filter=by("city", prefix="De"), page_size=2)
        assert found == ([b"000", b"002", b"003"], [2, 1])
        whole = await listed(client, filter=by("city", prefix=""), page_size=1)
        assert whole[0] == [b"006", b"000", b"002", b"003", b"001"]
        call = client.cache.Scan(pb.ScanRequest(filter=by("city", prefix="De")))
        assert [one.key async for chunk in call for one in chunk.records] == found[0]


async def test_a_record_with_several_texts_is_met_once():
    values = [b'{"roles":["a","ab","ab"]}', b'{"roles":["ab"]}', b'{"roles":[]}']
    async with serving(users(*values)) as client:
        assert (await listed(client, filter=by("roles", equals="ab")))[0] == [b"000", b"001"]
        keys, _ = await listed(client, filter=by("roles", prefix="a"), page_size=1)
        assert keys == [b"000", b"001"]


async def test_an_index_follows_its_table():
    served = users(b'{"city":"Delft"}', b'{"city":"Delft"}')
    async with serving(served) as client:
        chosen = by("city", equals="Delft")
        assert (await listed(client, filter=chosen))[0] == [b"000", b"001"]
        fold(served, Rec(2, b"000", b'{"city":"Gouda"}'), Rec(3, b"001", None))
        fold(served, Rec(4, b"9", b'{"city":"Delft"}'))
        assert (await listed(client, filter=chosen))[0] == [b"9"]


async def test_a_scan_by_an_index_meets_what_kept_its_text_once():
    served = users(*(b'{"city":"c%d"}' % (n % 3) for n in range(3000)))
    seen, offset = [], 3000
    async with serving(served) as client:
        async for chunk in client.cache.Scan(pb.ScanRequest(filter=by("city", prefix="c"))):
            seen += [record.key for record in chunk.records]
            for number in range(0, 3000, 7):  # to another place, and back again
                city = b'{"city":"c%d"}' % ((number + len(seen) // 1000) % 3)
                fold(served, Rec(offset, b"%03d" % number, city))
                offset += 1
            for number in range(1, 3000, 7):  # to a value of the same text
                fold(served, Rec(offset, b"%03d" % number, b'{"city":"c%d","x":1}' % (number % 3)))
                offset += 1
    kept = [b"%03d" % n for n in range(3000) if n % 7]
    assert sorted(key for key in seen if key in set(kept)) == sorted(kept)


async def test_a_page_token_belongs_to_its_index_and_its_generation():
    served = users(b'{"city":"a"}', b'{"city":"a"}')
    async with serving(served) as client:
        request = {"filter": by("city", equals="a"), "page_size": 1}
        page = await client.cache.List(pb.ListRequest(**request))
        other = {**request, "filter": by("roles", equals="a")}
        token = page.next_page_token
        refused = await refusal(client.cache.List(pb.ListRequest(**other, page_token=token)))
        assert refused.reason == "BAD_TOKEN"
        swap(served, (b"a", b"1"))
        refused = await refusal(client.cache.List(pb.ListRequest(**request, page_token=token)))
        assert refused.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION)


async def test_the_indexes_are_told_of_the_table():
    async with serving(users(b"{}")) as client:
        from sidecar._pb import admin_pb2

        told = await client.admin.GetTable(admin_pb2.GetTableRequest(table="users"))
        assert list(told.table.indexes) == ["city", "roles"]
