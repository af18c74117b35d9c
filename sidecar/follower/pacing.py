"""How a partition's records are folded while others want the loop, too.

A call takes about nine rounds of the loop. So once lookups are answered a slice is short, and
behind it are rounds enough for a call to be taken and answered; else it would meet a slice in
each of its rounds. But no more than so many milliseconds: where many calls come, a round takes
long, and an update is to be seen soon. The further a partition is behind its log, the less room
is left.

Beside many watches a record takes longer, and is told in their turns, which take longer still:
there slices are shorter, and more room is left.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ..core.model import Fetched
from ..core.view import View

__all__ = ["Pace", "leave_room", "pace_of"]

_LEAST, _MOST = 8, 32
_ROUNDS = 16
# So many offsets behind, coming nearer is more urgent than a lookup's latency.
_FAR_BEHIND = 1024
_MANY_WATCHES = 16


class Pace(NamedTuple):
    """How records are folded.

    Attributes:
        records: so many in one go.
        least: so many a part of a response counts at least, for it takes time itself.
        rounds: of the loop that are free behind them.
        seconds: that those take at most.
    """

    records: int
    least: int
    rounds: int
    seconds: float


# Before the table is ready nobody asks: about two milliseconds.
_BOOTSTRAP = Pace(1024, 16, 1, 0.0)
_IN_HASTE = Pace(_MOST, 16, 1, 0.0)


def pace_of(view: View, fetched: Fetched, watches: int) -> Pace:
    """The pace at which one partition's part of a response is folded, beside so many watches."""
    if not view.ready:
        return _BOOTSTRAP
    behind = fetched.bounds.high_watermark - view.progress[fetched.partition].position
    if behind > _FAR_BEHIND:
        return _IN_HASTE
    if watches < _MANY_WATCHES:
        return Pace(_between(behind), 2, _ROUNDS, 0.001)
    return Pace(_between(behind // 4), 16, _ROUNDS, 0.005)


def _between(records: int) -> int:
    return min(_MOST, max(_LEAST, records))


async def leave_room(pace: Pace, clock: Callable[[], float]) -> None:
    """Leave the loop to others."""
    until = clock() + pace.seconds
    for _ in range(pace.rounds):
        await asyncio.sleep(0)
        if clock() > until:
            break
