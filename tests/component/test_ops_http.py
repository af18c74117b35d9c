"""The probes answer over real HTTP, whatever the loop, Kafka or a client does."""

import asyncio
import http.client
import json
import re
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from sidecar.core.errors import Reason
from sidecar.core.progress import Leader, Progress, Wait
from sidecar.core.served import Definition, Generation, Served, Source, Trouble
from sidecar.core.view import View
from sidecar.ops.heartbeat import Heartbeat
from sidecar.ops.http import AddressFault, HttpServer
from sidecar.ops.pages import Page, Pages
from sidecar.ops.recorder import Recorder
from sidecar.ops.status import Observed


def table(name="users", *, position=0, required=True, **view):
    served = Served(Definition(name=name, topic=f"{name}-topic", required=required))
    progress = Progress(0, position, 10, leader=Leader(3, 7))
    served.begin(
        Generation(Source("cluster", "topic-id", 5), View(name, 5, 6, [progress], **view), 1.0)
    )
    served.try_ready(3.0)
    return served


def drip(client):
    while True:
        client.sendall(b"x")
        time.sleep(0.02)


def received(client):
    """How many bytes come until the connection ends."""
    size = 0
    with suppress(ConnectionResetError):
        while part := client.recv(1 << 20):
            size += len(part)
    return size


class Sidecar:
    """Pages over a server of their own, with clocks that the test sets."""

    def __init__(self, *tables):
        self.now = 100.0
        self.tables = {served.definition.name: served for served in tables}
        self.heartbeat = Heartbeat(clock=lambda: self.now)
        observed = Observed(
            tables=self.tables,
            recorder=Recorder(),
            heartbeat=self.heartbeat,
            clock=lambda: self.now,
            version="1.2.3",
        )
        self.pages = Pages(observed, stuck_after=30)
        self.server = HttpServer(("127.0.0.1", 0), self.pages.page, patience=0.5)

    def get(self, path, method="GET"):
        with closing(http.client.HTTPConnection(*self.server.address, timeout=5)) as client:
            client.request(method, path)
            response = client.getresponse()
            return response, response.read().decode()

    def status(self, path):
        return self.get(path)[0].status


@pytest.fixture
def sidecar():
    started = []

    def start(*tables):
        made = Sidecar(*tables)
        made.server.start()
        started.append(made.server)
        return made

    yield start
    for server in started:
        server.stop()


# Probes


def test_a_sidecar_is_live_before_any_table_is(sidecar):
    assert sidecar(table()).status("/livez") == 200


def test_a_stuck_loop_is_told_by_livez_and_kafka_is_not(sidecar):
    broken = table()
    broken.drop(Trouble(Reason.TABLE_FAILED, "no permission", final=True), replaced=False)
    running = sidecar(broken)
    assert running.status("/livez") == 200
    running.now += 31
    response, body = running.get("/livez")
    assert (response.status, body) == (503, "the event loop has not come round for 31 s\n")
    running.heartbeat.beat()
    assert running.status("/livez") == 200


def test_readyz_tells_one_line_for_each_table_that_is_waited_for(sidecar):
    running = sidecar(table("users", position=4), table("ant"), table("done", position=10))
    response, body = running.get("/readyz")
    assert response.status == 503
    assert body == (
        "ant: BOOTSTRAPPING: 0 of 10 offsets, 0 of 1 partitions caught up\n"
        "users: BOOTSTRAPPING: 4 of 10 offsets, 0 of 1 partitions caught up\n"
    )


def test_a_table_that_is_not_required_holds_nothing_up(sidecar):
    running = sidecar(table(position=10), table("extra", required=False))
    assert running.status("/readyz") == 200
    assert running.status("/startupz") == 200


def test_startup_stays_done_when_a_table_is_replaced(sidecar):
    running = sidecar(table())
    assert running.status("/startupz") == 503
    users = running.tables["users"]
    users.view.change(0, lambda progress: progress.advanced(10))
    users.try_ready(5.0)
    assert (running.status("/startupz"), running.status("/readyz")) == (200, 200)
    users.drop(Trouble(), replaced=True)
    assert (running.status("/startupz"), running.status("/readyz")) == (200, 503)


def test_a_sidecar_that_shuts_down_is_live_and_not_ready(sidecar):
    running = sidecar(table(position=10))
    running.pages.drain()
    assert running.get("/readyz")[1] == "the sidecar is shutting down\n"
    assert running.status("/readyz") == 503
    assert running.status("/livez") == 200


