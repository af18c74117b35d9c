"""One table as it is served: its states and reasons, its estimate, its identity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.bounds import Bounds
from sidecar.core.errors import Reason, Refused
from sidecar.core.model import Batch, Fetched, LogBounds
from sidecar.core.progress import Progress, Wait
from sidecar.core.served import (
    Definition,
    Generation,
    Served,
    Source,
    TableState,
    Trouble,
    incarnation_of,
)
from sidecar.core.view import View

DEFINITION = Definition(name="t", topic="topic", stale_after_ms=5000)
SOURCE = Source("cluster", "id", 7)


class Rec:
    key, value, timestamp, headers = b"k", b"value", 0, ()

    def __init__(self, offset):
        self.offset = offset


def served_of(*progress, began=100.0, **options):
    served = Served(DEFINITION)
    served.begin(Generation(SOURCE, View("t", 7, 8, progress, **options), began))
    return served


def ready(fresh_as_of=100.0):
    served = served_of(Progress(0, 0, 0))
    assert served.try_ready(100.0)
    if fresh_as_of is not None:
        served.view.topology_as_of = fresh_as_of
        served.view.change(0, lambda known: known.answered(LogBounds(0, 0, 0), fresh_as_of))
    return served


def refusal(served, **options):
    with pytest.raises(Refused) as caught:
        served.read(100.0, **options)
    return caught.value


# Before there is a view


def test_a_table_whose_topic_was_not_looked_up_yet_is_bootstrapping():
    served = Served(DEFINITION)
    assert served.state(0.0) is TableState.BOOTSTRAPPING
    assert not served.ready
    refused = refusal(served)
    assert refused.reason is Reason.BOOTSTRAPPING
    assert refused.retry_after_ms > 0
    assert "not been looked up" in served.reason(0.0)


@pytest.mark.parametrize("partial", [False, True])
def test_a_missing_topic_is_named_and_never_absent(partial):
    served = Served(DEFINITION)
    served.trouble = Trouble(Reason.TOPIC_MISSING, "there is no topic 'topic'")
    refused = refusal(served, partial=partial)
    assert refused.reason is Reason.TOPIC_MISSING
    assert refused.retry_after_ms > 0
    assert refused.message == "table 't': there is no topic 'topic'"
    assert refused.metadata == {"table": "t", "topic": "topic"}
    assert served.state(0.0) is TableState.BOOTSTRAPPING
    assert served.reason(0.0) == "there is no topic 'topic'"


def test_a_final_trouble_fails_the_table_and_asking_again_does_not_help():
    served = Served(DEFINITION)
    served.trouble = Trouble(Reason.BOOTSTRAPPING, "the cluster is too old", final=True)
    refused = refusal(served)
    assert served.state(0.0) is TableState.FAILED
    assert refused.reason is Reason.TABLE_FAILED
    assert refused.retry_after_ms is None
    assert served.reason(0.0) == "the cluster is too old"


def test_failed_is_only_for_a_table_that_was_never_ready():
    served = ready()
    served.trouble = Trouble(Reason.BOOTSTRAPPING, "the disk is on fire", final=True)
    assert served.state(100.0) is TableState.LIVE


# With a view


def test_a_table_is_bootstrapping_until_it_is_ready():
    served = served_of(Progress(0, 2, 4))
    assert not served.try_ready(101.0)
    assert served.state(101.0) is TableState.BOOTSTRAPPING
    assert served.reason(101.0) == "2 of 4 offsets, 0 of 1 partitions caught up"
    assert (served.ready, served.current.ready, served.bootstrap_ms()) == (False, 0.0, 0)
    served.view.change(0, lambda known: known.advanced(4))
    assert served.try_ready(103.5)
    assert (served.ready, served.current.ready, served.bootstrap_ms()) == (True, 103.5, 3500)


def test_becoming_ready_is_told_once():
    served = ready()
    assert not served.try_ready(105.0)
    assert served.current.ready == 100.0
    assert not Served(DEFINITION).try_ready(1.0)


def test_a_bootstrap_that_took_no_time_is_done_all_the_same():
    assert ready().bootstrap_ms() == 1


@pytest.mark.parametrize(
    ("now", "state"),
    [(100.0, TableState.LIVE), (104.999, TableState.LIVE), (105.0, TableState.STALE)],
)
def test_a_table_is_live_while_its_staleness_is_below_the_bound(now, state):
    assert ready().state(now) is state


def test_a_live_table_has_nothing_to_explain():
    assert ready().reason(101.0) == ""


def test_a_stale_table_says_how_old_it_is_and_what_it_waits_for():
    served = ready()
    served.view.change(0, lambda known: known.waits(Wait.BROKER, 101.0, "host:1 is silent"))
    assert served.reason(110.0) == "staleness is 10000 ms; partition 0: host:1 is silent"
    assert served.read(110.0).complete


def test_a_table_whose_staleness_is_not_known_is_stale():
    served = ready(fresh_as_of=None)
    assert served.state(100.0) is TableState.STALE
    assert served.reason(100.0) == "staleness is not known"


def test_the_gate_is_that_of_the_view():
    served = served_of(Progress(0, 0, 1))
    assert refusal(served).reason is Reason.BOOTSTRAPPING
    assert not served.read(100.0, partial=True).complete
    assert refusal(ready(), bounds=Bounds(max_staleness_ms=-1)).reason is Reason.NOT_FRESH


def test_too_few_entries_hold_up_readiness_with_a_reason():
    served = served_of(Progress(0, 0, 0), min_entries=1)
    assert not served.try_ready(101.0)
    assert served.state(101.0) is TableState.BOOTSTRAPPING
    assert "min_entries (1)" in served.reason(101.0)


def built(*progress, incarnation=7, began=200.0, **options):
    source = Source("cluster", "id", incarnation)
    return Generation(source, View("t", incarnation, 9, progress, **options), began)


def test_a_generation_takes_the_place_of_one_that_was_never_ready():
    served = served_of(Progress(0, 0, 1))
    served.current.fetched_bytes = 99
    assert served.generations == 1
    served.begin(built(Progress(0, 0, 1)), "log_cut")
    assert (served.generations, served.fetched_bytes) == (2, 0)
    assert (served.current.began, served.current.ready, served.ready) == (200.0, 0.0, False)
    assert served.next is None
    assert served.begun == {"start": 1, "log_cut": 1}


def test_a_generation_is_built_beside_one_that_answers_and_takes_its_place_when_ready():
    served = ready()
    served.cut_off("the log was cut")
    following = built(Progress(0, 1, 4))
    served.begin(following, "log_cut")
    assert served.read(100.0).generation == 8
    assert served.state(100.0) is TableState.STALE
    assert served.reason(100.0) == (
        "the log was cut; staleness is 0 ms; being read anew: 1 of 4 offsets, 0 of 1 partitions "
        "caught up"
    )
    assert served.eta_ms(203.0) == 9000
    assert not served.try_ready(203.0)
    following.view.change(0, lambda known: known.advanced(4))
    assert served.try_ready(204.0)
    assert served.read(204.0).generation == 9
    assert (served.current, served.next, served.fault) == (following, None, "")
    assert served.bootstrap_ms() == 4000


def test_what_is_fed_gives_its_place_only_to_one_that_has_read_as_far():
    served = ready()
    served.view.change(0, lambda known: known.advanced(5))
    following = built(Progress(0, 4, 4))
    served.begin(following, "definition")
    assert served.gives_way(served.current)
    assert not served.try_ready(201.0)
    assert served.read(201.0).generation == 8
    following.view.change(0, lambda known: known.advanced(5))
    assert served.try_ready(202.0)
    assert served.read(202.0).generation == 9


def test_a_fault_gives_up_what_was_built_and_keeps_what_answers():
    served = ready()
    served.begin(built(Progress(0, 1, 4)))
    served.cut_off("the log was cut again")
    assert served.next is None
    assert served.read(100.0).generation == 8


def test_what_is_too_small_does_not_take_the_place_of_what_answers():
    served = ready()
    served.begin(built(Progress(0, 0, 0), min_entries=1))
    assert not served.try_ready(201.0)
    assert served.read(201.0).generation == 8
    assert "fewer than min_entries (1)" in served.next.view.describe_bootstrap()


def test_a_table_whose_topic_is_gone_answers_nothing_until_the_next_one_was_read():
    served = ready()
    served.drop(Trouble(Reason.TOPIC_MISSING, "it was deleted"), replaced=True)
    assert (served.view, served.source, served.memory_bytes()) == (None, None, 0)
    assert served.state(100.0) is TableState.REPLACED
    assert refusal(served).reason is Reason.TOPIC_MISSING
    served.trouble = Trouble(Reason.TOPIC_REPLACED, "it is another one now")
    served.begin(built(Progress(0, 0, 2), incarnation=8), "topic_replaced")
    refused = refusal(served, partial=True)
    assert refused.reason is Reason.TOPIC_REPLACED
    assert refused.message == (
        "table 't': it is another one now; being read anew: 0 of 2 offsets, 0 of 1 partitions "
        "caught up"
    )
    assert served.state(100.0) is TableState.REPLACED
    assert served.source.incarnation == 8
    served.next.view.change(0, lambda known: known.advanced(2))
    assert served.try_ready(201.0)
    assert served.read(201.0).incarnation == 8
    assert not served.replaced


def test_a_topic_that_is_gone_before_the_table_was_ready_replaces_nothing():
    served = served_of(Progress(0, 0, 1))
    served.drop(Trouble(Reason.TOPIC_MISSING, "it was deleted"), replaced=True)
    assert served.state(100.0) is TableState.BOOTSTRAPPING
    served.begin(built(Progress(0, 0, 1)))
    assert served.current is not None


def test_a_table_that_was_dropped_on_purpose_is_bootstrapping():
    served = ready()
    served.drop(Trouble(Reason.BOOTSTRAPPING, "the log was cut"), replaced=False)
    assert served.state(100.0) is TableState.BOOTSTRAPPING
    assert refusal(served).reason is Reason.BOOTSTRAPPING


def test_a_bad_batch_fails_a_table_that_was_never_ready_and_no_other():
    served = served_of(Progress(0, 0, 1))
    served.view.change(0, lambda known: known.waits(Wait.BAD_BATCH, 100.0, "wrong CRC"))
    assert served.state(100.0) is TableState.FAILED
    assert refusal(served).reason is Reason.TABLE_FAILED
    assert "cannot be read: 0 of 1 offsets" in refusal(served).message
    assert "partition 0: wrong CRC" in refusal(served).message
    other = ready()
    other.view.change(0, lambda known: known.waits(Wait.BAD_BATCH, 100.0, "wrong CRC"))
    assert other.state(100.0) is TableState.LIVE
    assert other.state(106.0) is TableState.STALE


# The estimate


def test_the_estimate_is_the_rest_at_the_speed_so_far():
    served = served_of(Progress(0, 30, 100, LogBounds(20, 100)))
    assert served.eta_ms(102.0) == 14_000  # 10 offsets in 2 s, 70 are left


@pytest.mark.parametrize("now", [99.0, 100.0])
def test_there_is_no_estimate_before_time_has_passed(now):
    assert served_of(Progress(0, 30, 100)).eta_ms(now) is None


def test_there_is_no_estimate_before_the_first_record_nor_without_a_bootstrap():
    assert served_of(Progress(0, 0, 100)).eta_ms(105.0) is None
    assert Served(DEFINITION).eta_ms(105.0) is None
    assert ready().eta_ms(105.0) is None


def test_there_is_no_estimate_for_a_topic_that_was_read_and_holds_too_little():
    served = served_of(Progress(0, 100, 100), min_entries=1)
    assert not served.try_ready(105.0)
    assert served.eta_ms(105.0) is None


# Identity


def test_an_incarnation_is_the_same_in_every_process_and_release():
    assert incarnation_of("cluster", "topic-id") == 3_482_124_030_168_551


@given(st.text("abü", max_size=4), st.text("ab-", max_size=4))
def test_an_incarnation_has_53_bits_so_that_every_client_can_hold_it(cluster_id, topic_id):
    number = incarnation_of(cluster_id, topic_id)
    assert 0 <= number < 1 << 53
    assert float(number) == number


def test_an_incarnation_tells_cluster_and_topic_apart():
    pairs = [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a"), ("", "abc")]
    assert len({incarnation_of(*pair) for pair in pairs}) == len(pairs)


def test_incarnations_use_all_of_their_bits():
    seen = [incarnation_of("c", str(number)) for number in range(200)]
    assert all(any(number >> bit & 1 for number in seen) for bit in range(53))


def test_a_definition_is_known_by_what_decides_its_entries():
    other_name = Definition(name="u", topic="topic", stale_after_ms=1, format="json")
    uncommitted = Definition(name="t", topic="topic", isolation="read_uncommitted")
    assert DEFINITION.hash == other_name.hash
    assert DEFINITION.hash != uncommitted.hash
    assert len(DEFINITION.hash) == 16


# Memory


def test_memory_is_estimated_from_entries_and_payload():
    assert Served(DEFINITION).memory_bytes() == 0
    served = served_of(Progress(0, 0, 1))
    batch = Batch([Rec(0)], 0, 0, 1)
    list(served.view.fold(Fetched(0, iter([batch]), LogBounds(0, 1, 1), 1.0, None, 1), 5))
    assert served.memory_bytes() > len(b"k" + b"value")


def test_repr_shows_no_values():
    assert "value" not in repr(ready())
