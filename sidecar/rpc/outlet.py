"""A watch's events as bytes: each is encoded once, for all watches that want it so.

The encoding of a message is a sequence of its fields, and a repeated field may come in pieces.
So the bytes of a response that holds one event are that event's place in any response: what
hundreds of watches are sent is the same few pieces, put side by side, with the fields of the
response behind them. That costs a fiftieth of filling and encoding a message for each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from .._pb import cache_pb2 as pb
from ..core.events import Event
from ..core.model import Entry
from ..core.served import Served
from ..core.view import View
from .calls import Context
from .lookups import too_large
from .records import RECORD_OVERHEAD_BYTES, Fill

__all__ = ["Form", "Outlet"]

# About how much of a snapshot is encoded in one go.
_PIECE_BYTES: Final = 16 << 10


class Form:
    """Encodes events, as pieces of a response.

    Args:
        fill: fills a record.
        name: of the form: view and encoding.
    """

    def __init__(self, fill: Fill, name: tuple[int, int]) -> None:
        self.fill = fill
        self._name = name
        # Filled anew for each event: clearing a message costs half of what making one does.
        self._response = pb.WatchResponse()
        self._upsert = self._response.events.add().upsert

    def __eq__(self, other: object) -> bool:
        """It makes the same of an event of the same generation."""
        return isinstance(other, Form) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    @property
    def early(self) -> "Form | None":
        """What encodes events as they come; JSON waits until it is wanted: it takes long."""
        return None if self._name[1] == pb.ENCODING_JSON else self

    def known(self, event: Event) -> bytes | None:
        """A change that was encoded already."""
        for name, piece in event.forms:
            if name == self._name:
                return piece
        return None

    def __call__(self, event: Event) -> bytes:
        """A change; encoded by whoever comes first, save for errors, which may heal."""
        known = self.known(event)
        if known is None:
            filled = self._filled(event)
            known = filled.SerializeToString()
            if self._name[1] != pb.ENCODING_JSON or not filled.events[0].upsert.decode_error:
                event.forms += ((self._name, known),)
        return known

    def _filled(self, event: Event) -> pb.WatchResponse:
        """A response that holds a change; until the next is filled."""
        entry, response = event.entry, self._response
        if entry is not None and event.cause is None:
            self._upsert.Clear()
            self.fill(self._upsert, event.key, entry)
            return response
        response = pb.WatchResponse()
        message = response.events.add()
        if entry is not None:
            self.fill(message.upsert, event.key, entry)
        else:
            partition, offset, timestamp = event.at
            gone = message.deletion
            gone.key, gone.partition, gone.offset = event.key, partition, offset
            gone.timestamp_ms = timestamp
            gone.cause = event.why.value  # type: ignore[assignment]  # the number
        if event.cause is not None:
            message.cause.partition, message.cause.offset = event.cause
        return response

    def pieces_of(self, entries: Iterable[tuple[bytes, Entry]], most: int) -> Iterator[bytes]:
        """Entries of a snapshot, several to a piece; a piece of more than `most` bytes has one."""
        response, size, limit = pb.WatchResponse(), 0, min(_PIECE_BYTES, most)
        for key, entry in entries:
            more = RECORD_OVERHEAD_BYTES + self.fill(response.events.add().upsert, key, entry)
            if size and size + more > limit:
                last = response.events.pop()
                yield response.SerializeToString()
                response, size = pb.WatchResponse(events=[last]), 0
            size += more
        if size:
            yield response.SerializeToString()


class Outlet(NamedTuple):
    """Where one watch of one generation goes; `token_at`: makes the token behind a revision."""

    context: Context
    served: Served
    view: View
    form: Form
    token_at: Callable[[int], str]
    clock: Callable[[], float]
    message_bytes: int

    async def send(self, pieces: Sequence[bytes], token: str) -> None:
        """Write pieces, in as many responses as they need; the last one has the token.

        Raises:
            Refused: RESPONSE_TOO_LARGE, for one event.
        """
        incarnation, generation = self.view.identity
        origin = pb.WatchResponse(incarnation=incarnation, generation=generation)
        origin.resume_token = token
        last = origin.SerializeToString()
        some, size = list[bytes](), len(last)
        for piece in pieces:
            size += len(piece)
            if some and size > self.message_bytes:
                origin.resume_token = ""
                await self.context.write(b"".join((*some, origin.SerializeToString())))
                some, size = [], len(last) + len(piece)
            if size > self.message_bytes:
                raise too_large(self.served, _key_of(piece), size, self.message_bytes)
            some.append(piece)
        await self.context.write(b"".join((*some, last)))


def _key_of(piece: bytes) -> bytes:
    event = pb.WatchResponse.FromString(piece).events[0]
    return event.deletion.key if event.WhichOneof("event") == "deletion" else event.upsert.key
