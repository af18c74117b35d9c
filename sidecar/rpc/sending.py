"""What one watch of one generation sends, and when.

A watch sleeps until it has its turn (`turns`), because something has come or its progress is
due. Then it sends a round; what comes meanwhile waits for its next turn.

A response has a token wherever going on behind it leaves no gap. Positions are told only
where what was sent is the table as it was in one moment: that in which the round that is
given was closed, with nothing behind it.

A client that does not read blocks the write, and its queue grows until it is cut: by an
abort from a task beside the handler, which alone can end a call that waits in a write.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import ceil
from typing import Final, NamedTuple

import grpc

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused
from ..core.events import Event
from ..core.model import Entry
from ..core.progress import Progress
from ..core.queue import Follower
from ..core.served import Served
from ..core.watch import Walk
from .calls import Context
from .errors import abort
from .outlet import Outlet
from .records import fill_positions
from .turns import Turns

__all__ = ["Sending", "expired"]

# What a response holds at most: the more waits, the more goes at a time.
_EVENTS: Final = 4000
_BYTES: Final = 1 << 20
_AT_ONCE: Final = 32
# What a response of a snapshot holds, for making one holds up everybody else.
_SNAPSHOT_BYTES: Final = 64 << 10
_SHARDS_AT_ONCE: Final = 16
# How often is looked whether the table is whole again, after its log's start has moved.
_SETTLED_S: Final = 0.01
_MAX_U32: Final = (1 << 32) - 1


class _Mark(NamedTuple):
    """What was sent is the table as it was at `at`, once the round is over."""

    revision: int
    incarnation: int
    progress: Mapping[int, Progress]
    staleness_ms: int | None
    at: float

    def piece(self, event: str, now: float) -> bytes:
        """The mark as one event of a response."""
        response = pb.WatchResponse()
        told: pb.WatchProgress = getattr(response.events.add(), event)
        told.SetInParent()
        told.revision = self.revision
        fill_positions(told.positions, self.incarnation, self.progress)
        if self.staleness_ms is not None:
            since_ms = max(0, ceil((now - self.at) * 1000))
            told.staleness_ms = min(self.staleness_ms + since_ms, _MAX_U32)
        return response.SerializeToString()


class Sending:
    """What one watch of one generation sends.

    Args:
        outlet: where it goes.
        follower: what is sent.
        turns: of all watches.
        interval_s: so often it tells its progress, seconds.
    """

    def __init__(self, outlet: Outlet, follower: Follower, turns: Turns, interval_s: float) -> None:
        self._out = outlet
        self._follower = follower
        self._turns = turns
        self._interval_s = interval_s
        self._woken = asyncio.Event()
        self._told_at = outlet.clock()
        self._cutting: asyncio.Task[None] | None = None
        follower.wake = self._wake

    def _wake(self) -> None:
        """Something has come, or it is over."""
        if not (self._follower.over or self._follower.lagged):
            self._turns.ask(self._woken, at_once=self._follower.plenty)
            return
        self._woken.set()
        if self._follower.lagged and self._cutting is None:
            self._cutting = asyncio.create_task(_cut(self._out.context, self._lagged()))

    async def wait(self) -> None:
        """Wait for a turn, which comes when something has come or progress is due."""
        due = asyncio.get_running_loop().call_later(self._interval_s, self._turns.due, self._woken)
        try:
            await self._woken.wait()
        finally:
            due.cancel()
        self._woken.clear()

    async def snapshot(self, walk: Walk) -> None:
        """Send the table as it is, what changes behind the walk, and the end of that."""
        pieces = list[bytes]()
        await self._turns.take()
        for number, shard in enumerate(walk):
            if number % _SHARDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            pieces = await self._walked(pieces, shard)
            if not self._follower.empty:
                await self._send(pieces)
                pieces = []
                await self._turns.take()
                await self._round(tokens=False, marked=False)
        await self._send(pieces)
        await self._give_mark("snapshot_end", tokens=False)

    async def _walked(
        self, pieces: list[bytes], shard: Iterable[tuple[bytes, Entry]]
    ) -> list[bytes]:
        """Send these pieces and what one of the table's dicts held; what is left of that."""
        for piece in self._out.form.pieces_of(shard, self._out.message_bytes // 2):
            pieces.append(piece)
            if sum(map(len, pieces)) > _SNAPSHOT_BYTES:
                await self._send(pieces)
                await self._turns.take()
                pieces = []
        return pieces

    async def progress(self) -> None:
        """Say where it begins."""
        await self._give_mark("progress", tokens=True)

    async def changes(self) -> None:
        """In its turn, send what waits now, and progress where it is due.

        For what comes meanwhile a turn was asked for already.
        """
        self._check()
        mark = await self._round(tokens=True, marked=self._due)
        if mark is not None and self._due:
            await self._tell("progress", mark)

    async def _give_mark(self, event: str, *, tokens: bool) -> None:
        """Send a round, and that it is over, as soon as the table is whole."""
        while True:
            self._check()
            await self._turns.take()
            mark = await self._round(tokens=tokens, marked=True)
            if mark is not None:
                break
            await asyncio.sleep(_SETTLED_S)
        await self._tell(event, mark)

    async def _round(self, *, tokens: bool, marked: bool) -> _Mark | None:
        """Send what waits now, a response a turn, and with `tokens` progress where it is due.

        What was sent is then the table as the mark tells, if one is wanted and there is one.
        """
        self._check()
        # In the moment in which the round is closed.
        mark = self._mark_now() if marked or self._follower.wanted.latest else None
        while events := self._follower.take(_EVENTS, _BYTES):
            # Told only now: one that is cut meanwhile has nothing left of its round.
            over = self._follower.between
            await self._give(events, mark if over else None, tokens=tokens)
            if over:
                break
            await self._turns.take(again=True)
            self._check()
        return mark

    async def _give(self, events: list[Event], whole: _Mark | None, *, tokens: bool) -> None:
        """Send a part of a round; `whole`: the last one, behind which the mark holds."""
        pieces, token = await self._pieces_of(events), ""
        if tokens and whole is not None and self._due:
            pieces.append(self._piece("progress", whole))
        if tokens:
            token = self._token_behind(events[-1], whole)
        await self._send(pieces, token)

    async def _pieces_of(self, events: list[Event]) -> list[bytes]:
        """The events' pieces, a few at a time: whoever comes first encodes them for all."""
        form, pieces, fresh = self._out.form, list[bytes](), 0
        for event in events:
            piece = form.known(event)
            if piece is None:
                piece, fresh = form(event), fresh + 1
                if fresh % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            pieces.append(piece)
        return pieces

    def _token_behind(self, last: Event, whole: _Mark | None) -> str:
        """Where each key's latest only is sent, there is none inside a round."""
        if whole is not None:
            return self._out.token_at(whole.revision)
        return "" if self._follower.wanted.latest else self._out.token_at(last.revision)

    @property
    def _due(self) -> bool:
        return self._out.clock() - self._told_at >= self._interval_s

    def _mark_now(self) -> _Mark | None:
        view, now = self._out.view, self._out.clock()
        if not view.table.swept:
            return None
        incarnation, staleness_ms = view.identity[0], view.staleness_ms(now)
        return _Mark(view.table.revision, incarnation, dict(view.progress), staleness_ms, now)

    def _piece(self, event: str, mark: _Mark) -> bytes:
        """A mark, which is told now."""
        self._told_at = self._out.clock()
        return mark.piece(event, self._told_at)

    async def _tell(self, event: str, mark: _Mark) -> None:
        """Send a mark."""
        await self._send([self._piece(event, mark)], self._out.token_at(mark.revision))

    async def _send(self, pieces: list[bytes], token: str = "") -> None:
        if pieces:
            await self._out.send(pieces, token)
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
