"""Followers of a table: what they were given equals it at every mark, whatever came between."""

import random
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core import packed
from sidecar.core.changes import SHARDS, Why, shard_of
from sidecar.core.events import Event
from sidecar.core.model import OFFSET, ORIGIN, VALUE, origin_of, partition_of
from sidecar.core.progress import Progress
from sidecar.core.queue import PLENTY as MANY
from sidecar.core.queue import Keys, Wanted
from sidecar.core.rule import Ruled
from sidecar.core.view import View
from sidecar.core.watch import Expired, Watches

KEYS = [b"", b"a", b"ab", b"abc", b"b", b"\xff", *(b"key-%d" % n for n in range(6))]
FILTERS = [Keys(), Keys(b"a"), Keys(b"key-"), Keys(b"abc"), Keys(b"a", b"b", prefix=False),
           Keys(b"key-2", b"", prefix=False)]  # fmt: skip
PLENTY = 1 << 30


class Log:
    """A view of two partitions and later of three, to which all that can happens at random."""

    def __init__(self, seed=None, log_bytes=PLENTY):
        self.chance = random.Random(seed or 0)
        self.view = View("t", 1, 2, [Progress(0, 0, 0), Progress(1, 0, 0)])
        self.table = self.view.table
        self.next = [0, 0]
        for _ in range(0 if seed is None else self.chance.randrange(20)):
            self.write()
        self.table.tailing = True
        while self.table.settle(10):
            pass
        self.watches = Watches(self.view, log_bytes)
        self.forgets = log_bytes < PLENTY

    def write(self, key=None, value=None, partition=None, *, tombstone=False):
        number = self.chance.randrange(len(self.next)) if partition is None else partition
        offset = self.next[number]
        key = self.chance.choice(KEYS) if key is None else key
        if value is None and not tombstone and self.chance.random() < 0.7:
            value = b"%d-%d" % (number, offset)
        self.read(number, Rec(offset, key, value, timestamp=self.chance.randrange(5)))

    def read(self, number, record):
        """A record of a partition, behind which there may be a hole."""
        self.next[number] += self.chance.choice((1, 1, 3))
        self.table.apply([record], origin_of(number, 0))
        self.view.change(number, lambda known: known.advanced(record.offset + 1))

    def turn_away(self):
        """A record whose value is not for the table."""
        number, key = self.chance.randrange(len(self.next)), self.chance.choice(KEYS)
        offset, stamp = self.next[number], self.chance.randrange(5)
        self.read(number, Ruled(offset, stamp, key, None, turned_away=True))

    def grow(self):
        if len(self.next) == 2:
            self.view.add(Progress(2, 0, 0))
            self.next.append(0)

    def fall(self):
        number = self.chance.randrange(len(self.next))
        self.table.raise_floor(number, self.chance.randint(0, self.next[number]))
        for _ in self.table.sweep(3):
            pass

    def held(self):
        """A key that the table holds, if it does any, and its partition."""
        held = [key for key in KEYS if self.table.get(key)]
        return [(key, partition_of(self.table.get(key)[ORIGIN])) for key in held[:1]]

    def lose(self):
        for key, partition in self.held():
            self.table.lose(key, partition)

    def age(self):
        for key, _ in self.held():
            self.table.expire(key)

    def something(self):
        rare = [self.fall, self.lose, self.age, self.turn_away, self.turn_away, self.grow]
        self.chance.choice([self.write] * 16 + rare)()

    def holds(self, keys):
        return {key: self.table.get(key) for key in self.table if keys.holds(key)}


