"""Which exit code and which words a failed call ends with."""

import pytest

from sidecar.cli.failure import exit_code, failed_call


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("UNAVAILABLE", "BOOTSTRAPPING", 3),
        ("UNAVAILABLE", "TABLE_FAILED", 3),
        ("UNAVAILABLE", "A_NEWER_REASON", 3),
        ("FAILED_PRECONDITION", "NOT_FRESH", 3),
        ("NOT_FOUND", "UNKNOWN_TABLE", 2),
        ("INVALID_ARGUMENT", "TABLE_REQUIRED", 2),
        ("DEADLINE_EXCEEDED", "", 5),
        ("INTERNAL", "", 6),
        ("ABORTED", "GENERATION_CHANGED", 6),
        ("UNIMPLEMENTED", "NOT_YET", 6),
    ],
)
def test_a_status_and_a_reason_have_an_exit_code(code, reason, expected):
    assert exit_code(code, reason, unreachable=False) == expected


def test_nobody_there_is_an_exit_code_of_its_own():
    assert exit_code("UNAVAILABLE", "", unreachable=True) == 4


@pytest.mark.parametrize("unreachable", [True, False])
def test_a_failure_is_one_line_whatever_the_message_holds(unreachable):
    failed = failed_call("host:1", "INTERNAL", "", "a\nb\x1b[2J", unreachable=unreachable)
    assert failed.message.isprintable()
