"""What is known of each generation that the sidecar reads: of which topic, and on which branch.

Where a log is cut behind a generation's position, the generation stays on the old branch: it
must notice, and until then it must say how old it is. Where the position stands before the
cut, what is read next may be an answer from before it or one from after it. Then both branches
are possible, until an answer of the table agrees with one alone.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from simulation.history import Fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulation.cluster import Topic
    from simulation.history import History

__all__ = ["Branches", "Generation"]

Branches = dict[int, Fold]


class Generation:
    """One of them.

    Args:
        topic: that it is read from.
        began: when its reading began, in seconds.
        committed: whether it reads committed data only.
        misses: tombstones may go before they are read.

    Attributes:
        was_ready: it has answered.
        positions: the greatest of each partition.
        offsets: of the last answer, by key and partition.
    """

    def __init__(self, topic: Topic, began: float, *, committed: bool, misses: bool) -> None:
        self.topic, self.began = topic, began
        self.was_ready = False
        self.positions: dict[int, int] = {}
        self.offsets: dict[tuple[bytes, int], int] = {}
        self._committed, self._misses = committed, misses
        self._folds: dict[int, list[Fold]] = {}

    def advance(self, number: int, position: int) -> None:
        """A partition's position is this now."""
        self.positions[number] = position
        folds = self._folds.get(number)
        if folds is None:
            folds = self._folds[number] = [self._fold(self.topic.partitions[number].history)]
        for fold in folds:  # it grows meanwhile
            other = fold.history.next
            before = other is not None and fold.position <= fold.history.cut_to
            if before and all(each.history is not other for each in folds):
                folds.append(self._fold(other))
                folds[-1].position = fold.position
        for fold in folds:
            fold.advance(position)

    def _fold(self, history: History) -> Fold:
        return Fold(history, committed=self._committed, misses=self._misses)

    def branches(self) -> list[Branches]:
        """What its partitions may be the folds of: nearly always one choice."""
        if all(len(folds) == 1 for folds in self._folds.values()):
            return [{number: folds[0] for number, folds in self._folds.items()}]
        return [
            dict(zip(self._folds, choice, strict=True)) for choice in product(*self._folds.values())
        ]

    def keep(self, choices: Iterable[Mapping[int, Fold]]) -> None:
        """Only these are possible still."""
        kept = {id(fold) for choice in choices for fold in choice.values()}
        self._folds = {
            number: [fold for fold in folds if id(fold) in kept]
            for number, folds in self._folds.items()
        }

    def present(self) -> Branches | None:
        """Its folds, if it may be on the branches that go on; None: it is on one that ended."""
        found = {
            number: fold
            for number, folds in self._folds.items()
            for fold in folds
            if fold.history is self.topic.partitions[number].history
        }
        return found if found.keys() == self._folds.keys() else None
