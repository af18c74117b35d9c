"""Batches: believed by their CRC, left out where they were aborted, never dropped in silence."""

import struct
from typing import NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Rec, batch, crc32c, marker

from sidecar.core.model import partition_of, timestamp_type_of
from sidecar.kafka.batches import decode_batches, find_batches
from sidecar.kafka.errors import LogFault

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PARTITION = 5


def found(*parts):
    return find_batches(PARTITION, memoryview(b"".join(parts)))


def decoded(*parts, aborted=()):
    return list(decode_batches(PARTITION, found(*parts), list(aborted)))


def offsets(*parts, aborted=()):
    return [record.offset for each in decoded(*parts, aborted=aborted) for record in each.each()]


def of_aiokafka(records, codec=0, *, base_offset=0, epoch=0):
    """A batch by aiokafka's own builder, with what a broker writes into it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 30)
    for place, (key, value, headers) in enumerate(records):
        builder.append(place, timestamp=1000 + place, key=key, value=value, headers=headers)
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base_offset)
    struct.pack_into(">i", data, 12, epoch)
    return bytes(data)


# Finding


def test_a_batch_says_where_it_stands_and_who_wrote_it():
    (span,) = found(
        batch(
            [(b"k", b"v"), (b"l", b"w")],
            base_offset=40,
            leader_epoch=3,
            producer_id=77,
            transactional=True,
            last_offset_delta=9,
        )
    )
    assert (span.base_offset, span.next_offset) == (40, 50)
    assert (span.leader_epoch, span.producer_id) == (3, 77)


def test_batches_are_found_one_after_another():
    spans = found(*(batch([(b"k", b"v")], base_offset=each) for each in (0, 1, 7)))
    assert [(span.base_offset, span.next_offset) for span in spans] == [(0, 1), (1, 2), (7, 8)]


def test_nothing_is_found_in_nothing():
    assert found() == []


FIRST, SECOND = batch([(b"a", b"1")]), batch([(b"b", b"2" * 40)], base_offset=1)


@pytest.mark.parametrize("size", range(len(SECOND)))
def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch(size):
    assert [span.base_offset for span in found(FIRST, SECOND[:size])] == [0]
    assert found(SECOND[:size]) == []


def legacy(magic, value, base_offset=0):
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    builder.append(base_offset, timestamp=1, key=b"k", value=value)
    return bytes(builder.build())


@pytest.mark.parametrize("magic", [0, 1])
def test_an_older_message_format_is_named(magic):
    with pytest.raises(LogFault, match=f"partition 5: the batch at offset 0 .* v{magic}"):
        found(legacy(magic, b"v" * 80))
    # What stands before it is read first.
    assert [span.base_offset for span in found(FIRST, legacy(magic, b"v" * 80))] == [0]


@pytest.mark.parametrize("magic", [0, 1])
def test_a_short_record_of_an_older_format_is_named_too(magic):
    with pytest.raises(LogFault, match="message format"):
        found(legacy(magic, b"v"))


def test_a_newer_message_format_is_named():
    data = bytearray(FIRST)
    data[16] = 3
    with pytest.raises(LogFault, match="v3"):
        found(bytes(data))


@pytest.mark.parametrize(("place", "number"), [(8, 48), (8, 0), (8, -1), (23, -1)])
def test_a_header_that_makes_no_sense_is_named(place, number):
    data = bytearray(SECOND)
    struct.pack_into(">i", data, place, number)
    with pytest.raises(LogFault, match="offset 1 has a senseless header"):
        found(bytes(data))


# Decoding


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_is_unpacked(codec):
    written = [
        (b"key %d" % number, b"value " * 30, [("h", b"\xff"), ("h", None)]) for number in range(20)
    ]
    written += [(b"", b"", []), (b"gone", None, []), (None, b"no key", [])]
    data = of_aiokafka(written, codec, base_offset=100)
    assert struct.unpack_from(">h", data, 21)[0] & 7 == codec, "it was packed"
    (only,) = decoded(data)
    records = list(only.each())
    assert [(record.key, record.value, list(record.headers)) for record in records] == written
    assert [record.offset for record in records] == list(range(100, 123))
    assert [record.timestamp for record in records] == list(range(1000, 1023))
    assert (only.base_offset, only.next_offset) == (100, 123)


def test_decoded_records_do_not_change_with_the_buffer():
    buffer = bytearray(FIRST)
    (only,) = decode_batches(0, find_batches(0, memoryview(buffer)), [])
    (record,) = only.each()
    buffer[:] = b"\xee" * len(buffer)
    assert (record.key, record.value) == (b"a", b"1")
    assert type(record.key) is type(record.value) is bytes


@pytest.mark.parametrize("append_time", [False, True])
def test_the_timestamp_is_that_of_the_record_or_of_its_appending(append_time):
    records = [Rec(b"a", b"", timestamp_ms=1_000), Rec(b"b", b"", timestamp_ms=3_000)]
    (only,) = decoded(batch(records, timestamp_ms=1_000, append_time=append_time))
    assert timestamp_type_of(only.origin) == append_time
    assert partition_of(only.origin) == PARTITION
    stamps = [record.timestamp for record in only.each()]
    assert stamps == ([3_000, 3_000] if append_time else [1_000, 3_000])


def test_a_batch_that_compaction_emptied_has_no_records_and_an_end():
    (only,) = decoded(batch([], base_offset=10, last_offset_delta=4))
    assert list(only.each()) == []
    assert (only.base_offset, only.next_offset) == (10, 15)


def test_offsets_of_compacted_batches_keep_their_holes():
    records = [Rec(b"a", b"", delta=2), Rec(b"b", b"", delta=5)]
    (only,) = decoded(batch(records, base_offset=10, last_offset_delta=9))
    assert [record.offset for record in only.each()] == [12, 15]
    assert only.next_offset == 20


def test_a_wrong_crc_stops_and_the_batches_before_it_are_given():
    spans = found(FIRST, batch([(b"b", b"2")], base_offset=1, wrong_crc=True))
    batches = decode_batches(PARTITION, spans, [])
    assert [record.key for record in next(batches).records] == [b"a"]
    with pytest.raises(LogFault, match="partition 5: the batch at offset 1 has a wrong CRC"):
        next(batches)


@pytest.mark.parametrize("place", range(17, len(FIRST)))
def test_the_crc_covers_every_byte_behind_it(place):
    data = bytearray(FIRST)
    data[place] ^= 0x01
    with pytest.raises(LogFault):
        decoded(bytes(data))


@pytest.mark.parametrize("kind", [{"control": True}, {"producer_id": 7, "transactional": True}])
def test_the_crc_is_checked_where_nothing_would_be_given_too(kind):
    wrong = batch([(b"\0\0\0\0", b"")], wrong_crc=True, **kind)
    with pytest.raises(LogFault, match="CRC"):
        decoded(wrong, aborted=[(7, 0)])


def taken(batches):
    for each in batches:
        yield from each.each()


def test_a_record_that_makes_no_sense_comes_after_the_good_ones():
    data = bytearray(batch([(b"good", b"1"), (b"bad", b"2"), (b"lost", b"3")], base_offset=40))
    data[data.index(b"bad") - 1] = 0x7F  # the key's length: it ends behind its record
    struct.pack_into(">I", data, 17, crc32c(data[21:]))
    records = taken(decoded(bytes(data)))
    assert next(records).key == b"good"
    with pytest.raises(LogFault, match=r"partition 5: the batch at offset 40 .* record 2 of 3: "):
        next(records)


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "none"])
def test_what_cannot_be_unpacked_is_a_fault(codec):
    garbage = batch([(b"k", b"v")], codec=codec, compress=lambda _: b"not packed at all")
    with pytest.raises(LogFault, match=f"partition 5: the batch at offset 0 .* {codec}"):
        decoded(garbage)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_is_not_known_is_a_fault(codec):
    data = bytearray(batch([(b"k", b"v")]))
    data[22] |= codec
    struct.pack_into(">I", data, 17, crc32c(data[21:]))
    with pytest.raises(LogFault, match=f"codec {codec} is not known"):
        decoded(bytes(data))


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("count", [-1, 0, 1, 3, 600])
def test_a_count_of_records_that_lies_is_a_fault_behind_what_there_is(count, codec):
    lie = batch([(b"a", b"1"), (b"b", b"2")], record_count=count, codec=codec)
    given = []
    with pytest.raises(LogFault, match="cannot be read"):
        given.extend(record.key for record in taken(decoded(lie)))
    assert given == [b"a", b"b"][: max(count, 0)]


def test_a_header_key_that_is_no_utf8_loses_neither_its_record_nor_those_behind_it():
    bad = Rec(b"b", b"2", headers=[(b"\xff\xfe", b"\x80"), (b"\xc3\xa9", None)])
    records = list(taken(decoded(batch([(b"a", b"1"), bad, (b"c", None)], base_offset=7))))
    assert [(record.offset, record.key, record.value) for record in records] == [
        (7, b"a", b"1"),
        (8, b"b", b"2"),
        (9, b"c", None),
    ]
    assert records[1].headers == [("\udcff\udcfe", b"\x80"), ("é", None)]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 1599), max_size=4), st.integers(1, 1600))
def test_whatever_stands_where_in_a_large_batch_is_given_once(bad, size):
    headers = {number: [(b"\xff", b"")] for number in bad}
    written = [Rec(b"%d" % number, b"", headers.get(number, ())) for number in range(size)]
    records = list(taken(decoded(batch(written))))
    assert [(record.offset, record.key) for record in records] == [
        (number, b"%d" % number) for number in range(size)
    ]


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "none"])
def test_a_batch_that_unpacks_to_the_limit_is_read_and_one_byte_less_is_a_fault(codec):
    plain = batch([(b"k", b"v" * 5000)])
    size = len(plain) - 61
    data = of_aiokafka([(b"k", b"v" * 5000, [])], CODECS[codec], base_offset=9)
    (only,) = decode_batches(PARTITION, found(data), [], size)
    assert [record.value for record in only.each()] == [b"v" * 5000]
    with pytest.raises(LogFault) as raised:
        list(decode_batches(PARTITION, found(data), [], size - 1))
    for part in ("partition 5", "offset 9", codec, str(size - 1), "limits.batch_bytes"):
        assert part in str(raised.value)


def test_what_is_dropped_is_not_unpacked():
    data = batch(
        [(b"k", b"v")], codec="zstd", compress=lambda _: b"junk", producer_id=7, transactional=True
    )
    (only,) = decoded(data, aborted=[(7, 0)])
    assert list(only.each()) == []


# Transactions


def write(producer, offset, count=1, **more):
    records = [(b"%d" % producer, b"%d" % (offset + place)) for place in range(count)]
    return batch(
        records, base_offset=offset, producer_id=producer, **{"transactional": True, **more}
    )


def test_markers_give_no_records_and_move_the_position():
    (_, commit) = decoded(write(1, 0), marker(1, commit=True, base_offset=1))
    assert list(commit.each()) == []
    assert (commit.base_offset, commit.next_offset) == (1, 2)


def test_what_was_aborted_is_left_out_and_moves_the_position():
    parts = [write(1, 0, 3), marker(1, commit=False, base_offset=3), write(1, 4)]
    batches = decoded(*parts, aborted=[(1, 0)])
    assert [each.next_offset for each in batches] == [3, 4, 5]
    assert offsets(*parts, aborted=[(1, 0)]) == [4]


def test_an_abort_ends_with_its_marker_and_not_before():
    parts = [write(1, 0), marker(1, commit=False, base_offset=1), write(1, 2)]
    assert offsets(*parts, aborted=[(1, 0)]) == [2]
    assert offsets(parts[0], parts[2], aborted=[(1, 0)]) == []


@pytest.mark.parametrize("ender", [{"commit": True}, {"producer_id": 2, "commit": False}])
def test_nothing_else_ends_an_abort(ender):
    parts = [write(1, 0), marker(**{"producer_id": 1, **ender}, base_offset=1), write(1, 2)]
    assert offsets(*parts, aborted=[(1, 0)]) == []


def test_a_producer_may_abort_twice_without_a_gap():
    aborts = [marker(1, commit=False, base_offset=each) for each in (1, 3)]
    parts = [write(1, 0), aborts[0], write(1, 2), aborts[1], write(1, 4)]
    assert offsets(*parts, aborted=[(1, 0), (1, 2)]) == [4]


@pytest.mark.parametrize("aborted", [[(1, 0), (2, 1)], [(2, 1), (1, 0)]])
def test_aborted_transactions_may_be_listed_in_any_order(aborted):
    parts = [write(1, 0), write(2, 1), write(3, 2)]
    assert offsets(*parts, aborted=aborted) == [2]


def test_a_transaction_before_the_aborted_one_of_the_same_producer_is_kept():
    parts = [write(1, 0), marker(1, commit=True, base_offset=1), write(1, 2)]
    assert offsets(*parts, aborted=[(1, 2)]) == [0]


def test_what_a_producer_writes_outside_of_transactions_is_kept():
    parts = [write(1, 0), write(1, 1, transactional=False)]
    assert offsets(*parts, aborted=[(1, 0)]) == [1]


def test_an_abort_that_begins_inside_a_fetched_batch_drops_the_batch():
    assert offsets(write(1, 10, 5), aborted=[(1, 4)]) == []


def test_without_a_list_of_aborted_transactions_all_is_kept_but_markers():
    parts = [write(1, 0), marker(1, commit=False, base_offset=1), write(2, 2)]
    assert offsets(*parts) == [0, 2]


class Log(NamedTuple):
    parts: list
    aborted: list  # (producer, first offset, offset of the marker)
    committed: set  # offsets
    open_from: int
    end: int


@st.composite
def transactional_logs(draw):
    """Producers take turns to write, to commit and to abort; the oracle notes each one's fate."""
    parts, aborted, kept, under_way, offset = [], [], set(), {}, 0
    actions = st.tuples(st.integers(1, 2), st.sampled_from(["write", "end", "write", "plain"]))
    for producer, action in draw(st.lists(actions, min_size=8, max_size=30)):
        if action == "end":
            if producer not in under_way:
                continue
            commit = draw(st.booleans())
            mine = under_way.pop(producer)
            if commit:
                kept.update(mine)
            else:
                aborted.append((producer, mine[0], offset))
            parts.append(marker(producer, commit=commit, base_offset=offset))
            offset += 1
            continue
        count, hole = draw(st.integers(1, 3)), draw(st.integers(0, 2))
        slots = range(offset, offset + count)
        transactional = action == "write"
        parts.append(
            write(
                producer,
                offset,
                count,
                transactional=transactional,
                last_offset_delta=count - 1 + hole,
            )
        )
        if transactional:
            under_way.setdefault(producer, []).extend(slots)
        else:
            kept.update(slots)
        offset += count + hole
    open_from = min((mine[0] for mine in under_way.values()), default=offset)
    return Log(parts, aborted, kept, open_from, offset)


