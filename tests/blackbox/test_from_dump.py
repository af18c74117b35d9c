"""`sidecar serve --from`: a dump is served as its topic was, with no Kafka, or refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from support.batches import Rec
from support.serving import Serving, run

AT_MS = 1_700_000_000_123
FIRST = {"dump": 1, "table": "users", "topic": "prod.users", "format": "json"} | {
    "incarnation": 9, "positions": {"0": 41, "1": 7}, "prefix": ""
}  # fmt: skip
A = {"key": "a", "value": '{"n":1}', "partition": 1, "offset": 6, "timestamp_ms": AT_MS}
B = {"key": "b", "value": '{"n":2}', "partition": 0, "offset": 39, "timestamp_ms": AT_MS}


def write(folder: Path, *records: dict, name: str = "users.jsonl", **first: object) -> str:
    """Write a dump; gives its path."""
    path = folder / name
    lines = [FIRST | first, *records, {"end": True, "entries": len(records)}]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


def ended(sidecar: Serving, *words: str) -> None:
    """It has ended with 2 and one line, which has these words and is the last."""
    assert sidecar.wait() == 2, sidecar
    told = sidecar.saying("Error: ")
    assert told == sidecar.lines[-1:], sidecar
    missing = [word for word in words if word not in told[0]]
    assert not missing, f"{missing} not in {told[0]}"
    assert not sidecar.saying("Traceback")


@pytest.fixture
def sidecar(tmp_path):
    with Serving(tmp_path, "--from", write(tmp_path, A, B)) as running:
        running.until_ready()
        yield running


class Dumped(NamedTuple):
    """A sidecar that follows a topic, its configuration, and its table's dump."""

    followed: Serving
    servers: str
    config: str
    path: Path


@pytest.fixture
def dumped(fake, tmp_path):
    topic = fake.add_topic("prod.users", 3)
    topic[0].write([(b"a", b"1"), (b"b\xff", b"\xfe"), (b"c", b""), (b"d", b"old"), (b"e", b"5")])
    late = {"append_time": True, "timestamp_ms": AT_MS}
    topic[1].write([Rec(b"d", b"new"), Rec(b"gone", b"x"), Rec(b"gone", None)], **late)
    topic[1].write([Rec(b"h", b"1", [(b"k\xff", b"\xfe"), (b"k", None), (b"k", b"v")])])
    config, path = tmp_path / "sidecar.yaml", tmp_path / "users.jsonl"
    text = "kafka: {bootstrap.servers: '%s'}\ntables: {users: {topic: prod.users, headers: true}}"
    config.write_text(text % fake.bootstrap_servers)
    with Serving(tmp_path, "--config", str(config)) as followed:
        followed.until_ready()
        assert followed.run("dump", "-f", str(path)).returncode == 0
        yield Dumped(followed, fake.bootstrap_servers, str(config), path)


@pytest.mark.parametrize("configured", [False, True])
def test_what_is_served_from_a_dump_is_dumped_again_byte_for_byte(dumped, tmp_path, configured):
    again = tmp_path / "again.jsonl"
    given = ("--config", dumped.config) if configured else ()
    with Serving(tmp_path, "--from", str(dumped.path), *given) as served:
        served.until_ready()
        assert served.run("dump", "-f", str(again)).returncode == 0
    assert again.read_bytes() == dumped.path.read_bytes()
    assert b'"timestamp_type": "LOG_APPEND_TIME"' in again.read_bytes()


def test_it_is_compared_with_a_sidecar_and_with_a_topic(dumped, tmp_path):
    servers = ("--bootstrap-servers", dumped.servers)
    with Serving(tmp_path, "--from", str(dumped.path)) as served:
        served.until_ready()
        compared = run("diff", dumped.followed.endpoint, served.endpoint)
        assert (compared.returncode, compared.stderr) == (0, "")
        assert "equal: 6 entries, the digests agree" in compared.stdout
        assert "equals topic prod.users: 6 entries" in served.run("verify", *servers).stdout
        assert served.run("explain", "d", *servers).returncode == 0


def test_it_is_looked_into_as_any_sidecar(sidecar):
    assert sidecar.run("get", "a", "-o", "value").stdout == '{"n":1}'
    absent = sidecar.run("get", "c")
    assert (absent.returncode, absent.stderr) == (1, "absent: c\n")
    listed = sidecar.run("list", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in listed] == [6, 39]
    watched = sidecar.run("watch", "--snapshot", "--count", "2", "-o", "jsonl").stdout.splitlines()
    assert sorted(json.loads(line)["key"] for line in watched) == ["a", "b"]
    assert sidecar.run("wait", "--position", "0:41", "--timeout", "20").returncode == 0
    behind = sidecar.run("wait", "--position", "0:42", "--timeout", "1")
    assert behind.returncode == 5
    assert "partition 0 is at 41, not at 42" in behind.stderr


def test_it_says_that_it_is_served_from_a_dump(sidecar):
    told = sidecar.run("status")
    assert told.returncode == 0
    assert "users.jsonl, and no topic" in told.stdout
    described = sidecar.run("describe").stdout
    assert "users.jsonl" in described
    assert "prod.users, which is not read" in described
    assert "cluster" not in described
    (table,) = sidecar.status()["tables"]
    assert (table["state"], table["reason"], table["topic"]) == ("LIVE", "", "prod.users")
    assert table["dump"].endswith("users.jsonl")
    assert json.loads(sidecar.run("describe", "-o", "json").stdout)["dump"] == table["dump"]


