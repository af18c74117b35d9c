"""The metrics are those of the table that documents them, and say what the tables hold."""

import gc
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.model import Batch, Fetched, LogBounds
from sidecar.core.progress import Progress, Wait
from sidecar.core.served import Definition, Generation, Served, Source
from sidecar.core.view import View
from sidecar.ops.heartbeat import Heartbeat
from sidecar.ops.metrics import METRICS, PROCESS_METRICS, markdown, registry_of
from sidecar.ops.recorder import BUCKETS, Recorder
from sidecar.ops.status import Observed, still


class Row:
    """A record."""

    timestamp = 0
    headers: tuple = ()

    def __init__(self, offset, key, value):
        self.offset, self.key, self.value = offset, key, value


ROWS = [
    Row(0, b"a", b"1"),
    Row(1, b"b", b"22"),
    Row(2, b"b", None),
    Row(3, None, b"x"),
]


def served_table(target=4, high_watermark=7):
    served = Served(Definition(name="users", topic="t"))
    view = View("users", 1, 2, [Progress(0, 0, target)])
    served.begin(Generation(Source("c", "t", 1), view, 10.0))
    served.current.fetched_bytes = 300
    fold(served, ROWS, high_watermark)
    served.try_ready(12.5)
    fold(served, [Row(4, b"a", b"1")], high_watermark)
    return served


def fold(served, rows, high_watermark):
    start, end = rows[0].offset, rows[-1].offset + 1
    bounds = LogBounds(0, high_watermark, high_watermark)
    fetched = Fetched(0, iter([Batch(rows, 0, start, end)]), bounds, 11.0, None, 300)
    for _ in served.view.fold(fetched, 100):
        pass


def observed(**tables):
    return Observed(
        tables=tables,
        recorder=Recorder(),
        heartbeat=Heartbeat(),
        clock=lambda: 20.0,
        version="1.2.3",
    )


def samples_of(seen):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in registry_of(seen).collect()
        for sample in family.samples
    }


def test_the_families_are_exactly_those_of_the_documenting_table():
    text = generate_latest(registry_of(observed(users=served_table()))).decode()
    emitted = {
        line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")
    }
    assert emitted == {family.name: family.kind for family in (*METRICS, *PROCESS_METRICS)}


def test_what_partitions_wait_for_is_counted_by_name():
    users = served_table()
    users.view.change(0, lambda progress: progress.waits(Wait.QUOTA, 3.0, "throttled"))
    samples = samples_of(observed(users=users))
    waits = {name[1]: value for name, value in samples.items() if "waiting" in name[0]}
    assert waits.pop("quota") == 1
    assert set(waits.values()) == {0}
    assert len(waits) == len(Wait) - 2  # nothing is no wait


def test_samples_have_the_documented_labels():
    seen = observed(users=served_table())
    seen.recorder.lookup("users", 1)
    seen.recorder.rpc("Get", 0.001)
    seen.recorder.undecodable("users")
    seen.recorder.broker_error("RequestTimedOut")
    labels = {family.name: set(family.labels) for family in METRICS}
    for family in registry_of(seen).collect():
        for sample in family.samples:
            if sample.name.startswith("sidecar"):
                name = family.name if family.type == "histogram" else sample.name
                assert set(sample.labels) - {"le"} == labels[name]


def test_every_family_is_documented_with_a_meaning_and_a_base_unit():
    for family in (*METRICS, *PROCESS_METRICS):
        assert family.meaning.endswith(".")
        assert not family.unit or f"_{family.unit}" in family.name
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert f"`{family.name}`" in markdown()


def test_a_table_is_told_in_numbers():
    samples = samples_of(observed(users=served_table()))
    expected = {
        ("sidecar_table_entries", "users"): 1,
        ("sidecar_table_payload_bytes", "users"): 2,
        ("sidecar_table_lag_offsets", "users"): 2,
        ("sidecar_bootstrap_seconds", "users"): 2.5,
        ("sidecar_generations_total", "start", "users"): 1,
        ("sidecar_fetch_bytes_total", "users"): 300,
        ("sidecar_records_applied_total", "change", "users"): 2,
        ("sidecar_records_applied_total", "unchanged", "users"): 1,
        ("sidecar_records_applied_total", "tombstone", "users"): 1,
        ("sidecar_records_applied_total", "null_key", "users"): 1,
        ("sidecar_table_state", "stale", "users"): 1,
        ("sidecar_table_state", "live", "users"): 0,
    }
    assert {name: samples[name] for name in expected} == expected
    assert samples["sidecar_table_memory_bytes", "users"] > 2


