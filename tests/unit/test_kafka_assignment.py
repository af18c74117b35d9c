"""What an answer means for a partition, what to ask next, and what proves that a tail is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import batch

from sidecar.core.model import LogBounds
from sidecar.core.progress import Leader, Wait
from sidecar.kafka.assignment import Assigned, Last, acl_advice, no_end_yet, plan, stopped_by
from sidecar.kafka.errors import BadBatch, LogCut
from sidecar.kafka.wire import FetchAnswer, Wanted

LEADER = Leader(1, 4)


def part_of(offset=10, **more):
    return Assigned(0, offset, LEADER, **more)


def answer_of(*batches, end=10, high_watermark=None, **more):
    bounds = LogBounds(0, end if high_watermark is None else high_watermark, end)
    answer = FetchAnswer(0, 0, bounds, [], -1, memoryview(b"".join(batches)), None)
    return answer._replace(**more)


def accept(part, *batches, alone=False, committed=True, **more):
    return part.accept(
        answer_of(*batches, **more), sent_at=7.0, arrived_at=8.0, alone=alone, committed=committed
    )


def one(offset, **more):
    return batch([(b"k", b"v")], base_offset=offset, **more)


# Answers with records


def test_the_next_fetch_begins_behind_the_last_whole_batch():
    part = part_of()
    torn = one(20)[:60]
    fetched = accept(part, one(10), one(11, last_offset_delta=6, leader_epoch=3), torn, end=30)
    assert part.wanted() == Wanted(0, LEADER.epoch, 18, 3)
    assert [each.base_offset for each in fetched.batches] == [10, 11]
    assert (fetched.partition, fetched.sent_at, fetched.nothing_before) == (0, 7.0, None)
    assert fetched.bounds == LogBounds(0, 30, 30)
    assert fetched.size == len(one(10)) * 2 + 60


def test_a_batch_that_begins_before_the_position_does_not_move_it_back():
    part = part_of(15)
    accept(part, one(10, last_offset_delta=2), end=30)
    assert part.offset == 15


def test_a_part_of_a_batch_beside_other_partitions_is_asked_for_alone():
    part = part_of()
    for _ in range(5):
        assert accept(part, one(10)[:50], end=30).nothing_before is None
    assert (part.offset, part.last.batch) == (10, -1)
    assert plan([part_of(), part], 1, 0.0, 1) == [part]


def test_a_part_of_a_batch_that_was_asked_for_alone_is_a_fault_of_the_log():
    with pytest.raises(BadBatch, match=r"partition 0: the batch at offset 10 is cut off"):
        accept(part_of(), one(10)[:50], end=30, alone=True)


@pytest.mark.parametrize(("committed", "keys"), [(True, []), (False, [b"k"])])
def test_aborted_records_are_left_out_where_committed_ones_are_asked_for(committed, keys):
    data = one(10, producer_id=9, transactional=True)
    fetched = accept(part_of(), data, aborted=[(9, 10)], committed=committed)
    assert [record.key for each in fetched.batches for record in each.records] == keys


def test_senseless_bytes_are_a_fault_of_the_log_and_move_nothing():
    part = part_of()
    with pytest.raises(BadBatch):
        accept(part, b"\0" * 100, end=30)
    assert part.offset == 10


def test_an_answer_begins_the_waits_after_errors_anew():
    part = part_of()
    for _ in range(9):
        part.retry.failed(5.0)
    accept(part)
    part.retry.failed(5.0)
    assert part.retry.not_before <= 5.1


# A tail that is gone


def prove(part, rounds, end=20, **more):
    return [accept(part, end=end, **more).nothing_before for _ in range(rounds)]


def test_twice_alone_after_the_suspicion_proves_that_the_tail_is_gone():
    part = part_of()
    assert prove(part, 1) == [None]  # asked together with others: a suspicion
    assert prove(part, 2, alone=True) == [None, 20]
    assert (part.offset, part.empty) == (20, 0)


def test_a_partition_that_stands_alone_needs_the_suspicion_too():
    assert prove(part_of(), 3, alone=True) == [None, None, 20]


def test_empty_answers_to_joint_requests_never_prove_anything():
    part = part_of()
    assert prove(part, 50) == [None] * 50
    assert (part.offset, part.empty) == (10, 1)


def test_once_alone_is_not_enough_however_often_it_was_asked_jointly():
    part = part_of()
    assert prove(part, 1, alone=True) == [None]
    assert prove(part, 9) == [None] * 9
    assert prove(part, 1, alone=True) == [None]


@pytest.mark.parametrize(
    "other",
    [
        {"preferred_read_replica": 2},
        {"end": 10},
        {"diverging": (3, 15), "end": 20},
    ],
    ids=["redirect", "nothing to expect", "divergence"],
)
def test_any_other_answer_begins_the_proof_anew(other):
    part = part_of(last=Last(3))
    prove(part, 2, alone=True)
    fetched = part.accept(
        answer_of(**other), sent_at=0.0, arrived_at=0.0, alone=True, committed=True
    )
    assert fetched.nothing_before is None
    assert prove(part, 2, alone=True) == [None, None]
    assert part.offset == 10


def test_a_record_begins_the_proof_anew():
    part = part_of()
    prove(part, 2, alone=True)
    accept(part, one(10), end=20, alone=True)
    assert (part.offset, prove(part, 2, alone=True)) == (11, [None, None])


def test_the_end_is_that_of_the_answer_that_proves_it():
    part = part_of()
    prove(part, 2, end=20, alone=True)
    assert prove(part, 1, end=33, alone=True) == [33]


@pytest.mark.parametrize(("committed", "end"), [(True, 15), (False, 20)])
def test_what_is_proved_is_the_last_stable_offset_or_the_high_watermark(committed, end):
    part = part_of()
    ends = {"high_watermark": 20, "end": 15, "alone": True, "committed": committed}
    assert [accept(part, **ends).nothing_before for _ in range(3)] == [None, None, end]


def test_an_open_transaction_at_the_position_proves_nothing():
    part = part_of()
    for _ in range(9):
        assert accept(part, high_watermark=20, end=10, alone=True).nothing_before is None
    assert part.offset == 10


empty_answers = st.tuples(st.booleans(), st.sampled_from([10, 20]), st.sampled_from([-1, -1, 3]))


@given(st.lists(empty_answers, max_size=12))
def test_nothing_is_proved_without_two_lone_empty_answers_in_a_row(answers):
    """Empty answers to joint requests may come between two lone ones: they tell nothing."""
    part, in_a_row = part_of(), 0
    for alone, end, replica in answers:
        answer = answer_of(end=end, preferred_read_replica=replica)
        odd = end > part.offset and replica == -1
        in_a_row = in_a_row + alone if odd else 0
        before = part.offset
        fetched = part.accept(answer, sent_at=0.0, arrived_at=0.0, alone=alone, committed=True)
        if fetched.nothing_before is not None:
            assert in_a_row >= 2
            assert fetched.nothing_before == end == part.offset
            in_a_row = 0
        else:
            assert part.offset == before
            assert in_a_row < 3


# A log that was cut and has grown again


def test_a_lesser_epoch_that_ends_below_the_position_is_a_cut_log():
    with pytest.raises(LogCut, match=r"partition 0: the log was cut below offset 10 .*epoch 2"):
        accept(part_of(last=Last(3)), diverging=(2, 8))


def test_the_same_epoch_that_ends_below_the_position_is_a_cut_log():
    with pytest.raises(LogCut, match="cut"):
        accept(part_of(last=Last(3)), diverging=(3, 9))


@pytest.mark.parametrize("end_offset", [10, 11])
def test_the_same_epoch_that_ends_at_or_behind_the_position_is_no_cut(end_offset):
    part = part_of(last=Last(3))
    fetched = accept(part, diverging=(3, end_offset), end=20)
    assert fetched.nothing_before is None
    assert part.wanted() == Wanted(0, LEADER.epoch, 10, LEADER.epoch)
    accept(part, one(10, leader_epoch=5), end=20)
    assert part.wanted() == Wanted(0, LEADER.epoch, 11, 5)


@pytest.mark.parametrize("how", ["begun", "proved", "bad batch"])
def test_a_log_of_which_no_batch_was_read_is_named_by_its_leaders_epoch(how):
    part = part_of(9 if how == "proved" else 10, last=Last(leader=LEADER.epoch))
    if how == "proved":
        prove(part, 3, end=10, alone=True)
    if how == "bad batch":
        accept(part, one(10, wrong_crc=True), end=20)
        part.reset(10)
    assert part.wanted() == Wanted(0, LEADER.epoch, 10, LEADER.epoch)
    with pytest.raises(LogCut, match="cut below offset 10"):
        accept(part, diverging=(2, 9), end=20)


def test_a_leader_that_does_not_know_the_epoch_before_holds_what_was_there():
    part = part_of(last=Last(leader=3))
    part.leader = Leader(2, 5)
    assert accept(part, diverging=(2, 10), end=20).nothing_before is None
    assert part.wanted() == Wanted(0, 5, 10, 5)


def test_a_batch_of_an_epoch_that_the_log_does_not_know_was_cut_off():
    with pytest.raises(LogCut, match="cut below offset 10"):
        accept(part_of(last=Last(3)), diverging=(2, 10), end=20)


def test_where_the_tail_was_gone_the_epoch_of_its_last_batch_is_named_no_more():
    """Epoch 3's last batch ends at 11 and epoch 4 begins at 15; all behind 11 is gone."""
    part = part_of()
    accept(part, one(10, leader_epoch=3), end=20)
    prove(part, 3, end=20, alone=True)
    assert part.wanted() == Wanted(0, LEADER.epoch, 20, LEADER.epoch)


