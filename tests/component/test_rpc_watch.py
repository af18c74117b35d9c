"""Watch over the wire: where it begins, what it tells, and how it goes on."""

import asyncio

import grpc
import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Clock,
    Rec,
    failure_of,
    fold,
    table,
)
from component.watching import SNAPSHOT, held_by, watching

from sidecar._pb import cache_pb2 as pb
from sidecar.core.rule import Ruled
from sidecar.formats import Decoded, Schemas
from sidecar.rpc.turns import Turns

CODE = grpc.StatusCode
# Before a value that names schema 7.
FRAME = b"\0\0\0\0\x07"


def offsets(positions):
    return {one.partition: one.offset for one in positions.next_offsets}


# Where it begins


async def test_a_watch_from_now_tells_where_it_begins_and_then_each_change():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following = watch()
        began = await following.until("progress")
        assert offsets(began.positions) == {0: 1}
        assert (began.revision, began.positions.incarnation) == (1, INCARNATION)
        assert began.staleness_ms == 0
        fold(users, Rec(1, b"b", b"2"), Rec(2, b"a", None), Rec(3, None, b"x"))
        following.held = {b"a": b"1"}
        await following.until_held({b"b": b"2"})
        assert following.kinds == ["progress", "upsert", "deletion"]
        upsert, deletion = following.events[1].upsert, following.events[2].deletion
        assert (upsert.key, upsert.value, upsert.offset) == (b"b", b"2", 1)
        assert (deletion.key, deletion.partition, deletion.offset) == (b"a", 0, 2)
        assert deletion.cause == pb.DELETION_CAUSE_TOMBSTONE
        assert not any(event.HasField("cause") for event in following.events)
        response = following.responses[-1]
        assert (response.incarnation, response.generation) == (INCARNATION, GENERATION)
        assert response.resume_token


async def test_a_snapshot_comes_first_and_its_end_is_told_with_a_token():
    users = table("users", *[(b"%d" % n, b"x" * 100) for n in range(2000)])
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        end = await following.until("snapshot_end")
        assert following.held == held_by(users)
        assert (end.revision, offsets(end.positions)) == (2000, {0: 2000})
        *before, last = following.responses
        assert len(before) > 2
        assert not any(response.resume_token for response in before)
        assert last.resume_token
        fold(users, Rec(2000, b"new", b"1"))
        await following.until_held(held_by(users))


async def test_what_changes_behind_the_walk_is_in_the_snapshot():
    users = table("users", *[(b"%d" % n, b"x" * 1000) for n in range(2000)])
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        offset, states = 2000, {users.view.table.revision: held_by(users)}
        while "snapshot_end" not in following.kinds:
            fold(users, *(Rec(offset + n, b"%d" % (offset % 97 + n), b"new") for n in range(5)))
            fold(users, Rec(offset + 5, b"%d" % (offset % 1999), None))
            offset += 6
            states[users.view.table.revision] = held_by(users)
            await following.read()
        assert len(states) > 10
        assert following.held == states[following.events[-1].snapshot_end.revision]


async def test_a_token_goes_on_behind_what_was_sent():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        first = watch(**SNAPSHOT)
        await first.until("snapshot_end")
        fold(users, Rec(1, b"b", b"2"))
        await first.until_held(held_by(users))
        first.call.cancel()
        fold(users, Rec(2, b"c", b"3"), Rec(3, b"a", None))
        again = watch(resume_token=first.token)
        again.held = first.held
        await again.until_held(held_by(users))
        assert [kind for kind in again.kinds if kind != "progress"] == ["upsert", "deletion"]


async def test_positions_go_on_behind_them():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        first = watch()
        began = await first.until("progress")
        fold(users, Rec(1, b"b", b"2"), Rec(2, b"c", b"3"))
        await first.until("upsert")
        again = watch(after=began.positions)
        again.held = {b"a": b"1"}
        await again.until_held(held_by(users))


async def test_a_response_in_the_middle_has_a_token_that_repeats_nothing():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        first = watch()
        await first.until("progress")
        fold(users, *(Rec(1 + n, b"%d" % n, b"x") for n in range(9000)))
        seen = []
        for response in [await first.read(), await first.read()]:
            seen += [event.upsert.key for event in response.events]
        again = watch(resume_token=first.token)
        while len(seen) < 9000:
            seen += [e.upsert.key for e in (await again.read()).events if e.HasField("upsert")]
        assert seen == [b"%d" % n for n in range(9000)]


