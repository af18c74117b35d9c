"""The demo's broker: what of librdkafka's mock cluster the demo stands on."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition
from support.process import free_port

from sidecar.cli import keys, root
from sidecar.demo.airports import Airports, load
from sidecar.demo.broker import running_broker
from sidecar.demo.writer import Writer


def log_bounds(servers, topic, partitions):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "-", "log_level": 0})
    try:
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            for number in range(partitions)
        ]
    finally:
        consumer.close()


@pytest.fixture
def servers():
    with running_broker("airports", brokers=3, partitions=8) as broker:
        yield broker.servers


def test_the_topic_has_the_partitions_that_were_asked_for(servers):
    writer = Writer(servers, "airports", partitions=8)
    written = writer.fill(Airports(load(), Random(1)))
    bounds = log_bounds(servers, "airports", 8)
    assert sum(end for _, end in bounds) == written
    assert all(start == 0 and end > 0 for start, end in bounds)


async def test_changing_ends_before_the_log_start_moves(servers):
    writer = Writer(servers, "airports", partitions=8)
    airports = Airports(load(), Random(1))
    await asyncio.to_thread(writer.fill, airports)
    # All of the room that is left, but not through the loop's timer.
    while not writer.full:
        for _ in range(1000):
            writer.put(*airports.change())
        await asyncio.to_thread(writer.flush)
    assert not await writer.change(airports, rate=1000, stop=asyncio.Event())
    bounds = await asyncio.to_thread(log_bounds, servers, "airports", 8)
    assert {start for start, _ in bounds} == {0}


async def test_changing_ends_when_it_is_told_to(servers):
    writer = Writer(servers, "airports", partitions=8)
    stop = asyncio.Event()
    stop.set()
    assert await writer.change(Airports(load(), Random(1)), rate=1, stop=stop)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for name in ("broker", "writer"):
        monkeypatch.delitem(sys.modules, f"sidecar.demo.{name}", raising=False)
    result = CliRunner().invoke(root, ["demo"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: the demo needs confluent_kafka")
    assert result.stderr.endswith("pip install 'kafka-cache-sidecar[demo]'\n")


SIDECAR = Path(sys.executable).with_name("sidecar")


def free_address():
    return f"127.0.0.1:{free_port()}"


def run(*arguments):
    return subprocess.run([SIDECAR, *arguments], capture_output=True, timeout=60)


@pytest.fixture
def demo():
    """A running demo: its process, and where it listens for gRPC and for HTTP."""
    listen, http = free_address(), free_address()
    process = subprocess.Popen(
        [SIDECAR, "demo", "--listen", listen, "--http", http, "--rate", "200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "SIDECAR_ENDPOINT"},
    )
    with process:
        try:
            yield process, listen, http
        finally:
            process.kill()


def invitation(process):
    """What it prints until it is ready."""
    lines = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline().decode())
        assert lines[-1], process.stderr.read().decode()
    return "".join(lines)


def test_the_demo_is_served_and_what_it_says_to_try_works(demo):
    process, listen, http = demo
    assert f"sidecar get KJFK -e {listen}" in invitation(process)
    found = run("get", "KJFK", "-o", "value", "-e", listen)
    assert json.loads(found.stdout)["iata"] == "JFK"
    assert len(run("list", "--prefix", "KJ", "-o", "value", "-e", listen).stdout.splitlines()) > 10
    assert run("get", "NOPE", "-e", listen).returncode == 1
    assert run("status", "-e", listen).returncode == 0
    assert b"airports" in run("tables", "-e", listen).stdout
    assert run("describe", "airports", "-e", listen).returncode == 0
    with urllib.request.urlopen(f"http://{http}/readyz") as answer:
        assert answer.status == 200
    compared = run("verify", "-e", listen)
    assert (compared.returncode, compared.stderr) == (0, b"")
    assert b"equals topic airports" in compared.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_with_0(demo, number):
    process, *_ = demo
    invitation(process)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert process.stderr.read() == b""


def test_a_used_address_is_one_line_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("demo", "--listen", listen, "--http", free_address())
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"--listen" in done.stderr


# On a terminal


class Terminal:
    """A demo whose input and output are a terminal of its own."""

    def __init__(self, listen, http):
        self.shown = b""
        command = [SIDECAR, "demo", "--listen", listen, "--http", http]
        self.pid, self.end = pty.fork()
        if not self.pid:
            os.execv(SIDECAR, command)

    def until(self, text):
        """Read until it has shown a text since the last time."""
        while text not in self.shown:
            self.shown += os.read(self.end, 4096)
        self.shown = self.shown.partition(text)[2]

    def press(self, key):
        os.write(self.end, key)

    def modes(self):
        return termios.tcgetattr(self.end)[3]

    def exit_code(self):
        with contextlib.suppress(OSError):  # its end of the terminal is gone
            while os.read(self.end, 4096):
                pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.end)


@pytest.fixture
def terminal():
    listen = free_address()
    started = Terminal(listen, free_address())
    started.listen = listen
    try:
        yield started
    finally:
        started.close()


def status_until(listen, code):
    while run("status", "-e", listen).returncode != code:
        pass


@pytest.mark.slow
def test_a_frozen_broker_makes_the_table_stale_and_answers_go_on(terminal):
    terminal.until(b"Ctrl-C ends it.")
    assert not terminal.modes() & termios.ICANON
    terminal.press(b"f")
    terminal.until(b"f thaws it.")
    status_until(terminal.listen, 3)
    assert b"STALE" in run("status", "-e", terminal.listen).stdout
    assert run("get", "KJFK", "-e", terminal.listen).returncode == 0
    terminal.press(b"f")
    terminal.until(b"the broker answers again")
    status_until(terminal.listen, 0)
    terminal.press(b"q")
    terminal.until(b"ended")
    assert terminal.exit_code() == 0


def test_the_terminal_is_put_back(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin, os.fdopen(ours, "wb", buffering=0) as keyboard:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(keys, "_in_foreground", lambda _: True)
        before = termios.tcgetattr(theirs)
        got = asyncio.run(_keys_typed(keyboard, b"f\xc3\xa9q"))
        assert got == ["f", "é", "q"]
        assert termios.tcgetattr(theirs) == before


async def _keys_typed(keyboard, typed):
    got, all_read = [], asyncio.Event()

    def press(key):
        got.append(key)
        if key == "q":
            all_read.set()

    with keys.pressed_keys(press) as terminal:
        assert terminal
        keyboard.write(typed)
        await all_read.wait()
    return got


def test_without_a_terminal_no_keys_are_offered(demo):
    process, *_ = demo
    assert "Press here" not in invitation(process)


def test_a_deleted_topic_is_another_one_when_it_is_created_again():
    with running_broker("airports", brokers=1, partitions=2) as broker:
        broker.delete_topic()
        with pytest.raises(OSError, match="could not delete topic 'airports'"):
            broker.delete_topic()
        broker.create_topic()
        assert log_bounds(broker.servers, "airports", 2) == [(0, 0), (0, 0)]