# Planning


def assigned(*offsets, node=1, **more):
    return [
        Assigned(number, offset, Leader(node, 0), **more) for number, offset in enumerate(offsets)
    ]


def numbers(parts):
    return [part.partition for part in parts]


def test_only_partitions_that_the_broker_leads_are_asked_of_it():
    parts = [Assigned(0, 0, Leader(1, 0)), Assigned(1, 0, Leader(2, 0)), Assigned(2, 0, Leader())]
    assert numbers(plan(parts, 1, 0.0, 0)) == [0]
    assert numbers(plan(parts, 3, 0.0, 0)) == []


def test_partitions_take_turns_at_the_front():
    parts = assigned(0, 0, 0)
    assert [numbers(plan(parts, 1, 0.0, turn)) for turn in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]


def test_a_partition_is_not_asked_again_before_its_time():
    parts = assigned(0, 0)
    parts[0].retry.not_before = 5.0
    assert numbers(plan(parts, 1, 4.9, 0)) == [1]
    assert numbers(plan(parts, 1, 5.0, 0)) == [0, 1]


def test_a_suspect_is_asked_alone_every_other_turn_so_that_the_rest_goes_on():
    parts = assigned(0, 0, 0)
    parts[2].empty = 1
    assert numbers(plan(parts, 1, 0.0, 1)) == [2]
    assert sorted(numbers(plan(parts, 1, 0.0, 2))) == [0, 1, 2]
    assert numbers(plan(parts, 1, 0.0, 3)) == [2]


