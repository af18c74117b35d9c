"""How a watch ends: what it cannot go on behind, what is refused, who is cut, a stop."""

import asyncio
import gc

import grpc
import pytest
from component.rpc_support import (
    GENERATION,
    INCARNATION,
    Clock,
    Rec,
    bootstrapping,
    client,
    fold,
    serving,
    swap,
    table,
)
from component.watching import PLENTY_S, SNAPSHOT, Watch, held_by, watching

from sidecar._pb import cache_pb2 as pb
from sidecar.core.errors import Reason
from sidecar.core.queue import Follower
from sidecar.core.served import Trouble
from sidecar.ops.heartbeat import Heartbeat
from sidecar.ops.metrics import registry_of
from sidecar.ops.recorder import Recorder
from sidecar.ops.status import Observed
from sidecar.rpc.sending import Sending

CODE = grpc.StatusCode


async def test_nothing_is_left_of_one_that_has_ended():
    """Not even what a collector would find, for that looks at what is old once in an hour."""
    users = table("users", *((b"%d" % n, b"x" * 100) for n in range(2000)))

    def left():
        return [each for each in gc.get_objects() if isinstance(each, Sending | Follower)]

    async with watching(users, watch_bytes=20_000) as watch:
        before = len(left())
        gc.disable()
        try:
            read, cut = watch(**SNAPSHOT), watch(filter=pb.Filter(key_prefix=b"1"))
            await read.until("snapshot_end")
            await cut.until("progress")
            assert len(left()) == before + 4
            fold(users, *(Rec(2000 + n, b"1%d" % n, b"x" * 100) for n in range(90)))
            assert (await cut.refusal()).reason == "WATCH_LAGGED"
            read.call.cancel()
            async with asyncio.timeout(PLENTY_S):
                while len(left()) > before:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


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
        told = following.responses[-1]
        assert (told.incarnation, told.generation) == (INCARNATION, GENERATION + 1)
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


async def test_who_waits_for_the_next_table_is_told_that_an_operator_must_act():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        following = watch(snapshot_on_reset=True)
        await following.until("progress")
        users.drop(Trouble(), replaced=True)
        await following.until("reset")
        users.drop(Trouble(Reason.TABLE_FAILED, "not enough memory", final=True), replaced=False)
        refused = await following.refusal()
        assert (refused.code, refused.reason) == (CODE.UNAVAILABLE, "TABLE_FAILED")
        assert "not enough memory" in refused.message


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
        ({"filter": pb.Filter(index=pb.IndexQuery(index="x", equals="y"))}, "BAD_FILTER"),
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


@pytest.mark.parametrize("start", [{}, SNAPSHOT])
async def test_changes_that_fit_one_by_one_are_told_in_as_many_responses(start):
    users = table("users", *((b"%d" % n, b"x" * 700) for n in range(9)))
    async with watching(users, message_bytes=2000) as watch:
        following = watch(**start)
        await following.until("snapshot_end" if start else "progress")
        fold(users, *(Rec(20 + n, b"%d" % n, b"y" * 700) for n in range(9)))
        await following.until_held(held_by(users))
        tokens = [each.resume_token for each in following.responses if each.events]
        again = watch(resume_token=following.token)
        await again.until("progress")
        assert again.held == {}
        assert "" in tokens  # there is none between two halves


async def test_a_deletion_that_no_message_can_hold_is_named_too():
    users = table("users", (b"k" * 3000, b"1"))
    async with watching(users, message_bytes=2000) as watch:
        following = watch()
        await following.until("progress")
        fold(users, Rec(1, b"k" * 3000, None))
        refused = await following.refusal()
        assert refused.reason == "RESPONSE_TOO_LARGE"
        assert refused.metadata["key"].startswith("kkk")


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


async def test_one_that_is_cut_by_its_first_change_is_over_at_once():
    users = table("users", (b"a", b"1"))
    async with watching(users, watch_bytes=10_000) as watch:
        following = watch(progress_interval_ms=3_600_000)
        await following.until("progress")
        fold(users, Rec(1, b"b", b"x" * 20_000))
        assert (await following.refusal()).reason == "WATCH_LAGGED"
        async with asyncio.timeout(10):
            while len(users.current.watches):
                await asyncio.sleep(0.01)
