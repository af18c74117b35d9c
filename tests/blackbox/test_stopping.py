"""SIGTERM and SIGINT at any moment: exit code 0, nobody left hanging, nothing left behind.

Calls that are under way finish, or end with a status, within the grace period; that is
ten seconds, and only a client that does not read its answers makes use of it.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from support.fake_broker import SILENT, always
from support.serving import SIDECAR, Serving, environment, free_address

from sidecar._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc

GRACE_S = 10
NOWHERE = ("--bootstrap-servers", "127.0.0.1:1", "--table", "users")
TIMEOUT = 60


def ends_well(sidecar: Serving, timeout: float = GRACE_S + 20) -> None:
    """It ends with 0, says so, and shows no traceback."""
    assert sidecar.wait(timeout) == 0, sidecar
    assert "Traceback" not in sidecar.output, sidecar
    assert not sidecar.saying(" ERROR "), sidecar


def refused_by(call) -> tuple[str, str]:
    """The status code and the reason that a call ended with."""
    status = rpc_status.from_call(call)
    info = ErrorInfo()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
    return call.code().name, info.reason


class Stubs:
    """Both services of one sidecar."""

    def __init__(self, endpoint: str) -> None:
        self.channel = grpc.insecure_channel(endpoint)
        self.cache = cache_pb2_grpc.CacheServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)

    def get(self, key: bytes = b"k0", **options):
        request = cache_pb2.GetRequest(table="users", key=key)
        return self.cache.Get(request, timeout=TIMEOUT, **options)


@pytest.fixture
def stubs():
    """Make the stubs of an endpoint."""
    with contextlib.ExitStack() as stack:

        def make(endpoint: str) -> Stubs:
            made = Stubs(endpoint)
            stack.callback(made.channel.close)
            return made

        yield make


# While it starts


def told_kernel(pid: int, what: str, number: signal.Signals) -> bool:
    """The process has told the kernel that it catches (SigCgt) or ignores (SigIgn) a signal."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0])
def test_sigterm_soon_after_the_start(tmp_path, delay):
    """Before the interpreter runs our first line, the kernel's own way is all there is."""
    log = tmp_path / "log"
    path = tmp_path / "sidecar.sock"
    listen = ("--listen", f"unix://{path}", "--http", free_address())
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [SIDECAR, "serve", *NOWHERE, *listen], stdout=out, stderr=out, env=environment()
        ) as process,
    ):
        try:
            time.sleep(delay)
            caught = told_kernel(process.pid, "SigCgt", signal.SIGTERM)
            process.terminate()
            code = process.wait(60)
        finally:
            process.kill()
    said = log.read_text()
    assert code == 0 or (code == -signal.SIGTERM and not caught and not said), (code, said)
    assert "Traceback" not in said
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_it_waits_for_a_broker(tmp_path, number):
    with Serving(tmp_path, *NOWHERE) as sidecar:
        sidecar.until_says("table waits")
        sidecar.signal(number)
        ends_well(sidecar)


def test_while_a_broker_keeps_silent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Serving(tmp_path, "--bootstrap-servers", address, "--table", "users") as sidecar:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                connection.recv(100)  # it waits for the answer
                sidecar.until_listens()
                sidecar.signal(signal.SIGTERM)
                ends_well(sidecar)


# While it reads


def fill(topic, batches: int = 20) -> None:
    """So many batches of a thousand records, a kilobyte each when they are unpacked."""
    value = b"v" * 1000
    for number in range(batches):
        keys = range(number * 1000, (number + 1) * 1000)
        topic[0].write([(b"k%d" % key, value) for key in keys], codec="gzip")


def pending_wait(stubs: Stubs):
    """A WaitUntil that the sidecar has: it answers a later call of the same connection."""
    request = admin_pb2.WaitUntilRequest(table="users")
    waiting = stubs.admin.WaitUntil.future(request, timeout=TIMEOUT, wait_for_ready=True)
    with pytest.raises(grpc.RpcError) as raised:
        stubs.get(wait_for_ready=True)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not waiting.done()
    return waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_middle_of_a_bootstrap(tmp_path, fake, stubs, number):
    topic = fake.add_topic("users", cleanup_policy="compact")
    fill(topic, 3)
    topic[0].held_high_watermark = topic[0].next_offset + 10
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, "--table", "users") as s:
        s.until_listens()
        s.until(lambda: s.status()["tables"][0]["bootstrap_offsets"]["done"] == 3000, "most of it")
        waiting = pending_wait(stubs(s.endpoint))
        s.signal(number)
        ends_well(s)
        assert refused_by(waiting.exception()) == ("UNAVAILABLE", "SHUTTING_DOWN")


def test_while_a_fetch_is_not_answered(tmp_path, fake):
    fill(fake.add_topic("users", cleanup_policy="compact"), 3)
    fake.script.fetch.append(always(SILENT))
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, "--table", "users") as s:
        s.until(lambda: fake.of("fetch"), "the fetch")
        s.signal(signal.SIGTERM)
        ends_well(s)


# While it answers


@pytest.fixture
def live(tmp_path, fake):
    """A sidecar with twenty megabytes, on a TCP address."""
    fill(fake.add_topic("users", cleanup_policy="compact"))
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, "--table", "users") as s:
        s.until_ready()
        yield s


