"""What a command ends with when it does not end well: one line and an exit code.

The line says what happened, why, and what to do. The codes are a contract with scripts::

    0 ok              3 not ready, not fresh, behind    5 deadline
    1 absent/differs  4 cannot connect                  6 server error
    2 usage or config

This module does no I/O besides the line; click turns a `Failed` into both.
"""

from typing import IO, Any

import click

from .text import escaped_text

__all__ = [
    "ABSENT",
    "CANNOT_CONNECT",
    "DEADLINE",
    "NOT_READY",
    "SERVER_ERROR",
    "USAGE",
    "Failed",
    "exit_code",
    "failed_call",
]

ABSENT, USAGE, NOT_READY, CANNOT_CONNECT, DEADLINE, SERVER_ERROR = range(1, 7)

_BY_REASON = {
    "BOOTSTRAPPING": NOT_READY,
    "TOPIC_MISSING": NOT_READY,
    "TOPIC_REPLACED": NOT_READY,
    "TABLE_FAILED": NOT_READY,
    "SHUTTING_DOWN": NOT_READY,
    "NOT_FRESH": NOT_READY,
    "UNKNOWN_TABLE": USAGE,
    "TABLE_REQUIRED": USAGE,
    "BAD_RANGE": USAGE,
    "BAD_REQUEST": USAGE,
    "BAD_FILTER": USAGE,
    "BAD_FRESHNESS": USAGE,
    "TOO_MANY_KEYS": USAGE,
    "UNKNOWN_INDEX": USAGE,
    "NO_FORMAT": USAGE,
}
_ADVICE = {
    "BOOTSTRAPPING": "wait for it with `sidecar wait --ready`",
    "TOPIC_MISSING": "see `sidecar status`",
    "TOPIC_REPLACED": "wait for it with `sidecar wait --ready`",
    "TABLE_FAILED": "see `sidecar status`",
    "SHUTTING_DOWN": "try again when it has restarted",
    "NOT_FRESH": "see `sidecar status`",
    "UNKNOWN_TABLE": "`sidecar tables` lists what is served",
    "TABLE_REQUIRED": "name one with --table; `sidecar tables` lists them",
    "TOO_MANY_KEYS": "ask for fewer keys at a time",
    "TOO_MANY_CALLS": "try again with fewer calls at a time",
    "GENERATION_CHANGED": "the table was rebuilt meanwhile: run the command again",
    "RESPONSE_TOO_LARGE": "ask for fewer keys at a time",
}


class Failed(click.ClickException):
    """The end of a command that did not do what was asked.

    Args:
        message: what happened, why, and what to do, on one line.
        code: the exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click declares it for the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line to standard error."""
        click.echo(f"Error: {self.message}", file=file, err=True)


def exit_code(code: str, reason: str, *, unreachable: bool) -> int:
    """The exit code for a gRPC status and the sidecar's reason."""
    if unreachable:
        return CANNOT_CONNECT
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if code == "DEADLINE_EXCEEDED":
        return DEADLINE
    return NOT_READY if code == "UNAVAILABLE" else SERVER_ERROR


def failed_call(
    endpoint: str, code: str, reason: str, message: str, *, unreachable: bool
) -> Failed:
    """The end of a command whose call got no answer."""
    ending = exit_code(code, reason, unreachable=unreachable)
    text = escaped_text(message)
    if unreachable:
        text = (
            f"cannot connect to {endpoint}: {text}; is the sidecar running there, and does it "
            "speak TLS as you do? (--endpoint, SIDECAR_ENDPOINT, --tls-ca)"
        )
    elif ending == DEADLINE:
        text = f"no answer from {endpoint} in time; give it more with --timeout"
    elif code == "UNIMPLEMENTED" and not reason:
        text = f"{endpoint} does not know this call: {text}; is it a sidecar, and as new as this?"
    else:
        advice = _ADVICE.get(reason)
        text = f"{text} ({reason or code})" + (f"; {advice}" if advice else "")
    return Failed(text, ending)
