"""One generation: its way in against a plain model of the log, and its gate by example."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from support.records import Rec

from sidecar.core.bounds import Bounds
from sidecar.core.errors import Reason, Refused
from sidecar.core.model import Batch, Fetched, LogBounds, origin_of
from sidecar.core.progress import Progress, Wait
from sidecar.core.view import View


class UndecodableError(Exception):
    pass


PARTITIONS = (0, 1, 5)


def decoded(records, bad_at=None):
    """What a decoder does: yields records until one cannot be read."""
    for record in records:
        if record.offset == bad_at:
            raise UndecodableError
        yield record


def batches_of(log, number, edges, bad_at=None):
    """Batches of a log (a list of slots, None: a hole) that meet at the edges."""
    for base, end in pairwise(edges):
        records = [slot for slot in log[base:end] if slot is not None]
        yield Batch(decoded(records, bad_at), origin_of(number, 0), base, end)


def fetched_of(log, number, edges, *, bad_at=None, sent_at=1.0, nothing_before=None):
    bounds = LogBounds(0, len(log), len(log))
    batches = batches_of(log, number, edges, bad_at)
    return Fetched(number, batches, bounds, sent_at, nothing_before, 1)


def contents(table):
    keys = list(table)
    assert len(keys) == len(set(keys)) == len(table)
    return {key: table.get(key) for key in keys}


def fold_of(logs, positions):
    """Entries, number of changes, records and null keys of the stated prefix."""
    entries, changes, records, nulls = {}, 0, 0, 0
    for number, log in logs.items():
        for slot in filter(None, log[: positions[number]]):
            if slot.key is None:
                nulls += 1
                continue
            records += 1
            changes += slot.value is not None or slot.key in entries
            entries.pop(slot.key, None)
            if slot.value is not None:
                entries[slot.key] = (slot.value, origin_of(number, 0), slot.offset, slot.timestamp)
    return entries, changes, records, nulls


@st.composite
def slots(draw, number):
    """What is appended to a log: records of keys that only this partition has, and holes."""
    keys = [None, b"%d" % number, b"%da" % number, b"%db" % number, *([b""] if not number else [])]
    pair = st.tuples(st.sampled_from(keys), st.sampled_from([None, b"", b"x", b"xx"]))
    return draw(st.lists(st.none() | pair, min_size=1, max_size=8))


class AViewFollowsItsLogs(RuleBasedStateMachine):
    """After every slice, the view is exactly the fold of the log below its positions."""

    @initialize(ends=st.lists(st.integers(0, 12), min_size=3, max_size=3))
    def begin(self, ends):
        self.logs = {number: [] for number in PARTITIONS}
        progress = [Progress(n, 0, target) for n, target in zip(PARTITIONS, ends, strict=True)]
        self.view = View("t", 1, 2, progress)
        self.before = dict.fromkeys(PARTITIONS, 0)
        self.held = {}
        self.now = 0.0

    def position(self, number):
        return self.view.progress[number].position

    @rule(number=st.sampled_from(PARTITIONS), data=st.data())
    def write(self, number, data):
        log = self.logs[number]
        for pair in data.draw(slots(number)):
            log.append(None if pair is None else Rec(len(log), *pair, len(log) % 3))

    def finish(self, number):
        """There is one writer: a partition's fold ends before its next begins."""
        self.drain(self.held.pop(number, ()))

    def drain(self, fold):
        for _ in fold:
            self.agrees()

    def edges(self, number, data):
        end = len(self.logs[number])
        start = data.draw(st.integers(0, min(self.position(number), end)))
        stop = data.draw(st.integers(start, end))
        inner = data.draw(st.sets(st.integers(start, stop), max_size=4))
        return sorted({start, stop} | inner)

    @rule(number=st.sampled_from(PARTITIONS), limit=st.integers(1, 6), data=st.data())
    def fetch_and_fold(self, number, limit, data):
        self.finish(number)
        self.now += 1
        edges = self.edges(number, data)
        fetched = fetched_of(self.logs[number], number, edges, sent_at=self.now)
        before = self.position(number)
        for applied in self.view.fold(fetched, limit):
            assert applied <= limit
            self.agrees()
        assert self.position(number) == max(before, edges[-1])

    @rule(number=st.sampled_from(PARTITIONS), limit=st.integers(1, 6), data=st.data())
    def fetch_and_fold_later(self, number, limit, data):
        """A fold that others run in between; one a partition, as the reader does."""
        if number not in self.held:
            fetched = fetched_of(self.logs[number], number, self.edges(number, data))
            self.held[number] = self.view.fold(fetched, limit)
        for _ in range(data.draw(st.integers(1, 3))):
            if next(self.held[number], None) is None:
                del self.held[number]
                break

    @rule(number=st.sampled_from(PARTITIONS), limit=st.integers(1, 6), data=st.data())
    def fetch_what_cannot_be_decoded(self, number, limit, data):
        self.finish(number)
        edges = self.edges(number, data)
        log = self.logs[number]
        there = [slot.offset for slot in log[edges[0] : edges[-1]] if slot is not None]
        if not there:
            return
        bad_at = data.draw(st.sampled_from(there))
        before = self.position(number)
        with pytest.raises(UndecodableError):
            self.drain(self.view.fold(fetched_of(log, number, edges, bad_at=bad_at), limit))
        assert max(before, bad_at) >= self.position(number) >= before
        good = [slot.offset + 1 for slot in log[before:bad_at] if slot is not None]
        assert self.position(number) >= max(good, default=before)

    @rule(number=st.sampled_from(PARTITIONS))
    def learn_that_the_tail_is_gone(self, number):
        self.finish(number)
        log, position = self.logs[number], self.position(number)
        if any(log[position:]):
            return
        for _ in self.view.fold(fetched_of(log, number, [], nothing_before=len(log)), 3):
            raise AssertionError("nothing was fetched")
        assert self.position(number) == len(log)

    @precondition(lambda self: not self.view.ready)
    @rule()
    def try_ready(self):
        behind = any(p.position < p.target for p in self.view.progress.values())
        assert self.view.try_ready() is not behind

    @invariant()
    def agrees(self):
        positions = {number: self.position(number) for number in PARTITIONS}
        entries, changes, records, nulls = fold_of(self.logs, positions)
        table = self.view.table
        assert contents(table) == entries
        assert table.revision == changes
        assert (table.counters.records, table.counters.null_keys) == (records, nulls)
        assert table.payload_bytes == sum(len(key) + len(e[0]) for key, e in entries.items())
        assert all(positions[number] >= self.before[number] for number in PARTITIONS)
        self.before = positions


