"""What waits for one follower of a table.

Most followers want a few keys, and each has a queue of the changes of those. Who wants every
change of every key needs none: the log of the latest changes is its queue, and it keeps but
its place in it. So a change costs the same however many follow the whole table.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, TypeAlias

from .changes import SHARDS, shard_of
from .events import Event
from .past import Past

__all__ = ["PLENTY", "Encode", "Follower", "Keys", "Wanted"]

Wake: TypeAlias = Callable[[], object]
CaughtUp: TypeAlias = Callable[["Follower"], object]
Encode: TypeAlias = Callable[[Event], object]

# So many events are worth a message of their own.
PLENTY = 250


class Keys(NamedTuple):
    """start <= key < end; an empty end is no end. `prefix`: the keys that begin with `start`."""

    start: bytes = b""
    end: bytes = b""
    prefix: bool = True

    def holds(self, key: bytes) -> bool:
        """It is one of them."""
        if self.prefix:
            return key.startswith(self.start)
        return self.start <= key and (not self.end or key < self.end)


class Wanted(NamedTuple):
    """What a follower wants.

    Attributes:
        keys: whose changes.
        latest: each key's latest change only, where it falls behind.
        limit: most bytes that wait for it.
        encode: done with each event as it comes, while all of it is at hand; does not raise.
            Equal ones do the same, and are called once.
    """

    keys: Keys
    latest: bool
    limit: int
    encode: Encode | None = None

    @property
    def all(self) -> bool:
        """Every change of every key."""
        return self.keys == Keys() and not self.latest


class _Round:
    """What is given: events that waited in one moment."""

    __slots__ = ("events", "weight")

    lost = False

    def __init__(self, events: Iterable[Event] = (), weight: int = 0) -> None:
        self.events = list(events)[::-1]  # the next one last
        self.weight = weight

    def __len__(self) -> int:
        return len(self.events)

    def take(self, most: int, weight: int) -> list[Event]:
        events = self.events
        if len(events) <= most and self.weight <= weight:
            self.events, self.weight = [], 0
            return events[::-1]
        taken: list[Event] = []
        while events and len(taken) < most and weight > 0:
            event = events.pop()
            self.weight -= event.weight
            weight -= event.weight
            taken.append(event)
        return taken


class _Stretch:
    """What is given out of the log: events that waited in one moment, read as they are taken."""

    __slots__ = ("_end", "_log", "_number", "weight")

    def __init__(self, log: Past, number: int, weight: int) -> None:
        self._log = log
        self._number, self._end = number, log.count
        self.weight = weight

    def __len__(self) -> int:
        return self._end - self._number

    @property
    def lost(self) -> bool:
        """The log has let go of what was not read."""
        return len(self) > 0 and not self._log.holds(self._number)

    def take(self, most: int, weight: int) -> list[Event]:
        taken: list[Event] = []
        for event in islice(self._log.read(self._number), min(most, len(self))):
            if weight <= 0:
                break
            taken.append(event)
            weight -= event.weight
            self.weight -= event.weight
        self._number += len(taken)
        return taken


class _Queue:
    """What waits, by number, or by key where only the latest counts."""

    __slots__ = ("events", "weight")

    def __init__(self) -> None:
        self.events: dict[bytes | int, Event] = {}
        self.weight = 0

    def __len__(self) -> int:
        return len(self.events)

    def put(self, event: Event, *, latest: bool) -> None:
        name: bytes | int = len(self.events)
        if latest:
            name = event.key
            if earlier := self.events.pop(name, None):
                self.weight -= earlier.weight
        self.events[name] = event
        self.weight += event.weight

    def close(self) -> _Round:
        closed = _Round(self.events.values(), self.weight)
        self.events, self.weight = {}, 0
        return closed


class _Place:
    """A place in the log, behind which all waits."""

    __slots__ = ("_log", "_number", "_wake_at", "_written")

    def __init__(self, log: Past) -> None:
        self._log = log
        self._number, self._written, self._wake_at = log.count, log.written, log.count + 1

    def __len__(self) -> int:
        return self._log.count - self._number

    @property
    def weight(self) -> int:
        return self._log.written - self._written

    @property
    def lost(self) -> bool:
        """The log has let go of what was not read."""
        return not self._log.holds(self._number)

    def due(self) -> bool:
        """There is something to wake for; it is said once."""
        if self._log.count < self._wake_at:
            return False
        self._wake_at = self._number + (len(self) // PLENTY + 1) * PLENTY
        return True

    def be_called(self, limit: int, given: int) -> None:
        """Be told to look when there is something to wake for, or more than the limit waits.

        Of which so many bytes are being given; what the log may let go of is too much, too.
        """
        self._log.call_at(self._wake_at, self._written + min(limit, self._log.limit) - given)

    def close(self) -> _Stretch:
        closed, log = _Stretch(self._log, self._number, self.weight), self._log
        self._number, self._written, self._wake_at = log.count, log.written, log.count + 1
        return closed


class Follower:
    """One follower's queue.

    Args:
        wanted: what goes in.
        walked: the dicts of the table that it has walked already.

    Attributes:
        wake: called when something has come where nothing was, when so much has (`plenty`) that
            it need not be more, and when it is over; does not raise.
        caught_up: called when it has been given all behind its walk, and has a queue of its own.
        lagged: more waited than its limit, so nothing is left of it.
        over: the generation is not the one that answers any more.
    """

    __slots__ = ("_inbox", "_round", "caught_up", "lagged", "over", "wake", "walked", "wanted")

    def __init__(self, wanted: Wanted, walked: int) -> None:
        self.wanted = wanted
        self.walked = walked
        self.lagged = self.over = False
        self.wake: Wake = bool  # nobody yet
        self.caught_up: CaughtUp = bool
        self._inbox: _Queue | _Place = _Queue()
        self._round: _Round | _Stretch = _Round()

    def __repr__(self) -> str:
        waiting = len(self._inbox) + len(self._round)
        return f"<Follower waiting={waiting} weight={self.weight} walked={self.walked}>"

    def put(self, event: Event) -> None:
        """A change of a key that it wants."""
        ahead = self.walked < SHARDS and shard_of(event.key) >= self.walked
        queue = self._inbox
        if self.lagged or ahead or isinstance(queue, _Place):
            return
        first = not queue.events
        queue.put(event, latest=self.wanted.latest)
        if queue.weight + self._round.weight > self.wanted.limit:
            self._drop()
        if first or self.lagged or len(queue.events) % PLENTY == 0:
            self.wake()

    def read(self, log: Past) -> None:
        """From now on the log is its queue; its own is empty."""
        self._inbox = place = _Place(log)
        place.be_called(self.wanted.limit, self._round.weight)

    def look(self) -> None:
        """The log that it reads has so many events, or so many bytes, that it may concern it."""
        place = self._inbox
        if not isinstance(place, _Place):
            return
        if self.weight > self.wanted.limit or self._round.lost or place.lost:
            self._drop()
            self.wake()
            return
        if place.due():
            self.wake()
        place.be_called(self.wanted.limit, self._round.weight)

    def leave(self) -> None:
        """Nothing more comes. It lets go of whom it woke: who holds it is not held by it."""
        self._inbox = _Queue()
        self.wake = self.caught_up = bool

    def end(self) -> None:
        """Its generation is over."""
        self.over = True
        self.wake()

    def take(self, most: int, weight: int) -> list[Event]:
        """Up to `most` events of one round, of about `weight` bytes; at least one that waits."""
        if not len(self._round):
            self._close()
        return self._round.take(most, weight)

    def _close(self) -> None:
        """What waits is the round that is given now."""
        self._round = self._inbox.close()
        if isinstance(self._inbox, _Place):
            self._inbox.be_called(self.wanted.limit, self._round.weight)
        elif self.walked == SHARDS:
            self.caught_up(self)

    def _drop(self) -> None:
        """It cannot have all any more, so it has nothing."""
        self._inbox, self._round = _Queue(), _Round()
        self.lagged = True

    @property
    def weight(self) -> int:
        """Bytes that wait."""
        return self._inbox.weight + self._round.weight

    @property
    def plenty(self) -> bool:
        """So many wait that it is not worth while to wait for more."""
        return len(self._inbox) >= PLENTY

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return not len(self._round) and not len(self._inbox)

    @property
    def between(self) -> bool:
        """No round is begun: what was given is the table as it was when the last one closed."""
        return not len(self._round)
