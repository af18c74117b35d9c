"""One partition's way: caught up by position, fresh by send time, held by a transaction."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.model import LogBounds
from sidecar.core.progress import Leader, Mark, Progress, Wait, Waiting


def at(position, target=10, **more):
    return Progress(0, position, target, **more)


def ends(high_watermark, last_stable=None):
    return LogBounds(0, high_watermark, high_watermark if last_stable is None else last_stable)


# Caught up


@pytest.mark.parametrize(
    ("position", "caught_up"), [(8, False), (9, False), (10, True), (11, True)]
)
def test_a_partition_is_caught_up_when_its_position_reaches_the_target(position, caught_up):
    assert at(position).caught_up is caught_up


def test_an_empty_partition_is_caught_up_from_the_start():
    assert at(0, 0).caught_up
    assert at(700, 700).caught_up


def test_a_position_never_goes_back():
    assert at(5).advanced(3).position == 5
    assert at(5).advanced(0).position == 5
    assert at(5).advanced(9).position == 9


def test_the_target_does_not_move_when_the_log_grows():
    progress = at(4).answered(ends(1000), 1.0).advanced(10)
    assert progress.caught_up
    assert progress.lag == 990


def test_lag_is_never_negative_and_nothing_before_the_first_answer():
    assert at(4).lag == 0
    assert at(12).answered(ends(10), 1.0).lag == 0


def test_progress_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        at(4).position = 5


# Freshness, by example


def test_freshness_is_unknown_until_a_high_watermark_is_reached():
    progress = at(3).answered(ends(10), 1.0)
    assert progress.fresh_as_of is None
    assert progress.advanced(9).fresh_as_of is None
    assert progress.advanced(10).fresh_as_of == 1.0


def test_an_answer_at_the_end_of_an_idle_log_is_fresh_as_of_its_sending():
    progress = at(10)
    for sent_at in (1.0, 2.0, 3.0):
        progress = progress.answered(ends(10), sent_at)
        assert progress.freshness[:2] == (sent_at, ())


def test_a_topic_that_never_stops_is_fresh_as_of_marks_that_were_passed():
    progress = at(0).answered(ends(10), 1.0).answered(ends(20), 2.0).answered(ends(30), 3.0)
    assert progress.advanced(12).fresh_as_of == 1.0
    assert progress.advanced(30).fresh_as_of == 3.0


def test_two_marks_are_all_that_is_kept():
    progress = at(0)
    for step in range(1, 50):
        progress = progress.answered(ends(step * 10), float(step))
    assert progress.freshness.marks == (Mark(10, 1.0), Mark(490, 49.0))


def test_freshness_never_goes_back_where_answers_cross():
    progress = at(10).answered(ends(10), 5.0).answered(ends(10), 4.0)
    assert progress.fresh_as_of == 5.0


def test_another_leader_drops_the_marks_and_keeps_what_was_fresh():
    progress = at(10, leader=Leader(1, 3)).answered(ends(10), 1.0).answered(ends(20), 2.0)
    moved = progress.led_by(Leader(2, 4))
    assert (moved.leader, moved.freshness.marks, moved.fresh_as_of) == (Leader(2, 4), (), 1.0)
    assert moved.advanced(20).fresh_as_of == 1.0


def test_another_term_of_the_same_leader_drops_the_marks_too():
    progress = at(10, leader=Leader(1, 3)).answered(ends(20), 2.0)
    assert progress.led_by(Leader(1, 4)).freshness.marks == ()


def test_the_same_leader_named_again_changes_nothing():
    progress = at(10, leader=Leader(1, 3)).answered(ends(20), 2.0)
    assert progress.led_by(Leader(1, 3)) is progress


def test_a_high_watermark_that_is_not_known_makes_nothing_fresh():
    progress = at(10).answered(LogBounds(), 1.0)
    assert progress.freshness[:2] == (None, ())
    assert progress.answered(ends(10), 2.0).fresh_as_of == 2.0


OLD, NEW = Leader(1, 3), Leader(2, 4)


def elected(position, target=10, **more):
    """A partition whose leader has changed."""
    return at(position, target, leader=OLD, **more).led_by(NEW)


def test_a_new_leader_makes_nothing_fresh_until_it_has_told_its_end():
    progress = elected(10).answered(ends(8), 5.0).advanced(10).answered(ends(10), 6.0)
    assert (progress.fresh_as_of, progress.end_known) == (None, False)
    progress = progress.leader_ends_at(NEW, 10, 7.0)
    assert (progress.fresh_as_of, progress.end_known) == (None, True)
    assert progress.answered(ends(10), 6.9).fresh_as_of is None
    assert progress.answered(ends(10), 7.1).fresh_as_of == 7.1


def test_an_answer_of_the_leader_before_makes_nothing_fresh_whenever_it_is_folded():
    progress = elected(10).answered(ends(10), 4.0)
    assert progress.fresh_as_of is None
    assert progress.leader_ends_at(NEW, 10, 7.0).answered(ends(10), 4.0).fresh_as_of is None


def test_the_end_that_another_leader_told_is_no_matter():
    progress = elected(3).led_by(Leader(3, 5))
    assert progress.leader_ends_at(NEW, 5, 7.0) is progress


def test_the_first_leader_has_told_its_end():
    assert at(10, leader=OLD).end_known
    assert not elected(10).end_known
    assert not elected(10).leader_ends_at(NEW, 10, 7.0).led_by(Leader(2, 5)).end_known


@pytest.mark.parametrize(
    ("position", "end", "target"),
    [(3, 12, 10), (3, 10, 10), (3, 5, 5), (3, 3, 3), (10, 7, 10), (12, 11, 10)],
)
def test_the_target_is_the_lesser_of_itself_and_a_new_leaders_end(position, end, target):
    assert elected(position).leader_ends_at(NEW, end, 7.0).target == target


def test_an_end_below_the_position_is_a_cut_that_makes_nobody_ready():
    progress = elected(7).leader_ends_at(NEW, 5, 7.0)
    assert (progress.target, progress.caught_up) == (10, False)


# Freshness, as laws


@st.composite
def histories(draw):
    """Answers in the order sent, their high watermarks rising under one leader; moves between."""
    events, high_watermark, clock, epoch = [], 0, 0, 0
    for kind in draw(st.lists(st.sampled_from("aaammle"), max_size=25)):
        clock += draw(st.integers(1, 3))
        if kind == "a":
            high_watermark += draw(st.integers(0, 3))
            events.append(("answered", high_watermark, clock))
        elif kind == "m":
            events.append(("advanced", draw(st.integers(0, high_watermark + 1)), None))
        elif kind == "l":
            epoch += 1
            events.append(("led_by", epoch, None))
        else:
            events.append(("leader_ends_at", epoch, clock))
    return events


class Truth:
    """Freshness by its definition: every answer is remembered, none is summed up."""

    def __init__(self):
        self.position, self.answers, self.reached, self.known = 0, [], [], True

    def tell(self, kind, number, sent_at):
        if kind == "advanced":
            self.position = max(self.position, number)
        elif kind == "answered":
            self.answers += [(number, sent_at)] if self.known else []
        elif kind == "led_by":
            self.answers, self.known = [], False
        else:
            self.known = True
        self.reached += [sent for mark, sent in self.answers if mark <= self.position]


def told(progress, kind, number, sent_at):
    if kind == "answered":
        return progress.answered(ends(number), float(sent_at))
    if kind == "leader_ends_at":
        return progress.leader_ends_at(progress.leader, 1000, float(sent_at))
    return progress.advanced(number) if kind == "advanced" else progress.led_by(Leader(1, number))


@given(histories())
def test_freshness_is_never_fresher_than_the_truth_and_known_whenever_the_truth_is(events):
    progress, truth = at(0), Truth()
    for event in events:
        progress = told(progress, *event)
        truth.tell(*event)
        if not truth.reached:
            assert progress.fresh_as_of is None
            continue
        assert progress.fresh_as_of <= max(truth.reached)
        assert progress.fresh_as_of >= min(truth.reached)
        if truth.answers and truth.answers[-1][0] <= truth.position:
            assert progress.fresh_as_of == max(truth.reached)
        assert all(mark.high_watermark > progress.position for mark in progress.freshness.marks)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 3)), max_size=20))
def test_a_partition_is_never_said_to_be_fresher_than_the_log_was(rounds):
    """The leader's log grows; each answer tells its end at some time after the sending."""
    clock, grown, progress = 0, [0], at(0)
    for growth, delay, step in rounds:
        sent_at, clock = clock, clock + delay
        grown += [grown[-1]] * (delay - 1) + [grown[-1] + growth]
        progress = progress.advanced(min(progress.position + step, grown[clock]))
        progress = progress.answered(ends(grown[clock]), float(sent_at))
        held = [time for time, end in enumerate(grown) if end <= progress.position]
        if progress.fresh_as_of is not None:
            assert progress.fresh_as_of <= max(held)


