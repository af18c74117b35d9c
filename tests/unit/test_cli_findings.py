"""What `doctor` finds in given facts, and what it says to do."""

import re
from pathlib import Path

import pytest
import yaml
from support.cli_sidecar import live

from sidecar._pb import admin_pb2
from sidecar.cli.findings import FAIL, OK, WARN, findings
from sidecar.cli.sizing import ENTRY_BYTES, Facts, Size, pod_for, size_of
from sidecar.core.model import Batch, Fetched, LogBounds
from sidecar.core.progress import Leader, Progress
from sidecar.core.served import Definition, Generation, Served, Source
from sidecar.core.view import View
from sidecar.kafka.examine import BrokerFacts, Examined, PartitionFacts, Sample

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
BROKER = BrokerFacts(1, "kafka:9092")
LEADER = Leader(1, 0)
SAMPLE = Sample(records=10, tombstones=0, payload_bytes=1160)


def part(number=0, start=0, end=700_000, stable=None, **given):
    stable = end if stable is None else stable
    return PartitionFacts(number, LEADER, start, end, stable)._replace(**given)


def examined(**given):
    known = {
        "topic": "users",
        "brokers": (BROKER,),
        "error_code": 0,
        "topic_id": "id",
        "incarnation": 7,
        "partitions": (part(),),
        "config": {"cleanup.policy": "compact", "delete.retention.ms": str(DAY_MS)},
        "sample": SAMPLE,
    }
    return Examined(**known | given)


def facts(table=None, *, login="", committed=True, **given):
    return Facts(
        examined=examined(**given),
        table=table,
        servers="kafka:9092",
        login=login,
        committed=committed,
    )


def of(check, known):
    (one,) = [finding for finding in findings(known) if finding.check == check]
    return one


def configured(**config):
    return facts(config={name.replace("_", "."): value for name, value in config.items()})


def table(**given):
    return live(incarnation=7, bootstrap_ms=2000, entries=1000, memory_bytes=262_000, **given)


def test_a_healthy_topic_gives_ok_from_every_check():
    found = findings(facts(table()))
    assert {one.level for one in found} == {OK}
    assert [one.check for one in found] == [
        *("brokers", "topic", "leaders", "cleanup.policy", "delete.retention.ms", "read"),
        *("transactions", "size", "state", "current", "waits", "incarnation"),
    ]
    assert not any(one.advice for one in found)


def test_without_a_sidecar_nothing_is_said_of_one():
    checks = {one.check for one in findings(facts())}
    assert not checks & {"state", "current", "waits", "incarnation"}


# The cluster


def test_a_leader_that_does_not_answer_fails_and_is_named():
    one = of("brokers", facts(brokers=(BROKER._replace(fault="kafka:9092 refuses"),)))
    assert (one.level, one.found) == (FAIL, "kafka:9092 refuses")
    assert "advertise" in one.advice


def test_a_broker_that_leads_nothing_of_the_topic_is_only_a_warning():
    other = BrokerFacts(9, "other:9092", "other:9092 refuses")
    assert of("brokers", facts(brokers=(BROKER, other))).level == WARN


def test_an_old_broker_fails_with_the_release_that_is_needed():
    old = BrokerFacts(-1, "kafka:9092", "Kafka 3.1 or newer is needed", too_old=True)
    (one,) = findings(Facts(examined=Examined(topic="users", brokers=(old,))))
    assert (one.level, one.advice) == (FAIL, "upgrade them")


def test_a_missing_topic_fails_with_the_command_that_creates_it():
    one = of("topic", facts(error_code=3, partitions=(), sample=None))
    assert one.level == FAIL
    assert "kafka-topics --bootstrap-server kafka:9092 --create --topic users" in one.advice


def test_of_a_missing_topic_nothing_else_is_judged():
    known = facts(error_code=3, partitions=(), config={}, sample=None)
    assert [one.check for one in findings(known)] == ["brokers", "topic"]


def test_a_topic_that_may_not_be_described_needs_an_acl_for_this_user():
    one = of("topic", facts(login="app", error_code=29, partitions=(), sample=None))
    assert one.level == FAIL
    assert "--allow-principal User:app --operation Read --topic users" in one.advice


def test_any_other_answer_is_told_by_its_number():
    assert "error 17" in of("topic", facts(error_code=17, partitions=(), sample=None)).found


def test_partitions_without_a_leader_fail_and_many_are_counted():
    parts = tuple(part(number, fault="it has no leader") for number in range(7))
    one = of("leaders", facts(partitions=parts))
    assert one.level == FAIL
    assert one.found.startswith("partition 0: it has no leader; partition 1:")
    assert one.found.endswith("; and 2 more")


