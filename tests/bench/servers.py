"""The servers that are measured: the sidecar, one with empty handlers, and a Redis.

Each is started for its measurements on loopback, listens on a Unix socket and on TCP, and
is stopped at the end of its `with`.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from bench import loader
from bench.loader import MissingError
from support.process import Child, free_port

from sidecar._pb import admin_pb2, admin_pb2_grpc

__all__ = ["Addresses", "Sidecar", "empty_server", "redis", "sidecar"]

TABLE = "bench"
_START_S = 30
_BOOTSTRAP_S = 300


@dataclass(frozen=True)
class Addresses:
    """Where a server listens."""

    unix: str
    tcp: str


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def _stopped_at_end(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.stop()


def _wait_until_listening(child: Child, address: Addresses) -> None:
    host, _, port = address.tcp.rpartition(":")
    until = time.monotonic() + _START_S
    while time.monotonic() < until and child.running:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"it does not listen on {address.tcp}:\n{child.log_tail()}")


def _addresses(folder: Path) -> Addresses:
    return Addresses(f"unix://{folder}/s.sock", f"127.0.0.1:{free_port()}")


class Sidecar:
    """A running sidecar that serves one table."""

    def __init__(self, addresses: Addresses, child: Child, channel: grpc.Channel) -> None:
        self.addresses = addresses
        self._child = child
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)

    def table(self) -> Any:
        """Give the table's TableInfo."""
        request = admin_pb2.ListTablesRequest()
        (table,) = self._admin.ListTables(request, wait_for_ready=True, timeout=_START_S).tables
        return table

    def resident_bytes(self) -> int:
        """Give the process's resident memory, as GetServerInfo tells it."""
        request = admin_pb2.GetServerInfoRequest()
        return self._admin.GetServerInfo(request, timeout=_START_S).resident_bytes

    def wait_until_ready(self) -> Any:
        """Give the table's TableInfo once it answers lookups."""
        until = time.monotonic() + _BOOTSTRAP_S
        while time.monotonic() < until and self._child.running:
            table = self.table()
            if table.state in {admin_pb2.TABLE_STATE_LIVE, admin_pb2.TABLE_STATE_STALE}:
                return table
            if table.state == admin_pb2.TABLE_STATE_FAILED:
                break
            time.sleep(0.1)
        raise RuntimeError(f"the sidecar did not become ready:\n{self._child.log_tail()}")


def _sidecar_program(python: str) -> str:
    beside = Path(python).with_name("sidecar")
    program = str(beside) if beside.exists() else shutil.which("sidecar")
    if program is None:
        raise MissingError("the `sidecar` command is not installed beside this Python")
    try:
        done = subprocess.run([program, "serve", "--help"], capture_output=True, timeout=_START_S)
    except OSError as error:
        raise MissingError(f"the `sidecar` command does not run: {error}") from error
    if done.returncode != 0:
        raise MissingError("the installed `sidecar` command has no `serve`")
    return program


@contextlib.contextmanager
def sidecar(
    servers: str,
    topic: str,
    settings: Mapping[str, Any] | None = None,
    python: str = sys.executable,
) -> Iterator[Sidecar]:
    """Start a sidecar on one topic; it may still be reading it.

    settings: more of its table; python: that it is installed beside.
    """
    program = _sidecar_program(python)
    with _folder() as folder:
        addresses = _addresses(folder)
        line = [program, "serve", "--bootstrap-servers", servers]
        if settings is None:
            line += ["--table", f"{TABLE}={topic}"]
        else:
            file = folder / "sidecar.yaml"
            file.write_text(json.dumps({"tables": {TABLE: {"topic": topic, **settings}}}))
            line += ["--config", str(file)]
        line += ["--listen", addresses.unix, "--listen", addresses.tcp]
        line += ["--http", f"127.0.0.1:{free_port()}"]
        with (
            _stopped_at_end(Child(line, folder / "log")) as child,
            grpc.insecure_channel(addresses.tcp) as channel,
        ):
            _wait_until_listening(child, addresses)
            yield Sidecar(addresses, child, channel)


@contextlib.contextmanager
def empty_server(options: list[str]) -> Iterator[Addresses]:
    """Start the server whose handlers do nothing."""
    program = str(Path(__file__).with_name("empty_server.py"))
    with _folder() as folder:
        addresses = _addresses(folder)
        line = [sys.executable, program, "--listen", addresses.unix, "--listen", addresses.tcp]
        with _stopped_at_end(Child([*line, *options], folder / "log")) as child:
            _wait_until_listening(child, addresses)
            yield addresses


@contextlib.contextmanager
def redis(distinct: int, value_size: int, *, install: bool) -> Iterator[Addresses]:
    """Start a Redis that holds the same keys, without persistence."""
    program = _redis_program(install=install)
    with _folder() as folder:
        addresses = _addresses(folder)
        socket_path = addresses.unix.removeprefix("unix://")
        line = [program, "--bind", "127.0.0.1", "--port", addresses.tcp.rpartition(":")[2]]
        line += ["--unixsocket", socket_path, "--dir", str(folder)]
        line += ["--save", "", "--appendonly", "no"]
        with _stopped_at_end(Child(line, folder / "log")) as child:
            _wait_until_listening(child, addresses)
            keys = {"distinct": distinct, "value_size": value_size}
            loader.run("redis", target=addresses.unix, mode="fill", **keys)
            yield addresses


def _redis_program(*, install: bool) -> str:
    if install and shutil.which("redis-server") is None:
        line = ["apt-get", "install", "-y", "--no-install-recommends", "redis-server"]
        subprocess.run(line, capture_output=True, timeout=300)
    program = shutil.which("redis-server")
    if program is None:
        raise MissingError("no `redis-server`: apt-get install redis-server, or --install-redis")
    return program