class Elections:
    """A log under leaders whose high watermark may trail, and one reader of it; time is whole.

    Nothing is acknowledged under a leader whose high watermark trails. ListOffsets is
    answered once the high watermark has reached where the leader's term began (KIP-207).
    """

    def __init__(self):
        self.acknowledged, self.high_watermark, self.began, self.epoch = [0], 0, 0, 0
        self.sent, self.accepted = [], []
        self.progress = at(0, 0, leader=Leader(1, 0))

    @property
    def now(self):
        return len(self.acknowledged) - 1

    def step(self, kind, number):
        self.acknowledged.append(self.acknowledged[-1])
        getattr(self, kind)(number)

    def write(self, number):
        if self.high_watermark == self.acknowledged[-1]:
            self.acknowledged[-1] += number
            self.high_watermark += number

    def elect(self, number):
        self.epoch += 1
        self.began = self.acknowledged[-1]
        self.high_watermark = max(0, self.began - number)

    def recover(self, number):
        self.high_watermark = min(self.acknowledged[-1], self.high_watermark + number)

    def notice(self, number):
        self.progress = self.progress.led_by(Leader(1, self.epoch))

    def tell_end(self, number):
        if self.high_watermark >= self.began:
            leader = Leader(1, self.epoch)
            self.progress = self.progress.leader_ends_at(
                leader, self.high_watermark, float(self.now)
            )

    def send(self, number):
        self.sent.append((self.now, self.progress.leader.epoch))

    def answer(self, number):
        """An answer of another term than the one that is followed is not accepted."""
        if self.sent:
            sent_at, epoch = self.sent.pop(0)
            if epoch == self.epoch == self.progress.leader.epoch:
                self.accepted.append((sent_at, self.high_watermark, number))

    def fold(self, number):
        if self.accepted:
            sent_at, high_watermark, more = self.accepted.pop(0)
            position = min(self.progress.position + more, high_watermark)
            self.progress = self.progress.advanced(position)
            self.progress = self.progress.answered(ends(high_watermark), float(sent_at))