def test_probes_answer_while_the_loop_is_blocked(sidecar):
    async def block():
        running = sidecar(table())
        task = asyncio.create_task(running.heartbeat.run())
        await asyncio.sleep(0)
        status = running.status("/livez")  # a blocking call on the loop's own thread
        task.cancel()
        return status

    assert asyncio.run(block()) == 200


async def test_the_heart_beats_while_the_loop_turns():
    heartbeat = Heartbeat(interval=0.01)
    task = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0.1)
    assert heartbeat.age() < 0.09
    task.cancel()


# What the pages tell


def test_the_status_tells_everything_about_a_table(sidecar):
    users = table(position=4)
    users.view.change(0, lambda one: one.waits(Wait.LEADER, 90.0, "no leader"))
    response, body = sidecar(users).get("/status.json")
    assert response.headers["Content-Type"] == "application/json"
    status = json.loads(body)
    (told,) = status.pop("tables")
    assert status == {
        "version": "1.2.3",
        "config_fault": "",
        "registry_fault": "",
        "uptime_ms": 0,
        "ready": False,
        "loop_lag_ms": 0,
    }
    assert told.pop("eta_ms") == 148500
    assert told.pop("definition_hash")
    assert told.pop("partitions") == [
        {
            "partition": 0,
            "leader": 3,
            "leader_epoch": 7,
            "log_start_offset": -1,
            "position": 4,
            "target": 10,
            "high_watermark": -1,
            "last_stable_offset": -1,
            "lag": 0,
            "staleness_ms": None,
            "caught_up": False,
            "wait": "LEADER",
            "waiting_ms": 10000,
            "detail": "no leader",
        }
    ]
    assert told == {
        "name": "users",
        "topic": "users-topic",
        "dump": "",
        "state": "BOOTSTRAPPING",
        "reason": "4 of 10 offsets, 0 of 1 partitions caught up; partition 0: no leader",
        "required": True,
        "format": "bytes",
        "cluster_id": "cluster",
        "topic_id": "topic-id",
        "incarnation": 5,
        "cleanup_policy": "",
        "delete_retention_ms": None,
        "generation": 6,
        "generations": 1,
        "entries": 0,
        "payload_bytes": 0,
        "memory_bytes": 0,
        "staleness_ms": None,
        "bootstrap_ms": 0,
        "bootstrap_offsets": {"done": 4, "total": 10},
        "counters": {
            "records": 0,
            "tombstones": 0,
            "null_keys": 0,
            "unchanged": 0,
            "expired": 0,
            "skipped_batches": 0,
            "missed_tombstones": 0,
            "turned_away": 0,
            "aged": 0,
            "fetched_bytes": 0,
        },
        "next_partitions": [],
    }


def test_a_table_without_a_topic_has_a_status_too(sidecar):
    (told,) = json.loads(sidecar(Served(Definition(name="x", topic="x"))).get("/status.json")[1])[
        "tables"
    ]
    assert (told["state"], told["partitions"]) == ("BOOTSTRAPPING", [])
    assert told["reason"] == "the topic has not been looked up yet"


def test_the_metrics_are_served(sidecar):
    response, body = sidecar(table(position=10)).get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'sidecar_table_entries{table="users"} 0.0\n' in body


def test_the_page_shows_progress_and_needs_nothing_from_elsewhere(sidecar):
    response, body = sidecar(table(position=4)).get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert 'http-equiv="refresh"' in body
    assert body.count('style="width:40%"') == 2
    assert not re.search(r"<script|src=|href=|url\(", body)


def test_a_table_that_is_served_from_a_dump_says_so(sidecar):
    users = table(position=10)
    users.definition = replace(users.definition, dump="users.jsonl")
    page, told = sidecar(users), "<dt>from the dump</dt> <dd>users.jsonl</dd>"
    assert told in page.get("/")[1]
    (status,) = json.loads(page.get("/status.json")[1])["tables"]
    assert status["dump"] == "users.jsonl"


def test_the_page_escapes_what_it_shows(sidecar):
    users = table("<b>", position=4)
    users.view.change(0, lambda one: one.waits(Wait.BROKER, 90.0, '<script>"x"&'))
    body = sidecar(users).get("/")[1]
    assert "<b>" not in body
    assert "<script>" not in body
    assert "&lt;script&gt;&quot;x&quot;&amp;" in body


