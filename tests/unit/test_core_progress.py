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
        assert (progress.fresh_as_of, progress.marks) == (sent_at, ())


def test_a_topic_that_never_stops_is_fresh_as_of_marks_that_were_passed():
    progress = at(0).answered(ends(10), 1.0).answered(ends(20), 2.0).answered(ends(30), 3.0)
    assert progress.advanced(12).fresh_as_of == 1.0
    assert progress.advanced(30).fresh_as_of == 3.0


def test_two_marks_are_all_that_is_kept():
    progress = at(0)
    for step in range(1, 50):
        progress = progress.answered(ends(step * 10), float(step))
    assert progress.marks == (Mark(10, 1.0), Mark(490, 49.0))


def test_freshness_never_goes_back_where_answers_cross():
    progress = at(10).answered(ends(10), 5.0).answered(ends(10), 4.0)
    assert progress.fresh_as_of == 5.0


def test_another_leader_drops_the_marks_and_keeps_what_was_fresh():
    progress = at(10, leader=Leader(1, 3)).answered(ends(10), 1.0).answered(ends(20), 2.0)
    moved = progress.led_by(Leader(2, 4))
    assert (moved.leader, moved.marks, moved.fresh_as_of) == (Leader(2, 4), (), 1.0)
    assert moved.advanced(20).fresh_as_of == 1.0


def test_another_term_of_the_same_leader_drops_the_marks_too():
    progress = at(10, leader=Leader(1, 3)).answered(ends(20), 2.0)
    assert progress.led_by(Leader(1, 4)).marks == ()


def test_the_same_leader_named_again_changes_nothing():
    progress = at(10, leader=Leader(1, 3)).answered(ends(20), 2.0)
    assert progress.led_by(Leader(1, 3)) is progress


def test_a_high_watermark_that_is_not_known_makes_nothing_fresh():
    progress = at(10).answered(LogBounds(), 1.0)
    assert (progress.fresh_as_of, progress.marks) == (None, ())
    assert progress.answered(ends(10), 2.0).fresh_as_of == 2.0


# Freshness, as laws


@st.composite
def histories(draw):
    """Answers in the order sent, their high watermarks rising under one leader; moves between."""
    events, high_watermark, clock, epoch = [], 0, 0, 0
    for kind in draw(st.lists(st.sampled_from("aaamml"), max_size=25)):
        clock += draw(st.integers(1, 3))
        if kind == "a":
            high_watermark += draw(st.integers(0, 3))
            events.append(("answered", high_watermark, clock))
        elif kind == "m":
            events.append(("advanced", draw(st.integers(0, high_watermark + 1)), None))
        else:
            epoch += 1
            events.append(("led_by", epoch, None))
    return events


class Truth:
    """Freshness by its definition: every answer is remembered, none is summed up."""

    def __init__(self):
        self.position, self.answers, self.reached = 0, [], []

    def tell(self, kind, number, sent_at):
        if kind == "advanced":
            self.position = max(self.position, number)
        elif kind == "answered":
            self.answers.append((number, sent_at))
        else:
            self.answers = []
        self.reached += [sent for mark, sent in self.answers if mark <= self.position]


def told(progress, kind, number, sent_at):
    if kind == "answered":
        return progress.answered(ends(number), float(sent_at))
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
        assert all(mark.high_watermark > progress.position for mark in progress.marks)


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


# Waiting


def test_a_wait_begins_once_and_its_sentence_may_change():
    progress = at(0).waits(Wait.LEADER, 5.0, "a").waits(Wait.LEADER, 9.0, "b")
    assert progress.waiting == Waiting(Wait.LEADER, 5.0, "b")
    assert progress.waits(Wait.LEADER, 11.0, "b") is progress


def test_another_wait_begins_anew():
    progress = at(0).waits(Wait.LEADER, 5.0, "a").waits(Wait.BROKER, 9.0, "b")
    assert progress.waiting == Waiting(Wait.BROKER, 9.0, "b")
    assert progress.waits(Wait.NOTHING, 12.0).waiting.wait is Wait.NOTHING