@pytest.mark.parametrize("command", [("verify",), ("explain", "a"), ("doctor",)])
def test_what_looks_at_the_topic_says_that_there_is_none(sidecar, command):
    told = sidecar.run(*command)
    assert (told.returncode, told.stdout) == (2, "")
    assert "Error: table users is served from the dump " in told.stderr
    assert "--bootstrap-servers" in told.stderr


def test_nothing_is_read_again_at_sighup(sidecar, tmp_path):
    write(tmp_path, A)
    sidecar.signal(signal.SIGHUP)
    sidecar.until_says("configuration taken tables=none")
    assert sidecar.run("get", "b").returncode == 0
    assert sidecar.stop() == 0


def test_another_definition_is_refused_and_the_table_stays(tmp_path):
    config = tmp_path / "sidecar.yaml"
    config.write_text("tables: {users: {format: json}}")
    given = ("--from", write(tmp_path, A), "--config", str(config))
    with Serving(tmp_path, *given) as sidecar:
        sidecar.until_ready()
        config.write_text("tables: {users: {format: utf8}}")
        sidecar.until_says("configuration refused")
        assert "tables.users: changed, which takes a restart" in sidecar.run("status").stdout
        assert sidecar.run("get", "a").returncode == 0


def test_several_dumps_under_names_of_their_own(tmp_path):
    users = write(tmp_path, A, B)
    part = write(tmp_path, A, name="p=a.jsonl", prefix="a", table="part")
    given = ("--from", users, "--from", f"others={users}", "--from", part)
    with Serving(tmp_path, *given) as sidecar:
        sidecar.until_ready()
        names = sidecar.run("tables", "-o", "value").stdout.splitlines()
        assert names == ["others", "part", "users"]
        assert sidecar.run("get", "b", "-t", "others", "-o", "value").stdout == '{"n":2}'
        (line,) = sidecar.saying("dump of a part")
        assert "table=part" in line
        assert "it holds only keys with a prefix" in line
        again = sidecar.run("dump", "-t", "part", "--prefix", "a").stdout
        assert again == Path(part).read_text()


def test_a_large_dump_is_read_beside_the_calls_and_a_stop_ends_it(tmp_path):
    many = [A | {"key": f"{at:06}", "offset": at} for at in range(200_000)]
    with Serving(tmp_path, "--from", write(tmp_path, *many, positions={"1": 200_000})) as sidecar:
        sidecar.until_listens()
        (table,) = sidecar.status()["tables"]
        assert table["state"] == "BOOTSTRAPPING"
        assert sidecar.stop() == 0
        assert not sidecar.saying("table ready")
        assert not sidecar.saying("Traceback")


USAGE = {
    "servers": (("--bootstrap-servers", "a:1"), "--from is without --bootstrap-servers and"),
    "table": (("--table", "users"), "--from is without --bootstrap-servers and --table"),
    "twice": (("--from", "{users}"), "are both of table 'users'; NAME=FILE serves one under"),
    "name twice": (("--from", "users={users}"), "are both of table 'users'"),
}


@pytest.mark.parametrize("name", USAGE)
def test_what_does_not_go_together_is_a_usage_error(tmp_path, name):
    users = write(tmp_path, A)
    given, why = USAGE[name]
    told = run("serve", "--from", users, *(each.format(users=users) for each in given))
    assert (told.returncode, told.stdout) == (2, "")
    assert why in told.stderr.replace("\n", " ")


def test_tables_of_the_configuration_without_a_dump_end_it(tmp_path):
    config = tmp_path / "sidecar.yaml"
    config.write_text("tables: {users: {}, flags: {}}")
    with Serving(tmp_path, "--from", write(tmp_path, A), "--config", str(config)) as sidecar:
        ended(sidecar, "tables.flags: expected a dump for each table", "--from flags=FILE")


def test_a_format_without_its_schema_ends_it(tmp_path):
    with Serving(tmp_path, "--from", write(tmp_path, A, format="avro")) as sidecar:
        ended(sidecar, "tables.users.format", "avro needs schema_file, or schema_registry.url")


def test_a_dump_that_is_not_there_ends_it(tmp_path):
    with Serving(tmp_path, "--from", str(tmp_path / "none.jsonl")) as sidecar:
        ended(sidecar, "none.jsonl: cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((A, B | {"offset": 41}), "line 3: expected an offset below 41"),
        ((A, A), "line 3: expected a key of its own, got one of an earlier line"),
    ],
)
def test_a_dump_with_a_wrong_line_ends_it(tmp_path, records, why):
    with Serving(tmp_path, "--from", write(tmp_path, *records)) as sidecar:
        ended(sidecar, "users.jsonl", why, "dump the table again")


def test_a_dump_that_was_cut_off_ends_it(tmp_path):
    path = Path(write(tmp_path, A, B))
    path.write_text(path.read_text()[:-40])
    with Serving(tmp_path, "--from", str(path)) as sidecar:
        ended(sidecar, "users.jsonl: is not whole: it ends in the middle of line 3")
