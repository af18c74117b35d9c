"""`verify` end to end: a sidecar made of stubs, and a log that a fake reader reads."""

import asyncio
import json
import time

import pytest
from click.testing import CliRunner
from support.cli_log import Log, Rec, holding, reading_with
from support.cli_sidecar import record, serving

from sidecar.cli import comparing, reading, root
from sidecar.kafka.errors import BrokerFault, LogFault


@pytest.fixture
def log(monkeypatch):
    known = Log([Rec(0, b"a", b"1"), Rec(1, b"b", b"1"), Rec(2, b"a", b"2")])
    reading_with(monkeypatch, known)
    monkeypatch.setattr(comparing, "_GRACE_S", 0.0)
    return known


TRUE = [record(b"a", b"2", 0, 2), record(b"b", b"1", 0, 1)]


def verify(fake, *arguments):
    with serving(fake) as endpoint:
        return CliRunner().invoke(root, ["verify", "-e", endpoint, *arguments])


def test_a_true_table_is_proved_by_its_digest(log):
    result = verify(holding(TRUE, 3))
    assert result.exit_code == 0
    assert result.stdout == "users equals topic users: 2 entries, the digests agree\n"
    assert log.readings == [((("kafka", 9092),), "users", {})]


def test_a_wrong_value_is_named_with_exit_code_1(log):
    wrong = [record(b"a\x1b", b"2", 0, 2), record(b"b", b"X", 0, 1)]
    result = verify(holding(wrong, 3))
    assert result.exit_code == 1
    first, *keys = result.stdout.splitlines()
    assert first == "users differs from topic users: 3 keys"
    assert keys == [
        "  a  partition 0: the sidecar lacks it; the log has it at offset 2",
        "  a\\x1b  partition 0: its record at offset 2 is not in the log",
        "  b  partition 0: the sidecar has offset 1; value is not the log's at that offset",
    ]
    assert log.readings[1][2] == {0: 3}


def test_differences_beyond_the_limit_are_counted(log):
    result = verify(holding([], 3), "--limit", "1")
    assert result.stdout.endswith("  and 1 more (--limit)\n")


def test_a_sidecar_that_is_only_behind_exits_with_3(log):
    behind = [record(b"a", b"1", 0, 0), record(b"b", b"1", 0, 1)]
    result = verify(holding(behind, 2))
    assert result.exit_code == 3
    assert "behind the log's end by (partition: offsets) 0: 1" in result.stdout


def test_a_sidecar_that_has_caught_up_since_is_not_behind(log):
    fake = holding([record(b"a", b"1", 0, 0), record(b"b", b"1", 0, 1)], 2)
    fake.tables[0].partitions[0].position = 3
    assert verify(fake).exit_code == 0


def test_what_was_compacted_away_is_compared_entry_by_entry(log):
    log.records = [Rec(1, b"b", b"1"), Rec(2, b"a", b"2"), Rec(3, b"a", b"3")]
    behind = [record(b"a", b"1", 0, 0), record(b"b", b"1", 0, 1)]
    result = verify(holding(behind, 2), "-o", "json")
    shown = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (shown["verdict"], shown["proved_by_digest"]) == ("behind", False)
    assert shown["differing_keys"] == []


def test_another_incarnation_differs(log):
    log.incarnation = 5
    result = verify(holding(TRUE, 3))
    assert result.exit_code == 1
    assert "another incarnation" in result.stderr


def test_brokers_that_cannot_be_reached_exit_with_4(log):
    log.fault = BrokerFault("kafka:9092: connection refused")
    result = verify(holding(TRUE, 3))
    assert result.exit_code == 4
    assert result.stderr == "Error: cannot read the topic: kafka:9092: connection refused\n"


def test_brokers_that_send_nothing_are_given_up(log, monkeypatch):
    monkeypatch.setattr(reading, "_STALLED_S", 0.05)

    async def silent(config, topic, *, since, on_begin):
        await asyncio.sleep(60)
        yield

    reading_with(monkeypatch, silent)
    assert verify(holding(TRUE, 3)).exit_code == 4