class Flood:
    """Threads that look a key up until they are refused."""

    def __init__(self, stubs: Stubs, threads: int) -> None:
        self.answers = 0
        self.ends: list[tuple[str, str]] = []
        self.began = threading.Event()
        self._stubs = stubs
        self._threads = [threading.Thread(target=self._look_up) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _look_up(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            while True:
                try:
                    assert self._stubs.get().presence == cache_pb2.PRESENCE_FOUND
                except grpc.RpcError as error:
                    self.ends.append(refused_by(error))
                    raise
                self.answers += 1
                self.began.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_a_flood_of_lookups(live, stubs, number):
    flood = Flood(stubs(live.endpoint), 16)
    assert flood.began.wait(60)
    live.signal(number)
    ends_well(live)
    flood.join()
    assert len(flood.ends) == 16
    # A call that comes too late to be refused is cut by gRPC, or finds a closed port.
    assert {code for code, _ in flood.ends} <= {"UNAVAILABLE", "CANCELLED"}
    assert flood.ends.count(("UNAVAILABLE", "SHUTTING_DOWN")) >= 8, flood.ends


def test_a_flood_that_does_not_give_up_does_not_hold_up_the_end(live, stubs):
    over = threading.Event()
    clients = stubs(live.endpoint)

    def look_up() -> None:
        while not over.is_set():
            with contextlib.suppress(grpc.RpcError):
                clients.get()

    threads = [threading.Thread(target=look_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        live.signal(signal.SIGTERM)
        ends_well(live)
    finally:
        over.set()
        for thread in threads:
            thread.join(TIMEOUT)


def test_with_an_open_lookup_stream(live, stubs):
    asked: queue.Queue[cache_pb2.LookupRequest | None] = queue.Queue()
    replies = stubs(live.endpoint).cache.Lookup(iter(asked.get, None), timeout=TIMEOUT)
    get = cache_pb2.GetRequest(table="users", key=b"k1")
    asked.put(cache_pb2.LookupRequest(id=7, get=get))
    assert next(replies).get.record.value == b"v" * 1000
    live.signal(signal.SIGTERM)
    with pytest.raises(grpc.RpcError) as raised:
        next(replies)
    assert refused_by(raised.value) == ("UNAVAILABLE", "SHUTTING_DOWN")
    asked.put(None)
    ends_well(live)


def scan(stubs: Stubs):
    return stubs.cache.Scan(cache_pb2.ScanRequest(table="users"), timeout=TIMEOUT)


def test_a_scan_that_is_read_on_is_finished(live, stubs):
    chunks = scan(stubs(live.endpoint))
    read = len(next(chunks).records)
    live.signal(signal.SIGTERM)
    live.until(lambda: live.saying("stopping"), "the stop")
    for chunk in chunks:
        read += len(chunk.records)
    assert read == 20_000
    ends_well(live)


def test_a_scan_that_is_not_read_ends_with_a_status_when_the_grace_period_is_over(live, stubs):
    chunks = scan(stubs(live.endpoint))
    next(chunks)
    live.signal(signal.SIGTERM)
    ends_well(live)
    with pytest.raises(grpc.RpcError) as raised:
        list(chunks)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_with_a_health_watcher_and_a_client_that_only_connects(live):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    host, port = live.endpoint.split(":")
    with (
        socket.create_connection((host, int(port))),
        grpc.insecure_channel(live.endpoint) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        seen = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        live.signal(signal.SIGTERM)
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ends_well(live)
        with contextlib.suppress(grpc.RpcError):
            list(seen)


def test_a_pending_wait_is_refused(tmp_path, stubs):
    with Serving(tmp_path, *NOWHERE) as sidecar:
        sidecar.until_says("table waits")
        waiting = pending_wait(stubs(sidecar.endpoint))
        sidecar.signal(signal.SIGTERM)
        ends_well(sidecar)
        assert refused_by(waiting.exception()) == ("UNAVAILABLE", "SHUTTING_DOWN")


# More than once


def test_a_unix_socket_and_its_calls_are_gone_afterwards(tmp_path, fake, stubs):
    fill(fake.add_topic("users", cleanup_policy="compact"), 1)
    path = tmp_path / "sidecar.sock"
    where = f"unix://{path}"
    table = ("--bootstrap-servers", fake.bootstrap_servers, "--table", "users")
    with Serving(tmp_path, *table, listen=where) as sidecar:
        sidecar.until_ready()
        assert stubs(where).get().presence == cache_pb2.PRESENCE_FOUND
        sidecar.signal(signal.SIGTERM)
        ends_well(sidecar)
        assert not path.exists()
        assert sidecar.run("status", "--timeout", "5").returncode == 4


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_while_it_ends_changes_nothing(live, stubs, second):
    chunks = scan(stubs(live.endpoint))
    next(chunks)  # it is not read on: the end takes a while
    live.signal(signal.SIGTERM)
    live.until(lambda: live.saying("stopping"), "the stop")
    # Else a flood of them would be all that it does.
    assert told_kernel(live.pid, "SigIgn", second)
    live.signal(second)
    for chunk in chunks:
        assert chunk.records
    ends_well(live)


def test_signals_until_the_very_end_change_nothing(live):
    while live.running:
        live.signal(signal.SIGTERM)
        live.signal(signal.SIGINT)
    ends_well(live)
