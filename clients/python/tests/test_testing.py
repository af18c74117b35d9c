"""The fake that applications test with: it answers as a sidecar does, from a dict or a dump."""

import json

import pytest
from kafka_cache_client import NotReady, UnknownTable, connect
from kafka_cache_client.testing import FakeSidecar, FakeTable

RECORD = {"partition": 3, "offset": 7, "timestamp_ms": 5}
LINES = [
    {"dump": 1, "table": "users", "positions": {"3": 8}},
    {"key": "a", "value": "1"} | RECORD,
    {"key": {"base64": "/w=="}, "value": {"base64": "/gA="}, "timestamp_type": "LOG_APPEND_TIME"}
    | RECORD,
    {"end": True, "entries": 2},
]


@pytest.fixture
def dumped(tmp_path):
    def write(lines):
        path = tmp_path / "users.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    return write


def test_tables_from_dicts():
    tables = {"users": {"a": b"1", b"b": "2"}, "prices": {}}
    with FakeSidecar(tables) as sidecar, connect(sidecar.target) as client:
        assert {r.key: r.value for r in client.list(table="users")} == {b"a": b"1", b"b": b"2"}
        assert client.get("a", table="prices") is None
        with pytest.raises(UnknownTable):
            client.get("a", table="none")
        with pytest.raises(UnknownTable):
            client.get("a")
        assert [one.name for one in client.wait_until_ready()] == ["users", "prices"]


def test_a_table_from_a_dump(dumped):
    users = FakeTable.from_dump(dumped(LINES))
    with FakeSidecar({"users": users}) as sidecar, connect(sidecar.target) as client:
        record = client.get("a")
        assert (record.value, record.partition, record.offset) == (b"1", 3, 7)
        assert client.get(b"\xff").value == b"\xfe\0"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "expected a file that `sidecar dump` wrote"),
        ([{"key": "a"}], "expected a file that `sidecar dump` wrote"),
        (LINES[:3], "not whole"),
        ([LINES[0], LINES[1], LINES[3]], "not whole"),
    ],
)
def test_what_is_no_whole_dump_is_refused(dumped, lines, why):
    with pytest.raises(ValueError, match=why):
        FakeTable.from_dump(dumped(lines))


def test_it_is_not_ready_until_it_is():
    with FakeSidecar({"users": {"a": b"1"}}) as sidecar, connect(sidecar.target) as client:
        sidecar.ready = False
        with pytest.raises(NotReady, match="BOOTSTRAPPING"):
            client.get("a")
        assert client.get("a", allow_partial=True).value == b"1"
        with pytest.raises(NotReady):
            client.get("b", allow_partial=True)
        with pytest.raises(NotReady):
            client.wait_until_ready(timeout=0.2)
        sidecar.ready = True
        assert client.get("b") is None


def test_changes_reach_a_mirror():
    with (
        FakeSidecar({"users": {"a": b"1"}}) as sidecar,
        connect(sidecar.target) as client,
        client.mirror(progress=0.02) as mirror,
    ):
        mirror.wait_until_ready(20)
        sidecar["users"].put("b", b"2")
        sidecar["users"].delete("a")
        mirror.wait_for({0: 3}, timeout=20)
        assert [record.key for record in mirror.records()] == [b"b"]
        sidecar["users"].rebuild(dict.fromkeys("cdef", b"3"))
        mirror.wait_for({0: 4}, timeout=20)
        assert {record.key for record in mirror.records()} == {b"c", b"d", b"e", b"f"}
