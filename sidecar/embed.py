"""The same tables inside a Python process: no server, no call, the app's own memory.

    async with sidecar.open("sidecar.yaml") as tables:
        users = tables["users"]
        await users.wait_until_ready()
        record = users.get(b"alice")  # None: absent, and that is certain

It is the sidecar without what is before it: `follower.Following` feeds the tables, a lookup goes
through the read gate, a watch follows the generation that answers. All of it belongs to the event
loop in which it was opened, and is not to be used from other threads. A lookup that is refused
raises `Refused`, whose `reason` says what to do. What is listened on is for the sidecar alone.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from .core.bounds import UNBOUND, Bounds
from .core.errors import Reason, Refused
from .core.model import HEADERS, OFFSET, ORIGIN, TIMESTAMP, VALUE, Entry, Headers, partition_of
from .core.ordered import prefix_end
from .core.queue import Follower, Keys, Wanted
from .core.served import Generation, Served, TableState
from .core.view import Reading
from .core.watch import Watches
from .follower.following import Following, boottime
from .ops.config import Config, load
from .ops.memory import Budget, container_limit
from .ops.recorder import Recorder

__all__ = ["Change", "Freshness", "Mark", "Record", "Refused", "Table", "Tables", "opened"]

_AT_ONCE = 1000
_SETTLED_AT_ONCE = 4096
_EVENTS, _BYTES = 250, 256 << 10


class Record(NamedTuple):
    """What a table holds for a key; `timestamp_ms` since the Unix epoch."""

    key: bytes
    value: bytes
    partition: int
    offset: int
    timestamp_ms: int
    headers: Headers = ()


class Freshness(NamedTuple):
    """Of what the answers are the truth.

    Attributes:
        staleness_ms: age of the oldest part; None: not known.
        positions: by partition, the next offset to read: all before is in the table.
        incarnation: of the topic.
        generation: of this build of the table.
        revision: the same one is the same table.
    """

    staleness_ms: int | None
    positions: Mapping[int, int]
    incarnation: int
    generation: int
    revision: int


class Change(NamedTuple):
    """A key has this record now; None: it is gone."""

    key: bytes
    record: Record | None


class Mark(NamedTuple):
    """All changes up to here were given: what they make is the table as it is now."""

    freshness: Freshness


class Table:
    """One table.

    Args:
        served: its place in the sidecar.
        changed: waits for a change of any table's state.
        check: raises where nothing feeds the tables any more.
        watch_bytes: what may wait for one watch, bytes.
    """

    def __init__(
        self,
        served: Served,
        changed: Callable[[], Any],
        check: Callable[[], None],
        watch_bytes: int,
    ) -> None:
        self._served = served
        self._changed = changed
        self._check = check
        self._watch_bytes = watch_bytes

    def __repr__(self) -> str:
        return f"<Table {self._served!r}>"

    # How it stands

    @property
    def state(self) -> TableState:
        """BOOTSTRAPPING, LIVE, STALE, FAILED or REPLACED."""
        return self._served.state(boottime())

    @property
    def reason(self) -> str:
        """Why it stands there, in a sentence; empty: there is nothing to explain."""
        return self._served.reason(boottime())

    @property
    def required(self) -> bool:
        """`Tables.wait_until_ready` waits for it."""
        return self._served.definition.required

    @property
    def freshness(self) -> Freshness:
        """Of what an answer is the truth now.

        Raises:
            Refused: as `get`.
        """
        return self._freshness(self._read(None))

    async def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Return once lookups are answered.

        Raises:
            TimeoutError: they are not yet; the message says why.
        """
        try:
            async with asyncio.timeout(timeout_s):
                self._check()
                while not self._served.ready:
                    await self._changed()
                    self._check()
        except TimeoutError as error:
            raise TimeoutError(f"table {self._name!r} is not ready: {self.reason}") from error

    async def wait_for(self, positions: Mapping[int, int], timeout_s: float | None = None) -> None:
        """Return once all before these positions is in the table (a producer's offset, and one).

        Raises:
            TimeoutError: it is not yet.
            Refused: as `get`, save for NOT_FRESH.
        """
        bounds = Bounds(positions=positions)
        async with asyncio.timeout(timeout_s):
            while not self._met(bounds):
                woken = asyncio.Event()
                call = woken.set
                view = self._served.view
                self._served.arrivals.when(call, view.missing(bounds) if view else None)
                try:
                    await woken.wait()
                finally:
                    self._served.arrivals.forget(call)

    def _met(self, bounds: Bounds) -> bool:
        self._check()
        try:
            self._served.read(boottime(), bounds)
        except Refused as refused:
            if refused.reason is not Reason.NOT_FRESH:
                raise
            return False
        return True

    # Lookups

    def get(self, key: bytes, *, max_staleness_ms: int | None = None) -> Record | None:
        """A key's record; None: it is absent.

        Raises:
            Refused: BOOTSTRAPPING and the like while the table does not answer; NOT_FRESH.
        """
        return _record(key, self._read(max_staleness_ms).table.get(key))

    def get_many(
        self, keys: Sequence[bytes], *, max_staleness_ms: int | None = None
    ) -> list[Record | None]:
        """The records of several keys, as they stand in one moment.

        Raises:
            Refused: as `get`.
        """
        entries = self._read(max_staleness_ms).table.get_many(keys)
        return [_record(key, entry) for key, entry in zip(keys, entries, strict=True)]

    async def scan(self, prefix: bytes = b"") -> AsyncIterator[Record]:
        """All records whose key begins so, in order; each that was there throughout, once.

        Raises:
            Refused: as `get`; GENERATION_CHANGED: the table was built anew meanwhile.
        """
        self._read(None)
        generation, start, more = self._generation(), prefix, True
        ordered = generation.view.ordered()
        while not ordered.built:
            ordered.build_one()
            await asyncio.sleep(0)
        while more:
            self._same(generation, Reason.GENERATION_CHANGED)
            keys = ordered.page(start, prefix_end(prefix), _AT_ONCE)
            more = len(keys) == _AT_ONCE
            start = keys[-1] + b"\0" if keys else start
            found = generation.view.table.get_many(keys)
            for key, entry in zip(keys, found, strict=True):
                if entry is not None:
                    yield _of(key, entry)
            await asyncio.sleep(0)

    # Changes

    async def watch(
        self, prefix: bytes = b"", *, snapshot: bool = False
    ) -> AsyncIterator[Change | Mark]:
        """Changes of the keys that begin so, as they come; with `snapshot`, what there is first.

        Wherever nothing more waits there is a mark: until the next change, what was given is the
        table. It goes on for ever; leave it with ``aclosing`` or break.

        Raises:
            Refused: as `get`; WATCH_LAGGED: more waits than `limits.watch_bytes`; RESUME_EXPIRED:
                the table was built anew. Begin again with a snapshot.
        """
        generation, watches = await self._watches()
        woken = asyncio.Event()
        wanted = Wanted(Keys(prefix), latest=False, limit=self._watch_bytes)
        follower, walk = watches.walk(wanted) if snapshot else (watches.follow(wanted), iter(()))
        follower.wake = woken.set
        try:
            for key, entry in chain.from_iterable(walk):
                yield Change(key, _of(key, entry))
            while True:
                woken.clear()
                while events := follower.take(_EVENTS, _BYTES):
                    for event in events:
                        yield Change(event.key, _record(event.key, event.entry))
                for mark in self._marks(generation, follower):
                    yield mark
                if follower.empty:
                    await woken.wait()
        finally:
            watches.leave(follower)

    async def _watches(self) -> tuple[Generation, Watches]:
        self._read(None)
        generation = self._generation()
        while generation.view.table.settle(_SETTLED_AT_ONCE):  # noqa: ASYNC110 (work, not polling)
            await asyncio.sleep(0)
        self._same(generation, Reason.RESUME_EXPIRED)
        if generation.watches is None:
            generation.watches = Watches(generation.view, 2 * self._watch_bytes)
        return generation, generation.watches

    def _marks(self, generation: Generation, follower: Follower) -> Iterator[Mark]:
        """One, if what was given is the table as it is now."""
        if follower.lagged:
            raise self._refused(Reason.WATCH_LAGGED, "more waits than limits.watch_bytes")
        self._same(generation, Reason.RESUME_EXPIRED)
        if generation.view.table.swept:
            yield Mark(self._freshness(self._read(None)))

    # Inside

    @property
    def _name(self) -> str:
        return self._served.definition.name

    def _read(self, max_staleness_ms: int | None) -> Reading:
        self._check()
        bounds = UNBOUND
        if max_staleness_ms is not None:
            bounds = Bounds(max_staleness_ms=max_staleness_ms)
        return self._served.read(boottime(), bounds)

    def _generation(self) -> Generation:
        assert self._served.current is not None, "the gate is open"  # noqa: S101
        return self._served.current

    def _freshness(self, reading: Reading) -> Freshness:
        progress = self._generation().view.progress
        positions = {number: known.position for number, known in progress.items()}
        return Freshness(
            reading.staleness_ms,
            positions,
            reading.incarnation,
            reading.generation,
            reading.revision,
        )

    def _same(self, generation: Generation, reason: Reason) -> None:
        self._check()
        if self._served.current is not generation:
            raise self._refused(reason, "it was built anew, or its topic is gone")

    def _refused(self, reason: Reason, why: str) -> Refused:
        return Refused(
            reason,
            f"table {self._name!r}: {why}; begin again",
            metadata={"table": self._name},
        )


