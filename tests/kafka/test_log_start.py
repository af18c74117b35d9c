"""A log whose start moves, on a real broker: what a fresh reader would not find is gone."""

from __future__ import annotations

import json

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from support.admin import wait_until
from support.oracle import fold, read_topic
from support.producing import produce
from support.serving import Serving


def test_deleted_records_leave_the_table(tmp_path, kafka, topic_name):
    at = kafka.bootstrap_servers
    kafka.create_topic(topic_name, partitions=2, cleanup_policy="compact,delete")
    produce(at, topic_name, [(b"%d" % number, b"old") for number in range(2000)])
    with Serving(tmp_path, "--bootstrap-servers", at, "--table", f"t={topic_name}") as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        admin = AdminClient({"bootstrap.servers": at})
        for future in admin.delete_records(
            [TopicPartition(topic_name, number, 500) for number in range(2)]
        ).values():
            future.result(30)
        produce(at, topic_name, [(b"new", b"v")])
        left = fold(read_topic(at, topic_name))
        assert 0 < len(left) < 1100

        def as_the_log() -> bool:
            return sidecar.run("get", "new").returncode == 0 and listed() == set(left)

        def listed() -> set[bytes]:
            shown = sidecar.run("list", "-o", "jsonl")
            return {json.loads(line)["key"].encode() for line in shown.stdout.splitlines()}

        wait_until(as_the_log, "the table holds what the log holds")
        assert sidecar.run("verify").returncode == 0
        assert "Traceback" not in sidecar.output