class Mirror:
    """What a follower was given, by the rules that a client goes by."""

    def __init__(self, log, keys, *, latest=False, limit=PLENTY):
        self.log, self.wanted = log, Wanted(keys, latest, limit)
        self.held, self.walk, self.follower = {}, None, None
        # The revision of the last change that it was given, or of the last mark.
        self.given = None
        # What it held at the last mark, its revision, and its positions.
        self.marked = None

    def snapshot(self):
        self.held, self.given, self.marked = {}, None, None
        self.follower, self.walk = self.log.watches.walk(self.wanted)

    def now(self):
        self.held = self.log.holds(self.wanted.keys)
        self.follower = self.log.watches.follow(self.wanted)
        self.mark()

    def resume(self, by):
        """Go on at the last mark: what was given since is lost.

        By "token" it goes on behind the last change that it was given, and loses nothing.
        """
        self.log.watches.leave(self.follower)
        if by == "token":
            self.follower = self.log.watches.follow_from(self.given, self.wanted)
            return
        held, revision, positions = self.marked
        if by == "revision":
            self.follower = self.log.watches.follow_from(revision, self.wanted)
        else:
            self.follower = self.log.watches.follow_after(positions, self.wanted)
        self.held, self.walk, self.given = dict(held), None, revision

    def cut(self):
        """Resume, or begin anew where that is refused."""
        ways = ["revision", "positions"] if self.marked else []
        if not (self.wanted.latest or self.walk or self.follower.lagged or self.given is None):
            ways.append("token")
        try:
            self.resume(self.log.chance.choice(ways))
        except (Expired, IndexError):
            too_much = self.wanted.limit < PLENTY
            assert not ways or self.log.forgets or too_much, "nothing was forgotten"
            self.log.watches.leave(self.follower)
            self.snapshot()

    def step(self):
        """A step of the walk, or some events; a cut, where too much waited."""
        if self.follower.lagged:
            self.cut()
            return
        if self.walk is not None and self.follower.walked < SHARDS:
            for key, entry in next(self.walk):
                assert self.wanted.keys.holds(key)
                self.held[key] = entry
            return
        self.drain(self.log.chance.randint(1, 3))

    def drain(self, most=1000):
        for event in self.follower.take(most, PLENTY):
            self.meet(event)
        if self.follower.empty and (self.walk is None or self.follower.walked == SHARDS):
            self.walk = None
            self.mark()

    def meet(self, event):
        assert self.wanted.keys.holds(event.key)
        self.given = event.revision
        if event.entry is None:
            self.held.pop(event.key, None)
        else:
            self.held[event.key] = event.entry

    def mark(self):
        assert self.follower.between
        assert self.held == self.log.holds(self.wanted.keys)
        positions = {n: known.position for n, known in self.log.view.progress.items()}
        self.marked = dict(self.held), self.log.table.revision, positions
        self.given = self.log.table.revision

    def finish(self):
        while self.follower.lagged or (self.walk is not None and self.follower.walked < SHARDS):
            self.step()
        while not self.follower.empty:
            self.drain(2)
        self.drain()
        assert self.marked[1] == self.log.table.revision


def packs(patch, unpacked):
    """The log keeps so many of the latest events as they are, and packs three of those before."""
    patch.setattr(packed, "_RECENT", unpacked)
    patch.setattr(packed, "_AT_ONCE", 3)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from(FILTERS),
    st.booleans(),
    st.sampled_from(["now", "snapshot"]),
    st.sampled_from([PLENTY, 9000, 2000]),
    st.sampled_from([PLENTY, 3000]),
    st.sampled_from([None, 0, 5]),
)
def test_what_a_follower_was_given_equals_the_table_at_every_mark(
    seed, keys, latest, start, log_bytes, limit, unpacked
):
    """Whatever happened to the table, wherever it was cut off, and what was forgotten or packed."""
    with pytest.MonkeyPatch.context() as patch:
        if unpacked is not None:
            packs(patch, unpacked)
        watch_and_compare(seed, keys, latest, start, log_bytes, limit)


def watch_and_compare(seed, keys, latest, start, log_bytes, limit):
    log = Log(seed, log_bytes)
    mirror = Mirror(log, keys, latest=latest, limit=limit)
    getattr(mirror, start)()
    for _ in range(150):
        log.chance.choice([log.something, log.something, mirror.step, mirror.step])()
        if log.chance.random() < 0.05:
            mirror.cut()
    mirror.finish()


@given(st.integers(0, 1 << 30))
def test_positions_that_one_reader_told_are_good_at_another_that_read_in_another_order(seed):
    """Values of the same keys in both partitions; tombstones only where no other one speaks."""
    chance = random.Random(seed)

    def record(partition, offset):
        own = chance.random() < 0.4
        key = b"%d/%d" % (partition, chance.randrange(3)) if own else b"%d" % chance.randrange(4)
        value = None if own and chance.random() < 0.4 else b"%d-%d" % (partition, offset)
        return Rec(offset, key, value, timestamp=chance.randrange(6))

    records = [[record(number, offset) for offset in range(20)] for number in range(2)]

    def read(log, ends):
        at = [log.view.progress[number].position for number in range(2)]
        turns = [number for number in range(2) for _ in range(at[number], ends[number])]
        chance.shuffle(turns)
        for number in turns:
            log.read(number, records[number][log.view.progress[number].position])

    ends = [chance.randint(0, 20) for _ in range(2)]
    one, other = Log(), Log()
    mirror = Mirror(one, Keys())
    mirror.now()
    read(one, ends)
    mirror.finish()
    read(other, [chance.randint(end, 20) for end in ends])
    mirror.log = other
    mirror.resume("positions")
    mirror.finish()


