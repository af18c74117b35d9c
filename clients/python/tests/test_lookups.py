"""Lookups by key."""

import pytest
from both import done
from fake_sidecar import GENERATION
from kafka_cache_client import (
    NotReady,
    PartitionOffset,
    Positions,
    Presence,
    Record,
    State,
    TooLarge,
)
from kafka_cache_client._pb import cache_pb2


async def test_get_gives_the_record_and_its_origin(client, sidecar):
    sidecar.put(b"a", b"one", offset=5)
    assert await done(client.get(b"a")) == Record(b"a", b"one", 1, 5, 1_700_000)


async def test_get_gives_none_for_an_absent_key(client):
    assert await done(client.get("missing")) is None


async def test_text_keys_are_utf8(client, sidecar):
    sidecar.put("schlüssel".encode(), b"x")
    assert (await done(client.get("schlüssel"))).value == b"x"


async def test_an_empty_key_is_a_key_and_an_empty_value_a_value(client, sidecar):
    sidecar.put(b"", b"")
    record = await done(client.get(b""))
    assert (record.key, record.value) == (b"", b"")


async def test_lookup_tells_presence_and_state(client, sidecar):
    sidecar.put(b"a", b"1")
    answer = await done(client.lookup(b"a"))
    assert answer.presence is Presence.FOUND
    assert answer.state == State(
        staleness_ms=7, generation=GENERATION, revision=1, incarnation=77, positions=None
    )
    absent = await done(client.lookup(b"b"))
    assert (absent.presence, absent.record) == (Presence.ABSENT, None)


async def test_get_of_an_unknown_key_raises_instead_of_giving_none(client, sidecar):
    sidecar.bootstrapping = True
    with pytest.raises(NotReady) as caught:
        await done(client.get(b"a", allow_partial=True))
    assert caught.value.reason == "KEY_UNKNOWN"
    answer = await done(client.lookup(b"a", allow_partial=True))
    assert (answer.presence, answer.record) == (Presence.UNKNOWN, None)


async def test_a_presence_from_the_future_is_not_absent(client, sidecar, monkeypatch):
    monkeypatch.setattr(sidecar, "_presence", lambda *_: 99)
    assert (await done(client.lookup(b"a"))).presence is Presence.UNKNOWN


async def test_get_many_gives_what_was_found_under_the_keys_as_given(client, sidecar):
    sidecar.put(b"a", b"1")
    sidecar.put(b"c", b"3")
    records = await done(client.get_many(key for key in ["c", "b", "a", "a"]))
    assert {key: record.value for key, record in records.items()} == {"c": b"3", "a": b"1"}
    assert await done(client.get_many([b"b"])) == {}


async def test_get_many_raises_where_a_key_is_unknown(client, sidecar):
    sidecar.put(b"a", b"1")
    sidecar.bootstrapping = True
    with pytest.raises(NotReady, match="keys=2"):
        await done(client.get_many([b"a", b"b", b"c"], allow_partial=True))


async def test_lookup_many_answers_in_the_order_of_the_keys(client, sidecar):
    sidecar.put(b"a", b"1")
    answers = await done(client.lookup_many(["b", "a"]))
    assert [answer.presence for answer in answers] == [Presence.ABSENT, Presence.FOUND]
    assert answers[0].state is answers[1].state


async def test_too_many_keys_are_not_split_but_refused_with_the_limit(client, sidecar):
    sidecar.max_keys = 2
    with pytest.raises(TooLarge, match=r"TOO_MANY_KEYS.*limit=2"):
        await done(client.get_many(["a", "b", "c"]))
    assert len(sidecar.requests) == 1


async def test_a_lone_key_is_not_taken_for_many(client):
    with pytest.raises(TypeError, match="several keys"):
        await done(client.get_many("abc"))


async def test_bounds_go_out_only_as_set(client, sidecar):
    await done(client.get(b"a"))
    assert not sidecar.requests[-1].HasField("freshness")
    at_least = Positions((PartitionOffset(0, 12, 3), PartitionOffset(1, 0)), incarnation=77)
    await done(
        client.get(
            b"a", table="t", max_staleness_ms=0, wait_ms=0, min_offsets={1: 5}, at_least=at_least
        )
    )
    slot = cache_pb2.PartitionOffset
    assert sidecar.requests[-1] == cache_pb2.GetRequest(
        table="t",
        key=b"a",
        view=cache_pb2.VIEW_RECORD,
        encoding=cache_pb2.ENCODING_RAW,
        freshness=cache_pb2.Freshness(
            max_staleness_ms=0,
            wait_ms=0,
            min_offsets=[slot(partition=1, offset=5)],
            at_least=cache_pb2.Positions(
                incarnation=77,
                next_offsets=[
                    slot(partition=0, offset=12, leader_epoch=3),
                    slot(partition=1, offset=0),
                ],
            ),
        ),
    )


async def test_positions_of_an_answer_can_be_sent_back(client, sidecar):
    answer = await done(client.lookup(b"a", include_positions=True))
    assert answer.state.positions == Positions(
        (PartitionOffset(0, 12, 3), PartitionOffset(1, 0)), incarnation=77
    )
    await done(client.get(b"a", at_least=answer.state.positions))
    assert sidecar.requests[-1].freshness.at_least.next_offsets[0].leader_epoch == 3


async def test_the_table_of_the_client_is_meant_unless_another_is_named(connected, target, sidecar):
    client = connected(target, table="users")
    await done(client.get(b"a"))
    await done(client.get(b"a", table="orders"))
    assert [request.table for request in sidecar.requests] == ["users", "orders"]


async def test_view_and_encoding_are_passed_on(client, sidecar):
    sidecar.put(b"a", b"{}", headers=[cache_pb2.Header(key=b"h"), cache_pb2.Header(value=b"")])
    record = await done(client.get(b"a", view="full", encoding="json"))
    assert record.headers == ((b"h", None), (b"", b""))
    assert sidecar.requests[-1].view == cache_pb2.VIEW_FULL
    assert sidecar.requests[-1].encoding == cache_pb2.ENCODING_JSON


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_stale_ms": 1}, TypeError, "unexpected option 'max_stale_ms'"),
        ({"view": "all"}, ValueError, "view: 'all' is none of record"),
        ({"encoding": "xml"}, ValueError, "encoding: 'xml' is none of raw"),
        ({"max_staleness_ms": -1}, ValueError, "range"),
    ],
)
async def test_an_option_that_cannot_be_sent_is_refused(client, options, error, words):
    with pytest.raises(error, match=words):
        await done(client.get(b"a", **options))


async def test_a_key_is_bytes_or_text(client):
    with pytest.raises(TypeError, match="not int"):
        await done(client.get(7))