def test_staleness_that_is_not_known_has_no_sample():
    served = served_table(high_watermark=5)
    assert ("sidecar_table_staleness_seconds", "users") not in samples_of(observed(users=served))
    served.view.topology_as_of = 19.0
    samples = samples_of(observed(users=served))
    assert samples["sidecar_table_staleness_seconds", "users"] == 9.0


def test_a_bootstrap_that_is_not_done_has_no_duration():
    samples = samples_of(observed(users=served_table(target=9)))
    assert ("sidecar_bootstrap_seconds", "users") not in samples
    assert samples["sidecar_table_state", "bootstrapping", "users"] == 1


def test_a_table_without_a_view_is_told_by_its_state():
    samples = samples_of(observed(users=Served(Definition(name="users", topic="t"))))
    assert samples["sidecar_table_state", "bootstrapping", "users"] == 1
    assert ("sidecar_table_entries", "users") not in samples


def test_what_was_recorded_is_told():
    seen = observed(users=served_table())
    seen.recorder.lookup("users", 1)
    seen.recorder.lookup("users", 2, 40)
    seen.recorder.lookup("users", 3)
    seen.recorder.undecodable("users")
    seen.recorder.broker_error("RequestTimedOut")
    samples = samples_of(seen)
    assert samples["sidecar_lookups_total", "found", "users"] == 1
    assert samples["sidecar_lookups_total", "absent", "users"] == 40
    assert samples["sidecar_lookups_total", "unknown", "users"] == 1
    assert samples["sidecar_undecodable_total", "users"] == 1
    assert samples["sidecar_broker_errors_total", "RequestTimedOut"] == 1


@pytest.mark.parametrize("bound", BUCKETS)
def test_a_duration_falls_under_its_upper_bound(bound):
    seen = observed()
    seen.recorder.rpc("Get", bound)
    seen.recorder.rpc("Get", 99.0)
    samples = samples_of(seen)
    below = [at for at in BUCKETS if at < bound]
    assert samples["sidecar_rpc_seconds_bucket", str(bound), "Get"] == 1
    assert all(samples["sidecar_rpc_seconds_bucket", str(at), "Get"] == 0 for at in below)
    assert samples["sidecar_rpc_seconds_bucket", "+Inf", "Get"] == 2
    assert samples["sidecar_rpc_seconds_count", "Get"] == 2
    assert samples["sidecar_rpc_seconds_sum", "Get"] == bound + 99.0


def test_two_registries_do_not_know_of_each_other():
    first, second = observed(users=served_table()), observed()
    assert ("sidecar_table_entries", "users") in samples_of(first)
    assert ("sidecar_table_entries", "users") not in samples_of(second)


def test_the_text_is_what_prometheus_parses():
    text = generate_latest(registry_of(observed(users=served_table()))).decode()
    assert len(list(text_string_to_metric_families(text))) == len(METRICS) + len(PROCESS_METRICS)


@pytest.fixture
def busy_collector():
    """Garbage collections that run Python code, so that threads change in the midst of things."""

    def switch(phase, info):
        time.sleep(0)

    thresholds = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(200)
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(switch)


def test_scraping_goes_on_while_the_loop_writes(busy_collector):
    served = served_table()
    seen = observed(users=served)
    registry, stop = registry_of(seen), threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            seen.recorder.lookup(f"t{number % 50}", 1)
            seen.recorder.rpc(f"m{number % 50}", 0.1)
            served.view.progress[number % 200] = Progress(number, 0, 0)
            if number % 50 == 0:
                current = served.current
                served.current = None
                served.current = current

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            generate_latest(registry)
    finally:
        stop.set()
        writer.join()


def test_a_copy_stands_still_while_the_table_goes_on():
    served = served_table()
    copied = still(served)
    served.view.progress[1] = Progress(1, 0, 100)
    served.current = None
    assert copied.ready
    assert list(copied.view.progress) == [0]


def test_the_loops_lag_is_the_worst_lateness_of_late():
    now = [0.0]
    heartbeat = Heartbeat(interval=0.25, clock=lambda: now[0])
    for moment in (0.25, 0.6, 0.85):
        now[0] = moment
        heartbeat.beat()
    assert heartbeat.lag() == pytest.approx(0.1)
    now[0] = 5.0
    assert heartbeat.age() == pytest.approx(4.15)
    assert heartbeat.lag() == pytest.approx(3.9)
    for beat in range(200):
        now[0] = 5.0 + beat * 0.25
        heartbeat.beat()
    assert heartbeat.lag() == 0


def test_the_document_lists_what_the_code_emits():
    document = Path(__file__).parents[2] / "sidecar" / "METRICS.md"
    assert document.read_text(encoding="utf-8").endswith("\n\n" + markdown())