def test_a_suspect_that_may_not_be_asked_yet_does_not_hold_up_the_rest():
    parts = assigned(0, 0)
    parts[0].empty, parts[0].retry.not_before = 1, 9.0
    assert numbers(plan(parts, 1, 0.0, 1)) == [1]


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 20))
def test_every_partition_is_asked_within_two_turns_and_none_twice_at_once(suspects, turn):
    parts = assigned(*[0] * len(suspects))
    for part, suspect in zip(parts, suspects, strict=True):
        part.empty = int(suspect)
    two = [numbers(plan(parts, 1, 0.0, turn + step)) for step in range(2)]
    assert set(two[0]) | set(two[1]) == set(range(len(parts)))
    assert all(len(each) == len(set(each)) for each in two)


def test_vanished_tails_of_several_partitions_are_all_proved_in_the_end():
    parts = assigned(10, 10, 10)
    for turn in range(40):
        asked = plan(parts, 1, 0.0, turn)
        for part in asked:
            accept(part, end=20, alone=len(asked) == 1)
    assert [part.offset for part in parts] == [20, 20, 20]


# Errors


@pytest.mark.parametrize("code", [-1, 3, 5, 6, 7, 8, 9, 13, 56, 74, 75, 78, 100, 103])
def test_what_fresh_metadata_may_mend_is_a_wait_for_the_leader(code):
    wait, sentence = stopped_by(code, 0, "topic")
    assert wait is Wait.LEADER
    assert "asking who leads" in sentence


@pytest.mark.parametrize("code", [29, 31])
def test_what_is_not_allowed_is_a_wait_with_the_command_that_mends_it(code):
    wait, sentence = stopped_by(code, 0, "topic")
    assert wait is Wait.AUTHORIZATION
    assert sentence == acl_advice("topic")
    assert "kafka-acls --add" in sentence
    assert "--topic topic" in sentence


def test_an_offset_that_is_gone_is_a_cut_log():
    with pytest.raises(LogCut, match=r"partition 3.*OFFSET_OUT_OF_RANGE"):
        stopped_by(1, 3, "topic")


@pytest.mark.parametrize(
    ("code", "wait", "name"),
    [(2, Wait.BAD_BATCH, "CORRUPT_MESSAGE"), (76, Wait.BAD_BATCH, "UNSUPPORTED_COMPRESSION_TYPE"),
     (88, Wait.BROKER, "error 88"), (999, Wait.BROKER, "error 999")],
)  # fmt: skip
def test_every_other_error_is_waited_out_by_its_name(code, wait, name):
    known, sentence = stopped_by(code, 3, "topic")
    assert known is wait
    assert name in sentence


def test_a_leader_that_does_not_know_its_end_is_named_with_its_epoch_and_its_words():
    sentence = "leader 2 (epoch 7) does not know its end yet (OFFSET_NOT_AVAILABLE)"
    assert no_end_yet(Leader(2, 7), 78) == sentence
    assert no_end_yet(Leader(2, 7), 999).endswith("(error 999)")