# What it tells


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (pb.Filter(key_prefix=b"a"), {b"a", b"ab"}),
        (pb.Filter(key_range=pb.KeyRange(start=b"ab", end=b"c")), {b"ab", b"b"}),
        (pb.Filter(key_range=pb.KeyRange(start=b"b")), {b"b", b"c"}),
        (pb.Filter(key_prefix=b""), {b"a", b"ab", b"b", b"c"}),
    ],
)
async def test_only_the_keys_of_the_filter_are_told(selection, wanted):
    users = table("users", (b"a", b"1"), (b"c", b"1"))
    async with watching(users) as watch:
        following = watch(filter=selection, **SNAPSHOT)
        await following.until("snapshot_end")
        assert following.held == dict.fromkeys(wanted & {b"a", b"c"}, b"1")
        fold(users, *(Rec(2 + n, key, b"2") for n, key in enumerate((b"a", b"ab", b"b", b"c"))))
        await following.until_held(dict.fromkeys(wanted, b"2"))
        fold(users, *(Rec(6 + n, key, None) for n, key in enumerate((b"a", b"ab", b"b", b"c"))))
        await following.until_held({})


async def test_progress_comes_although_nothing_matches():
    users = table("users", (b"a", b"1"))
    clock = Clock()
    async with watching(users, clock=clock) as watch:
        following = watch(filter=pb.Filter(key_prefix=b"none"), progress_interval_ms=20)
        await following.until("progress")
        fold(users, Rec(1, b"b", b"2"))
        clock.now += 1
        told = await following.until("progress")
        assert (told.revision, offsets(told.positions), told.staleness_ms) == (2, {0: 2}, 1000)
        assert set(following.kinds) == {"progress"}


async def test_progress_behind_changes_tells_their_revision():
    users = table("users", (b"a", b"1"))
    clock = Clock()
    async with watching(users, clock=clock) as watch:
        following = watch(progress_interval_ms=50)
        await following.until("progress")
        fold(users, Rec(1, b"b", b"2"))
        clock.now += 1
        told = await following.until("progress")
        assert told.revision == users.view.table.revision
        assert following.kinds == ["progress", "upsert", "progress"]


async def test_the_latest_of_each_key_is_told_in_rounds():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following = watch(delivery=pb.DELIVERY_LATEST)
        await following.until("progress")
        fold(users, *(Rec(1 + n, b"%d" % (n % 10), b"%d" % n) for n in range(100)))
        following.held = {b"a": b"1"}
        await following.until_held(held_by(users))
        assert following.kinds.count("upsert") == 10
        again = watch(resume_token=following.token)
        fold(users, Rec(101, b"last", b"1"))
        await again.until_held({b"last": b"1"})
        assert again.kinds.count("upsert") == 1


@pytest.mark.parametrize("view", [pb.VIEW_KEY, pb.VIEW_META, pb.VIEW_RECORD, pb.VIEW_FULL])
async def test_two_forms_of_one_change_do_not_mix(view):
    users = table("users", (b"a", b"1"), format="json")
    async with watching(users) as watch:
        following, other = watch(view=view), watch(encoding=pb.ENCODING_JSON)
        await following.until("progress")
        await other.until("progress")
        fold(users, Rec(1, b"b", b' {"x": 1}'), Rec(2, b"c", b"{"))
        raw, good = await following.until("upsert"), await other.until("upsert")
        assert raw.value == (b' {"x": 1}' if view in (pb.VIEW_RECORD, pb.VIEW_FULL) else b"")
        assert (good.value, good.decode_error) == (b' {"x": 1}', "")
        bad = other.events[-1].upsert
        assert (bad.raw_value, bool(bad.decode_error)) == (b"{", True)


async def test_a_change_has_what_is_its_own_and_nothing_of_the_one_before():
    users = table("users", (b"a", b"1"), headers=True)
    async with watching(users) as watch:
        following = watch(view=pb.VIEW_FULL)
        await following.until("progress")
        first = Rec(1, b"b", b"2", 7, [("name", b"x"), ("none", None)])
        fold(users, first, Rec(2, b"", b"", 0), Rec(3, b"b", None))
        await following.until("deletion")
        one, other = (each.upsert for each in following.events[1:3])
        assert (one.key, one.value, one.timestamp_ms) == (b"b", b"2", 7)
        assert [(h.key, h.value, h.HasField("value")) for h in one.headers] == [
            (b"name", b"x", True),
            (b"none", b"", False),
        ]
        assert (other.key, other.value, other.HasField("value")) == (b"", b"", True)
        assert (other.offset, other.timestamp_ms, list(other.headers)) == (2, 0, [])


