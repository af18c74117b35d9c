"""The lookup commands against a server made of the contract's own stubs."""

import json

import grpc
import pytest
from click.testing import CliRunner
from support.cli_sidecar import Failure, FakeSidecar, record, serving

from sidecar.cli import root

ODD_KEY, ODD_VALUE = b"b\xff\x1b[31m", b"\x00\x1b]0;x\x07\n\xfe"


@pytest.fixture
def fake():
    return FakeSidecar(
        records=[
            record(b"KJFK", b'{"city":"New York"}', 3, 17, 1_700_000_000_123),
            record("São".encode(), b"z", 0, 4),
            record(ODD_KEY, ODD_VALUE, 1, 5),
            record(b"empty", b"", 1, 6),
        ]
    )


@pytest.fixture
def run(fake):
    with serving(fake) as endpoint:
        yield lambda *arguments: CliRunner().invoke(
            root, [*arguments], env={"SIDECAR_ENDPOINT": endpoint}
        )


def test_get_shows_the_value_and_where_it_came_from(run):
    result = run("get", "KJFK")
    assert result.exit_code == 0
    origin, value = result.stdout.splitlines()
    assert value == '{"city":"New York"}'
    assert origin.startswith("KJFK  partition 3, offset 17, 2023-11-14 22:13:20.123 UTC")
    assert origin.endswith("current 12 ms ago")


def test_get_of_an_absent_key_says_so_and_exits_with_1(run):
    result = run("get", "KJFK", "nope")
    assert result.exit_code == 1
    assert result.stderr == "absent: nope\n"
    assert "KJFK" in result.stdout


def test_an_empty_value_is_a_value(run):
    result = run("get", "empty", "-o", "value")
    assert (result.exit_code, result.stdout_bytes) == (0, b"")


def test_the_value_form_is_the_bytes_and_nothing_else(run):
    result = run("get", ODD_KEY.hex(), "--key-format", "hex", "-o", "value")
    assert (result.exit_code, result.stdout_bytes) == (0, ODD_VALUE)


def test_the_value_form_takes_one_key(run):
    result = run("get", "a", "b", "-o", "value")
    assert result.exit_code == 2
    assert "jsonl" in result.stderr


def test_the_table_form_lets_no_control_character_through(run):
    result = run("get", ODD_KEY.hex(), "--key-format", "hex")
    assert all(line.isprintable() for line in result.stdout.splitlines())
    assert "b\\xff\\x1b[31m" in result.stdout


def test_json_holds_what_is_not_utf8_as_base64(run):
    result = run("get", ODD_KEY.hex(), b"nope".hex(), "--key-format", "hex", "-o", "json")
    found, absent = json.loads(result.stdout)["results"]
    assert found["key"] == {"base64": "Yv8bWzMxbQ=="}
    assert found["presence"] == "FOUND"
    assert absent == {"key": "nope", "presence": "ABSENT"}
    assert result.exit_code == 1


def test_jsonl_is_one_line_a_key(run):
    lines = run("get", "KJFK", "São", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["KJFK", "São"]


def test_list_follows_the_pages_to_the_end(run):
    lines = run("list", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [17, 4, 5, 6]


def test_list_as_json_is_one_document(run):
    shown = json.loads(run("list", "-o", "json").stdout)
    assert len(shown["records"]) == 4
    assert shown["state"]["staleness_ms"] == 12


def test_list_of_nothing_is_one_document_too(run):
    assert json.loads(run("list", "--prefix", "zz", "-o", "json").stdout)["records"] == []


def test_list_by_prefix(run):
    assert run("list", "--prefix", "K", "-o", "value").stdout == '{"city":"New York"}\n'


def test_list_by_range_ends_before_the_end(run):
    lines = run("list", "--range", "K:empty", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [17, 4, 5]
    assert len(run("list", "--range", ":", "-o", "jsonl").stdout.splitlines()) == 4


def test_list_by_an_index(run):
    found = run("list", "--index", "value", "--equals", '{"city":"New York"}', "-o", "jsonl")
    assert [json.loads(line)["key"] for line in found.stdout.splitlines()] == ["KJFK"]
    found = run("list", "--index", "value", "--prefix", "{", "-o", "value").stdout
    assert found == '{"city":"New York"}\n'
    assert len(run("list", "--index", "value", "-o", "jsonl").stdout.splitlines()) == 4


def test_list_stops_at_its_limit(run):
    assert len(run("list", "--limit", "3", "-o", "jsonl").stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--range", "no-colon"),
        ("list", "--range", "a:b:c"),
        ("list", "--prefix", "a", "--range", "a:b"),
        ("list", "--equals", "a"),
        ("list", "--index", "i", "--range", "a:b"),
        ("list", "--index", "i", "--equals", "a", "--prefix", "a"),
        ("get", "zz", "--key-format", "hex"),
        ("get",),
        ("get", "a", "-o", "xml"),
        ("get", "a", "--endpoint", "http://localhost:1"),
        ("get", "a", "--endpoint", "localhost"),
        ("get", "a", "--tls-server-name", "x"),
    ],
)
def test_a_wrong_command_line_exits_with_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_table_that_is_being_read_exits_with_3_and_says_what_to_do(run, fake):
    fake.failure = Failure(
        grpc.StatusCode.UNAVAILABLE, "BOOTSTRAPPING", "table 'users' is still being read", 500
    )
    result = run("get", "a")
    assert result.exit_code == 3
    assert result.stderr == (
        "Error: table 'users' is still being read (BOOTSTRAPPING); "
        "wait for it with `sidecar wait --ready`\n"
    )


@pytest.mark.parametrize("command", ["get a", "list", "status", "describe", "tables"])
def test_nobody_there_exits_with_4(command):
    result = CliRunner().invoke(root, [*command.split(), "-e", "127.0.0.1:1"])
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: cannot connect to 127.0.0.1:1")
    assert result.stderr.count("\n") == 1


def test_an_error_without_a_reason_exits_with_6(run, fake):
    fake.failure = Failure(grpc.StatusCode.INTERNAL, "", "oh")
    assert run("get", "a").exit_code == 6