def test_ends_that_were_not_told_in_time_fail():
    assert of("leaders", facts(partitions=(part(end=-1),))).level == FAIL


# The topic


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("compact", OK, "compact"),
        ("compact,delete", WARN, "without a tombstone"),
        ("delete, compact", WARN, "without a tombstone"),
        ("delete", WARN, "not compact"),
    ],
)
def test_the_cleanup_policy_is_compact_or_a_warning(policy, level, says):
    one = of("cleanup.policy", configured(cleanup_policy=policy))
    assert one.level == level
    assert says in one.found
    assert bool(one.advice) == (level == WARN)


def test_settings_that_are_not_told_are_warnings_with_the_acl_command():
    known = facts(config={})
    for check in ("cleanup.policy", "delete.retention.ms"):
        one = of(check, known)
        assert one.level == WARN
        assert "kafka-acls" in one.advice
        assert "--operation DescribeConfigs" in one.advice


def test_what_the_sidecar_was_told_stands_in_for_what_this_user_is_not():
    known = facts(table(cleanup_policy="compact", delete_retention_ms=DAY_MS), config={})
    assert of("cleanup.policy", known).level == OK
    assert of("delete.retention.ms", known).level == OK


@pytest.mark.parametrize(
    ("retention_ms", "level"), [("2000", OK), ("1999", WARN), ("0", WARN), (str(DAY_MS), OK)]
)
def test_a_bootstrap_over_half_of_delete_retention_is_a_warning(retention_ms, level):
    known = configured(cleanup_policy="compact", delete_retention_ms=retention_ms)
    assert size_of(known).bootstrap_ms == 1000
    assert of("delete.retention.ms", known).level == level


def test_delete_retention_is_held_against_the_measured_bootstrap():
    known = Facts(
        examined=examined(config={"delete.retention.ms": "3000"}), table=table()
    )  # fmt: skip
    one = of("delete.retention.ms", known)
    assert one.level == WARN
    assert "a bootstrap took 2.0 s" in one.found


def test_tombstones_of_a_topic_that_is_not_compacted_are_of_no_matter():
    known = configured(cleanup_policy="delete", delete_retention_ms="0")
    assert of("delete.retention.ms", known).level == OK


def test_a_refused_fetch_fails_with_the_acl_command():
    one = of("read", facts(sample=Sample(errors=frozenset({"TOPIC_AUTHORIZATION_FAILED"}))))
    assert one.level == FAIL
    assert "--operation Read --topic users" in one.advice


def test_a_sample_that_cannot_be_decoded_fails():
    one = of("read", facts(sample=Sample(faults=("partition 0: wrong CRC",))))
    assert (one.level, one.found) == (FAIL, "partition 0: wrong CRC")


def test_an_open_transaction_is_named_by_partition_and_offset():
    known = facts(partitions=(part(0), part(1, stable=41)))
    one = of("transactions", known)
    assert one.level == WARN
    assert one.found.startswith("open: partition 1 since offset 41;")
    assert "find-hanging --topic users" in one.advice


def test_under_read_uncommitted_open_transactions_are_of_no_matter():
    assert of("transactions", facts(committed=False, partitions=(part(stable=4),))).level == OK


def test_what_is_not_known_is_not_said_to_be_well():
    known = facts(partitions=(part(0), part(1, end=-1)))
    assert of("transactions", known).found == "none is open, as far as is known: 1 not told"
    assert "not compared" in of("delete.retention.ms", known).found


# The running sidecar


def of_state(state, **given):
    return facts(table(state=state, **given))


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (admin_pb2.TABLE_STATE_LIVE, OK),
        (admin_pb2.TABLE_STATE_STALE, WARN),
        (admin_pb2.TABLE_STATE_BOOTSTRAPPING, WARN),
        (admin_pb2.TABLE_STATE_FAILED, FAIL),
        (admin_pb2.TABLE_STATE_REPLACED, FAIL),
    ],
)
def test_a_table_that_cannot_answer_without_an_operator_fails(state, level):
    one = of("state", of_state(state, reason="because"))
    assert one.level == level
    assert ("because" in one.found) == (level != OK)
    assert bool(one.advice) == (level != OK)


def test_a_stale_table_tells_its_staleness_and_lag():
    behind = [admin_pb2.PartitionInfo(lag=1200), admin_pb2.PartitionInfo(partition=1, lag=-1)]
    one = of("current", of_state(admin_pb2.TABLE_STATE_STALE, partitions=behind))
    assert one.level == WARN
    assert one.found == "staleness 12 ms, 1 200 offsets to read"