def changes_of(log, follower):
    """(revision, key, value or None) of all that waits."""
    events = follower.take(1000, PLENTY)
    return [(each.revision, each.key, each.entry and each.entry[VALUE]) for each in events]


def follow(log, keys=Keys(), *, latest=False, limit=PLENTY):  # noqa: B008 (never changed)
    return Mirror(log, keys, latest=latest, limit=limit), log.watches.follow(
        Wanted(keys, latest, limit)
    )


@pytest.mark.parametrize("keys", FILTERS)
def test_a_follower_is_told_of_the_keys_that_it_wants_in_order_and_of_no_other(keys):
    log = Log()
    _, follower = follow(log, keys)
    for number in range(40):
        log.write(KEYS[number % len(KEYS)], b"%d" % number, 0)
    given = changes_of(log, follower)
    wanted = [n for n in range(40) if keys.holds(KEYS[n % len(KEYS)])]
    assert [value for _, _, value in given] == [b"%d" % number for number in wanted]
    revisions = [revision for revision, _, _ in given]
    assert revisions == sorted(set(revisions))


def test_the_latest_of_each_key_comes_in_rounds_in_which_a_changed_key_moves_to_the_end():
    log = Log()
    _, follower = follow(log, latest=True)
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2")):
        log.write(key, value, 0)
    first = follower.take(1, PLENTY)
    assert [(each.key, each.entry[VALUE]) for each in first] == [(b"b", b"1")]
    assert not follower.between
    log.write(b"c", b"1", 0)
    log.write(b"a", b"3", 0)
    assert changes_of(log, follower) == [(first[0].revision + 1, b"a", b"2")]
    assert follower.between
    assert [value for _, _, value in changes_of(log, follower)] == [b"1", b"3"]
    assert follower.empty


def test_a_deletion_tells_where_its_tombstone_stands():
    log = Log()
    log.write(b"a", b"1", 0)
    _, follower = follow(log)
    offset = log.next[0]
    log.write(b"a", None, 0, tombstone=True)
    (event,) = follower.take(9, PLENTY)
    assert (event.key, event.entry, event.at[:2], event.cause) == (b"a", None, (0, offset), None)


def test_what_the_log_let_go_tells_the_entry_and_the_position_at_which_it_went():
    log = Log()
    offset = log.next[0]
    log.write(b"lonely", b"1", 0)
    _, follower = follow(log, Keys(b"lonely"))
    position = log.view.progress[0].position
    log.table.raise_floor(0, position)
    for _ in log.table.sweep(100):
        pass
    (event,) = follower.take(9, PLENTY)
    assert (event.entry, event.at[:2], event.why) == (None, (0, offset), Why.LOG_START)
    assert event.cause == (0, position)


def test_a_change_that_brings_back_another_partitions_record_tells_its_cause():
    log = Log()
    first, second = log.next
    log.table.apply([Rec(first, b"k", b"of 0", timestamp=10)], origin_of(0, 0))
    log.table.apply([Rec(second, b"k", b"of 1", timestamp=20)], origin_of(1, 0))
    _, follower = follow(log, Keys(b"k"))
    log.table.apply([Rec(second + 1, b"k", b"older", timestamp=5)], origin_of(1, 0))
    (event,) = follower.take(9, PLENTY)
    assert (event.entry[VALUE], event.entry[OFFSET], event.cause) == (
        b"of 0",
        first,
        (1, second + 1),
    )


@pytest.mark.parametrize("latest", [False, True])
def test_one_that_falls_behind_by_more_than_its_limit_is_told_so_and_holds_nothing(latest):
    log = Log()
    mirror = Mirror(log, Keys(), latest=latest, limit=4200)
    mirror.now()
    _, other = follow(log)
    number = 0
    while not mirror.follower.lagged and number < 20:
        number += 1
        log.write(b"key-%d" % number, b"x" * 500, 0)
    assert 4 < number < 7
    assert (mirror.follower.weight, mirror.follower.empty) == (0, True)
    log.write(b"last", b"x", 0)
    assert mirror.follower.empty
    assert len(changes_of(log, other)) == number + 1


@pytest.mark.parametrize("keys", FILTERS)
def test_a_follower_is_woken_by_the_first_change_and_whenever_many_more_wait(keys):
    log, woken = Log(), []
    follower = log.watches.follow(Wanted(keys, latest=False, limit=PLENTY))
    follower.wake = lambda: woken.append((len(told), follower.plenty))
    for _ in range(3):
        told = []
        for number in range(2 * MANY + 1):
            told.append(number)
            log.write(keys.start, b"%d" % number, 0)
        assert woken == [(1, False), (MANY, True), (2 * MANY, True)]
        assert len(follower.take(10 * MANY, PLENTY)) == len(told)
        woken.clear()


