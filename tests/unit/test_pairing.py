"""Two tables, side by side: what is a difference, and what only looks like one."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli.pairing import Had, Pairing, Point, behind, merged

KEY = b"k"


def had(offset, content="x", partition=0):
    return Had(KEY, partition, offset, content)


def point(position, start=0):
    return Point({0: position, 1: position}, {0: start, 1: start})


def scanned(a, b, *positions):
    pairing = Pairing(("A", "B"))
    pairing.scanned(a, b, tuple(map(point, positions)))
    return pairing


def asked(pairing, first, second, *positions, swap=False):
    pairing.asked(KEY, first, second, tuple(map(point, positions)), swap=swap)
    return pairing


def test_the_same_record_is_the_same():
    pairing = scanned(had(3), had(3), 9, 9)
    assert (pairing.differing, pairing.open, pairing.compared) == ({}, {}, 1)


def test_another_value_at_the_same_offset_differs():
    assert "offset 3 of partition 0" in scanned(had(3), had(3, "y"), 9, 9).differing[KEY]


def test_who_has_read_past_a_newer_record_and_has_the_older_one_differs():
    assert scanned(had(3), had(5), 6, 9).differing[KEY].startswith("A has offset 3")
    assert scanned(had(5), had(3), 9, 6).differing[KEY].startswith("B has offset 3")


def test_who_has_not_read_that_far_is_looked_at_again():
    assert KEY in scanned(had(3), had(5), 5, 9).open
    assert KEY in scanned(had(3), None, 9, 9).open


def test_the_log_start_takes_a_key_from_one_side_first():
    pairing = Pairing(("A", "B"))
    pairing.scanned(had(3), None, (point(9), point(9, start=4)))
    assert (pairing.open, pairing.gone) == ({}, 1)


def test_the_same_key_from_two_partitions_is_told_apart():
    pairing = scanned(had(3), had(3, partition=1), 9, 9)
    assert "from partition 1" in pairing.apart[KEY]
    assert pairing.differing == {}


def test_a_key_that_only_the_later_side_has_though_both_read_past_it_differs():
    pairing = asked(scanned(None, had(3), 9, 9), None, had(3), 9, 9)
    assert pairing.differing[KEY].startswith("A lacks it")
    pairing = asked(scanned(had(3), None, 9, 9), None, had(3), 9, 9, swap=True)
    assert pairing.differing[KEY].startswith("B lacks it")


def test_a_key_that_the_later_side_lacks_may_have_been_deleted():
    pairing = asked(scanned(had(3), None, 9, 9), had(3), None, 9, 9)
    assert KEY in pairing.open
    assert asked(pairing, None, None, 10, 10, swap=True).open == {}
    assert pairing.differing == {}


def test_a_key_that_is_newer_with_whoever_is_asked_later_is_moving():
    pairing = asked(scanned(had(3), had(5), 5, 9), had(9), had(12), 9, 12)
    pairing = asked(pairing, had(20), had(30), 20, 30, swap=True)
    assert (pairing.moving, pairing.open) == (1, {})


def test_a_key_that_is_newer_with_the_same_side_each_time_stays_open():
    pairing = asked(scanned(had(3), had(5), 5, 9), had(3), had(5), 5, 9)
    assert KEY in asked(pairing, had(3), had(5), 5, 9).open


def test_offsets_that_one_is_behind_the_other():
    assert behind(Point({0: 3}, {}), Point({0: 5, 1: 2}, {})) == {0: 2, 1: 2}
    assert behind(point(3), point(3)) == {}


def entries(keys):
    return [Had(key, 0, 0, None) for key in sorted(keys)]


keys = st.sets(st.binary(max_size=2), max_size=8)


@given(keys, keys)
def test_two_tables_are_merged_in_key_order(ours, theirs):
    rows = list(merged(entries(ours), entries(theirs)))
    assert [key for key, _, _ in rows] == sorted(ours | theirs)
    assert {key for key, a, _ in rows if a} == ours
    assert {key for key, _, b in rows if b} == theirs


logs = st.lists(st.booleans(), min_size=1, max_size=12)


@given(logs, st.data())
def test_two_sidecars_that_tell_the_truth_never_differ(log, data):
    """A key's log of records and tombstones, and sides that read on in whatever steps."""
    reached = [0, 0]

    def ask(side, least=0):
        reached[side] = data.draw(st.integers(max(reached[side], least), len(log)))
        before = reached[side]
        reached[side] = data.draw(st.integers(before, len(log)))
        position = reached[side]
        lives = position and log[position - 1]
        return point(before), had(position - 1) if lives else None, position

    at, a, _ = ask(0)
    other, b, _ = ask(1)
    pairing = Pairing(("A", "B"))
    pairing.scanned(a, b, (at, other))
    for number in range(8):
        if not pairing.open:
            break
        swap = bool(number % 2)
        first_at, first, position = ask(int(swap))
        second_at, second, _ = ask(int(not swap), position)
        pairing.asked(KEY, first, second, (first_at, second_at), swap=swap)
    assert pairing.differing == {}


@given(logs, st.data())
def test_on_a_log_at_rest_two_rounds_tell_exactly_whether_a_key_differs(log, data):
    end = len(log)
    states = st.one_of(st.none(), st.integers(0, end - 1).map(had))
    a, b = data.draw(states), data.draw(states)
    pairing = scanned(a, b, end, end)
    for swap in (False, True):
        if pairing.open:
            pair = (b, a) if swap else (a, b)
            asked(pairing, *pair, end, end, swap=swap)
    assert bool(pairing.differing) == (a != b)
    assert pairing.open == {}
