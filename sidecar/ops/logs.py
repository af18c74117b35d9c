r"""Logs as events: one line a change of state, on stderr, as text or as JSON.

An event is a short sentence that is always the same, and fields that differ::

    2026-01-01T00:00:00.000Z INFO  table ready table=users entries=28000 seconds=1.2
    {"time":"2026-01-01T00:00:00.000Z","level":"info","event":"table ready",
     "logger":"sidecar.app","table":"users","entries":28000,"seconds":1.2}

Rules: times are UTC. A line is one line, whatever a field holds. No keys, no values
and no secrets are logged. aiokafka's DEBUG prints the SASL payload, so foreign loggers
never go below WARNING, whatever level is asked for.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, TypeAlias

__all__ = ["LEVELS", "Format", "configure", "event"]

Format: TypeAlias = Literal["text", "json"]

LEVELS: Final = ("debug", "info", "warning", "error")

_OURS: Final = "sidecar"
_FOREIGN: Final = ("aiokafka", "grpc", "asyncio", "concurrent")
_LEVELS: Final = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN: Final = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f]+")


def event(logger: logging.Logger, level: int, name: str, /, **fields: Any) -> None:
    """Log one event.

    Args:
        logger: the module's own, below "sidecar".
        level: logging.INFO and so on.
        name: what happened, the same words each time.
        fields: what differs; a number's unit is in its name. None is left out.
    """
    logger.log(level, name, extra={"fields": fields}, stacklevel=2)


def configure(level: str = "info", form: Format = "text", stream: TextIO | None = None) -> None:
    """Send this process's logs to `stream` (stderr) in one form.

    Calling it again replaces what the last call set.

    Args:
        level: one of `LEVELS`, for the sidecar's own loggers.
        form: text for people, json for collectors.
        stream: where to; None: stderr.
    """
    if level not in LEVELS:
        raise ValueError(f"level: expected one of {', '.join(LEVELS)}, got {level!r}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    for known in list(root.handlers):
        if isinstance(known.formatter, _Text | _Json):
            root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger(_OURS).setLevel(threshold)
    for name in _foreign_loggers():
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _foreign_loggers() -> list[str]:
    """The foreign libraries and every logger below them: a child may have a level of its own."""
    known = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in _FOREIGN]
    return [*_FOREIGN, *known]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in getattr(record, "fields", {}).items()
        if value is not None
    }
    if record.exc_info and record.exc_info[0] is not None:
        fields["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
    return fields


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class _Text(logging.Formatter):
    """A line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        words = [
            _time(record),
            f"{_LEVELS.get(record.levelno, record.levelname):<5}",
            _CONTROL.sub(_escaped, record.getMessage()),
            *(f"{name}={_text(value)}" for name, value in _fields(record).items()),
        ]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for name, value in _fields(record).items():
            told[f"{name}_" if name in told else name] = value
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, separators=(",", ":"))


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
