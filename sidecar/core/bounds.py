"""How fresh an answer must be, and those who wait until one is.

`Bounds` is what a request asks for; `View.read` refuses while it does not hold. A caller
that would rather wait registers with `Arrivals` for what is missing first and looks
again when it is called: it is woken by what it waits for, not by every record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["UNBOUND", "Arrivals", "Bounds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What must hold before a table is read.

    Attributes:
        positions: by partition, the least position.
        incarnation: of the topic that those belong to; None: not told.
        max_staleness_ms: the staleness must be known and no more than this; None: any.
    """

    positions: Mapping[int, int] = field(default_factory=dict)
    incarnation: int | None = None
    max_staleness_ms: int | None = None


UNBOUND: Final = Bounds()


class Arrivals:
    """Who waits for which position of one table, or for any progress of it."""

    def __init__(self) -> None:
        self._waiting: dict[Callable[[], None], tuple[int, int] | None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def when(self, call: Callable[[], None], missing: tuple[int, int] | None) -> None:
        """Have `call` called once.

        Args:
            call: does not raise; each may wait for one thing at a time.
            missing: a partition and the position it must reach; None: any progress.
        """
        self._waiting[call] = missing

    def forget(self, call: Callable[[], None]) -> None:
        """It does not wait any more."""
        self._waiting.pop(call, None)

    def reached(self, partition: int, position: int) -> None:
        """A partition has come so far, or its staleness changed."""
        if not self._waiting:
            return
        for call, missing in list(self._waiting.items()):
            if missing is None or (missing[0] == partition and missing[1] <= position):
                del self._waiting[call]
                call()

    def wake(self) -> None:
        """Call all: nothing is as it was."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call()
