"""The Python client's mirror of a real topic: deletions, growth, another topic of the name."""

from __future__ import annotations

import threading

from kafka_cache_client import NotReady, connect
from support.admin import wait_until
from support.oracle import fold, read_topic
from support.producing import Outgoing, produce
from support.serving import Serving


class Told:
    """What a follower of changes makes of them."""

    def __init__(self):
        self.records, self.wrong = {}, []

    def apply(self, change):
        if self.records.get(change.key) != change.old:
            self.wrong.append(change)
        if change.new is None:
            self.records.pop(change.key)
        else:
            self.records[change.key] = change.new


def held_by(mirror):
    """What it holds, in the oracle's words; None while it does not answer."""
    try:
        records = mirror.records()
    except NotReady:
        return None
    return {r.key: (r.value, r.partition, r.offset, r.timestamp_ms) for r in records}


def truth(kafka, topic, prefix=b""):
    folded = fold(read_topic(kafka.bootstrap_servers, topic))
    return {key: tuple(one)[:4] for key, one in folded.items() if key.startswith(prefix)}


def test_a_mirror_ends_as_the_topic_whatever_becomes_of_that(tmp_path, kafka, topic_name):
    at = kafka.bootstrap_servers

    def write(names, value, partition):
        produce(at, topic_name, [Outgoing(name, value, partition) for name in names])

    def until_equal(what):
        for prefix, mirror in mirrors.items():
            expected = truth(kafka, topic_name, prefix)
            wait_until(
                lambda m=mirror, e=expected: held_by(m) == e, f"{what}: {mirror!r} {mirror.failure}"
            )
        assert held_by(whole), what

    kafka.create_topic(topic_name, 2, cleanup_policy="compact")
    for partition in range(2):
        write([b"a%d/%d" % (partition, n) for n in range(300)], b"1", partition)
    with (
        Serving(tmp_path, "--bootstrap-servers", at, "--table", f"t={topic_name}") as sidecar,
        connect(sidecar.endpoint) as client,
    ):
        sidecar.until_ready()
        told = Told()
        whole = client.mirror(progress=0.1, on_change=told.apply)
        mirrors = {b"": whole, b"a1/": client.mirror(progress=0.1, prefix="a1/")}
        try:
            until_equal("as it began")
            write([b"a0/%d" % n for n in range(0, 300, 2)], None, 0)
            write([b"a1/%d" % n for n in range(0, 300, 3)], None, 1)
            write([b"a1/%d" % n for n in range(0, 300, 5)], b"2", 1)
            until_equal("deletions")
            kafka.add_partitions(topic_name, 4)
            for partition in (2, 3):
                write([b"a%d/%d" % (partition, n) for n in range(100)], b"1", partition)
            until_equal("partitions that were added")
            assert {record.partition for record in whole.records()} == {0, 1, 2, 3}
            kafka.delete_topic(topic_name)
            wait_until(lambda: not whole.ready, "nothing of a topic that is gone is answered")
            kafka.create_topic(topic_name, 3, cleanup_policy="compact")
            write([b"a1/%d" % n for n in range(50)], b"3", 2)
            write([b"a1/%d" % n for n in range(0, 50, 2)], None, 2)
            wait_until(lambda: whole.ready, "the topic that has its name now")
            until_equal("another topic")
            assert whole.staleness is not None
            assert (told.wrong, told.records) == ([], {r.key: r for r in whole.records()})
            assert whole.callback_errors == 0
        finally:
            for mirror in mirrors.values():
                mirror.close()
    assert not [one for one in threading.enumerate() if "kafka-cache-mirror" in one.name]
    assert "Traceback" not in sidecar.output
