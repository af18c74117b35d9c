"""A real broker, and a topic or a log that is not what it was, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.admin import QUICKLY_COMPACTED, wait_until
from support.kafka import KafkaCluster
from support.oracle import fold, read_topic
from support.producing import produce
from support.proxy import TcpProxy
from support.serving import Serving


def served(sidecar: Serving) -> dict[bytes, str]:
    """The table as `list` shows it; empty while it does not answer."""
    shown = sidecar.run("list", "-o", "jsonl")
    records = [json.loads(line) for line in shown.stdout.splitlines()]
    return {record["key"].encode(): record["value"] for record in records}


def table(sidecar: Serving) -> dict:
    return sidecar.status()["tables"][0]


def serving(tmp_path: Path, bootstrap: str, topic: str, **variables: str) -> Serving:
    return Serving(tmp_path, "--bootstrap-servers", bootstrap, "--table", f"t={topic}", **variables)


def until_equal(sidecar: Serving, bootstrap: str, topic: str, timeout: float = 30) -> None:
    expected = {
        key: each.value.decode() for key, each in fold(read_topic(bootstrap, topic)).items()
    }
    sidecar.until(lambda: served(sidecar) == expected, f"{expected}", timeout)


class Paused:
    """The sidecar does not run meanwhile; `since` is when it began to run again."""

    def __init__(self, sidecar: Serving) -> None:
        self._pid = sidecar.pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def test_a_topic_re_created_with_as_many_records_while_the_sidecar_was_stopped(
    tmp_path, kafka, topic_name
):
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name)
    produce(at, topic_name, [(b"%d" % number, b"old") for number in range(50)])
    with serving(tmp_path, at, topic_name) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        before = table(sidecar)["incarnation"]
        with Paused(sidecar):
            kafka.delete_topic(topic_name)
            kafka.create_topic(topic_name)
            produce(at, topic_name, [(b"%d" % number, b"new") for number in range(50)])
        woke = time.monotonic()
        wait_until(lambda: b"old" not in _answer(sidecar), "no answer from the old one", 10)
        assert time.monotonic() - woke < 10
        sidecar.until(lambda: set(served(sidecar).values()) == {"new"}, "the new topic")
        assert table(sidecar)["incarnation"] != before
        for _ in range(20):
            assert b"new" in _answer(sidecar)
        assert "Traceback" not in sidecar.output


def _answer(sidecar: Serving) -> bytes:
    return sidecar.run("get", "7", "-o", "value").stdout.encode()


def test_keys_deleted_and_their_tombstones_compacted_away_while_the_sidecar_was_stopped(
    tmp_path, kafka, topic_name
):
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name, **QUICKLY_COMPACTED)
    produce(at, topic_name, [(b"%d" % number, b"v") for number in range(20)])
    with serving(tmp_path, at, topic_name) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        assert len(served(sidecar)) == 20
        with Paused(sidecar):
            produce(at, topic_name, [(b"last", b"v")])  # what a fetch under way still takes
            produce(at, topic_name, [(b"%d" % number, None) for number in range(10)])
            kafka.wait_compacted(topic_name, tombstones=True)
        until_equal(sidecar, at, topic_name)
        told = table(sidecar)
        assert told["counters"]["missed_tombstones"] == 10
        assert told["generations"] == 1
        sidecar.until(lambda: table(sidecar)["state"] == "LIVE", "live")
        assert sidecar.run("verify").returncode == 0
        assert "Traceback" not in sidecar.output


def test_a_bootstrap_becomes_ready_where_tombstones_are_kept_for_no_time(
    tmp_path, kafka, topic_name
):
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name, **QUICKLY_COMPACTED)
    produce(at, topic_name, [(b"%d" % (number % 500), b"v") for number in range(5000)])
    produce(at, topic_name, [(b"%d" % number, None) for number in range(100)])
    with serving(tmp_path, at, topic_name) as sidecar:
        assert sidecar.run("wait", "--ready", "--timeout", "30").returncode == 0
        until_equal(sidecar, at, topic_name)
        sidecar.until(lambda: table(sidecar)["state"] == "LIVE", "live")


def test_a_deleted_topic_stays_deleted_and_the_sidecar_says_so(tmp_path, kafka, topic_name):
    """The broker would create it for anyone who asks in the wrong way."""
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name)
    produce(at, topic_name, [(b"k", b"v")])
    with serving(tmp_path, at, topic_name) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        kafka.delete_topic(topic_name)
        sidecar.until(lambda: table(sidecar)["state"] == "REPLACED", "replaced", 10)
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "REPLACED" in told.stdout
        refused = sidecar.run("get", "k")
        assert refused.returncode == 3
        assert "TOPIC_MISSING" in refused.stderr or "does not exist" in refused.stderr
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            assert topic_name not in kafka.topics()
            time.sleep(0.2)
        kafka.create_topic(topic_name)
        produce(at, topic_name, [(b"k", b"again")])
        sidecar.until(lambda: served(sidecar) == {b"k": "again"}, "the new topic")


def test_a_log_that_an_unclean_election_cut_is_read_anew(tmp_path, kafka, topic_name):
    """DeleteRecords up to the end cuts what is next: the position is below the log's start."""
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name, cleanup_policy="compact,delete")
    produce(at, topic_name, [(b"%d" % number, b"v") for number in range(50)])
    with serving(tmp_path, at, topic_name) as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        with Paused(sidecar):
            produce(at, topic_name, [(b"%d" % number, b"w") for number in range(50, 80)])
            kafka.delete_records(topic_name, {0: 70})
        until_equal(sidecar, at, topic_name)
        assert set(served(sidecar)) == {b"%d" % number for number in range(70, 80)}


@pytest.mark.slow
def test_all_brokers_at_other_ports_behind_the_same_bootstrap_address(tmp_path):
    with KafkaCluster() as kafka, TcpProxy("127.0.0.1", kafka.port(1)) as door:
        kafka.create_topic("t")
        produce(kafka.bootstrap_servers, "t", [(b"k", b"before")])
        with serving(tmp_path, door.address, "t") as sidecar:
            assert sidecar.run("wait", "--ready").returncode == 0
            pid = sidecar.pid
            kafka.move(1)
            door.target = ("127.0.0.1", kafka.port(1))
            produce(kafka.bootstrap_servers, "t", [(b"k", b"after")])
            sidecar.until(lambda: served(sidecar) == {b"k": "after"}, "following again", 30)
            assert (sidecar.pid, sidecar.running) == (pid, True)
            assert table(sidecar)["generations"] == 1, sidecar
