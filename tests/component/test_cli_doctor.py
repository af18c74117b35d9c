"""`doctor` end to end: a scripted cluster, alone and beneath a sidecar made of stubs."""

import asyncio
import json
import time

import pytest
import yaml
from click.testing import CliRunner
from support.cli_sidecar import FakeSidecar, live, serving
from support.fake_broker import SILENT, FakeCluster, always, edit

from sidecar._pb import admin_pb2
from sidecar.cli import root
from sidecar.core.served import incarnation_of

DAY_MS = 86_400_000


@pytest.fixture
async def fake():
    async with FakeCluster() as cluster:
        yield cluster


def healthy(fake, name="users"):
    topic = fake.add_topic(name, 2, cleanup_policy="compact", delete_retention_ms=DAY_MS)
    topic[0].write([(b"a", b"1" * 100), (b"b", b"2" * 100)])
    return topic


async def doctor(*arguments, **environment):
    given = ["doctor", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, root, given, env=environment)


async def alone(fake, *arguments):
    where = ("--bootstrap-servers", fake.bootstrap_servers, "--topic", "users")
    return await doctor(*where, *arguments)


def levels(result):
    """Each line's level by its check."""
    lines = [text.split(maxsplit=2) for text in result.stdout.splitlines() if text[:2] == "  "]
    return {words[1]: words[0] for words in lines if words[0] in {"ok", "warn", "fail"}}


def line_of(result, check):
    (line,) = [text for text in result.stdout.splitlines() if text.split()[1:2] == [check]]
    return line


# Without a sidecar


async def test_a_healthy_topic_is_ok_and_gives_yaml_to_paste(fake):
    healthy(fake)
    result = await alone(fake)
    assert result.exit_code == 0, result.output
    assert set(levels(result).values()) == {"ok"}
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    _, pasted = result.stdout.split("\n\n")
    manifest = yaml.safe_load(pasted)
    assert manifest["resources"]["limits"]["memory"] == "256Mi"
    assert manifest["startupProbe"]["httpGet"] == {"path": "/startupz", "port": 9464}


async def test_a_topic_that_is_missing_fails_and_is_not_created(fake):
    result = await alone(fake)
    assert result.exit_code == 1
    assert levels(result) == {"brokers": "ok", "topic": "fail"}
    assert "do: check the name, or kafka-topics" in line_of(result, "topic")
    assert fake.topics == {}


async def test_an_open_transaction_is_a_warning(fake):
    healthy(fake)[1].write([(b"c", b"3")], transactional=True, producer_id=5)
    result = await alone(fake)
    assert result.exit_code == 0
    assert levels(result)["transactions"] == "warn"
    assert "partition 1 since offset 0" in line_of(result, "transactions")


async def test_a_topic_that_is_not_compacted_is_a_warning(fake):
    healthy(fake).config["cleanup.policy"] = "delete"
    result = await alone(fake)
    assert result.exit_code == 0
    assert "--add-config cleanup.policy=compact" in line_of(result, "cleanup.policy")


async def test_a_user_who_may_not_read_gets_the_acl_command(fake):
    healthy(fake)
    fake.script.fetch.append(edit(error_code=29))
    result = await alone(fake)
    assert result.exit_code == 1
    assert levels(result)["read"] == "fail"
    assert "kafka-acls --bootstrap-server 127.0.0.1:" in line_of(result, "read")
    assert "resources:" not in result.stdout


async def test_an_old_broker_fails_with_exit_code_1(fake):
    healthy(fake)
    fake.brokers[1].versions[1] = (0, 11)
    result = await alone(fake)
    assert result.exit_code == 1
    assert "Kafka 3.1 or newer is needed; do: upgrade" in line_of(result, "brokers")


async def test_no_broker_at_all_is_exit_code_4(fake):
    await fake.brokers[1].stop()
    result = await alone(fake)
    assert result.exit_code == 4
    assert levels(result) == {"brokers": "fail"}
    assert fake.bootstrap_servers in line_of(result, "brokers")


async def test_a_silent_broker_is_named_in_time(fake):
    fake.script.api_versions.append(always(SILENT))
    began = time.monotonic()
    result = await alone(fake, "--timeout", "1")
    assert time.monotonic() - began < 10
    assert result.exit_code == 4
    assert f"{fake.bootstrap_servers} did not answer" in line_of(result, "brokers")


