"""How many records are folded in one go, and what room is left to lookups behind them."""

import pytest

from sidecar.core.model import Fetched, LogBounds
from sidecar.core.progress import Progress
from sidecar.core.view import View
from sidecar.follower.pacing import Pace, pace_of


def paced(behind, *, ready=True):
    view = View("t", 1, 2, [Progress(0, 0, 0)])
    view.change(0, lambda known: known.advanced(100))
    if ready:
        assert view.try_ready()
    bounds = LogBounds(0, 100 + behind, 100 + behind)
    return pace_of(view, Fetched(0, iter(()), bounds, 0.0, None, 0))


def test_before_the_table_is_ready_slices_are_long_and_leave_one_round():
    pace = paced(5, ready=False)
    assert pace.records > 500
    assert pace.rounds == 1


@pytest.mark.parametrize("behind", [0, 1, 20, 1000])
def test_once_it_is_ready_a_call_finds_rounds_enough_behind_each_slice(behind):
    pace = paced(behind)
    assert pace.records <= 32
    assert pace.rounds > 9


def test_the_further_behind_a_partition_is_the_more_is_folded_and_the_less_room_is_left():
    assert paced(20).records < paced(100).records < paced(1000).records + 1
    assert paced(100_000) == Pace(paced(1000).records, 1)
