"""How watches have failed elsewhere: each of etcd's cases by its name, over the wire.

`tests/README.md` says where those of them are held that have a place elsewhere already.
"""

import asyncio
import time

import pytest
from component.rpc_support import GENERATION, Clock, Rec, client, fold, serving, swap, table
from component.watching import PLENTY_S, SNAPSHOT, Watch, held_by, watching

from sidecar._pb import cache_pb2 as pb
from sidecar.rpc.tokens import resume_tokens


def changes_of(following):
    """(key, offset) of each change that was told, in order."""
    kinds = [(event, event.WhichOneof("event")) for event in following.events]
    changes = [getattr(event, kind) for event, kind in kinds if kind in ("upsert", "deletion")]
    return [(change.key, change.offset) for change in changes]


async def writing(served, number, first):
    """Records and tombstones of a few keys, with the loop free between them."""
    for offset in range(first, first + number):
        fold(served, Rec(offset, b"%d" % (offset % 7), None if offset % 5 == 4 else b"%d" % offset))
        await asyncio.sleep(0)


async def test_back_in_time_and_twice_after_a_cut():
    """Cut again and again, it is told each change once and in order."""
    users = table("users", *((b"%d" % n, b"x") for n in range(7)))
    async with watching(users) as watch:
        following = watch()
        await following.until("progress")
        told, writes = [], asyncio.create_task(writing(users, 700, 7))
        while not writes.done() or held_by(users) != following.held:
            await following.read()
            if len(changes_of(following)) >= 20:
                following.call.cancel()
                told += changes_of(following)
                held, following = following.held, watch(resume_token=following.token)
                following.held = held
        told += changes_of(following)
    offsets = [offset for _, offset in told]
    assert offsets == sorted(set(offsets))
    # A tombstone of a key that is not there changes nothing; all else is told.
    assert {n for n in range(7, 707) if n % 5 != 4} <= set(offsets)


async def test_back_in_time_at_a_sidecar_that_has_read_less():
    ahead, behind = (table("users", *((b"%d" % n, b"1") for n in range(size))) for size in (9, 5))
    async with serving(ahead) as first, serving(behind) as second:
        began = await Watch(first).until("progress")
        refused = await Watch(second, after=began.positions).refusal()
        assert refused.reason == "RESUME_EXPIRED"


async def test_lost_events_while_the_loop_stands_still():
    users = table("users", (b"a", b"1"))
    async with watching(users) as watch:
        every, latest = watch(progress_interval_ms=10), watch(delivery=pb.DELIVERY_LATEST)
        await every.until("progress")
        await latest.until("progress")
        for number in range(5):
            first = 1 + 100 * number
            fold(users, *(Rec(n, b"%d" % (n % 9), b"%d" % n) for n in range(first, first + 100)))
            time.sleep(0.05)
            await asyncio.sleep(0)
        held = {key: value for key, value in held_by(users).items() if key != b"a"}
        await every.until_held(held)
        await latest.until_held(held)
    assert [offset for _, offset in changes_of(every)] == list(range(1, 501))


@pytest.mark.parametrize("wanted", [{}, {"filter": pb.Filter(key_prefix=b"a")}])
async def test_a_missing_delete_at_the_point_of_resuming(wanted):
    users = table("users", (b"a", b"1"), (b"other", b"1"))
    async with watching(users) as watch:
        following = watch(**wanted, **SNAPSHOT)
        end = await following.until("snapshot_end")
        before = following.token
        following.call.cancel()
        fold(users, Rec(2, b"a", None))
        by_token, by_position = (
            watch(**wanted, resume_token=before),
            watch(**wanted, after=end.positions),
        )
        for again in (by_token, by_position):
            assert (await again.until("deletion")).key == b"a"
        behind = by_token.token
        fold(users, Rec(3, b"a", b"2"), Rec(4, b"a", None), Rec(5, b"a1", b"last"))
        last = watch(**wanted, resume_token=behind)
        await last.until_held({b"a1": b"last"})
        assert changes_of(last) == [(b"a", 3), (b"a", 4), (b"a1", 5)]


async def test_a_point_to_resume_from_that_is_yet_to_come():
    users = table("users", (b"a", b"1"))
    ahead = resume_tokens("users", (b"", b""), GENERATION)(users.view.table.revision + 5)
    async with watching(users) as watch:
        refused = await watch(resume_token=ahead).refusal()
        assert refused.reason == "RESUME_EXPIRED"
        fold(users, *(Rec(1 + n, b"%d" % n, b"1") for n in range(5)))
        assert (await watch(resume_token=ahead).until("progress")).revision == 6


async def test_a_point_to_resume_from_whose_backlog_is_more_than_may_wait():
    """Refused as too old: the client would else be cut there again and again, for ever."""
    users = table("users", (b"a", b"1"))
    async with watching(users, watch_bytes=20_000) as watch:
        following = watch()
        began = await following.until("progress")
        following.call.cancel()
        fold(users, *(Rec(1 + n, b"%d" % n, b"x" * 100) for n in range(90)))
        assert 20_000 < users.current.watches.past_bytes < 40_000, "all of it is kept"
        for start in ({"resume_token": following.token}, {"after": began.positions}):
            assert (await watch(**start).refusal()).reason == "RESUME_EXPIRED"
            again = watch(**start, snapshot_on_reset=True)
            await again.until("snapshot_end")
            assert again.held == held_by(users)


async def test_starvation_by_large_reads_beside():
    users = table("users", *((b"k%05d" % n, b"x" * 500) for n in range(20_000)))
    async with serving(users) as scanner, client(scanner.server.addresses[0]) as watcher:
        chunks, over = [], asyncio.Event()

        async def scan():
            while not over.is_set():
                async for chunk in scanner.cache.Scan(pb.ScanRequest()):
                    chunks.append(len(chunk.records))

        following = Watch(watcher, filter=pb.Filter(key_prefix=b"new"))
        await following.until("progress")
        scans = [asyncio.create_task(scan()) for _ in range(3)]
        for number in range(40):
            before = len(chunks)
            fold(users, Rec(20_000 + number, b"new", b"%d" % number))
            await following.until_held({b"new": b"%d" % number})
            while len(chunks) == before:  # the scans go on meanwhile
                await asyncio.sleep(0.001)
        over.set()
        async with asyncio.timeout(PLENTY_S):
            await asyncio.gather(*scans)
    assert [offset for _, offset in changes_of(following)] == list(range(20_000, 20_040))


async def test_a_stale_answer_after_a_pause_says_its_true_age():
    """Nothing was read meanwhile; what comes then counts from when it was asked for."""
    users, clock = table("users", (b"a", b"1")), Clock()
    async with watching(users, clock=clock) as watch:
        following = watch(progress_interval_ms=10)
        assert (await following.until("progress")).staleness_ms == 0
        clock.now += 7
        assert (await following.until("progress")).staleness_ms == 7000
        fold(users, Rec(1, b"b", b"1"), sent_at=1002.0)
        users.view.topology_as_of = clock.now
        clock.now += 1
        assert (await following.until("progress")).staleness_ms == 6000
        assert "upsert" in following.kinds


async def test_a_swap_is_never_gone_over_silently():
    """A new build may have read less: its changes are not told as those of the one before."""
    users = table("users", (b"a", b"1"), (b"b", b"1"))
    async with watching(users) as watch:
        following = watch(snapshot_on_reset=True)
        await following.until("progress")
        swap(users, (b"a", b"0"))
        await following.until("snapshot_end")
        assert following.kinds == ["progress", "reset", "upsert", "snapshot_end"]
        assert following.held == held_by(users) == {b"a": b"0"}