def test_what_the_log_lets_go_before_it_was_read_cuts_who_reads_it():
    log = Log(log_bytes=3000)
    _, follower = follow(log)
    _, of_some = follow(log, Keys(b"key-"))
    for number in range(9):
        log.write(b"key-%d" % number, b"x" * 500, 0)
    assert (follower.lagged, follower.empty) == (True, True)
    assert not of_some.lagged
    assert len(changes_of(log, of_some)) == 9


def test_what_the_log_lets_go_while_it_was_given_cuts_too():
    log = Log(log_bytes=3000)
    _, follower = follow(log)
    for number in range(3):
        log.write(b"key-%d" % number, b"x" * 500, 0)
    follower.take(1, PLENTY)
    given = 1
    while not follower.lagged:
        assert log.watches._past.holds(given)
        log.write(b"key", b"x" * 500, 0)
    assert not log.watches._past.holds(given)


def test_what_is_encoded_early_is_encoded_once_for_all_who_want_it_so():
    log, early = Log(), []
    encode = early.append
    known = [
        log.watches.follow(Wanted(keys, latest=False, limit=PLENTY, encode=encode))
        for keys in (Keys(), Keys(), Keys(b"a"))
    ]
    log.write(b"b", b"1", 0)
    assert [event.key for event in early] == [b"b"]
    for follower in known[:2]:
        log.watches.leave(follower)
    log.write(b"b", b"2", 0)
    log.write(b"ab", b"3", 0)
    assert [event.key for event in early] == [b"b", b"ab"]


def test_what_is_packed_is_what_it_was(monkeypatch):
    packs(monkeypatch, 0)
    log, seen = Log(seed=1), []

    def encode(event):
        event.forms += (((0, len(seen)), b"bytes"),)
        seen.append(event)

    log.watches.follow(Wanted(Keys(), latest=False, limit=PLENTY, encode=encode))
    while len(seen) < 600:
        log.something()
    unpacked = list(log.watches._past)
    assert unpacked == seen
    assert {(each.cause is None, each.crosses) for each in seen} > {(True, False), (False, True)}
    assert {each.why for each in unpacked} == set(Why)
    assert all(type(each.why) is Why for each in unpacked)


def test_what_is_packed_weighs_little_more_than_its_bytes(monkeypatch):
    logs = [Log(), Log()]
    for log in logs:
        for number in range(90):
            log.write(b"key-%d" % number, b"x" * 500, 0)
        packs(monkeypatch, 0)
    loose, dense = (log.watches.past_bytes for log in logs)
    assert loose > 90 * 800
    assert 90 * 530 < dense < 90 * 570
    monkeypatch.setattr(packed, "_event", None)  # what is let go of is not unpacked
    for log in logs:
        for _ in log.watches.dismantle(10):
            pass
        assert (log.watches.past_bytes, len(log.watches._past)) == (0, 0)


def test_large_events_are_packed_a_few_at_a_time(monkeypatch):
    packs(monkeypatch, 0)
    log = Log()
    sizes = []
    for number in range(9):
        log.write(b"key", b"%d" % number * 70_000, 0)
        sizes.append([block.size for block in log.watches._past._events._blocks])
    assert sizes[2] == [1]
    assert sizes[-1] == [1] * 7


def test_who_reads_far_behind_reads_what_was_packed(monkeypatch):
    packs(monkeypatch, 2)
    log = Log()
    _, follower = follow(log)
    for number in range(20):
        log.write(b"key", b"%d" % number, 0)
    values = []
    while not follower.empty:
        (event,) = follower.take(1, PLENTY)
        values.append(event.entry[VALUE])
        if len(values) == 10:
            log.write(b"key", b"20", 0)
    assert values == [b"%d" % number for number in range(21)]
    assert follower.weight == 0


def test_a_round_that_is_given_counts_until_it_was_given():
    log = Log()
    _, follower = follow(log, latest=True)
    for number in range(10):
        log.write(b"key-%d" % number, b"x", 0)
    weight = follower.weight
    follower.take(5, PLENTY)
    assert 0 < follower.weight < weight
    follower.take(5, PLENTY)
    assert follower.weight == 0


