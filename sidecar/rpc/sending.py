"""What one watch of one generation sends.

An event is filled once for each form (view and encoding) and shared by all who want it so.

A watch sleeps until something comes or its progress is due. With many watches each gathers
a little longer before it sends, so that a change that concerns hundreds is not hundreds of
messages of one event: the more watches there are, the more each sends at a time.

A response has a token wherever going on behind it leaves no gap. Positions are told only
where what was sent is the table as it was in one moment: that in which the round that is
given was closed, with nothing behind it.

A client that does not read blocks the write, and its queue grows until it is cut: by an
abort from a task beside the handler, which alone can end a call that waits in a write.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import grpc

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused
from ..core.events import Event
from ..core.served import Served
from ..core.view import View
from ..core.watch import Follower, Walk
from .calls import Context
from .errors import abort
from .lookups import too_large
from .records import RECORD_OVERHEAD_BYTES, Fill, fill_positions

__all__ = ["Form", "Outlet", "Sending", "Turns", "expired"]

_EVENTS: Final = 250
_BYTES: Final = 256 << 10
# How often is looked whether the table is whole again, after its log's start has moved.
_SETTLED_S: Final = 0.01
# Of those who wait for a turn, one of so many has it in a round of the loop.
_TURNS_SHARE: Final = 32
_MOST_GATHERED_S: Final = 0.5
_MAX_U32: Final = (1 << 32) - 1


class Form:
    """Fills events; each once for all watches that want it so.

    Args:
        fill: fills a record.
        name: of the form: view and encoding.
    """

    def __init__(self, fill: Fill, name: tuple[int, int]) -> None:
        self.fill = fill
        self._name = name

    def message_of(self, event: Event) -> pb.WatchEvent:
        """The event as a message, which is not to be changed."""
        known = event.forms.get(self._name)
        if known is None:
            known = event.forms[self._name] = self._filled(event)
        return known

    def _filled(self, event: Event) -> pb.WatchEvent:
        message = pb.WatchEvent()
        if event.entry is not None:
            self.fill(message.upsert, event.key, event.entry)
        else:
            partition, offset, timestamp = event.at
            gone = message.deletion
            gone.key, gone.partition, gone.offset = event.key, partition, offset
            gone.timestamp_ms = timestamp
            gone.cause = event.why.value  # type: ignore[assignment]  # the number
        if event.cause is not None:
            message.cause.partition, message.cause.offset = event.cause
        return message


class Turns:
    """Lets watches send a few at a time: the more of them wait, the more in a round of the loop.

    What hundreds have to send at once would else stand between a lookup and its answer. A
    turn is over before a message is written, so one that cannot be written holds up nobody.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._give)
        self._waiting.append(turn)
        await turn

    def _give(self) -> None:
        for _ in range(1 + len(self._waiting) // _TURNS_SHARE):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._give)


class Outlet(NamedTuple):
    """Where one watch of one generation goes."""

    context: Context
    served: Served
    view: View
    form: Form
    token_for: Callable[[int, int], str]
    clock: Callable[[], float]
    message_bytes: int
    turns: Turns

    def response(self) -> pb.WatchResponse:
        """One without events."""
        incarnation, generation = self.view.identity
        return pb.WatchResponse(incarnation=incarnation, generation=generation)

    async def send(self, response: pb.WatchResponse) -> None:
        """Write it; in parts where it is too large. The last part has its token.

        Raises:
            Refused: RESPONSE_TOO_LARGE, for one event.
        """
        size, events = response.ByteSize(), response.events
        if size <= self.message_bytes:
            await self.context.write(response)
            return
        if len(events) < 2:
            gone = events[0].WhichOneof("event") == "deletion"
            key = events[0].deletion.key if gone else events[0].upsert.key
            raise too_large(self.served, key, size, self.message_bytes)
        first, rest = self.response(), self.response()
        first.events.extend(events[: len(events) // 2])
        rest.events.extend(events[len(events) // 2 :])
        rest.resume_token = response.resume_token
        await self.send(first)
        await self.send(rest)


class _Mark(NamedTuple):
    """What was sent is the table as it was then, once the round is over."""

    revision: int
    progress: pb.WatchProgress


class Sending:
    """What one watch of one generation sends.

    Args:
        outlet: where it goes.
        follower: what is sent.
    """

    def __init__(self, outlet: Outlet, follower: Follower) -> None:
        self._out = outlet
        self._follower = follower
        self._woken = asyncio.Event()
        self._mark: _Mark | None = None
        self._told_at = outlet.clock()
        self._cutting: asyncio.Task[None] | None = None
        follower.wake = self._wake

    def _wake(self) -> None:
        """Something has come, or it is over."""
        self._woken.set()
        if self._follower.lagged and self._cutting is None:
            self._cutting = asyncio.create_task(_cut(self._out.context, self._lagged()))

    async def wait(self, seconds: float, gather_s: float) -> None:
        """Wait for something, or so long; where something comes, for more of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
                await asyncio.sleep(min(_MOST_GATHERED_S, gather_s))
        self._woken.clear()

    async def snapshot(self, walk: Walk) -> None:
        """Send the table as it is, what changes behind the walk, and the end of that."""
        response, size = self._out.response(), 0
        for shard in walk:
            for key, entry in shard:
                size += RECORD_OVERHEAD_BYTES
                size += self._out.form.fill(response.events.add().upsert, key, entry)
                if len(response.events) >= _EVENTS or size > _BYTES:
                    await self._send(response)
                    response, size = self._out.response(), 0
            if not self._follower.empty:
                await self._send(response)
                response, size = self._out.response(), 0
                await self._round(tokens=False)
            await asyncio.sleep(0)
        await self._send(response)
        await self._give_mark("snapshot_end", tokens=False)

    async def progress(self) -> None:
        """Say where it begins."""
        await self._give_mark("progress", tokens=True)

    async def changes(self, interval_s: float) -> None:
        """Send what waits, and progress where it is due."""
        self._check()
        while not self._follower.empty:
            await self._round(tokens=True)
            await self._progress(interval_s)
        self._mark = self._mark_now()
        await self._progress(interval_s)

    async def _progress(self, interval_s: float) -> None:
        if self._mark is not None and self._out.clock() - self._told_at >= interval_s:
            await self._tell("progress", self._mark)

    async def _give_mark(self, event: str, *, tokens: bool) -> None:
        """Send a round, and that it is over, as soon as the table is whole."""
        while True:
            self._check()
            await self._round(tokens=tokens)
            if self._mark is not None:
                break
            await asyncio.sleep(_SETTLED_S)
        await self._tell(event, self._mark)

    async def _round(self, *, tokens: bool) -> None:
        """Send what waits now, a response at a time; then the mark is that of now, if any."""
        await self._out.turns.take()
        self._mark = self._mark_now()  # in the moment in which the round is closed
        while events := self._follower.take(_EVENTS, _BYTES):
            response = self._out.response()
            response.events.extend(map(self._out.form.message_of, events))
            if tokens:
                response.resume_token = self._token_behind(events[-1])
            await self._send(response)
            if self._follower.between:
                break
            await self._out.turns.take()

    def _token_behind(self, last: Event) -> str:
        """Where each key's latest only is sent, there is none inside a round."""
        generation = self._out.view.identity[1]
        if not self._follower.wanted.latest:
            return self._out.token_for(generation, last.revision)
        if self._follower.between and self._mark is not None:
            return self._out.token_for(generation, self._mark.revision)
        return ""

    def _mark_now(self) -> _Mark | None:
        view = self._out.view
        if not view.table.swept:
            return None
        progress = pb.WatchProgress(revision=view.table.revision)
        fill_positions(progress.positions, view)
        staleness_ms = view.staleness_ms(self._out.clock())
        if staleness_ms is not None:
            progress.staleness_ms = min(staleness_ms, _MAX_U32)
        return _Mark(view.table.revision, progress)

    async def _tell(self, event: str, mark: "_Mark") -> None:
        """Send a mark."""
        response = self._out.response()
        getattr(response.events.add(), event).CopyFrom(mark.progress)
        generation = self._out.view.identity[1]
        response.resume_token = self._out.token_for(generation, mark.revision)
        self._told_at = self._out.clock()
        await self._send(response)

    async def _send(self, response: pb.WatchResponse) -> None:
        if response.events:
            await self._out.send(response)
        self._check()

    def _check(self) -> None:
        if self._follower.lagged:
            raise self._lagged()
        if self._follower.over:
            raise expired(self._out.served, "it was built anew, or its topic is gone")

    def _lagged(self) -> Refused:
        name, limit = self._out.served.definition.name, self._follower.wanted.limit
        return Refused(
            Reason.WATCH_LAGGED,
            f"table {name!r}: more than {limit} bytes waited for this watch (limits.watch_bytes); "
            "resume with the last token, and read faster or ask for DELIVERY_LATEST",
            metadata={"table": name, "limit": str(limit)},
        )


async def _cut(context: Context, refused: Refused) -> None:
    with suppress(grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError):
        await abort(context, refused)


def expired(served: Served, why: str) -> Refused:
    """A watch cannot go on where it stands."""
    name = served.definition.name
    return Refused(
        Reason.RESUME_EXPIRED,
        f"table {name!r}: {why}; begin with a snapshot",
        metadata={"table": name},
    )
