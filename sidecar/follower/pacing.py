"""How a partition's records are folded while others want the loop, too.

A call takes about nine rounds of the loop. So once lookups are answered a slice is short, and
behind it are rounds enough for a call to be taken and answered; else it would meet a slice in
each of its rounds. The further a partition is behind its log, the less room is left.
"""

from typing import NamedTuple

from ..core.model import Fetched
from ..core.view import View

__all__ = ["Pace", "pace_of"]

# Before the table is ready nobody asks: about two milliseconds.
_BOOTSTRAP_SLICE = 1024
_LEAST, _MOST = 8, 32
_FREE_ROUNDS = 16
# So many offsets behind, coming nearer is more urgent than a lookup's latency.
_FAR_BEHIND = 1024


class Pace(NamedTuple):
    """How many records are folded in one go, and how many rounds of the loop are free then."""

    records: int
    rounds: int


def pace_of(view: View, fetched: Fetched) -> Pace:
    """The pace at which one partition's part of a response is folded."""
    if not view.ready:
        return Pace(_BOOTSTRAP_SLICE, 1)
    behind = fetched.bounds.high_watermark - view.progress[fetched.partition].position
    if behind > _FAR_BEHIND:
        return Pace(_MOST, 1)
    return Pace(min(_MOST, max(_LEAST, behind // 4)), _FREE_ROUNDS)
