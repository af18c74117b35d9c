"""`explain` end to end: a sidecar made of stubs, and a log that a fake reader reads."""

import json

import grpc
import pytest
from click.testing import CliRunner
from support.cli_log import Log, Rec, holding, reading_with
from support.cli_sidecar import Failure, record, serving

from sidecar.cli import root
from sidecar.kafka.errors import BrokerFault


@pytest.fixture
def log(monkeypatch):
    known = Log([Rec(0, b"a", b"1"), Rec(1, b"b", b"1"), Rec(2, b"a", b"2")])
    reading_with(monkeypatch, known)
    monkeypatch.setattr("sidecar.cli.explain._GRACE_S", 0.0)
    monkeypatch.setattr("sidecar.cli.explain._PAUSE_S", 0.0)
    return known


TRUE = [record(b"a", b"2", 0, 2), record(b"b", b"1", 0, 1)]


def explain(fake, *arguments):
    with serving(fake) as endpoint:
        return CliRunner().invoke(root, ["explain", "-e", endpoint, *arguments])


def test_a_key_that_is_served_as_the_topic_has_it(log):
    result = explain(holding(TRUE, 3), "a")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "a in table users of topic users",
        "",
        "served  partition 0, offset 2, timestamp 1234 (no date); LIVE, current 12 ms ago",
        "        2",
        "read to (partition: next offset) 0: 3",
        "topic   partition 0, offset 2, timestamp 1234 (no date): this",
        "",
        "verdict same: the sidecar serves what the topic holds",
    ]


def test_a_sidecar_that_is_behind_exits_with_3_and_says_by_how_much(log):
    result = explain(holding([record(b"a", b"1", 0, 0)], 1), "a", "-o", "json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["verdict"], shown["behind"]) == (3, "behind", {"0": 2})
    assert (shown["served"]["value"], shown["topic_records"][0]["value"]) == ("1", "2")


def test_a_key_that_differs_exits_with_1_and_says_what_to_do(log):
    result = explain(holding([record(b"a", b"1", 0, 0)], 3), "a")
    assert result.exit_code == 1
    assert "verdict differs: the topic has a newer record at offset 2" in result.stdout
    assert "sidecar verify" in result.stdout


def test_a_key_that_neither_has_names_what_looks_like_it(log):
    log.records.append(Rec(3, b"A\n", b"1"))
    result = explain(holding(TRUE, 4), "A")
    assert result.exit_code == 0
    assert "similar 'a': partition 0, offset 2" in result.stdout
    assert "similar 'A\\n': partition 0, offset 3" in result.stdout
    assert "verdict absent in both" in result.stdout


def test_a_table_that_is_not_ready_is_told_beside_what_the_topic_has(log):
    fake = holding([], 0)
    fake.failure = Failure(grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING", "is being read")
    fake.fails_info = False
    result = explain(fake, "a")
    assert result.exit_code == 3
    assert "no answer: is being read (BOOTSTRAPPING)" in result.stdout
    assert "topic   partition 0, offset 2" in result.stdout


def test_another_incarnation_is_said_in_words(log):
    log.incarnation = 5
    result = explain(holding(TRUE, 3), "a")
    assert result.exit_code == 1
    assert "another incarnation of topic 'users'" in result.stdout


def test_a_key_may_be_given_in_hex(log):
    assert explain(holding(TRUE, 3), "61", "--key-format", "hex").exit_code == 0


def test_brokers_that_cannot_be_reached_exit_with_4_after_what_is_served(log):
    log.fault = BrokerFault("kafka:9092: connection refused")
    result = explain(holding(TRUE, 3), "a")
    assert result.exit_code == 4
    assert "served  partition 0, offset 2" in result.stdout
    assert result.stderr == "Error: cannot read the topic: kafka:9092: connection refused\n"


def test_nobody_there_exits_with_4():
    assert CliRunner().invoke(root, ["explain", "a", "-e", "127.0.0.1:1"]).exit_code == 4