TestAViewFollowsItsLogs = AViewFollowsItsLogs.TestCase
TestAViewFollowsItsLogs.settings = settings(max_examples=150, stateful_step_count=25)


@given(slots(0), st.data())
def test_a_replay_from_any_earlier_point_ends_the_same_and_never_shows_older(pairs, data):
    log = [pair and Rec(offset, *pair) for offset, pair in enumerate(pairs)]
    view = View("t", 1, 2, [Progress(0, 0, len(log))])
    reached = data.draw(st.integers(0, len(log)))
    list(view.fold(fetched_of(log, 0, [0, reached]), 3))
    shown = contents(view.table)
    start = data.draw(st.integers(0, reached))
    edges = sorted({start, len(log), *data.draw(st.sets(st.integers(start, len(log))))})
    for _ in view.fold(fetched_of(log, 0, edges), data.draw(st.integers(1, 4))):
        now = contents(view.table)
        assert all(now[key][2] >= shown[key][2] for key in now.keys() & shown.keys())
        shown = now
    assert shown == fold_of({0: log}, {0: len(log)})[0]


# The way in, by example


def view_of(*pairs, position=0, target=None, **options):
    log = [pair and Rec(offset, *pair) for offset, pair in enumerate(pairs)]
    end = len(log) if target is None else target
    return View("t", 1, 2, [Progress(0, position, end)], **options), log


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_batch_that_compaction_emptied_moves_the_position(limit):
    view, log = view_of((b"k", b"v"), None, None, None)
    assert list(view.fold(fetched_of(log, 0, [0, 1, 4]), limit))[-1] == 0
    assert view.progress[0].position == 4
    assert view.caught_up


