"""Records in key order."""

import grpc
import pytest
from both import collected, done
from fake_sidecar import GENERATION, failure
from kafka_cache_client import Outdated


@pytest.fixture
def filled(sidecar):
    for number in range(5):
        sidecar.put(b"a%d" % number, b"", offset=number)
    sidecar.put(b"b", b"")
    return sidecar


async def keys(iterator):
    return [record.key for record in await collected(iterator)]


async def test_list_goes_through_all_pages(client, filled):
    assert await keys(client.list()) == [b"a0", b"a1", b"a2", b"a3", b"a4", b"b"]
    assert [request.page_token for request in filled.requests] == ["", "2", "4"]


async def test_an_empty_table_lists_nothing(client):
    assert await keys(client.list()) == []


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"prefix": "a"}, [b"a0", b"a1", b"a2", b"a3", b"a4"]),
        ({"prefix": b"b"}, [b"b"]),
        ({"start": "a3"}, [b"a3", b"a4", b"b"]),
        ({"end": "a1"}, [b"a0"]),
        ({"start": "a1", "end": "a3"}, [b"a1", b"a2"]),
    ],
)
async def test_list_selects_by_prefix_and_by_range(client, filled, selection, expected):
    assert await keys(client.list(**selection)) == expected


async def test_the_filter_and_the_bounds_go_with_every_page(client, filled):
    await collected(client.list(prefix="a", page_size=3, max_staleness_ms=9, table="t"))
    first, second = filled.requests
    assert first.freshness.max_staleness_ms == 9
    first.page_token = second.page_token
    assert first == second


async def test_pages_carry_their_state(client, filled):
    pages = await collected(client.pages(page_size=4))
    assert [len(page.records) for page in pages] == [4, 2]
    assert {page.state.generation for page in pages} == {GENERATION}


async def test_nothing_is_fetched_before_it_is_asked_for(client, filled):
    records = client.list()
    assert filled.requests == []
    step = anext(records) if hasattr(records, "__anext__") else next(records)
    assert (await done(step)).key == b"a0"
    assert len(filled.requests) == 1


async def test_a_rebuild_ends_the_list_with_its_error(client, filled):
    filled.failures = [None, failure(grpc.StatusCode.ABORTED, "GENERATION_CHANGED")]
    seen = []
    with pytest.raises(Outdated, match="GENERATION_CHANGED"):
        await _into(seen, client.list())
    assert [record.key for record in seen] == [b"a0", b"a1"]


async def _into(seen, iterator):
    if hasattr(iterator, "__aiter__"):
        async for record in iterator:
            seen.append(record)
    else:
        for record in iterator:
            seen.append(record)


def test_a_prefix_does_not_go_with_a_range(client):
    with pytest.raises(ValueError, match="prefix"):
        client.list(prefix="a", end="b")


def test_partial_answers_are_not_for_lists(client):
    with pytest.raises(TypeError, match="allow_partial"):
        client.list(allow_partial=True)
