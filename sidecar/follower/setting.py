"""Where a follower works: what it writes, where from, by which rules, and whom it tells."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from ..core.index import Index
from ..core.rule import Rule
from ..core.served import Definition, Served
from ..core.table import Table
from ..kafka.cluster import Cluster
from ..ops.memory import Budget

__all__ = ["Bell", "OverBudget", "Policy", "Rebuild", "Setting", "Shaping", "Stalled"]


class Bell:
    """Wakes all who wait for the next change of any table's state."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Return at the next change."""
        await self._rung.wait()


class Rebuild(StrEnum):
    """What answers while a table is read anew."""

    KEEP_OLD = "keep_old"
    DROP_OLD = "drop_old"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What a table's owner decides of its following.

    Attributes:
        open_transaction_wait_s: how long an open transaction may hold up readiness.
        rebuild: what answers while the table is read anew.
        skip_bad_batches: a batch that cannot be read is passed over, and counted.
        delete_retention_s: for how long the cleaner keeps tombstones, where the brokers do not
            tell; None: not known.
    """

    open_transaction_wait_s: float = 75.0
    rebuild: Rebuild = Rebuild.KEEP_OLD
    skip_bad_batches: bool = False
    delete_retention_s: float | None = None


class Shaping(NamedTuple):
    """What a definition asks of a generation.

    Attributes:
        rule_of: what becomes of the log's records; None: they stay as they are.
        indexes_of: the indexes over the table, by name.
    """

    rule_of: Callable[[Definition], Rule | None] = lambda _: None
    indexes_of: Callable[[Definition, Table], Mapping[str, Index]] = lambda *_: {}


_AS_IT_IS: Final = Shaping()


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where a follower works.

    Attributes:
        served: the table.
        cluster: that holds its topic.
        clock: seconds, CLOCK_BOOTTIME.
        changed: rung when the table begins, becomes ready, or cannot be read.
        count_error: told the name of each broker error.
        policy: of the table.
        budget: of memory, for the whole process.
        shaping: what a definition makes of a log, and of its table.
    """

    served: Served
    cluster: Cluster
    clock: Callable[[], float]
    changed: Bell
    count_error: Callable[[str], None]
    policy: Policy = Policy()
    budget: Budget = field(default_factory=Budget)
    shaping: Shaping = _AS_IT_IS


class OverBudget(Exception):  # noqa: N818 (a refusal, by our own rule)
    """A generation would take more memory than there is."""


class Stalled(Exception):  # noqa: N818 (a bug of the reader, seen from outside)
    """The reader has given no sign of a partition for long."""