steps = st.sampled_from(
    ["write", "elect", "recover", "notice", "tell_end"] + ["send", "answer", "fold"] * 2
)


@given(st.lists(st.tuples(steps, st.integers(1, 3)), max_size=60))
def test_freshness_is_never_newer_than_the_truth_across_elections(history):
    log = Elections()
    for kind, number in history:
        log.step(kind, number)
        fresh_as_of, position = log.progress.fresh_as_of, log.progress.position
        held = [time for time, end in enumerate(log.acknowledged) if end <= position]
        assert fresh_as_of is None or fresh_as_of <= max(held)


@given(st.lists(st.tuples(steps, st.integers(1, 3)), max_size=60))
def test_freshness_comes_again_after_any_elections_once_the_leader_knows_its_end(history):
    log = Elections()
    for kind, number in history:
        log.step(kind, number)
    log.sent, log.accepted = [], []
    for kind in ("recover", "notice", "tell_end", "send", "answer", "fold"):
        log.step(kind, 1000)
    assert log.progress.fresh_as_of == log.now - 2


# Open transactions


@pytest.mark.parametrize(
    ("position", "last_stable", "high_watermark", "held"),
    [(5, 5, 9, True), (4, 5, 9, False), (9, 9, 9, False), (5, -1, 9, False), (0, 0, 1, True)],
)
def test_a_transaction_holds_once_all_below_the_last_stable_offset_is_read(
    position, last_stable, high_watermark, held
):
    progress = at(position).answered(ends(high_watermark, last_stable), 1.0)
    assert progress.held_by_transaction is held


