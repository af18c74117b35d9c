"""Following one generation of a table: the changes that followers have not been given yet.

Each change becomes one event, which all followers share; each has a queue of those whose
keys it wants, bounded in bytes. Who wants keys with a prefix is found by that prefix, so
hundreds of followers of a key each cost a change no more than the one that it concerns.
Who wants all has no queue, but a place in the log.

The latest events stay in a log, bounded in bytes too, so that one who was cut off may go
on behind the last that it was given: by revision, or by position. What the log no longer
holds is refused: nobody is ever told a part.

A follower that wants the current state first walks the table, one of its dicts after the
other, each as it stands in one moment. Of the dicts that lie ahead it is told no change,
for it will meet what they left; of those behind it, all. So what it was given equals the
table once the walk is over and its queue is empty.

One that wants each key's latest change only is given *rounds*: a round closes when it is
begun, and what changes while it is given waits for the next. Between two rounds what it was
given is the table at one revision; inside a round it is not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from .changes import SHARDS, Change
from .events import Event, event_of
from .model import Entry
from .ordered import prefix_end
from .past import Past
from .queue import Encode, Follower, Keys, Wanted
from .stored import entry_of
from .view import View

__all__ = ["Expired", "Walk", "Watches"]


class Expired(Exception):  # noqa: N818 (a point in time, not an error)
    """The point to go on behind is no longer, or never was, in the log.

    Or more has come since than may wait: who was cut there would be cut there for ever.
    """


class Watches:
    """Those who follow one generation, and its latest changes; of a table that is settled.

    Args:
        view: the generation.
        log_bytes: about how much of what is past is kept.
    """

    def __init__(self, view: View, log_bytes: int) -> None:
        self.view = view
        self._past = Past(view, log_bytes)
        self._by_prefix: dict[int, dict[bytes, dict[Follower, None]]] = {}
        self._by_range: dict[Follower, None] = {}
        self._readers: dict[Follower, None] = {}
        self._encodes: set[Encode] = set()
        self._all: dict[Follower, None] = {}
        self._quiet = 0
        view.table.observe(self)

    def __repr__(self) -> str:
        return f"<Watches followers={len(self)} past={len(self._past)}>"

    def __len__(self) -> int:
        return len(self._all)

    def __call__(self, change: Change) -> None:
        """Tell those whom a change concerns."""
        event = event_of(change, self._position)
        self._keep(event)
        key = event.key
        for size, known in self._by_prefix.items():
            for follower in known.get(key[:size], ()):
                follower.put(event)
                if follower.wanted.encode is not None:
                    follower.wanted.encode(event)
        for follower in self._by_range:
            if follower.wanted.keys.holds(key):
                follower.put(event)

    def _keep(self, event: Event) -> None:
        """For those who read the log, or will."""
        for encode in self._encodes:
            encode(event)
        if self._past.keep(event):
            self._past.called()
            for follower in list(self._readers):
                follower.look()

    # Who follows

    def follow(self, wanted: Wanted) -> Follower:
        """Follow from now on."""
        return self._add(Follower(wanted, SHARDS))

    def follow_from(self, revision: int, wanted: Wanted) -> Follower:
        """Follow from behind a revision on.

        Raises:
            Expired: the log does not go back so far, the revision is yet to come, or more has
                come since than may wait.
        """
        if not self._past.since <= revision <= self.view.table.revision:
            raise Expired
        return self._resumed(self._past.behind(revision), wanted)

    def follow_after(self, positions: Mapping[int, int], wanted: Wanted) -> Follower:
        """Follow from positions on: by partition, the next offset to read.

        In which order partitions were read is no matter, save for keys that several of them
        hold: of such a key that changed hands lately its last change is told in any case.

        Raises:
            Expired: the log does not go back so far, a position is yet to come, or more has
                come since than may wait.
        """
        known = self.view.progress
        early = any(
            positions.get(number, 0) < least for number, least in self._past.positions.items()
        )
        late = any(number not in known or offset > known[number].position
                   for number, offset in positions.items())  # fmt: skip
        if early or late:
            raise Expired
        return self._resumed(self._behind(positions), wanted)

    def _behind(self, positions: Mapping[int, int]) -> Iterator[Event]:
        """Those behind positions, each where it happened: a revision says what was told before."""
        crossing = self._past.crossing()
        for event in self._past:
            last = crossing.get(event.key)
            if last == event.revision:
                cause = (event.at[0], self._position(event.at[0]))
                yield replace(event, cause=cause, forms=())
            elif last is None and event.behind(positions):
                yield event

    def _position(self, partition: int) -> int:
        return self.view.progress[partition].position

    def _resumed(self, events: Iterable[Event], wanted: Wanted) -> Follower:
        follower = Follower(wanted, SHARDS)
        for event in events:
            if wanted.keys.holds(event.key):
                follower.put(event)
        if follower.lagged:
            raise Expired
        return self._add(follower)

    def walk(self, wanted: Wanted) -> tuple[Follower, "Walk"]:
        """Follow behind a walk over the table as it is."""
        follower = self._add(Follower(wanted, 0))
        return follower, self._walk(follower)

    def _walk(self, follower: Follower) -> "Walk":
        for shard in range(SHARDS):
            entries = self._entries(shard, follower.wanted.keys)
            follower.walked = shard + 1
            yield entries

    def _entries(self, shard: int, keys: Keys) -> Iterator[tuple[bytes, Entry]]:
        """Some keys' entries in one of the table's dicts, as they are now."""
        table = self.view.table
        if keys == Keys():
            return ((key, entry_of(word)) for key, word in table.shard_words(shard))
        if not self.view.is_ordered:
            words = [pair for pair in table.shard_words(shard) if keys.holds(pair[0])]
            return ((key, entry_of(word)) for key, word in words)
        end = prefix_end(keys.start) if keys.prefix else keys.end
        chosen = self.view.ordered().of_shard(shard, keys.start, end)
        return iter([(key, entry) for key in chosen if (entry := table.get(key)) is not None])

    def _add(self, follower: Follower) -> Follower:
        keys = follower.wanted.keys
        self._all[follower] = None
        if follower.wanted.all:
            follower.caught_up = self._reads
        if follower.wanted.all and follower.empty and follower.walked == SHARDS:
            self._reads(follower)
        elif keys.prefix:
            known = self._by_prefix.setdefault(len(keys.start), {})
            known.setdefault(keys.start, {})[follower] = None
        else:
            self._by_range[follower] = None
        return follower

    def _reads(self, follower: Follower) -> None:
        """Nothing waits in its own queue: the log may take the place of that."""
        self._forget(follower)
        self._readers[follower] = None
        self._set_encodes()
        follower.read(self._past)

    def leave(self, follower: Follower) -> None:
        """Follow no longer."""
        follower.leave()
        self._all.pop(follower, None)
        self._forget(follower)

    def _forget(self, follower: Follower) -> None:
        if follower in self._readers:
            del self._readers[follower]
            self._set_encodes()
        self._by_range.pop(follower, None)
        keys = follower.wanted.keys
        same = self._by_prefix.get(len(keys.start), {})
        same.get(keys.start, {}).pop(follower, None)
        if keys.start in same and not same[keys.start]:
            del same[keys.start]
        if not same:
            self._by_prefix.pop(len(keys.start), None)

    def _set_encodes(self) -> None:
        encodes = (follower.wanted.encode for follower in self._readers)
        self._encodes = {encode for encode in encodes if encode is not None}

    def rest(self, rounds: int) -> bool:
        """A round is over; true: nobody has followed for so many, and nobody is told any more."""
        self._quiet = 0 if self._all else self._quiet + 1
        if self._quiet < rounds:
            return False
        self.view.table.unobserve(self)
        return True

    def dismantle(self, most: int) -> Iterator[None]:
        """Free what is past in steps of so many."""
        while self._past.forget(most):
            yield

    def end(self) -> None:
        """The generation is not the one that answers any more."""
        for follower in list(self._all):
            follower.end()

    @property
    def queued_bytes(self) -> int:
        """What waits for all of them, about; may be asked from another thread."""
        return sum(follower.weight for follower in list(self._all))

    @property
    def past_bytes(self) -> int:
        """What is kept for those who resume, about."""
        return self._past.weight


# One of the table's dicts a step: its keys with their entries, as they stood in one moment.
Walk = Iterator[Iterator[tuple[bytes, Entry]]]