def test_a_batch_whose_last_records_are_gone_moves_the_position_to_its_end():
    view, log = view_of((b"k", b"v"), None, None)
    assert sum(view.fold(fetched_of(log, 0, [0, 3]), 100)) == 1
    assert view.progress[0].position == 3


def test_a_slice_ends_behind_its_last_record():
    view, log = view_of((b"a", b"1"), (b"b", b"2"), None, (b"c", b"3"))
    fold = view.fold(fetched_of(log, 0, [0, 4]), 2)
    assert (next(fold), view.progress[0].position) == (2, 2)
    assert (next(fold), view.progress[0].position) == (1, 4)


def test_freshness_counts_only_once_a_whole_response_is_folded():
    view, log = view_of((b"a", b"1"), (b"b", b"2"), target=0)
    fold = view.fold(fetched_of(log, 0, [0, 2], sent_at=9.0), 1)
    next(fold)
    assert view.progress[0].fresh_as_of is None
    list(fold)
    assert view.progress[0].fresh_as_of == 9.0


def test_a_batch_that_is_refused_keeps_the_good_ones_before_it():
    view, log = view_of((b"a", b"1"), (b"b", b"2"))

    def batches():
        yield from batches_of(log, 0, [0, 1])
        raise UndecodableError

    fetched = fetched_of(log, 0, [])._replace(batches=batches())
    with pytest.raises(UndecodableError):
        list(view.fold(fetched, 10))
    assert contents(view.table).keys() == {b"a"}
    assert view.progress[0].position == 1
    assert view.progress[0].fresh_as_of is None


def test_headers_are_kept_where_the_view_is_told_to():
    view, _ = view_of(keep_headers=True)
    record = Rec(0, b"k", b"v", 0, [("h", b"1")])
    batch = Batch([record], 0, 0, 1)
    list(view.fold(Fetched(0, iter([batch]), LogBounds(0, 1, 1), 1.0, None, 1), 5))
    assert view.table.get(b"k")[4] == (("h", b"1"),)


# The gate


def fresh_view(*, age_s=0.0, **options):
    """A view that was read to its end; its moment of freshness is 100 s."""
    view, log = view_of((b"a", b"1"), **options)
    list(view.fold(fetched_of(log, 0, [0, 1], sent_at=100.0), 10))
    view.topology_as_of = 100.0
    return view


def refusal(view, now=100.0, **options):
    with pytest.raises(Refused) as caught:
        view.read(now, **options)
    return caught.value


def test_a_view_that_is_not_ready_refuses_and_never_says_absent():
    view, _ = view_of((b"a", b"1"), (b"b", b"2"))
    refused = refusal(view)
    assert refused.reason is Reason.BOOTSTRAPPING
    assert refused.retry_after_ms > 0
    assert refused.metadata == {"table": "t", "position": "0", "target": "2"}
    assert "0 of 2 offsets, 0 of 1 partitions" in refused.message


def test_one_partition_that_is_behind_keeps_the_gate_shut():
    log = [Rec(0, b"a", b"1")]
    view = View("t", 1, 2, [Progress(0, 0, 1), Progress(1, 0, 1)])
    list(view.fold(fetched_of(log, 0, [0, 1]), 10))
    assert not view.try_ready()
    assert refusal(view).reason is Reason.BOOTSTRAPPING
    list(view.fold(fetched_of([None], 1, [0, 1]), 10))
    assert view.try_ready()
    assert view.read(0.0).complete