@settings(max_examples=300)
@given(transactional_logs(), st.data())
def test_exactly_what_is_committed_is_given_wherever_a_fetch_begins(log, data):
    stable = [part for part in log.parts if struct.unpack_from(">q", part)[0] < log.open_from]
    first = data.draw(st.integers(0, 3))
    last = data.draw(st.integers(0, 3))
    fetched = stable[first : len(stable) - last]
    if not fetched:
        return
    begin = struct.unpack_from(">q", fetched[0])[0]
    end = found(fetched[-1])[0].next_offset
    # A broker lists the aborted transactions that overlap what it gives, in any order.
    overlap = [
        (producer, start)
        for producer, start, stop in data.draw(st.permutations(log.aborted))
        if stop >= begin and start < end
    ]
    batches = decoded(*fetched, aborted=overlap)
    given_offsets = [record.offset for each in batches for record in each.each()]
    assert given_offsets == sorted(slot for slot in log.committed if begin <= slot < end)
    assert [each.next_offset for each in batches] == [span.next_offset for span in found(*fetched)]


# Whatever comes


@settings(max_examples=300)
@given(st.binary(max_size=150), st.integers(0, 100))
def test_random_bytes_are_batches_a_torn_tail_or_a_fault(data, cut):
    for parts in ([data], [FIRST, data], [SECOND[:cut], data], [SECOND[:17], data]):
        try:
            decoded(*parts)
        except LogFault:
            continue
