"""How many records are folded in one go, and what room is left to lookups behind them."""

import asyncio
import itertools

import pytest

from sidecar.core.model import Fetched, LogBounds
from sidecar.core.progress import Progress
from sidecar.core.view import View
from sidecar.follower.pacing import Pace, leave_room, pace_of


def paced(behind, *, ready=True, watches=0):
    view = View("t", 1, 2, [Progress(0, 0, 0)])
    view.change(0, lambda known: known.advanced(100))
    if ready:
        assert view.try_ready()
    bounds = LogBounds(0, 100 + behind, 100 + behind)
    return pace_of(view, Fetched(0, iter(()), bounds, 0.0, None, 0), watches)


def test_before_the_table_is_ready_slices_are_long_and_leave_one_round():
    pace = paced(5, ready=False)
    assert pace.records > 500
    assert pace.rounds == 1


@pytest.mark.parametrize("watches", [0, 1, 500])
@pytest.mark.parametrize("behind", [0, 1, 20, 1000])
def test_once_it_is_ready_a_call_finds_rounds_enough_behind_each_slice(behind, watches):
    pace = paced(behind, watches=watches)
    assert pace.records <= 32
    assert pace.rounds > 9


@pytest.mark.parametrize("watches", [0, 500])
def test_the_further_behind_a_partition_is_the_more_is_folded_and_the_less_room_is_left(watches):
    near, far, farther = (paced(behind, watches=watches) for behind in (2, 1000, 100_000))
    assert near.records < far.records == farther.records
    assert farther.rounds == 1


def test_beside_many_watches_slices_are_shorter_and_leave_more_room():
    alone, beside = paced(20), paced(20, watches=500)
    assert alone.records > beside.records
    assert beside.least > alone.least
    assert beside.seconds > alone.seconds


async def rounds_of(pace, clock):
    """How many rounds of the loop come before it goes on."""
    leaving, rounds = asyncio.create_task(leave_room(pace, clock)), 0
    while not leaving.done():
        await asyncio.sleep(0)
        rounds += 1
    return rounds


async def test_so_many_rounds_are_left():
    assert await rounds_of(Pace(8, 2, 16, 0.01), lambda: 5.0) in (17, 18)


async def test_but_where_a_round_takes_long_few_are_so_that_updates_are_not_kept():
    rounds = itertools.count()
    assert await rounds_of(Pace(8, 2, 1000, 0.01), lambda: next(rounds) * 0.006) in (2, 3, 4)
