"""Where a follower works: what it writes, where from, by which rules, and whom it tells."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from ..core.served import Definition, Plan, Served
from ..core.table import Table
from ..kafka.cluster import Cluster
from ..ops.memory import Budget

__all__ = ["Bell", "OverBudget", "Policy", "Rebuild", "Redefined", "Setting", "Stalled"]


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


def _as_it_is(definition: Definition, _: Table) -> Plan:
    return Plan(definition)


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
        plan_of: what a definition asks of a generation and its table.
    """

    served: Served
    cluster: Cluster
    clock: Callable[[], float]
    changed: Bell
    count_error: Callable[[str], None]
    policy: Policy = Policy()
    budget: Budget = field(default_factory=Budget)
    plan_of: Callable[[Definition, Table], Plan] = _as_it_is


class OverBudget(Exception):  # noqa: N818 (a refusal, by our own rule)
    """A generation would take more memory than there is."""


class Redefined(Exception):  # noqa: N818 (what is wanted, not what is wrong)
    """The table is to be another one."""


class Stalled(Exception):  # noqa: N818 (a bug of the reader, seen from outside)
    """The reader has given no sign of a partition for long."""
