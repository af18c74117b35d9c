"""`diff` end to end, between two sidecars made of stubs."""

import json

import grpc
import pytest
from click.testing import CliRunner
from support.cli_log import holding
from support.cli_sidecar import Failure, record, serving

from sidecar.cli import diffing, root

TABLE = [record(b"a", b"2", 0, 2), record(b"b", b"1", 0, 1)]


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(diffing, "_GRACE_S", 0.0)
    monkeypatch.setattr(diffing, "_PAUSE_S", 0.0)


def diff(a, b, *arguments):
    with serving(a) as one, serving(b) as other:
        return CliRunner().invoke(root, ["diff", one, other, *arguments])


def test_equal_tables_are_proved_by_their_digests():
    result = diff(holding(TABLE, 3), holding(TABLE, 3))
    assert result.exit_code == 0
    assert result.stdout.endswith("equal: 2 entries, the digests agree\n")


def test_equal_tables_at_other_positions_are_compared_entry_by_entry():
    result = diff(holding(TABLE, 3), holding(TABLE, 9))
    assert result.exit_code == 0
    assert "equal: 2 entries, compared entry by entry" in result.stdout


def test_another_value_at_the_same_offset_differs():
    result = diff(holding(TABLE, 3), holding([TABLE[0], record(b"b", b"X", 0, 1)], 3))
    assert result.exit_code == 1
    assert "they differ: 1 keys" in result.stdout
    assert "  b: not the same value, timestamp or headers at offset 1" in result.stdout


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_key_that_one_lacks_though_both_have_read_past_it_differs(lacking):
    tables = [holding(TABLE, 3), holding(TABLE, 3)]
    tables[lacking] = holding(TABLE[:1], 3)
    result = diff(*tables, "-o", "json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["verdict"]) == (1, "differs")
    (found,) = shown["differing_keys"]
    assert found["why"].startswith(f"{'AB'[lacking]} lacks it")


def test_what_one_has_not_read_yet_is_not_comparable():
    newer = [record(b"a", b"3", 0, 7), *TABLE[1:]]
    result = diff(holding(TABLE, 3), holding(newer, 8))
    assert result.exit_code == 3
    assert "1 keys cannot be compared yet, 2 were; none differs" in result.stdout
    assert "A is behind the other by (partition: offsets) 0: 5" in result.stdout


def test_the_same_key_from_two_partitions_is_told_apart():
    result = diff(holding(TABLE, 3), holding([record(b"a", b"2", 1, 2), TABLE[1]], 4))
    assert result.exit_code == 0
    assert "1 keys are in several partitions, not judged" in result.stdout


def test_another_incarnation_differs_in_words():
    other = holding(TABLE, 3)
    other.incarnation = 5
    result = diff(holding(TABLE, 3), other)
    assert result.exit_code == 1
    assert "different lives of the topic" in result.stdout


def test_other_definitions_are_not_compared():
    other = holding(TABLE, 3)
    other.definition_hash = "x"
    result = diff(holding(TABLE, 3), other)
    assert result.exit_code == 2
    assert "definitions differ" in result.stderr


def test_a_side_that_does_not_answer_is_named():
    other = holding(TABLE, 3)
    other.failure = Failure(grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING", "is being read")
    result = diff(holding(TABLE, 3), other)
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: B (127.0.0.1:")
    with serving(holding(TABLE, 3)) as one:
        result = CliRunner().invoke(root, ["diff", "127.0.0.1:1", one])
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: A (127.0.0.1:1): cannot connect")


def test_an_endpoint_that_is_none_exits_with_2():
    assert CliRunner().invoke(root, ["diff", "http://a", "b:1"]).exit_code == 2
