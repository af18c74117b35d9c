"""Watch: a table's changes as they come, after its present state or after a point before.

What is told, in which order, and to whom, `core.watch` decides; `sending` makes messages of
it. Here a watch begins where its request says, and begins anew where it cannot go on and its
client wants that: another generation is another table.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NoReturn

from .._pb import cache_pb2 as pb
from ..core.bounds import Bounds
from ..core.errors import Reason, Refused
from ..core.queue import Follower, Keys, Wanted
from ..core.served import Generation, Served
from ..core.view import View
from ..core.watch import Expired, Walk, Watches
from .calls import Context
from .checks import KeyRange, range_of
from .errors import bad_argument
from .outlet import Form, Outlet
from .ports import Limits
from .sending import Sending, expired
from .tables import Tables, in_order
from .tokens import resume_point, resume_tokens
from .turns import Turns

__all__ = ["Watching"]

_SETTLED_AT_ONCE: Final = 4096
_PROGRESS_MS: Final = 5000
_LEAST_PROGRESS_MS: Final = 10
_LATEST: Final[Mapping[int, bool]] = {
    pb.DELIVERY_UNSPECIFIED: False,
    pb.DELIVERY_EVERY_CHANGE: False,
    pb.DELIVERY_LATEST: True,
}


class Watching:
    """Answers Watch.

    Args:
        tables: what is served.
        clock: seconds, CLOCK_BOOTTIME.
        limits: of the watches.
    """

    def __init__(self, tables: Tables, clock: Callable[[], float], limits: Limits) -> None:
        self.tables = tables
        self.clock = clock
        self.limits = limits
        self.turns = Turns()

    async def watch(self, request: pb.WatchRequest, context: Context) -> None:
        """Send changes until the client is gone or the watch cannot go on.

        Raises:
            Refused: as a lookup; BAD_TOKEN, BAD_FILTER, BAD_RANGE, BAD_REQUEST;
                TOO_MANY_WATCHES, WATCH_LAGGED; RESUME_EXPIRED, INCARNATION_MISMATCH.
        """
        if self.turns.watches >= self.limits.watches:
            raise Refused(
                Reason.TOO_MANY_WATCHES,
                f"{self.limits.watches} watches are under way, and no more are allowed "
                "(limits.watches)",
                metadata={"limit": str(self.limits.watches)},
                retry_after_ms=1000,
            )
        call = _Call(self, self.tables.named(request.table), request, context)
        self.turns.watches += 1
        try:
            await call.run()
        finally:
            self.turns.watches -= 1


class _Call:
    """One watch, through as many generations as its client wants to hear of."""

    def __init__(
        self, watching: Watching, served: Served, request: pb.WatchRequest, context: Context
    ) -> None:
        self._watching = watching
        self._served = served
        self._request = request
        self._context = context
        self._range = _range_of(request)
        by_range = request.HasField("filter") and request.filter.WhichOneof("by") == "key_range"
        self._keys = Keys(*self._range, prefix=not by_range)
        self._latest = _latest(request.delivery)
        asked_ms = request.progress_interval_ms or _PROGRESS_MS
        self._interval_s = max(_LEAST_PROGRESS_MS, asked_ms) / 1000

    async def run(self) -> None:
        """Follow one generation after the other."""
        start = self._request.WhichOneof("start") or "now"
        while True:
            try:
                await self._follow(start)
            except Refused as refused:
                again = refused.reason is Reason.RESUME_EXPIRED
                if not (again and self._request.snapshot_on_reset):
                    raise
                await self._reset(refused.reason)
                start = "snapshot"

    async def _reset(self, reason: Reason) -> None:
        """Tell the client to forget what it holds, at once; wait until there is more to tell.

        Raises:
            Refused: TABLE_FAILED, where that needs an operator.
        """
        built = self._served.current or self._served.next
        incarnation, generation = built.view.identity if built else (0, 0)
        reset = pb.WatchEvent(reset=pb.WatchReset(reason=reason, generation=generation))
        response = pb.WatchResponse(events=[reset], incarnation=incarnation, generation=generation)
        await self._context.write(response.SerializeToString())
        arrivals, woken = self._served.arrivals, asyncio.Event()
        wake = woken.set
        while not self._answers():
            woken.clear()
            arrivals.when(wake, None)
            try:
                await woken.wait()
            finally:
                arrivals.forget(wake)

    def _answers(self) -> bool:
        try:
            self._served.read(self._watching.clock())
        except Refused as refused:
            if refused.reason is Reason.TABLE_FAILED:
                raise
            return False
        return True

    async def _follow(self, start: str) -> NoReturn:
        """Follow the generation that answers."""
        watching, served = self._watching, self._served
        if start == "snapshot" and any(self._range):
            await self._in_order()
        reading = served.read(watching.clock())
        generation = served.current
        assert generation is not None, "the gate is open"  # noqa: S101
        fill = watching.tables.fill_of(served, self._request, reading.generation)
        await self._prepare(generation)
        form = Form(fill, (self._request.view, self._request.encoding))
        watches = await self._watches_of(generation)
        limit = watching.limits.watch_bytes
        wanted = Wanted(self._keys, self._latest, limit, form.early)
        follower, walk = self._begin(start, watches, wanted)
        outlet = Outlet(
            self._context,
            served,
            generation.view,
            form,
            resume_tokens(served.definition.name, self._range, reading.generation),
            watching.clock,
            watching.limits.message_bytes,
        )
        sending = Sending(outlet, follower, watching.turns, self._interval_s)
        try:
            await (sending.progress() if walk is None else sending.snapshot(walk))
            while True:
                await sending.wait()
                await self._prepare(generation)
                await sending.changes()
        finally:
            watches.leave(follower)

    async def _in_order(self) -> None:
        """A part of the table is found by the order of its keys, rather than by looking at all."""
        self._served.read(self._watching.clock())
        with suppress(Refused):
            await in_order(self._served, "")

    async def _prepare(self, generation: Generation) -> None:
        if generation.plan.prepare is not None and self._request.encoding == pb.ENCODING_JSON:
            await generation.plan.prepare()

    async def _watches_of(self, generation: Generation) -> Watches:
        table = generation.view.table
        while table.settle(_SETTLED_AT_ONCE):  # noqa: ASYNC110 (work, not polling)
            await asyncio.sleep(0)
        if self._served.current is not generation:
            raise expired(self._served, "it was built anew")
        if generation.watches is None:
            generation.watches = Watches(generation.view, 2 * self._watching.limits.watch_bytes)
        return generation.watches

    def _begin(self, start: str, watches: Watches, wanted: Wanted) -> tuple[Follower, Walk | None]:
        request = self._request
        try:
            if start == "snapshot":
                return watches.walk(wanted)
            if start == "resume_token":
                name, generation = self._served.definition.name, watches.view.identity[1]
                built, revision = resume_point(request.resume_token, name, self._range)
                if built != generation:
                    raise expired(self._served, "it was built anew since")
                return watches.follow_from(revision, wanted), None
            if start == "after":
                return watches.follow_after(self._positions(watches.view), wanted), None
        except Expired:
            why = "what came since is no longer kept, is more than may wait, or is yet to come"
            raise expired(self._served, why) from None
        return watches.follow(wanted), None

    def _positions(self, view: View) -> Mapping[int, int]:
        after = self._request.after
        view.read(self._watching.clock(), Bounds(incarnation=after.incarnation or None))
        return {one.partition: one.offset for one in after.next_offsets}


def _range_of(request: pb.WatchRequest) -> KeyRange:
    if request.filter.HasField("index"):
        raise Refused(
            Reason.BAD_FILTER,
            "a watch cannot go by an index; watch a prefix, a range, or the whole table",
            metadata={"field": "filter.index"},
        )
    return range_of(request)


def _latest(delivery: int) -> bool:
    if delivery not in _LATEST:
        raise bad_argument("delivery", f"{delivery} is no Delivery that this version knows")
    return _LATEST[delivery]
