"""`sidecar watch` and `sidecar dump`, as processes, against a sidecar that runs."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Self

import pytest
from support.batches import Rec
from support.serving import SIDECAR, Serving, environment, run

AT_MS = 1_700_000_000_123


@pytest.fixture
def part(fake):
    return fake.add_topic("users")[0]


@pytest.fixture
def sidecar(fake, part, tmp_path):
    part.write([(b"a", b"1"), (b"b\xff", b"\xfe"), (b"c", b"3")], timestamp_ms=AT_MS)
    with Serving(
        tmp_path, "--bootstrap-servers", fake.bootstrap_servers, "--table", "users"
    ) as running:
        running.until_ready()
        yield running


class Watching:
    """`sidecar watch` with what it says, line by line."""

    def __init__(self, endpoint: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [SIDECAR, "watch", "-e", endpoint, "-o", "jsonl", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def next(self) -> dict:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> str:
        """Ctrl-C; what it says of that."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return said.decode()


def test_changes_are_shown_as_they_come_and_a_watch_can_be_gone_on_with(sidecar, part):
    with Watching(sidecar.endpoint, "--progress") as watching:
        assert watching.next()["event"] == "progress"
        part.write([(b"d", b"4")])
        shown = watching.next()
        assert shown | {"key": "d", "value": "4", "offset": 3, "event": "upsert"} == shown
        said = watching.end()
    token = said.split("--resume ")[1].strip()
    part.write([(b"d", None)])
    found = sidecar.run("watch", "--resume", token, "--count", "1", "-o", "jsonl").stdout
    (gone,) = map(json.loads, found.splitlines())
    expected = {"event": "deletion", "key": "d", "why": "tombstone", "partition": 0, "offset": 4}
    assert gone | expected == gone


def test_a_snapshot_comes_first(sidecar):
    lines = sidecar.run("watch", "--snapshot", "--count", "3", "-o", "jsonl").stdout.splitlines()
    assert sorted(json.loads(each)["offset"] for each in lines) == [0, 1, 2]
    shown = sidecar.run("watch", "--snapshot", "--count", "1", "--prefix", "a").stdout
    assert shown == "2023-11-14 22:13:20.123 UTC  0:0  set  a  1\n"
    shown = sidecar.run("watch", "--snapshot", "--count", "1", "--prefix", "a", "-o", "value")
    assert shown.stdout == "1\n"


def test_a_sidecar_that_begins_anew_is_waited_for(fake, sidecar, tmp_path):
    with (
        Watching(sidecar.endpoint, "--snapshot", "--prefix", "a", "--progress") as watching,
        Watching(sidecar.endpoint, "--progress") as other,
    ):
        assert watching.next()["key"] == "a"
        assert watching.next()["event"] == "snapshot_end"
        assert other.next()["event"] == "progress"
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait(30) == 0
        servers = ("--bootstrap-servers", fake.bootstrap_servers, "--table", "users")
        with Serving(tmp_path, *servers, listen=sidecar.endpoint, http=sidecar.http) as again:
            again.until_ready()
            assert watching.next()["event"] == "reset"
            assert watching.next()["key"] == "a"
            _, said = other.process.communicate(timeout=30)
            assert b"begin with a snapshot" in said
            assert b"cut off from" in said
            assert other.process.returncode == 6


def test_a_dump_is_the_table_with_what_it_is(sidecar, tmp_path):
    path = tmp_path / "users.jsonl"
    assert sidecar.run("dump", "-f", str(path)).returncode == 0
    first, *records, last = map(json.loads, path.read_text().splitlines())
    assert first | {"dump": 1, "table": "users", "topic": "users", "positions": {"0": 3}} == first
    at = {"partition": 0, "timestamp_ms": AT_MS}
    assert records == [
        {"key": "a", "value": "1", "offset": 0, **at},
        {"key": {"base64": "Yv8="}, "value": {"base64": "/g=="}, "offset": 1, **at},
        {"key": "c", "value": "3", "offset": 2, **at},
    ]
    assert last == {"end": True, "entries": 3}
    assert sidecar.run("dump").stdout == path.read_text()
    assert len(sidecar.run("dump", "--prefix", "a").stdout.splitlines()) == 3
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_dump_has_headers_and_says_where_the_broker_set_the_timestamp(fake, part, tmp_path):
    headers = [(b"h\xff", b"\xfe"), (b"h", None), (b"h", b"v")]
    part.write([Rec(b"a", b"1", headers)], timestamp_ms=AT_MS, append_time=True)
    given = ("--bootstrap-servers", fake.bootstrap_servers, "--table", "users")
    with Serving(tmp_path, *given, SIDECAR_TABLES__USERS__HEADERS="true") as sidecar:
        sidecar.until_ready()
        _, record, _ = map(json.loads, sidecar.run("dump").stdout.splitlines())
    assert record["timestamp_type"] == "LOG_APPEND_TIME"
    assert record["headers"] == [[{"base64": "aP8="}, {"base64": "/g=="}], ["h", None], ["h", "v"]]


def test_a_file_that_cannot_be_written_is_named(sidecar):
    result = sidecar.run("dump", "-f", "/nowhere/users.jsonl")
    assert result.returncode == 2
    assert "/nowhere/users.jsonl: cannot be written: No such file or directory" in result.stderr


def test_where_nobody_is_there_it_is_told_at_once():
    for command in ("watch", "dump"):
        result = run(command, "-e", "127.0.0.1:1")
        assert result.returncode == 4
        assert "cannot connect to 127.0.0.1:1" in result.stderr