async def test_json_has_all_of_it(fake):
    healthy(fake)
    shown = json.loads((await alone(fake, "-o", "json")).stdout)
    (table,) = shown["tables"]
    assert (shown["verdict"], table["table"], table["topic"]) == ("ok", None, "users")
    assert table["size"]["entries"] == 2
    assert shown["kubernetes"]["startupProbe"]["failureThreshold"] == 120
    assert {"level", "check", "found", "advice"} == table["findings"][0].keys()


async def test_jsonl_is_a_line_a_finding(fake):
    result = await alone(fake, "-o", "jsonl")
    found = [json.loads(text) for text in result.stdout.splitlines()]
    assert [(one["check"], one["level"]) for one in found] == [("brokers", "ok"), ("topic", "fail")]
    assert {one["topic"] for one in found} == {"users"}
    assert result.exit_code == 1


async def test_the_endpoint_of_the_environment_does_not_stand_in_the_way(fake):
    healthy(fake)
    where = ("--bootstrap-servers", fake.bootstrap_servers, "--topic", "users")
    assert (await doctor(*where, SIDECAR_ENDPOINT="127.0.0.1:1")).exit_code == 0


@pytest.mark.parametrize("other", [("-e", "127.0.0.1:1"), ("-t", "users")])
async def test_a_topic_and_a_sidecar_are_a_usage_error(other):
    assert (await doctor("--topic", "users", *other)).exit_code == 2


async def test_a_topic_without_brokers_is_a_usage_error():
    result = await doctor("--topic", "users")
    assert result.exit_code == 2
    assert "bootstrap.servers" in result.stderr


# With a sidecar


def sidecar_of(fake, *tables):
    names = [one.name for one in tables]
    config = {
        "kafka": {"bootstrap.servers": fake.bootstrap_servers},
        "tables": {name: {"topic": name, "open_transaction_wait_ms": 1000} for name in names},
    }
    return FakeSidecar(tables=list(tables), config_yaml=yaml.safe_dump(config))


def served(topic, **given):
    incarnation = incarnation_of("fake-cluster", str(topic.topic_id))
    measured = {"bootstrap_ms": 30_000, "entries": 2, "payload_bytes": 202, "memory_bytes": 494}
    return live(topic.name, **{"incarnation": incarnation} | measured | given)


async def test_a_sidecar_tells_its_brokers_and_what_it_measured(fake):
    with serving(sidecar_of(fake, served(healthy(fake)))) as endpoint:
        result = await doctor("-e", endpoint)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"sidecar 0.1.0 at {endpoint}, up 1 min 1 s")
    assert set(levels(result).values()) == {"ok"}
    assert "2 entries hold 494 B; the bootstrap took 30.0 s" in line_of(result, "size")
    assert "what was measured" in result.stdout
    # Four bootstraps, and the second for which this sidecar waits for open transactions.
    assert "failureThreshold: 180" in result.stdout


async def test_every_table_of_a_sidecar_is_examined(fake):
    stale = served(
        healthy(fake, "flags"), state=admin_pb2.TABLE_STATE_STALE, reason="the leader is lost"
    )
    with serving(sidecar_of(fake, served(healthy(fake)), stale)) as endpoint:
        shown = json.loads((await doctor("-e", endpoint, "-o", "json")).stdout)
        one = await doctor("-e", endpoint, "-t", "users")
    assert [each["table"] for each in shown["tables"]] == ["users", "flags"]
    assert shown["verdict"] == "warn"
    assert "flags" not in one.stdout


async def test_a_topic_that_was_created_again_fails(fake):
    known = served(healthy(fake))
    healthy(fake)
    with serving(sidecar_of(fake, known)) as endpoint:
        result = await doctor("-e", endpoint)
    assert result.exit_code == 1
    assert levels(result)["incarnation"] == "fail"


async def test_what_the_sidecar_says_is_shown_when_its_brokers_are_gone(fake):
    known = served(healthy(fake))
    await fake.brokers[1].stop()
    with serving(sidecar_of(fake, known)) as endpoint:
        result = await doctor("-e", endpoint)
    assert result.exit_code == 4
    assert levels(result)["brokers"] == "fail"
    assert levels(result)["state"] == "ok"


async def test_no_sidecar_is_exit_code_4():
    assert (await doctor("-e", "127.0.0.1:1", "--timeout", "3")).exit_code == 4
