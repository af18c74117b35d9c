"""Bugs put in on purpose: each must make the simulation report a violation.

A row is a name, what the bug is, the invariants of which one must be reported, and the
patch: an attribute of the real code and what stands in its place.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.core import partitions as core_partitions
from sidecar.core.confirm import Confirmation
from sidecar.core.progress import Progress
from sidecar.core.served import Served, Trouble
from sidecar.core.table import Table
from sidecar.core.view import View
from sidecar.follower.feed import Feed
from sidecar.kafka import assignment
from sidecar.kafka.assignment import Assigned
from sidecar.kafka.backoff import Backoff
from sidecar.kafka.reader import Reader
from sidecar.kafka.topology import Identity, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BUGS", "Bug", "planted"]


class Bug(NamedTuple):
    """One of them; `instead` is given what it replaces."""

    name: str
    what: str
    caught_as: frozenset[str]
    owner: Any
    attribute: str
    instead: Callable[[Any], Any]


def _remove_nothing(_real: Any) -> Any:
    return lambda *_: False


def _no_tombstones_in_tail(real: Any) -> Any:
    def change(self: Table, key: bytes, new: bytes) -> None:
        if not core_partitions.offset_of(new) or new[-5] <= 0x7F:
            real(self, key, new)

    return change


def _last_record_decides(real: Any) -> Any:
    def decode(*args: Any, **options: Any) -> Iterator[Any]:
        for batch in real(*args, **options):
            recs = list(batch.each())
            last = recs[-1].offset + 1 if recs else batch.base_offset
            yield batch._replace(records=recs, next_offset=last, again=None)

    return decode


def _aborted_too(real: Any) -> Any:
    return lambda partition, spans, aborted, *more: real(partition, spans, [], *more)


def _empty_is_nothing(real: Any) -> Any:
    class Emptied:
        def __init__(self, rec: Any) -> None:
            self.offset, self.timestamp, self.key = rec.offset, rec.timestamp, rec.key
            self.value, self.headers = rec.value or None, rec.headers

    def decode(*args: Any, **options: Any) -> Iterator[Any]:
        for batch in real(*args, **options):
            yield batch._replace(records=[Emptied(rec) for rec in batch.each()], again=None)

    return decode


def _arrival_counts(real: Any) -> Any:
    def accept(self: Reader, node: int, flight: Any, response: Any) -> Any:
        return real(self, node, flight._replace(sent_at=self._clock()), response)

    return accept


def _old_leader_counts(_real: Any) -> Any:
    return lambda self, leader: replace(self, leader=leader)


def _always_listed(real: Any) -> Any:
    async def take(self: Topology, metadata: Any) -> None:
        self._sink.listed(metadata.sent_at)
        await real(self, metadata)

    return take


def _add_nothing(_real: Any) -> Any:
    async def add(self: Topology, leaders: Any, asked_at: float) -> None:
        pass

    return add


def _proved_at_once(_real: Any) -> Any:
    return lambda self, answer, end, *, alone: end if not answer.records else None


def _never_again(_real: Any) -> Any:
    return lambda self: 1e9


def _last_writer_wins(_real: Any) -> Any:
    return core_partitions.offset_of


def _always_open(real: Any) -> Any:
    return lambda self, now, *args, **options: real(self, now, partial=True)


def _impatient(real: Any) -> Any:
    def wait(self: Feed, progress: Progress, since: float, now: float) -> None:
        real(self, progress, since - 1000, now)

    return wait


def _follow_no_other(_real: Any) -> Any:
    return lambda self, part, leader: None


def _any_offset(_real: Any) -> Any:
    def unbelieving(self: Assigned, answer: Any, **options: Any) -> Any:
        fetched = _real(self, answer, **options)
        self.offset += bool(answer.records)
        return fetched

    return unbelieving


def _no_doubt(_real: Any) -> Any:
    return lambda self, now: self


def _nothing_lost(_real: Any) -> Any:
    return lambda self, partition, limit: iter(())


def _same_topic(_real: Any) -> Any:
    return lambda self, metadata: None


def _no_cut(_real: Any) -> Any:
    return lambda self, epoch, end_offset: setattr(self, "last", assignment._NONE)


def _any_ending(_real: Any) -> Any:
    def drop(self: Served, fault: str) -> None:
        self.drop(Trouble(sentence=fault), replaced=False)

    return drop


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


_WRONG = _of("FOLD", "I20", "I9", "I4")

BUGS = (
    Bug("tombstones-bootstrap", "tombstones are ignored while all is read", _WRONG,
        core_partitions.Partitions, "remove", _remove_nothing),
    Bug("tombstones-tail", "tombstones are ignored once ready", _WRONG,
        Table, "_change", _no_tombstones_in_tail),
    Bug("last-record", "the position comes from the last record", _of("I22"),
        assignment, "decode_batches", _last_record_decides),
    Bug("aborted", "aborted transactions are applied", _WRONG,
        assignment, "decode_batches", _aborted_too),
    Bug("empty-value", "an empty value is taken for a tombstone", _WRONG,
        assignment, "decode_batches", _empty_is_nothing),
    Bug("ready-early", "ready before all partitions are caught up", _of("I2", "FOLD"),
        View, "caught_up", lambda _: property(lambda self: True)),
    Bug("gate-open", "lookups are answered before ready", _of("I2", "FOLD"),
        View, "read", _always_open),
    Bug("impatient", "an open transaction is not waited for", _of("I2"),
        Feed, "_wait_for_transaction", _impatient),
    Bug("arrival-time", "fresh as of the arrival of an answer", _of("I11"),
        Reader, "_accept", _arrival_counts),
    Bug("old-leader", "a new leader's high watermark counts at once", _of("I11"),
        Progress, "led_by", _old_leader_counts),
    Bug("always-listed", "unknown partitions do not make stale", _of("I11"),
        Topology, "_take", _always_listed),
    Bug("no-growth", "new partitions are not followed", _of("I22", "I3"),
        Topology, "_add", _add_nothing),
    Bug("no-floor", "a moved log start hides nothing", _WRONG,
        Table, "raise_floor", lambda _: lambda *_: None),
    Bug("rank", "between partitions the greater offset wins", _WRONG,
        core_partitions, "rank_of", _last_writer_wins),
    Bug("tail-proof", "an empty answer proves that the tail is gone", _of("FOLD", "I22", "I11"),
        Assigned, "_proof", _proved_at_once),
    Bug("skip", "the next fetch begins one offset too far", _of("FOLD", "I22", "I20", "ENDED"),
        Assigned, "accept", _any_offset),
    Bug("no-retry", "a lost broker is not tried again", _of("I22"),
        Backoff, "next_s", _never_again),
    Bug("old-leader-for-ever", "a new leader is not followed", _of("I22"),
        Topology, "_lead", _follow_no_other),
    Bug("no-doubt", "missed tombstones are never suspected", _of("I20", "FOLD"),
        Progress, "doubted", _no_doubt),
    Bug("nothing-lost", "reading once more drops nothing", _of("I20", "FOLD"),
        Confirmation, "finish", _nothing_lost),
    Bug("same-topic", "another topic of the same name is not noticed", _of("I19", "I22"),
        Identity, "check", _same_topic),
    Bug("no-cut", "a diverging epoch is passed over", _of("I19", *_WRONG),
        Assigned, "_check_divergence", _no_cut),
    Bug("drops-old", "a cut log ends the answers at once", _of("I3"),
        Served, "cut_off", _any_ending),
)  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug is in the code while this lasts."""
    real = getattr(bug.owner, bug.attribute)
    setattr(bug.owner, bug.attribute, bug.instead(real))
    try:
        yield
    finally:
        setattr(bug.owner, bug.attribute, real)
