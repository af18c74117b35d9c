"""A dump read back is the log that was dumped, or is refused by the line that is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar._pb.cache_pb2 import Header, Record
from sidecar.cli.dump import _dump_json, _line
from sidecar.core.model import origin_of
from sidecar.core.served import incarnation_of
from sidecar.follower.dump import DumpedLog, DumpFault, open_dump

FIRST = {"dump": 1, "table": "users", "positions": {"0": 8, "3": 5}}
A = {"key": "a", "value": "1", "partition": 0, "offset": 7, "timestamp_ms": 5}
B = {"key": "b", "value": "2", "partition": 3, "offset": 4, "timestamp_ms": 5}
END = {"end": True, "entries": 2}
SOUND = (FIRST, A, B, END)


@pytest.fixture
def written(tmp_path):
    def write(*lines):
        path = tmp_path / "users.jsonl"
        texts = [line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines]
        path.write_text("".join(texts))
        return str(path)

    return write


def read(path):
    """All records by partition, with their timestamp types, in the order of the log."""
    dump = open_dump(path)
    log = DumpedLog(dump)
    assert all(0 < share <= 1 for share in log.read())
    found = {number: [] for number in dump.positions}
    for number, each in found.items():
        for batch in log.batches(number):
            assert batch.base_offset == batch.records[0].offset
            assert batch.next_offset == batch.records[-1].offset + 1
            each += [(batch.origin, *record) for record in batch.records]
    return found


HEADERS = st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=3)), max_size=2)
RECORDS = st.dictionaries(
    st.binary(max_size=3),
    st.tuples(
        st.integers(0, 1), st.integers(0, 30), st.binary(max_size=4), HEADERS,
        st.integers(-1, 9), st.booleans(),
    ),
)  # fmt: skip


@given(RECORDS)
def test_what_is_read_back_is_what_was_dumped_in_the_order_of_the_log(tmp_path_factory, given):
    lines, expected, taken = [], {0: [], 1: []}, set()
    for key, (number, offset, value, headers, time, appended) in sorted(given.items()):
        if (number, offset) in taken:
            continue
        taken.add((number, offset))
        record = Record(
            key=key, value=value, partition=number, offset=offset, timestamp_ms=time,
            timestamp_type=1 + appended,
            headers=[Header(key=name, value=content) for name, content in headers],
        )  # fmt: skip
        lines.append(_line(_dump_json(record)))
        pairs = [(name.decode("utf-8", "surrogateescape"), content) for name, content in headers]
        expected[number].append((origin_of(number, appended), offset, time, key, value, pairs))
    first = FIRST | {"positions": {"0": 31, "1": 31}}
    end = {"end": True, "entries": len(lines)}
    path = tmp_path_factory.mktemp("dump") / "users.jsonl"
    path.write_bytes(b"".join([_line(first), *lines, _line(end)]))
    in_order = {number: sorted(each, key=lambda one: one[1]) for number, each in expected.items()}
    assert read(str(path)) == in_order


def test_more_than_one_run_is_merged(written):
    number = 10_000
    records = [
        {"key": f"{at:05}", "value": "", "partition": 0, "offset": at * 7919 % number}
        | {"timestamp_ms": 0} for at in range(number)
    ]  # fmt: skip
    first, end = FIRST | {"positions": {"0": number}}, {"end": True, "entries": number}
    (found,) = read(written(first, *records, end)).values()
    assert [record[1] for record in found] == list(range(number))


def test_what_the_first_line_leaves_out_has_a_default(written):
    dump = open_dump(written(*SOUND))
    assert (dump.topic, dump.format, dump.prefix) == ("users", "bytes", b"")
    assert dump.incarnation == incarnation_of("", "users")
    assert dump.positions == {0: 8, 3: 5}


WRONG_FIRST = {
    "empty": ((), "expected a file that `sidecar dump -f` wrote"),
    "other": (("key,value\n",), "expected a file that `sidecar dump -f` wrote"),
    "no first line": (SOUND[1:], "expected a file that `sidecar dump -f` wrote"),
    "deep": (("[" * 100_000,), "expected a file that `sidecar dump -f` wrote"),
    "version": ((FIRST | {"dump": 2},), "is a dump of version 2, and this sidecar reads version 1"),
    "table": ((FIRST | {"table": None},), "line 1: expected table, a text"),
    "positions": ((FIRST | {"positions": {"a": 1}},), "line 1: expected positions by partition"),
    "position": ((FIRST | {"positions": {"0": -1}},), "line 1: expected 0, a whole number"),
    "incarnation": ((FIRST | {"incarnation": "x"},), "line 1: expected incarnation, a whole"),
}


@pytest.mark.parametrize("name", WRONG_FIRST)
def test_what_is_no_dump_is_refused_by_its_first_line(written, name):
    lines, why = WRONG_FIRST[name]
    path = written(*lines)
    with pytest.raises(DumpFault) as caught:
        open_dump(path)
    assert str(caught.value).startswith(path)
    assert why in str(caught.value)


WRONG_LINES = {
    "no JSON": ((FIRST, A, "{\n", END), "line 3: expected a line of JSON"),
    "no record": ((FIRST, A, "[]\n", END), "line 3: expected a record"),
    "no key": ((FIRST, A, B | {"key": None}, END), "line 3: expected key, a text or"),
    "half a character": ((FIRST, A, B | {"key": "\ud800"}, END), "line 3: expected key, a text"),
    "no base64": ((FIRST, A, B | {"value": {"base64": "?"}}, END), "line 3: expected value, a"),
    "no offset": ((FIRST, A, B | {"offset": 1.0}, END), "line 3: expected offset, a whole number"),
    "true is no number": ((FIRST, A, B | {"partition": True}, END), "line 3: expected partition"),
    "timestamp": ((FIRST, A, B | {"timestamp_ms": 1 << 63}, END), "line 3: expected timestamp_ms"),
    "timestamp type": ((FIRST, A, B | {"timestamp_type": []}, END), "of CREATE_TIME or LOG_APPEND"),
    "headers": ((FIRST, A, B | {"headers": [["a"]]}, END), "line 3: expected headers, a list of"),
    "beyond": ((FIRST, A, B | {"offset": 5}, END), "line 3: expected an offset below 5"),
    "unknown partition": ((FIRST, A, B | {"partition": 2}, END), "the position of partition 2"),
    "key twice": ((FIRST, A, B | {"key": "a"}, END), "line 3: expected a key of its own"),
    "other prefix": ((FIRST | {"prefix": "a"}, A, B, END), "line 3: expected a key that begins"),
    "behind the end": ((*SOUND, A), "line 5: expected nothing behind the line that ends the dump"),
    "offset twice": (
        (FIRST, A, A | {"key": "b"}, END), "line 3: offset 7 of partition 0 stands in line 2 too",
    ),
    "no end": ((FIRST, A, B), "is not whole: 2 records, and the line that ends a dump is missing"),
    "cut": ((FIRST, A, '{"key": "b", "va'), "is not whole: it ends in the middle of line 3"),
    "count": ((FIRST, A, END), "is not whole: its end counts 2 records, and there are 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_dump_that_is_not_whole_or_sound_is_refused_by_the_line(written, name):
    lines, why = WRONG_LINES[name]
    path = written(*lines)
    with pytest.raises(DumpFault) as caught:
        read(path)
    assert str(caught.value).startswith(path)
    assert why in str(caught.value)
    assert str(caught.value).endswith("dump the table again")


def test_a_file_that_is_not_there_or_cannot_be_read_twice_is_refused(tmp_path):
    with pytest.raises(DumpFault, match=r"none.jsonl: cannot be read: No such file or directory"):
        open_dump(str(tmp_path / "none.jsonl"))
    with pytest.raises(DumpFault, match="expected a file, which can be read twice"):
        open_dump(str(tmp_path))


def test_a_file_that_became_another_dump_is_not_mixed_with_the_first(written):
    log = DumpedLog(open_dump(written(*SOUND)))
    written(FIRST | {"topic": "other"}, A, B, END)
    with pytest.raises(DumpFault, match="has changed just now"):
        list(log.read())
