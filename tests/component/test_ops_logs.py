"""A change of state is one line, and it holds no secret."""

import io
import json
import logging
import re

import pytest

from sidecar.ops.logs import configure, event

LOG = logging.getLogger("sidecar.test")


@pytest.fixture
def logged():
    """Configure logging and give back what it wrote; the process's logging is restored."""
    root = logging.getLogger()
    names = ["", "sidecar", "aiokafka", "aiokafka.conn", "grpc", "asyncio", "concurrent"]
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(root.handlers)

    def start(level="info", form="text"):
        stream = io.StringIO()
        configure(level, form, stream)
        return lambda: stream.getvalue().splitlines()

    yield start
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_an_event_is_one_line_of_text(logged):
    lines = logged()
    event(LOG, logging.INFO, "table ready", table="users", entries=28000, seconds=1.23456)
    (line,) = lines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO  "
        r"table ready table=users entries=28000 seconds=1\.235",
        line,
    )


def test_an_event_is_one_json_object(logged):
    lines = logged(form="json")
    event(LOG, logging.WARNING, "table stale", table="users", staleness_ms=None, ok=True)
    (line,) = lines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "table stale",
        "logger": "sidecar.test",
        "table": "users",
        "ok": True,
    }


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("text", ["a\nb", "a b", 'a"b', "", "a\x1b[2Jb", "x=y", "a\r\u2028\x85b"])
def test_a_field_cannot_break_the_line(logged, form, text):
    lines = logged(form=form)
    event(LOG, logging.INFO, "broker failed", reason=text, level="shadowed")
    (line,) = lines()
    assert line.isprintable()
    written = json.loads(line) if form == "json" else {}
    assert written.get("reason", text) == text
    assert written.get("level_", "shadowed") == "shadowed"


def test_a_foreign_message_cannot_break_the_line(logged):
    lines = logged()
    logging.getLogger("foreign").warning("one\ntwo\x1b[2J")
    (line,) = lines()
    assert line.endswith(r"WARN  one\ntwo\x1b[2J")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_told_with_its_traceback(logged, form):
    lines = logged(form=form)
    try:
        raise ValueError("boom")
    except ValueError:
        LOG.exception("follower failed")
    told = lines()
    assert "ValueError: boom" in told[0]
    assert "Traceback" in " ".join(told)
    assert len(told) == 1 or form == "text"


@pytest.mark.parametrize("name", ["aiokafka", "aiokafka.conn", "grpc", "grpc._channel", "asyncio"])
def test_foreign_libraries_never_log_below_warning(logged, name):
    foreign = logging.getLogger(name)
    foreign.setLevel(logging.DEBUG)
    lines = logged("debug")
    foreign.debug("sasl payload")
    foreign.info("sasl payload")
    event(LOG, logging.DEBUG, "fetched")
    foreign.warning("trouble")
    assert [line.split()[1] for line in lines()] == ["DEBUG", "WARN"]


def test_the_level_holds_for_our_own_loggers(logged):
    lines = logged("error")
    event(LOG, logging.WARNING, "quiet")
    logging.getLogger("aiokafka").warning("quiet")
    event(LOG, logging.ERROR, "loud")
    assert len(lines()) == 1


def test_configuring_twice_writes_each_line_once(logged):
    first = logged()
    second = logged()
    event(LOG, logging.INFO, "table ready")
    assert (len(first()), len(second())) == (0, 1)


def test_an_unknown_level_is_refused(logged):
    with pytest.raises(ValueError, match="level: expected one of debug, info, warning, error"):
        logged("trace")