def test_a_wait_is_told_with_its_partition():
    waiting = [admin_pb2.PartitionInfo(partition=3, wait=5, detail="throttled by 90 ms")]
    one = of("waits", facts(table(partitions=waiting)))
    assert (one.level, one.found) == (WARN, "partition 3: throttled by 90 ms")
    assert "quota" in one.advice


def test_a_table_of_another_life_of_the_topic_fails():
    assert of("incarnation", facts(table(), incarnation=8)).level == FAIL


def test_before_the_sidecar_has_found_its_topic_incarnations_are_not_compared():
    checks = {one.check for one in findings(facts(live(incarnation=0)))}
    assert "incarnation" not in checks


# Memory and time


def test_an_estimate_takes_each_offset_for_a_record_as_large_as_the_sample():
    size = size_of(facts(partitions=(part(0, 100, 1100), part(1, 0, 0))))
    assert size == Size(1000, 116_000, 1000 * ENTRY_BYTES + 116_000, 1)


def test_large_values_are_bound_by_bytes_not_records():
    assert size_of(facts(sample=Sample(1, 0, 2500))).bootstrap_ms == 7000


def test_what_was_measured_goes_before_an_estimate():
    size = size_of(facts(table()))
    assert (size.entries, size.memory_bytes, size.bootstrap_ms) == (1000, 262_000, 2000)
    assert size.measured


@pytest.mark.parametrize(
    "given",
    [
        {"partitions": ()},
        {"partitions": (part(fault="it has no leader"),)},
        {"sample": None},
        {"sample": Sample()},
    ],
)
def test_without_ends_or_a_sample_there_is_no_estimate(given):
    known = facts(**given)
    assert size_of(known) is None
    assert not [one for one in findings(known) if one.check == "size"]


def test_an_empty_topic_needs_no_sample():
    known = facts(partitions=(part(end=0),), sample=Sample())
    assert of("size", known).found == "the topic is empty"


def test_an_entry_is_counted_as_the_sidecar_counts_it():
    class Rec:
        offset, key, value, timestamp, headers = 0, b"k", b"value", 0, ()

    served = Served(Definition(name="t", topic="t"))
    view = View("t", 7, 8, (Progress(0, 0, 1),))
    served.begin(Generation(Source("cluster", "id", 7), view, 0.0))
    batch = Batch([Rec()], 0, 0, 1)
    list(served.view.fold(Fetched(0, iter([batch]), LogBounds(0, 1, 1), 1.0, None, 1), 5))
    assert served.memory_bytes() == ENTRY_BYTES + len(b"k" + b"value")


# The pod


def test_a_pod_gets_the_memory_that_the_manifests_readme_works_out():
    readme = (ROOT / "k8s/README.md").read_text(encoding="utf-8")
    assert re.search(r"128 MiB \+ 1\.5 . entries . \(key \+ value \+ 180 B\)", readme)
    assert "`640Mi`" in readme
    assert pod_for([Size(1_000_000, 116_000_000, 0, 1)]).memory_bytes == 640 << 20


def test_a_pod_gets_no_less_than_the_process_holds_now():
    assert pod_for([Size(1, 1, 1, 1)], resident_bytes=1 << 30).memory_bytes == 1536 << 20


def test_time_to_start_is_several_bootstraps_and_the_longest_open_transaction():
    assert pod_for([Size(1, 1, 1, 1000)]).startup_s == 120
    assert pod_for([Size(1, 1, 1, 60_000)], wait_ms=0).startup_s == 240


def test_measured_bootstraps_ran_side_by_side_and_estimated_ones_add_up():
    measured = Size(1, 1, 1, 60_000, measured=True)
    assert pod_for([measured, measured], wait_ms=0).startup_s == 240
    assert pod_for([measured, Size(1, 1, 1, 60_000)], wait_ms=0).startup_s == 480


def test_the_manifest_sets_what_the_deployment_sets():
    documents = yaml.safe_load_all((ROOT / "k8s/deployment.yaml").read_text(encoding="utf-8"))
    (container,) = next(documents)["spec"]["template"]["spec"]["initContainers"]
    ours = pod_for([Size(1, 1, 1, 1)]).manifest()
    probe, known = ours["startupProbe"], container["startupProbe"]
    assert probe.keys() == known.keys()
    assert probe["httpGet"]["path"] == known["httpGet"]["path"]
    assert probe["httpGet"]["port"] in [port["containerPort"] for port in container["ports"]]
    assert ours["resources"].keys() == container["resources"].keys()
    assert ours["resources"]["requests"]["cpu"] == container["resources"]["requests"]["cpu"]
    assert ours["resources"]["requests"]["memory"] == ours["resources"]["limits"]["memory"]
