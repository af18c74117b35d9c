"""Watch over the wire: where it begins, what it tells, how it goes on, and how it ends."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Clock,
    Rec,
    bootstrapping,
    client,
    failure_of,
    fold,
    serving,
    swap,
    table,
)

from sidecar._pb import cache_pb2 as pb
from sidecar.core.served import Trouble
from sidecar.ops.heartbeat import Heartbeat
from sidecar.ops.metrics import registry_of
from sidecar.ops.recorder import Recorder
from sidecar.ops.status import Observed

CODE = grpc.StatusCode
SNAPSHOT = {"snapshot": pb.StartSnapshot()}
PLENTY_S = 10


class Watch:
    """One watch, and what a client makes of it."""

    def __init__(self, client, **request):
        self.call = client.cache.Watch(pb.WatchRequest(**request))
        self.events, self.responses = [], []
        self.held, self.token = {}, ""

    async def read(self):
        async with asyncio.timeout(PLENTY_S):
            response = await self.call.read()
        assert response is not grpc.aio.EOF, await self.call.details()
        self.responses.append(response)
        self.token = response.resume_token or self.token
        for event in response.events:
            self.meet(event)
        return response

    def meet(self, event):
        self.events.append(event)
        kind = event.WhichOneof("event")
        if kind == "upsert":
            self.held[event.upsert.key] = event.upsert.value
        elif kind == "deletion":
            self.held.pop(event.deletion.key, None)
        elif kind == "reset":
            self.held = {}

    async def until(self, kind):
        """Read until an event of a kind comes, and give it."""
        while True:
            for event in (await self.read()).events:
                if event.WhichOneof("event") == kind:
                    return getattr(event, kind)

    async def until_held(self, held):
        while self.held != held:
            await self.read()

    async def refusal(self):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.to_the_end()
        return failure_of(caught.value)

    async def to_the_end(self):
        async with asyncio.timeout(PLENTY_S):
            while await self.call.read() is not grpc.aio.EOF:
                pass

    @property
    def kinds(self):
        return [event.WhichOneof("event") for event in self.events]


@asynccontextmanager
async def watching(*served, **given):
    async with serving(*served, **given) as client:
        yield lambda **request: Watch(client, **request)


def held_by(served):
    known = served.view.table
    return {key: known.get(key)[0] for key in known}


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
    users = table("users", *[(b"%d" % n, b"x" * 100) for n in range(1000)])
    async with watching(users) as watch:
        following = watch(**SNAPSHOT)
        end = await following.until("snapshot_end")
        assert following.held == held_by(users)
        assert (end.revision, offsets(end.positions)) == (1000, {0: 1000})
        *before, last = following.responses
        assert len(before) > 2
        assert not any(response.resume_token for response in before)
        assert last.resume_token
        fold(users, Rec(1000, b"new", b"1"))
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
        fold(users, *(Rec(1 + n, b"%d" % n, b"x") for n in range(900)))
        seen = []
        for response in [await first.read(), await first.read()]:
            seen += [event.upsert.key for event in response.events]
        again = watch(resume_token=first.token)
        while len(seen) < 900:
            seen += [e.upsert.key for e in (await again.read()).events if e.HasField("upsert")]
        assert seen == [b"%d" % n for n in range(900)]


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


# Where it cannot go on


async def test_a_swap_ends_it_and_its_token_is_of_no_use():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following = watch()
        await following.until("progress")
        swap(users, (b"b", b"2"))
        refused = await following.refusal()
        assert (refused.code, refused.reason) == (CODE.OUT_OF_RANGE, "RESUME_EXPIRED")
        assert "built anew" in refused.message
        refused = await watch(resume_token=following.token).refusal()
        assert refused.reason == "RESUME_EXPIRED"


async def test_with_snapshot_on_reset_it_begins_again():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following = watch(snapshot_on_reset=True)
        await following.until("progress")
        swap(users, (b"b", b"2"))
        reset = await following.until("reset")
        assert (reset.reason, reset.generation) == ("RESUME_EXPIRED", GENERATION + 1)
        await following.until("snapshot_end")
        assert following.held == {b"b": b"2"}
        old = following.responses[0].resume_token
        again = watch(resume_token=old, snapshot_on_reset=True)
        await again.until("snapshot_end")
        assert again.kinds == ["reset", "upsert", "snapshot_end"]


async def test_a_topic_that_is_gone_resets_at_once_and_the_next_one_is_told():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following, other = watch(snapshot_on_reset=True), watch()
        await following.until("progress")
        await other.until("progress")
        source = users.source
        users.drop(Trouble(), replaced=True)
        assert (await following.until("reset")).generation == 0
        assert (await other.refusal()).reason == "RESUME_EXPIRED"
        users.current, users.replaced = None, False
        built = table("users", (b"new", b"1"))
        users.current = built.current
        assert users.source == source
        users.arrivals.wake()
        await following.until("snapshot_end")
        assert following.held == {b"new": b"1"}


async def test_what_is_long_past_cannot_be_resumed():
    users = table("users", (b"a", b"1"))
    async with watching(users, watch_bytes=1024) as watch:
        following = watch()
        began = await following.until("progress")
        following.call.cancel()
        fold(users, *(Rec(1 + n, b"%d" % n, b"x" * 100) for n in range(50)))
        for start in ({"resume_token": following.token}, {"after": began.positions}):
            refused = await watch(**start).refusal()
            assert (refused.code, refused.reason) == (CODE.OUT_OF_RANGE, "RESUME_EXPIRED")


async def test_positions_of_another_incarnation_are_refused():
    async with watching(table("users", (b"a", b"1"))) as watch:
        refused = await watch(after=pb.Positions(incarnation=7)).refusal()
        assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "INCARNATION_MISMATCH")
        assert refused.metadata["asked"] == "7"


async def test_positions_that_are_yet_to_come_are_refused():
    async with watching(table("users", (b"a", b"1"))) as watch:
        ahead = pb.Positions(next_offsets=[pb.PartitionOffset(partition=0, offset=9)])
        assert (await watch(after=ahead).refusal()).reason == "RESUME_EXPIRED"


@pytest.mark.parametrize("token", ["x", "", "AAAA"])
async def test_a_token_that_is_none_of_ours_is_refused(token):
    async with watching(table("users", (b"a", b"1"))) as watch:
        refused = await watch(resume_token=token).refusal()
        assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "BAD_TOKEN")
        assert refused.metadata == {"field": "resume_token"}


async def test_a_token_is_bound_to_its_filter_its_table_and_its_use():
    async with watching(table("users", (b"a", b"1")), table("orders", (b"a", b"1"))) as watch:
        following = watch(table="users")
        await following.until("progress")
        for other in ({"filter": pb.Filter(key_prefix=b"x")}, {"table": "orders"}):
            request = {"table": "users", "resume_token": following.token, **other}
            assert (await watch(**request).refusal()).reason == "BAD_TOKEN"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"filter": pb.Filter()}, "BAD_FILTER"),
        ({"filter": pb.Filter(key_range=pb.KeyRange(start=b"b", end=b"a"))}, "BAD_RANGE"),
        ({"filter": pb.Filter(index=pb.IndexQuery(index="x"))}, "NOT_YET"),
        ({"delivery": 9}, "BAD_REQUEST"),
        ({"view": 9}, "BAD_REQUEST"),
        ({"encoding": pb.ENCODING_JSON}, "NO_FORMAT"),
        ({"table": "nobody"}, "UNKNOWN_TABLE"),
    ],
)
async def test_what_makes_no_sense_is_refused(request_, reason):
    async with watching(table("users", (b"a", b"1"))) as watch:
        assert (await watch(**request_).refusal()).reason == reason


async def test_a_table_that_is_being_read_is_unavailable():
    async with watching(bootstrapping("users")) as watch:
        refused = await watch(**SNAPSHOT).refusal()
        assert (refused.code, refused.reason) == (CODE.UNAVAILABLE, "BOOTSTRAPPING")


async def test_no_more_watches_than_are_allowed():
    async with watching(table("users", (b"a", b"1")), watches=2) as watch:
        known = [watch(), watch()]
        for each in known:
            await each.until("progress")
        refused = await watch().refusal()
        assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES")
        known[0].call.cancel()
        async with asyncio.timeout(PLENTY_S):
            while True:
                try:
                    await watch().until("progress")
                    break
                except (AssertionError, grpc.aio.AioRpcError):
                    await asyncio.sleep(0.02)


async def test_one_that_does_not_read_is_cut_and_the_others_go_on():
    """On another connection: streams of one share a window, and who stalls it stalls all."""
    users = table("users", (b"a", b"1"))
    async with serving(users, watch_bytes=200_000) as connected:
        address = connected.server.addresses[0]
        async with client(address) as second:
            await cut_beside_another(users, second, connected)


async def cut_beside_another(users, second, connected):
    slow = Watch(second)
    await slow.until("progress")
    watches = users.current.watches
    (follower,) = watches._all
    other = Watch(connected)
    await other.until("progress")
    other.held = {b"a": b"1"}
    for number in range(3000):
        fold(users, Rec(1 + number, b"%d" % (number % 50), b"%05000d" % number))
        if number % 20 == 0:
            await other.until_held(held_by(users))
    assert follower.lagged
    assert (follower.weight, follower.empty) == (0, True)
    await other.until_held(held_by(users))
    refused = await slow.refusal()
    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "WATCH_LAGGED")
    assert "limits.watch_bytes" in refused.message
    fold(users, Rec(4000, b"last", b"1"))
    await other.until_held(held_by(users))


async def test_watches_and_what_waits_for_them_are_in_the_metrics():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        for _ in range(2):
            await watch().until("progress")
        fold(users, Rec(1, b"b", b"x" * 1000))
        found = {
            sample.name: sample.value
            for family in registry_of(observed(users)).collect()
            for sample in family.samples
            if "watch" in sample.name
        }
        assert found["sidecar_watch_active"] == 2
        assert 2000 < found["sidecar_watch_queued_bytes"] < 3000


def observed(users):
    return Observed(
        tables={"users": users},
        recorder=Recorder(),
        heartbeat=Heartbeat(),
        clock=Clock(),
        version="1.2.3",
    )


async def test_who_leaves_leaves_nothing():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        known = [watch(filter=pb.Filter(key_prefix=b"%d" % n)) for n in range(20)]
        for each in known:
            await each.until("progress")
        assert len(users.current.watches) == 20
        for each in known:
            each.call.cancel()
        async with asyncio.timeout(PLENTY_S):
            while len(users.current.watches):
                await asyncio.sleep(0.01)


async def test_a_stop_ends_it_with_a_status():
    users = table("users", (b"a", b"1"))
    async with serving(users) as client:
        following = Watch(client)
        await following.until("progress")
        stopping = asyncio.create_task(client.server.stop(5))
        refused = await following.refusal()
        assert (refused.code, refused.reason) == (CODE.UNAVAILABLE, "SHUTTING_DOWN")
        async with asyncio.timeout(PLENTY_S):
            await stopping


async def test_a_change_that_no_message_can_hold_ends_it_with_its_key():
    users = table("users", (b"a", b"1"))
    async with watching(users, message_bytes=2000) as watch:
        following = watch()
        await following.until("progress")
        fold(users, Rec(1, b"large", b"x" * 3000))
        refused = await following.refusal()
        assert (refused.reason, refused.metadata["key"]) == ("RESPONSE_TOO_LARGE", "large")


async def test_more_at_once_than_may_wait_cuts_one_that_reads_too(caplog):
    users = table("users", (b"a", b"1"))
    async with watching(users, watch_bytes=200_000) as watch:
        following = watch()
        await following.until("progress")
        fold(users, *(Rec(1 + n, b"%d" % n, b"x" * 5000) for n in range(100)))
        refused = await following.refusal()
        assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "WATCH_LAGGED")
        async with asyncio.timeout(PLENTY_S):
            while len(users.current.watches):
                await asyncio.sleep(0.01)
    assert [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")] == []