def test_a_topic_without_records_is_ready_at_once():
    view = View("t", 1, 2, [Progress(0, 0, 0), Progress(1, 7, 7)])
    assert view.try_ready()
    assert view.read(0.0).table.get(b"k") is None


def test_being_caught_up_is_not_being_ready_before_it_was_noted():
    view = fresh_view()
    assert view.caught_up
    assert refusal(view).reason is Reason.BOOTSTRAPPING


def test_readiness_is_not_lost():
    view = fresh_view()
    assert view.try_ready()
    view.change(0, lambda progress: progress.answered(LogBounds(0, 99, 99), 101.0))
    view.change(0, lambda progress: progress.waits(Wait.BROKER, 101.0, "gone"))
    assert view.try_ready()
    assert view.read(200.0).complete


def test_a_partial_answer_says_that_it_is_not_complete():
    view, log = view_of((b"a", b"1"), (b"b", b"2"))
    list(view.fold(fetched_of(log, 0, [0, 1]), 10))
    reading = view.read(5.0, partial=True)
    assert not reading.complete
    assert reading.staleness_ms is None
    assert reading.table.get(b"a")[0] == b"1"


def test_a_reading_says_what_it_is_the_truth_of():
    view = fresh_view()
    view.try_ready()
    reading = view.read(100.25)
    assert (reading.incarnation, reading.generation, reading.revision) == (1, 2, 1)
    assert (reading.staleness_ms, reading.complete) == (250, True)


@pytest.mark.parametrize(("bound_ms", "opens"), [(249, False), (250, True), (None, True)])
def test_the_gate_holds_a_bound_of_staleness(bound_ms, opens):
    view = fresh_view()
    view.try_ready()
    if opens:
        assert view.read(100.25, bounds=Bounds(max_staleness_ms=bound_ms)).staleness_ms == 250
        return
    refused = refusal(view, 100.25, bounds=Bounds(max_staleness_ms=bound_ms))
    assert refused.reason is Reason.NOT_FRESH
    assert refused.metadata == {"table": "t", "positions": "0:1", "staleness_ms": "250"}


@pytest.mark.parametrize("bound_ms", [0, 10**9])
def test_a_staleness_that_is_not_known_is_within_no_bound(bound_ms):
    view, _ = view_of()
    view.try_ready()
    assert view.read(0.0).staleness_ms is None
    refused = refusal(view, 0.0, bounds=Bounds(max_staleness_ms=bound_ms))
    assert refused.reason is Reason.NOT_FRESH
    assert refused.metadata["staleness_ms"] == ""
    assert "not known" in refused.message


def test_a_bound_holds_for_partial_answers_too():
    view, _ = view_of((b"a", b"1"))
    refused = refusal(view, 0.0, partial=True, bounds=Bounds(max_staleness_ms=1))
    assert refused.reason is Reason.NOT_FRESH


def test_staleness_is_that_of_the_oldest_partition():
    view = View("t", 1, 2, [Progress(0, 0, 0), Progress(1, 0, 0)])
    view.topology_as_of = 99.0
    view.change(0, lambda progress: progress.answered(LogBounds(0, 0, 0), 98.0))
    assert view.staleness_ms(100.0) is None
    view.change(1, lambda progress: progress.answered(LogBounds(0, 0, 0), 99.5))
    assert view.staleness_ms(100.0) == 2000


def test_staleness_is_at_least_the_age_of_the_last_complete_list_of_partitions():
    view = fresh_view()
    view.topology_as_of = 90.0
    assert view.staleness_ms(100.0) == 10_000
    view.topology_as_of = None
    assert view.staleness_ms(100.0) is None


@given(st.floats(0, 1e7), st.floats(0, 1e4))
def test_stated_staleness_is_never_below_the_true_age(began, age):
    view = View("t", 1, 2, [Progress(0, 0, 0)])
    view.change(0, lambda progress: progress.answered(LogBounds(0, 0, 0), began))
    view.topology_as_of = began
    now = began + age
    assert (now - began) * 1000 <= view.staleness_ms(now) <= (now - began) * 1000 + 1


