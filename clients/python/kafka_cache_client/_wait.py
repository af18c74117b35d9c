"""Waiting for a sidecar that may not be there yet.

In a pod the containers start together, so the first calls are likely to meet no listener. The
sidecar itself waits for its tables (WaitUntil); what is left to the client is to come back
while nobody listens or the sidecar restarts, and to say at the end what was missing.

A little of the time is kept for that last question, so that the whole takes no longer than
was asked for. This module does no I/O; the clock is an argument.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from .model import Table

__all__ = ["Waiting"]

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
LONGEST_DIAGNOSIS = 1.0
LEAST_TIMEOUT = 0.01
PASSING = (errors.Unavailable, errors.DeadlineExceeded, errors.Overloaded)


class Waiting:
    """One wait for one table, or, with no name, for all that readiness needs. Times in seconds."""

    def __init__(self, table: str, timeout: float, now: float) -> None:
        if timeout <= 0:
            raise ValueError("timeout: must be greater than 0")
        self.table = table
        self._timeout = timeout
        self._end = now + timeout
        self._last_try = self._end - min(LONGEST_DIAGNOSIS, timeout / 5)
        self._pause = FIRST_PAUSE

    def try_timeout(self, now: float) -> float:
        """What the next try may take."""
        return max(self._last_try - now, LEAST_TIMEOUT)

    def diagnosis_timeout(self, now: float) -> float:
        """What the question after the last try may take."""
        return max(self._end - now, LEAST_TIMEOUT)

    def pause_after(self, error: errors.SidecarError, now: float) -> float | None:
        """How long to pause before the next try, None when the time is over.

        An error that waiting does not mend is raised.
        """
        if not isinstance(error, PASSING) or isinstance(error, errors.TableFailed):
            raise error
        left = self._last_try - now
        if left <= LEAST_TIMEOUT:
            return None
        pause = max(self._pause * random.uniform(0.5, 1), error.retry_after or 0)  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return min(pause, left)

    def failure(
        self, error: errors.SidecarError, tables: tuple[Table, ...] | None, target: str
    ) -> errors.SidecarError:
        """What to raise after the last try; tables is None where the sidecar did not answer."""
        after = f"after {self._timeout:g} s"
        if tables is None and not error.reason:
            return errors.Unavailable(f"no sidecar answers at {target} {after}: {error.message}")
        waited_for = [table for table in tables or () if self._waits_for(table)]
        missing = "; ".join(f"{table.name} is {_standing(table)}" for table in waited_for)
        return errors.NotReady(
            f"not ready {after}: {missing or error.message}",
            reason=error.reason or "NOT_READY",
            metadata=error.metadata,
            retry_after=error.retry_after,
        )

    def _waits_for(self, table: Table) -> bool:
        return not table.ready and (table.name == self.table if self.table else table.required)


def _standing(table: Table) -> str:
    return f"{table.state}, {table.reason}" if table.reason else str(table.state)