class Tables(Mapping[str, Table]):
    """The tables of a configuration, by name."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, name: str) -> Table:
        """The table of this name.

        Raises:
            KeyError: there is none; the message names those that are.
        """
        if name not in self._tables:
            raise KeyError(f"no table {name!r}; there are: {', '.join(self._tables)}")
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._tables)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tables)

    async def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Return once all that are `required` answer.

        Raises:
            TimeoutError: one does not; the message says which and why.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for table in self._tables.values():
                    if table.required:
                        await table.wait_until_ready()
        except TimeoutError as error:
            waiting = [repr(name) for name, one in self._tables.items() if one.reason]
            raise TimeoutError(f"not ready: {', '.join(waiting)}") from error


@asynccontextmanager
async def opened(config: Config | Mapping[str, Any] | str | Path) -> AsyncIterator[Tables]:
    """Follow the tables of a configuration while the context is open; see `sidecar.open`."""
    if isinstance(config, str | Path):
        config = load(str(config), os.environ, {})
    elif not isinstance(config, Config):
        config = load(None, {}, config)
    budget = Budget(config.limits.memory or container_limit())
    following = Following(config, budget, Recorder())
    feeding = asyncio.create_task(following.run())
    closed = False

    def check() -> None:
        if closed:
            raise RuntimeError("the tables were closed: use them inside the context")
        if feeding.done():
            raise RuntimeError("nothing feeds the tables any more") from feeding.exception()

    feeding.add_done_callback(lambda _: following.end())
    try:
        yield Tables(
            {
                name: Table(served, following.changed.wait, check, config.limits.watch_bytes)
                for name, served in following.tables.items()
            }
        )
    finally:
        closed = True
        feeding.cancel()
        await asyncio.wait({feeding})
        following.close()
    if not feeding.cancelled():
        feeding.result()


def _record(key: bytes, entry: Entry | None) -> Record | None:
    return None if entry is None else _of(key, entry)


def _of(key: bytes, entry: Entry) -> Record:
    headers = entry[HEADERS] if len(entry) > HEADERS else ()
    partition = partition_of(entry[ORIGIN])
    return Record(key, entry[VALUE], partition, entry[OFFSET], entry[TIMESTAMP], headers)
