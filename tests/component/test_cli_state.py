"""The commands about tables and readiness, against a server made of the contract's stubs."""

import json

import grpc
import pytest
from click.testing import CliRunner
from support.cli_sidecar import Failure, FakeSidecar, live, serving

from sidecar._pb import admin_pb2
from sidecar.cli import root
from sidecar.cli import top as top_module


@pytest.fixture
def fake():
    return FakeSidecar()


@pytest.fixture
def run(fake):
    with serving(fake) as endpoint:
        yield lambda *arguments: CliRunner().invoke(root, [*arguments, "-e", endpoint])


def bootstrapping(**given):
    state = admin_pb2.TABLE_STATE_BOOTSTRAPPING
    known = {"state": state, "reason": "5 of 9 offsets", "eta_ms": 8100}
    return live(**known | given)


def test_a_live_sidecar_is_ready(run):
    result = run("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("up 1 min 1 s: ready")


def test_status_says_what_is_not_ready_why_and_what_to_do(run, fake):
    fake.tables = [live("a"), bootstrapping(name="b")]
    result = run("status")
    assert result.exit_code == 3
    first, *rest = result.stdout.splitlines()
    assert first.endswith("not ready: b")
    assert "  why:  5 of 9 offsets, about 8.1 s left" in rest
    assert "  do:   give it time: `sidecar wait --ready` returns when it is done" in rest


def test_what_holds_a_table_up_before_it_is_read_is_to_be_mended(run, fake):
    fake.tables = [bootstrapping(reason="kafka:9092 refuses connections", partitions=[])]
    result = run("status")
    assert result.exit_code == 3
    assert "  do:   mend that; the sidecar goes on trying and needs no restart" in result.stdout


def test_what_to_do_follows_from_what_a_partition_waits_for(run, fake):
    waiting = admin_pb2.PartitionInfo(partition=0, wait=admin_pb2.PARTITION_WAIT_AUTHORIZATION)
    fake.tables = [bootstrapping(partitions=[waiting])]
    assert "grant READ on the topic" in run("status").stdout


def test_a_stale_table_answers_but_exits_with_3(run, fake):
    fake.tables = [live(state=admin_pb2.TABLE_STATE_STALE, reason="staleness is 9 s")]
    result = run("status")
    assert result.exit_code == 3
    assert "ready, but not known to be current: users" in result.stdout


def test_a_table_that_readiness_does_not_need_is_shown_and_does_not_count(run, fake):
    fake.tables = [live("a"), bootstrapping(name="b", required=False)]
    result = run("status")
    assert result.exit_code == 0
    assert "b  BOOTSTRAPPING, not required" in result.stdout


def test_status_as_json(run, fake):
    fake.tables = [bootstrapping()]
    shown = json.loads(run("status", "-o", "json").stdout)
    assert (shown["ready"], shown["tables"][0]["state"]) == (False, "BOOTSTRAPPING")
    assert shown["tables"][0]["partitions"][0]["staleness_ms"] is None


def test_tables_are_listed_with_their_state(run, fake):
    fake.tables = [live("a"), bootstrapping(name="b")]
    header, first, second = run("tables").stdout.splitlines()
    assert header.split()[:2] == ["NAME", "STATE"]
    assert first.split()[:2] == ["a", "LIVE"]
    assert second.endswith("5 of 9 offsets")


def test_the_tables_names_alone(run, fake):
    fake.tables = [live("a"), live("b")]
    assert run("tables", "-o", "value").stdout == "a\nb\n"


def test_describe_shows_each_partition(run, fake):
    fake.tables = [
        live(
            partitions=[
                admin_pb2.PartitionInfo(
                    partition=0,
                    leader=2,
                    leader_epoch=5,
                    position=10,
                    target=12,
                    high_watermark=12,
                    lag=2,
                    wait=admin_pb2.PARTITION_WAIT_OPEN_TRANSACTION,
                    detail="held at offset 10",
                    waiting_ms=41_000,
                ),
                admin_pb2.PartitionInfo(
                    partition=1, leader=-1, position=-1, target=-1, high_watermark=-1
                ),
            ]
        )
    ]
    *_, first, second = run("describe", "users").stdout.splitlines()
    assert "2 (epoch 5)" in first
    assert first.endswith("OPEN_TRANSACTION for 41.0 s: held at offset 10")
    assert second.split()[:4] == ["1", "none", "0", "?"]


def test_a_table_that_is_served_from_a_dump_says_so(run, fake):
    fake.tables = [live(dump="users.jsonl")]
    assert "  from: the dump users.jsonl, and no topic" in run("status").stdout
    described = run("describe", "users").stdout
    assert "users.jsonl" in described
    assert "cluster" not in described


def test_a_dump_that_is_read_needs_nothing_but_time(run, fake):
    fake.tables = [bootstrapping(reason="5% is read", partitions=[], dump="users.jsonl")]
    assert "  do:   give it time" in run("status").stdout


@pytest.mark.parametrize("command", [("verify",), ("explain", "a"), ("doctor",)])
def test_what_looks_at_a_topic_needs_one_where_a_dump_is_served(run, fake, command):
    fake.tables = [live(dump="users.jsonl")]
    result = run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is served from the dump users.jsonl: the sidecar has no topic" in result.stderr


def test_describe_as_jsonl_is_one_line(run):
    (line,) = run("describe", "users", "-o", "jsonl").stdout.splitlines()
    assert json.loads(line)["name"] == "users"


def test_wait_returns_when_the_sidecar_is_ready(run):
    result = run("wait", "--ready")
    assert (result.exit_code, result.output) == (0, "")


def test_wait_needs_to_know_what_for(run):
    assert run("wait").exit_code == 2


def test_wait_for_positions_asks_for_these(run, fake):
    assert run("wait", "--position", "0:7", "--position", "3:9", "-t", "users").exit_code == 0
    (request,) = fake.waited
    assert request.table == "users"
    asked = request.freshness.at_least.next_offsets
    assert [(one.partition, one.offset) for one in asked] == [(0, 7), (3, 9)]


@pytest.mark.parametrize("position", ["", "3", "3:", ":3", "-1:3", "a:b", "1:2:3"])
def test_a_position_is_a_partition_and_an_offset(run, position):
    result = run("wait", "--position", position)
    assert result.exit_code == 2
    assert "is no PARTITION:OFFSET, such as 3:1207" in result.stderr


def test_a_position_that_is_not_reached_is_told_with_how_far_it_is(run, fake):
    fake.never_there = True
    result = run("wait", "--position", "0:1000000", "--timeout", "0.3")
    assert result.exit_code == 5
    assert "users: partition 0 is at" in result.stderr
    assert "not at 1000000" in result.stderr


def test_wait_that_runs_out_of_time_exits_with_5_and_says_why(run, fake):
    fake.failure = Failure(grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING", "5 of 9 offsets", 500)
    fake.tables = [bootstrapping()]
    result = run("wait", "--ready", "--timeout", "0.3")
    assert result.exit_code == 5
    assert result.stderr == "Error: not ready after 0.3 s: users is BOOTSTRAPPING: 5 of 9 offsets\n"


def test_wait_does_not_wait_for_a_table_that_failed(run, fake):
    fake.failure = Failure(grpc.StatusCode.UNAVAILABLE, "TABLE_FAILED", "no such format")
    assert run("wait", "--ready", "--timeout", "60").exit_code == 3


def test_wait_for_nobody_exits_with_4():
    command = ["wait", "--ready", "--timeout", "0.3", "-e", "127.0.0.1:1"]
    result = CliRunner().invoke(root, command)
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: no sidecar at 127.0.0.1:1 after 0.3 s")


def test_top_shows_what_came_since_the_look_before(run, fake, monkeypatch):
    looks = iter([0, 300, 400, 401])

    def tables():
        return [live(generation=1, counters=admin_pb2.TableCounters(records=next(looks)))]

    fake.tables = Looks(tables)
    moments = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(top_module, "time", Moments(moments))
    result = run("top", "--count", "4")
    assert result.exit_code == 0
    rows = [row.split() for row in result.stdout.splitlines() if row.startswith("users")]
    assert [row[-2:] for row in rows[1:]] == [["300", "█"], ["100", "█▃"], ["1", "█▃▁"]]
    assert "-" in rows[0]


class Looks:
    """What a sidecar tells, each time anew."""

    def __init__(self, tables):
        self._tables = tables

    def __iter__(self):
        return iter(self._tables())


class Moments:
    """A clock that is told, and that waits for nothing."""

    def __init__(self, moments):
        self._moments = moments

    def monotonic(self):
        return next(self._moments)

    def sleep(self, seconds):
        assert seconds == 1.0


def test_top_begins_anew_with_another_generation_and_says_what_is_wrong(run, fake, monkeypatch):
    looks = iter([(1, 50), (2, 10), (2, 30)])

    def tables():
        generation, records = next(looks)
        counters = admin_pb2.TableCounters(records=records)
        return [bootstrapping(generation=generation, counters=counters)]

    fake.tables = Looks(tables)
    monkeypatch.setattr(top_module, "time", Moments(iter([0.0, 1.0, 2.0])))
    shown = run("top", "--count", "3").stdout
    rows = [row.split() for row in shown.splitlines() if row.startswith("users ")]
    assert rows[2][-2:] == ["20", "█"]
    assert "█" not in "".join(rows[0] + rows[1])
    assert "users: 5 of 9 offsets" in shown


def test_top_of_nobody_is_an_error():
    result = CliRunner().invoke(root, ["top", "-e", "127.0.0.1:1", "--timeout", "0.5"])
    assert result.exit_code == 4
