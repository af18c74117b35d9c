"""Failed calls become errors that say what to do."""

import copy
import pickle

import grpc
import kafka_cache_client as kafka_cache
import pytest
from both import done
from fake_sidecar import failure
from kafka_cache_client import _status

CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (CODES.UNAVAILABLE, "BOOTSTRAPPING", kafka_cache.NotReady),
        (CODES.UNAVAILABLE, "TOPIC_MISSING", kafka_cache.NotReady),
        (CODES.UNAVAILABLE, "TOPIC_REPLACED", kafka_cache.NotReady),
        (CODES.UNAVAILABLE, "TABLE_FAILED", kafka_cache.TableFailed),
        (CODES.UNAVAILABLE, "SHUTTING_DOWN", kafka_cache.Unavailable),
        (CODES.NOT_FOUND, "UNKNOWN_TABLE", kafka_cache.UnknownTable),
        (CODES.INVALID_ARGUMENT, "TABLE_REQUIRED", kafka_cache.UnknownTable),
        (CODES.FAILED_PRECONDITION, "NOT_FRESH", kafka_cache.NotFresh),
        (CODES.FAILED_PRECONDITION, "INCARNATION_MISMATCH", kafka_cache.Outdated),
        (CODES.OUT_OF_RANGE, "RESUME_EXPIRED", kafka_cache.Outdated),
        (CODES.INVALID_ARGUMENT, "BAD_TOKEN", kafka_cache.InvalidRequest),
        (CODES.INVALID_ARGUMENT, "BAD_FRESHNESS", kafka_cache.InvalidRequest),
        (CODES.INVALID_ARGUMENT, "TOO_MANY_KEYS", kafka_cache.TooLarge),
        (CODES.ABORTED, "GENERATION_CHANGED", kafka_cache.Outdated),
        (CODES.FAILED_PRECONDITION, "NO_FORMAT", kafka_cache.InvalidRequest),
        (CODES.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE", kafka_cache.TooLarge),
        (CODES.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", kafka_cache.Overloaded),
        (CODES.UNIMPLEMENTED, "NOT_YET", kafka_cache.Unsupported),
        (CODES.INVALID_ARGUMENT, "A_REASON_OF_TOMORROW", kafka_cache.InvalidRequest),
        (CODES.INTERNAL, "", kafka_cache.SidecarError),
        (CODES.UNAVAILABLE, "", kafka_cache.Unavailable),
    ],
)
async def test_each_reason_has_its_error(client, sidecar, code, reason, kind):
    sidecar.failures = [failure(code, reason)]
    with pytest.raises(kafka_cache.SidecarError) as caught:
        await done(client.get(b"a"))
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert isinstance(caught.value.__cause__, grpc.RpcError)


async def test_an_error_carries_its_particulars(client, sidecar):
    sidecar.failures = [
        failure(CODES.UNAVAILABLE, "BOOTSTRAPPING", retry_ms=1500, message="61 %", table="users")
    ]
    with pytest.raises(kafka_cache.NotReady) as caught:
        await done(client.get(b"a"))
    error = caught.value
    assert (error.message, error.metadata, error.retry_after) == ("61 %", {"table": "users"}, 1.5)
    assert str(error) == "BOOTSTRAPPING: 61 % (table=users)"


async def test_a_retry_after_nothing_is_not_no_retry(client, sidecar):
    sidecar.failures = [failure(CODES.UNAVAILABLE, "BOOTSTRAPPING", retry_ms=0)]
    with pytest.raises(kafka_cache.NotReady) as caught:
        await done(client.get(b"a"))
    assert caught.value.retry_after == 0


async def test_a_reason_of_another_domain_is_not_ours(client, sidecar):
    sidecar.failures = [failure(CODES.UNAVAILABLE, "TABLE_FAILED", domain="mesh.example")]
    with pytest.raises(kafka_cache.Unavailable) as caught:
        await done(client.get(b"a"))
    assert type(caught.value) is kafka_cache.Unavailable
    assert (caught.value.reason, caught.value.metadata) == ("", {})


async def test_a_call_ends_at_its_timeout(client, sidecar):
    sidecar.delay = 0.5
    with pytest.raises(kafka_cache.DeadlineExceeded):
        await done(client.get(b"a", timeout=0.05))


async def test_the_timeout_of_the_client_holds_where_a_call_sets_none(connected, target, sidecar):
    sidecar.delay = 0.5
    client = connected(target, timeout=0.05)
    with pytest.raises(kafka_cache.DeadlineExceeded):
        await done(client.get(b"a"))
    sidecar.delay = 0.0
    assert await done(client.get(b"a", timeout=10)) is None


async def test_nobody_listening_is_unavailable(connected, tmp_path):
    client = connected(f"unix://{tmp_path}/none.sock")
    with pytest.raises(kafka_cache.Unavailable) as caught:
        await done(client.get(b"a"))
    assert (caught.value.reason, caught.value.retry_after) == ("", None)


async def test_the_client_works_again_once_the_sidecar_does(client, sidecar):
    sidecar.failures = [failure(CODES.UNAVAILABLE, "SHUTTING_DOWN")]
    with pytest.raises(kafka_cache.Unavailable):
        await done(client.get(b"a"))
    assert await done(client.get(b"a")) is None


class Failed:
    """A failed call as grpc shows it."""

    def __init__(self, *trailing):
        self._trailing = trailing or None

    def code(self):
        return CODES.UNAVAILABLE

    def details(self):
        return None

    def trailing_metadata(self):
        return self._trailing


@pytest.mark.parametrize("details", [b"\xff", b"\x1a\x05no", b""])
def test_details_that_cannot_be_read_do_not_hide_the_failure(details):
    error = _status.error_of(Failed(("other", "x"), ("grpc-status-details-bin", details)))
    assert type(error) is kafka_cache.Unavailable
    assert (error.message, error.reason, error.retry_after) == ("UNAVAILABLE", "", None)


def test_an_error_without_trailing_metadata_has_no_particulars():
    assert _status.error_of(Failed()).metadata == {}


def test_errors_survive_a_process_boundary():
    error = kafka_cache.NotFresh("late", reason="NOT_FRESH", metadata={"p": "1"}, retry_after=2)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kafka_cache.NotFresh
        assert (str(twin), twin.retry_after) == ("NOT_FRESH: late (p=1)", 2)
