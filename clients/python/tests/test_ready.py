"""Waiting for the sidecar, and its tables."""

import threading
import time

import grpc
import pytest
from both import done
from fake_sidecar import failure, served, table
from kafka_cache_client import (
    InvalidRequest,
    NotReady,
    TableFailed,
    TableState,
    Unavailable,
    UnknownTable,
    _wait,
    errors,
)
from kafka_cache_client._pb import admin_pb2

CODES = grpc.StatusCode


async def test_it_gives_the_tables_once_they_are_ready(client, sidecar):
    (ready,) = await done(client.wait_until_ready())
    assert (ready.name, ready.state, ready.ready) == ("users", TableState.LIVE, True)


async def test_it_waits_for_the_clients_table_unless_another_is_named(connected, target, sidecar):
    client = connected(target, table="users")
    await done(client.wait_until_ready())
    await done(client.wait_until_ready(table="orders"))
    await done(client.wait_until_ready(table=""))
    assert [request.table for request in sidecar.requests] == ["users", "orders", ""]


async def test_it_survives_a_sidecar_that_starts_later(connected, sidecar, tmp_path):
    address = f"unix://{tmp_path}/sidecar.sock"
    stop = threading.Event()

    def start_later():
        time.sleep(0.3)
        with served(sidecar, address):
            stop.wait()

    starting = threading.Thread(target=start_later)
    starting.start()
    try:
        client = connected(address)
        assert await done(client.wait_until_ready(20))
        assert await done(client.get(b"a")) is None
    finally:
        stop.set()
        starting.join()


async def test_it_comes_back_after_a_passing_failure(client, sidecar):
    sidecar.failures = [
        failure(CODES.UNAVAILABLE, "SHUTTING_DOWN"),
        failure(CODES.UNAVAILABLE, "BOOTSTRAPPING", retry_ms=10),
        failure(CODES.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    ]
    await done(client.wait_until_ready(20))
    assert len(sidecar.requests) == 4


async def test_after_the_timeout_it_names_what_is_not_ready_and_why(client, sidecar):
    sidecar.bootstrapping = True
    state = admin_pb2.TABLE_STATE_BOOTSTRAPPING
    sidecar.tables = [
        table("users", state, reason="partition 3 has no leader"),
        table("orders", state),
        table("prices"),
    ]
    with pytest.raises(NotReady) as caught:
        await done(client.wait_until_ready(3.0))
    assert str(caught.value) == (
        "NOT_READY: not ready after 3 s: "
        "users is BOOTSTRAPPING, partition 3 has no leader; orders is BOOTSTRAPPING"
    )


async def test_where_nobody_answers_it_says_where_it_looked(connected, tmp_path):
    address = f"unix://{tmp_path}/none.sock"
    client = connected(address)
    with pytest.raises(Unavailable, match=f"no sidecar answers at {address} after 0.3 s: "):
        await done(client.wait_until_ready(0.3))


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (CODES.UNAVAILABLE, "TABLE_FAILED", TableFailed),
        (CODES.NOT_FOUND, "UNKNOWN_TABLE", UnknownTable),
        (CODES.INVALID_ARGUMENT, "BAD_FRESHNESS", InvalidRequest),
    ],
)
async def test_what_waiting_cannot_mend_comes_at_once(client, sidecar, code, reason, kind):
    sidecar.failures = [failure(code, reason)]
    with pytest.raises(kind):
        await done(client.wait_until_ready(60))
    assert len(sidecar.requests) == 1


async def test_tables_tell_their_state_while_they_are_not_ready(client, sidecar):
    sidecar.tables = [
        table("a", admin_pb2.TABLE_STATE_STALE, reason="r", staleness_ms=0, eta_ms=5, entries=3),
        table("b", admin_pb2.TABLE_STATE_REPLACED),
        table("c", 99),
    ]
    a, b, c = await done(client.tables())
    assert (a.name, a.topic, a.reason, a.entries) == ("a", "a", "r", 3)
    assert (a.staleness_ms, a.eta_ms, a.required, a.ready) == (0, 5, True, True)
    assert (b.state, b.staleness_ms, b.eta_ms, b.ready) == (TableState.REPLACED, None, None, False)
    assert (c.state, c.ready) == (TableState.UNSPECIFIED, False)


def test_pauses_grow_and_never_pass_the_end():
    waiting = _wait.Waiting("", timeout=100, now=0)
    pauses = [waiting.pause_after(Unavailable("gone"), now=0) for _ in range(20)]
    assert all(0 < pause <= _wait.LONGEST_PAUSE for pause in pauses)
    assert pauses[-1] > pauses[0]
    assert waiting.pause_after(Unavailable("gone"), now=98.98) <= 0.02 + 1e-9
    assert waiting.pause_after(Unavailable("gone"), now=99) is None


def test_the_tries_leave_time_for_the_question_at_the_end():
    waiting = _wait.Waiting("", timeout=100, now=0)
    assert waiting.try_timeout(now=90) == 9
    assert waiting.diagnosis_timeout(now=99) == 1
    assert waiting.diagnosis_timeout(now=101) == _wait.LEAST_TIMEOUT


def test_a_pause_is_as_long_as_the_sidecar_asks_for():
    waiting = _wait.Waiting("", timeout=100, now=0)
    assert waiting.pause_after(NotReady("", retry_after=7), now=0) == 7
    assert waiting.pause_after(NotReady("", retry_after=700), now=50) == 49


def test_a_reason_that_the_sidecar_gave_is_kept():
    waiting = _wait.Waiting("users", timeout=2, now=0)
    last = NotReady("12 %", reason="BOOTSTRAPPING", metadata={"table": "users"}, retry_after=1)
    error = waiting.failure(last, None, "somewhere")
    assert type(error) is errors.NotReady
    assert str(error) == "BOOTSTRAPPING: not ready after 2 s: 12 % (table=users)"


def test_the_timeout_is_positive():
    with pytest.raises(ValueError, match="timeout"):
        _wait.Waiting("", timeout=0, now=0)