def test_a_page_of_every_kind_of_table_can_be_made(sidecar):
    failed = table("failed")
    failed.drop(Trouble(Reason.TABLE_FAILED, "no permission", final=True), replaced=False)
    short = table("short", position=10, min_entries=5)
    running = sidecar(failed, short, table("done", position=10))
    assert "no permission" in running.get("/readyz")[1]
    assert "fewer than min_entries" in running.get("/")[1]


# The server


def test_head_is_get_without_a_body(sidecar):
    running = sidecar(table(position=10))
    for path in ("/livez", "/readyz", "/metrics", "/status.json", "/"):
        response, body = running.get(path, "HEAD")
        assert (response.status, body) == (200, "")
        assert int(response.headers["Content-Length"]) > 0


def test_a_query_is_not_part_of_the_path(sidecar):
    assert sidecar().status("/livez?verbose") == 200


@pytest.mark.parametrize("path", ["/x", "/livez/", "//", "/../etc/passwd", "*", "/livez%00"])
def test_an_unknown_page_is_404(sidecar, path):
    assert sidecar().status(path) == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_405(sidecar, method):
    response, _ = sidecar().get("/livez", method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", b"200"),
    ],
)
def test_odd_requests_get_an_answer(sidecar, sent, status):
    running = sidecar()
    with socket.create_connection(running.server.address, timeout=5) as client:
        client.sendall(sent)
        assert client.recv(65536).split()[1] == status


def test_a_client_that_never_stops_sending_is_cut(sidecar):
    running = sidecar()
    with socket.create_connection(running.server.address, timeout=5) as client:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(client)
        assert time.monotonic() - began < 5
    assert running.status("/livez") == 200


def test_clients_that_say_nothing_do_not_keep_others_out(sidecar):
    running = sidecar()
    silent = [socket.create_connection(running.server.address) for _ in range(150)]
    try:
        assert running.status("/livez") == 200
    finally:
        for client in silent:
            client.close()


def test_a_client_that_does_not_read_is_cut(sidecar):
    made = sidecar()
    big = Page(200, "text/plain", b"x" * 50_000_000)
    server = HttpServer(("127.0.0.1", 0), lambda path: big, patience=0.3)
    server.start()
    try:
        with socket.create_connection(server.address, timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            time.sleep(0.6)
            assert 0 < received(client) < len(big.body)
    finally:
        server.stop()
    assert made.status("/livez") == 200


def test_a_page_that_fails_is_500_and_the_next_is_served(caplog):
    def page(path):
        if path == "/bug":
            raise ZeroDivisionError
        return Page(200, "text/plain", b"fine")

    server = HttpServer(("127.0.0.1", 0), page)
    server.start()
    try:
        for path, status in [("/bug", 500), ("/", 200)]:
            with closing(http.client.HTTPConnection(*server.address, timeout=5)) as client:
                client.request("GET", path)
                assert client.getresponse().status == status
    finally:
        server.stop()
    assert caplog.messages == ["page failed"]


def test_a_used_address_is_told_by_start(sidecar):
    host, port = sidecar().server.address
    with pytest.raises(AddressFault) as caught:
        HttpServer((host, port), lambda path: Page(200, "", b"")).start()
    assert str(caught.value) == f"http: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_an_address_of_another_machine_is_told_by_start():
    with pytest.raises(AddressFault, match=r"http: cannot listen on 192\.0\.2\.1:0: "):
        HttpServer(("192.0.2.1", 0), lambda path: Page(200, "", b"")).start()


def test_ipv6_is_served():
    server = HttpServer(("::1", 0), lambda path: Page(200, "text/plain", b"six"))
    try:
        server.start()
    except AddressFault:
        pytest.skip("this machine has no IPv6")
    try:
        with closing(http.client.HTTPConnection(*server.address, timeout=5)) as client:
            client.request("GET", "/")
            assert client.getresponse().read() == b"six"
    finally:
        server.stop()


def test_stopping_ends_the_thread_and_frees_the_address(sidecar):
    running = sidecar()
    with socket.create_connection(running.server.address, timeout=5) as idle:
        running.server.stop()
        running.server.stop()
        assert "sidecar-http" not in [thread.name for thread in threading.enumerate()]
        assert received(idle) == 0
    again = HttpServer(running.server.address, running.pages.page)
    again.start()
    again.stop()


def test_a_server_that_was_never_started_stops():
    HttpServer(("127.0.0.1", 0), lambda path: Page(200, "", b"")).stop()