def test_a_view_with_too_few_entries_does_not_become_ready_and_says_so():
    view = fresh_view(min_entries=2)
    assert view.caught_up
    assert not view.try_ready()
    assert not view.table.settle(2)
    assert not view.try_ready()
    assert "holds 1 entries, fewer than min_entries (2)" in refusal(view).message


def test_a_view_with_enough_entries_becomes_ready():
    view = fresh_view(min_entries=1)
    assert not view.try_ready()  # not before it is settled: a key may be counted twice
    assert not view.table.settle(2)
    assert view.try_ready()


def test_a_bootstrap_names_what_it_waits_for():
    view, _ = view_of((b"a", b"1"))
    view.change(0, lambda progress: progress.waits(Wait.OPEN_TRANSACTION, 1.0, "held for 3 s"))
    assert "partition 0: held for 3 s" in refusal(view).message


def test_offsets_done_count_from_the_start_of_the_log():
    behind = Progress(0, 12, 20, LogBounds(10, 20, 20))
    past = Progress(1, 30, 25, LogBounds(5, 30))
    view = View("t", 1, 2, [behind, past])
    assert view.offsets_done() == (2 + 20, 10 + 20)
    gone = View("t", 1, 2, [Progress(0, 0, 10, LogBounds(50, 60, 60))])
    assert gone.offsets_done() == (0, 0)


def test_repr_shows_positions_and_no_keys_or_values():
    text = repr(fresh_view())
    assert "positions={0: 1}" in text
    assert "'a'" not in text


def test_ordered_keys_are_made_once_and_kept_in_step():
    view, log = view_of((b"b", b"1"), (b"a", b"2"), target=1)
    list(view.fold(fetched_of(log, 0, [0, 1]), 10))
    assert view.try_ready()
    ordered = view.ordered()
    while not ordered.built:
        ordered.build_one()
    list(view.fold(fetched_of(log, 0, [1, 2]), 10))
    assert view.ordered() is ordered
    assert ordered.page(b"", b"", 10) == [b"a", b"b"]


def test_an_entry_below_the_log_start_is_gone_with_the_response_that_tells_it():
    view, log = view_of((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), target=3)
    view.change(0, lambda progress: progress.answered(LogBounds(0, 3, 3), 1.0))
    list(view.fold(fetched_of(log, 0, [0, 3]), 10))
    assert view.try_ready()
    told = Fetched(0, iter(()), LogBounds(2, 3, 3), 2.0, None, 0)
    list(view.fold(told, 10))
    assert [key for key in (b"a", b"b", b"c") if view.table.get(key)] == [b"c"]


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_a_record_with_an_offset_outside_its_batch_does_not_move_the_position_past_it(limit):
    view, _ = view_of((b"a", b"1"), (b"b", b"2"), target=2)
    records = (Rec(0, b"a", b"1"), Rec(99, b"b", b"2"))
    batch = Batch(records, origin_of(0, 0), 0, 2)
    list(view.fold(Fetched(0, iter([batch]), LogBounds(0, 2, 2), 1.0, None, 0), limit))
    assert view.progress[0].position == 2


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("bad_at", range(5))
def test_where_the_decoder_gives_up_the_other_reader_goes_on_and_nothing_is_given_twice(
    limit, bad_at
):
    log = [Rec(offset, b"%d" % offset, b"v") for offset in range(5)]
    view = View("t", 1, 2, [Progress(0, 0, 5)])
    batch = Batch(decoded(log, bad_at), origin_of(0, 0), 0, 5, lambda: iter(log))
    list(view.fold(Fetched(0, iter([batch]), LogBounds(0, 5, 5), 1.0, None, 0), limit))
    assert (view.table.counters.records, view.progress[0].position) == (5, 5)
    again = Batch(decoded(log, bad_at), origin_of(0, 0), 0, 5, lambda: iter(log))
    assert list(again.each()) == log