def test_the_command_line_says_where_to_read(log):
    verify(holding(TRUE, 3), "--bootstrap-servers", "other:1", "--topic", "t2")
    assert log.readings[0][:2] == ((("other", 1),), "t2")


def test_a_configuration_file_says_where_to_read(log, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("kafka: {bootstrap.servers: 'from-file:1'}\n")
    verify(holding(TRUE, 3), "--config", str(file))
    assert log.readings[0][:2] == ((("from-file", 1),), "users")


def test_a_sidecar_that_does_not_tell_its_brokers_exits_with_2(log):
    fake = holding(TRUE, 3)
    fake.config_yaml = ""
    result = verify(fake)
    assert result.exit_code == 2
    assert "bootstrap.servers" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_reading_that_the_logs_start_passes_is_begun_anew(log):
    log.faults = [LogFault("its start has passed us"), LogFault("a partition was added")]
    assert verify(holding(TRUE, 3)).exit_code == 0
    log.faults = [LogFault("its start has passed us")] * 3
    result = verify(holding(TRUE, 3))
    assert result.exit_code == 6
    assert result.stderr == "Error: cannot read the topic: its start has passed us\n"


def test_a_record_that_delete_records_took_meanwhile_is_no_difference(log):
    """The sidecar has served it; the reading, begun before, no longer met it."""
    log.records = [Rec(2, b"a", b"2"), Rec(3, b"c", b"1")]
    fake = holding(TRUE, 3)
    fake.tables[0].partitions[0].position = 4
    assert verify(fake).exit_code == 1
    log.start_told = 2
    assert verify(fake).exit_code == 0


def test_a_topic_that_is_written_to_and_compacted_meanwhile_does_not_differ(log):
    """Each reading meets a log that has gone on, and lost what was superseded."""

    def go_on(log):
        number = log.records[-1].offset + 1
        log.records = [one for one in log.records if one.key != b"a"] + [Rec(number, b"a", b"n")]

    log.before_reading = go_on
    fake = holding(TRUE, 3)
    fake.tables[0].partitions[0].position = 9
    for _ in range(3):
        result = verify(fake)
        assert (result.exit_code, "compared entry by entry" in result.stdout) == (0, True)


RULED = """
kafka: {bootstrap.servers: "kafka:9092"}
tables:
  users: {format: json, filter_path: $.on, project: [$.id], expire_after_ms: %d}
"""


def ruled(monkeypatch, held, *, expire_after_ms=10**12):
    """A sidecar whose table has a rule, and a topic with what the table has no use for."""
    known = Log([Rec(0, b"a", b'{"on":1,"id":1,"x":2}'), Rec(1, b"b", b'{"id":2}')])
    for record_ in known.records:
        record_.timestamp = time.time_ns() // 1_000_000 - 5_000
    reading_with(monkeypatch, known)
    fake = holding([record(*one, 0, n, known.records[0].timestamp) for n, one in held], 2)
    fake.config_yaml = RULED % expire_after_ms
    return fake


def test_the_topic_is_seen_through_the_tables_rule(monkeypatch):
    result = verify(ruled(monkeypatch, [(0, (b"a", b'{"id":1}'))]))
    assert result.stdout == "users equals topic users: 1 entries, the digests agree\n"
    result = verify(ruled(monkeypatch, [(0, (b"a", b'{"id":1}')), (1, (b"b", b'{"id":2}'))]))
    assert result.exit_code == 1
    assert "partition 0: the sidecar has offset 1; value is not the log's" in result.stdout


def test_what_grows_too_old_just_now_is_not_compared(monkeypatch):
    result = verify(ruled(monkeypatch, [], expire_after_ms=6_000))
    assert result.exit_code == 0
    result = verify(ruled(monkeypatch, [(1, (b"b", b"1"))], expire_after_ms=6_000))
    assert result.exit_code == 0