def test_what_is_taken_is_bounded_by_number_and_by_weight():
    log = Log()
    _, follower = follow(log)
    for number in range(10):
        log.write(b"key", b"%d" % number, 0)
    assert len(follower.take(4, PLENTY)) == 4
    assert len(follower.take(4, 1)) == 1
    assert len(follower.take(40, PLENTY)) == 5
    assert follower.take(40, PLENTY) == []


def test_what_the_log_no_longer_holds_cannot_be_resumed():
    log = Log(log_bytes=3000)
    mirror = Mirror(log, Keys())
    mirror.now()
    log.write(b"a", b"1", 0)
    mirror.resume("revision")
    mirror.resume("positions")
    for number in range(30):
        log.write(b"key-%d" % number, b"x" * 100, number % 2)
    assert 3000 <= log.watches.past_bytes < 3000 + 450
    for by in ("revision", "positions"):
        with pytest.raises(Expired):
            mirror.resume(by)


def test_one_that_was_cut_is_not_cut_at_the_same_point_for_ever():
    log = Log()
    mirror = Mirror(log, Keys(), limit=3000)
    mirror.now()
    for number in range(8):
        log.write(b"key-%d" % number, b"x" * 500, 0)
    assert mirror.follower.lagged
    for by in ("revision", "positions"):
        with pytest.raises(Expired):
            mirror.resume(by)
    assert len(log.watches) == 0
    few = Mirror(log, Keys(b"key-7"), limit=3000)
    few.marked = ({}, *mirror.marked[1:])
    few.follower = mirror.follower
    few.resume("revision")
    few.finish()


def test_a_token_from_the_middle_of_what_positions_brought_leaves_nothing_out():
    log = Log()
    log.write(b"k", b"of 0", 0)
    log.write(b"k", None, 0, tombstone=True)
    log.write(b"k", b"of 1", 1)
    for number in range(3):
        log.write(b"key-%d" % number, b"1", 0)
    wanted = Wanted(Keys(), latest=False, limit=PLENTY)
    first = log.watches.follow_after({}, wanted)
    given = first.take(2, PLENTY)
    rest = log.watches.follow_from(given[-1].revision, wanted).take(9, PLENTY)
    told = {each.key: each.entry[VALUE] for each in given + rest}
    assert told == {b"k": b"of 1"} | {b"key-%d" % number: b"1" for number in range(3)}
    assert len(given + rest) == len(told)


def test_what_is_yet_to_come_cannot_be_resumed():
    log = Log()
    wanted = Wanted(Keys(), latest=False, limit=PLENTY)
    with pytest.raises(Expired):
        log.watches.follow_from(log.table.revision + 1, wanted)
    position = log.view.progress[0].position
    for positions in ({0: position + 1, 1: log.view.progress[1].position}, {0: position, 7: 1}):
        with pytest.raises(Expired):
            log.watches.follow_after(positions, wanted)


def test_who_leaves_is_told_nothing_more_and_leaves_nothing():
    log = Log()
    known = [follow(log, keys)[1] for keys in FILTERS]
    assert len(log.watches) == len(FILTERS)
    for follower in known:
        log.watches.leave(follower)
    log.write(b"a", b"1", 0)
    assert len(log.watches) == 0
    assert all(follower.empty for follower in known)
    assert (log.watches._by_prefix, log.watches._by_range, log.watches.queued_bytes) == ({}, {}, 0)


def test_the_end_is_told_to_all():
    log, calls = Log(), []
    for keys in FILTERS:
        follower = log.watches.follow(Wanted(keys, latest=False, limit=1))
        follower.wake = lambda: calls.append(1)
    log.watches.end()
    assert len(calls) == len(FILTERS)


def test_a_walk_meets_each_dict_as_it_is_then_and_what_changes_behind_it_is_told():
    log = Log()
    front = next(key for key in map(b"%d".__mod__, count()) if shard_of(key) == 0)
    back = next(key for key in map(b"%d".__mod__, count()) if shard_of(key) == SHARDS - 1)
    follower, walk = log.watches.walk(Wanted(Keys(), latest=False, limit=PLENTY))
    for _ in next(walk):
        pass
    log.write(front, b"behind", 0)
    log.write(back, b"ahead", 0)
    met = {key: entry[VALUE] for shard in walk for key, entry in shard}
    assert met[back] == b"ahead"
    assert [event.key for event in follower.take(9, PLENTY)] == [front]


def test_messages_about_them_show_no_keys():
    log = Log()
    _, follower = follow(log)
    log.write(b"secret", b"hidden", 0)
    (event,) = follower.take(1, PLENTY)
    assert isinstance(event, Event)
    assert "secret" not in f"{event!r} {follower!r} {log.watches!r}"