async def test_what_the_log_let_go_is_told_with_its_cause():
    users = table("users", (b"a", b"1"), (b"b", b"2"))
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        await following.until("snapshot_end")
        users.view.table.raise_floor(0, 1)
        for _ in users.view.table.sweep(10):
            pass
        gone = await following.until("deletion")
        assert (gone.key, gone.offset) == (b"a", 0)
        assert gone.cause == pb.DELETION_CAUSE_LOG_START
        cause = following.events[-1].cause
        assert (cause.partition, cause.offset) == (0, 2)


async def test_what_the_tables_rule_turns_away_is_told_with_its_cause():
    users = table("users", (b"a", b"1"), (b"b", b"1"))
    async with watching(users) as watch:
        following = watch()
        await following.until("progress")
        fold(users, Ruled(2, 5, b"a", None, turned_away=True))
        users.view.table.expire(b"b")
        while following.kinds.count("deletion") < 2:
            await following.read()
        deletions = [each.deletion for each in following.events if each.HasField("deletion")]
        assert [each.key for each in deletions] == [b"a", b"b"]
        assert {each.cause for each in deletions} == {pb.DELETION_CAUSE_TABLE_RULE}


async def test_nothing_is_marked_while_entries_are_hidden_only():
    users = table("users", (b"a", b"1"), (b"b", b"2"))
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        users.view.table.raise_floor(0, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await following.until("snapshot_end")
    # a new call, for the one before was given up inside a read
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        for _ in users.view.table.sweep(10):
            pass
        await following.until("snapshot_end")
        assert following.held == {b"b": b"2"}


async def test_a_value_whose_schema_has_come_is_told_by_it_from_then_on():
    users, schemas = table("users", (b"a", FRAME + b"a"), format="avro"), Schemas()
    plan = users.current.plan._replace(decode=schemas.decode_of("avro"), prepare=None)
    users.current.plan = plan
    async with watching(users) as watch:
        following = watch(encoding=pb.ENCODING_JSON)
        began = await following.until("progress")
        fold(users, Rec(1, b"b", FRAME + b"b"))
        assert (await following.until("upsert")).decode_error
        schemas.bring(("avro", 7), lambda value: Decoded(value.upper()))
        again = await watch(encoding=pb.ENCODING_JSON, after=began.positions).until("upsert")
        assert (again.value, again.decode_error) == (b"B", "")


async def test_a_mark_that_waits_behind_a_client_that_does_not_read_says_its_true_age():
    users, clock = table("users", (b"a", b"1")), Clock()
    async with watching(users, clock=clock, watch_bytes=1 << 26) as watch:
        following = watch(progress_interval_ms=10)
        await following.until("progress")
        clock.now += 1  # so that progress is due
        large = [Rec(1 + n, b"%d" % n, b"x" * 50_000) for n in range(200)]
        fold(users, *large, sent_at=clock.now)
        waiting = -1
        while waiting != users.current.watches.queued_bytes:  # until nothing goes any more
            waiting = users.current.watches.queued_bytes
            await asyncio.sleep(0.2)
        assert waiting > 0
        clock.now += 60
        assert (await following.until("progress")).staleness_ms >= 60_000


async def test_what_is_dropped_in_the_moment_of_a_turn_is_not_marked_as_sent(monkeypatch):
    users, clock, bursts, real = table("users", (b"a", b"1")), Clock(), [], Turns.take

    async def take(turns, **how):
        await real(turns, **how)
        while bursts:
            fold(users, *bursts.pop())

    monkeypatch.setattr(Turns, "take", take)
    async with watching(users, watch_bytes=3_000_000, clock=clock) as watch:
        following = watch()
        began = await following.until("progress")
        clock.now += 60
        bursts.append([Rec(10_000 + n, b"%d" % n, b"x" * 1000) for n in range(3000)])
        fold(users, *(Rec(1 + n, b"%d" % n, b"") for n in range(9000)))
        await following.until("upsert")
        failure = None
        while failure is None:
            try:
                await following.read()
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
        assert failure.reason == "WATCH_LAGGED"
        marks = [each.progress for each in following.events if each.HasField("progress")]
        assert [mark.revision for mark in marks] == [began.revision]