def test_without_the_open_transaction_the_last_stable_offset_is_the_target():
    progress = at(5).answered(ends(10, 5), 1.0)
    assert not progress.caught_up
    done = progress.without_open_transaction()
    assert (done.target, done.caught_up) == (5, True)


def test_staleness_stays_unknown_until_the_transaction_ends():
    progress = at(5).answered(ends(10, 5), 1.0).without_open_transaction()
    assert progress.caught_up
    assert progress.answered(ends(10, 5), 2.0).fresh_as_of is None
    ended = progress.answered(ends(11, 11), 3.0).advanced(11)
    assert ended.fresh_as_of == 3.0


def test_without_a_later_transaction_the_target_does_not_grow():
    assert at(5, 7).answered(ends(20, 15), 1.0).without_open_transaction().target == 7


def test_a_transaction_holds_since_it_was_first_seen_whatever_else_was_waited_for():
    progress = at(5).answered(ends(10, 5), 1.0).held(2.0)
    for wait in (Wait.QUOTA, Wait.BROKER, Wait.NOTHING):
        progress = progress.waits(wait, 3.0).answered(ends(11, 5), 4.0).held(4.0)
        assert progress.held_since == 2.0
    ended = progress.answered(ends(11, 11), 5.0).held(5.0)
    assert ended.held_since is None
    assert ended.answered(ends(20, 5), 6.0).held(7.0).held_since == 7.0


def test_a_transaction_is_not_over_because_a_new_leader_trails():
    progress = at(5, leader=OLD).answered(ends(10, 5), 1.0).held(2.0)
    trailing = progress.led_by(NEW).answered(ends(5), 3.0).held(3.0)
    assert trailing.held_since == 2.0
    assert (
        trailing.leader_ends_at(NEW, 10, 4.0).answered(ends(10, 5), 5.0).held(5.0).held_since == 2
    )
    assert trailing.leader_ends_at(NEW, 5, 4.0).answered(ends(5), 5.0).held(5.0).held_since is None


# Waiting


def test_a_wait_begins_once_and_its_sentence_may_change():
    progress = at(0).waits(Wait.LEADER, 5.0, "a").waits(Wait.LEADER, 9.0, "b")
    assert progress.waiting == Waiting(Wait.LEADER, 5.0, "b")
    assert progress.waits(Wait.LEADER, 11.0, "b") is progress


def test_another_wait_begins_anew():
    progress = at(0).waits(Wait.LEADER, 5.0, "a").waits(Wait.BROKER, 9.0, "b")
    assert progress.waiting == Waiting(Wait.BROKER, 9.0, "b")
    assert progress.waits(Wait.NOTHING, 12.0).waiting.wait is Wait.NOTHING


def test_a_wait_is_over_with_the_leader_that_it_was_for_unless_nobody_leads():
    progress = at(0, leader=OLD).waits(Wait.LEADER, 5.0, "a")
    assert progress.led_by(NEW).waiting == Waiting()
    assert progress.led_by(Leader(-1, 4)).waiting == Waiting(Wait.LEADER, 5.0, "a")


def test_what_holds_up_a_new_leaders_end_is_waited_for_although_records_come():
    progress = elected(0)
    assert not progress.waits_for_leader
    assert not progress.waits(Wait.OPEN_TRANSACTION, 5.0, "a").waits_for_leader
    refused = progress.waits(Wait.LEADER, 5.0, "a")
    assert refused.waits_for_leader
    assert not refused.leader_ends_at(NEW, 10, 6.0).waits_for_leader
    assert not at(0).waits(Wait.LEADER, 5.0, "a").waits_for_leader
