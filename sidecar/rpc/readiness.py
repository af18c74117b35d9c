"""Who is ready: tells health watchers, and wakes the calls that wait.

Services ``""`` and ``kafkacache.v1.CacheService`` are SERVING while every required
table answers, fresh or stale; a service named after each table tells that table's.

There is one loop. Between its look at the tables and its wait for the next change there
is no await, so no change is missed; publishing awaits, so it looks again after that.
"""

import asyncio
from collections.abc import Callable

from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from ..core.served import Served, TableState
from .calls import Calls
from .errors import shutting_down
from .ports import Changed
from .tables import Tables

__all__ = ["SERVICE", "Readiness"]

SERVICE = "kafkacache.v1.CacheService"

_STATUS = {True: HealthCheckResponse.SERVING, False: HealthCheckResponse.NOT_SERVING}


class Readiness:
    """Follows the tables' readiness.

    Args:
        tables: what is served.
        changed: tells when to look again.
        clock: seconds, CLOCK_BOOTTIME.

    Attributes:
        servicer: the health service.
    """

    def __init__(self, tables: Tables, changed: Changed, clock: Callable[[], float]) -> None:
        self.servicer = health.HealthServicer()
        self._tables = tables
        self._changed = changed
        self._clock = clock
        self._published: dict[str, bool] = {}
        self._round = asyncio.Event()

    async def publish(self) -> bool:
        """Tell health watchers how things stand; true: something had changed."""
        ready = all(served.ready for served in self._tables.required())
        known = {served.definition.name: served.ready for served in self._tables}
        known |= {"": ready, SERVICE: ready}
        if known == self._published:
            return False
        self._published = known
        for name, serving in known.items():
            await self.servicer.set(name, _STATUS[serving])
        return True

    async def follow(self) -> None:
        """Keep health in step until cancelled."""
        while True:
            self.wake()
            if not await self.publish():
                await self._changed.wait()

    def wake(self) -> None:
        """Let all who wait look again."""
        for served in self._tables:
            served.arrivals.wake()
        self._round.set()
        self._round = asyncio.Event()

    async def until_ready(self, tables: list[Served], calls: Calls) -> None:
        """Wait until all of these tables answer.

        Raises:
            Refused: TABLE_FAILED as soon as one cannot become ready, SHUTTING_DOWN.
        """
        while not all(self._settled(served) for served in tables):
            if calls.stopping:
                raise shutting_down()
            await self._round.wait()

    def _settled(self, served: Served) -> bool:
        if served.state(self._clock()) is TableState.FAILED:
            served.read(self._clock())
        return served.ready
