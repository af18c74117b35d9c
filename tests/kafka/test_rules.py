"""A table with rules on a real topic: the fold of what they leave, told once more in plain Python.

The log is read by librdkafka, and the rules here share nothing with the sidecar's.
"""

from __future__ import annotations

import json
import random
import time

from support.admin import QUICKLY_COMPACTED
from support.oracle import read_topic
from support.producing import Outgoing, produce
from support.scanning import scan
from support.serving import Serving

LIFE_MS = 3_600_000
TABLE = {
    "format": "json",
    "filter_key_prefix": "eu/",
    "filter_path": "$.state",
    "filter_any_of": ["on", 1],
    "project": ["$.state", "$.at.city"],
    "expire_after_ms": LIFE_MS,
}
STATES = ["on", "off", 1, True, None, ["on"]]


def now_ms():
    return time.time_ns() // 1_000_000


def ruled(value, timestamp_ms, at_ms):
    """What the table keeps of a value, parsed; None: it ends what its key had."""
    if value is None or timestamp_ms < at_ms - LIFE_MS:
        return None
    try:
        tree = json.loads(value)
    except ValueError:
        return value
    state = tree.get("state")
    if isinstance(state, bool) or state not in ("on", 1):
        return None
    kept = {"state": state}
    if "at" in tree:
        kept["at"] = {"city": tree["at"]["city"]} if "city" in tree["at"] else {}
    return kept


def expected(kafka, topic):
    """Key → what is kept, partition, offset."""
    table, at_ms = {}, now_ms()
    for partition, records in read_topic(kafka.bootstrap_servers, topic).items():
        for record in records:
            if not record.key.startswith(b"eu/"):
                continue
            kept = ruled(record.value, record.timestamp_ms, at_ms)
            table.pop(record.key, None)
            if kept is not None:
                table[record.key] = kept, partition, record.offset
    return table


def served(sidecar):
    table = {}
    for record in scan(sidecar.endpoint):
        try:
            value = json.loads(record.value)
        except ValueError:
            value = record.value
        table[record.key] = value, record.partition, record.offset
    return table


class Writer:
    """Writes a topic of three partitions; a key is only ever written to one of them."""

    def __init__(self, kafka, topic, seed):
        self.kafka, self.topic, self.chance = kafka, topic, random.Random(seed)

    def write(self, number):
        records = [self._record() for _ in range(number)]
        produce(self.kafka.bootstrap_servers, self.topic, records)

    def _record(self):
        chance, key = self.chance, self.chance.randrange(60)
        name = b"%s/%d" % (chance.choice([b"eu", b"eu", b"us"]), key)
        age_ms = chance.choice([0, 0, 0, LIFE_MS - 15_000, 2 * LIFE_MS])
        return Outgoing(name, self._value(), key % 3, now_ms() - age_ms)

    def _value(self):
        chance = self.chance
        if chance.random() < 0.25:
            return chance.choice([None, b"not JSON", b""])
        tree = {"state": chance.choice(STATES), "secret": "x" * 50}
        if chance.random() < 0.7:
            tree["at"] = chance.choice([{"city": "Delft", "zip": 1}, {"zip": 2}])
        return json.dumps(tree, indent=chance.choice([None, 1])).encode()


def serving(folder, kafka, topic):
    file = folder / "sidecar.yaml"
    tables = {"t": {"topic": topic} | TABLE}
    config = {"kafka": {"bootstrap.servers": kafka.bootstrap_servers}, "tables": tables}
    file.write_text(json.dumps(config))
    return Serving(folder, "--config", str(file))


def until_equal(sidecar, kafka, topic):
    sidecar.until(lambda: served(sidecar) == expected(kafka, topic), "the oracle's table")
    assert served(sidecar)
    told = sidecar.run("verify")
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_table_with_rules_is_what_they_leave_of_the_log_compacted_or_not(
    tmp_path, kafka, topic_name
):
    kafka.create_topic(topic_name, 3, **QUICKLY_COMPACTED)
    writer = Writer(kafka, topic_name, 1)
    writer.write(300)
    with serving(tmp_path, kafka, topic_name) as sidecar:
        sidecar.until_ready()
        until_equal(sidecar, kafka, topic_name)
        for _ in range(3):
            writer.write(100)
            until_equal(sidecar, kafka, topic_name)
        kafka.wait_compacted(topic_name, tombstones=True)
        until_equal(sidecar, kafka, topic_name)
        writer.write(100)
        until_equal(sidecar, kafka, topic_name)
        # One that reads the compacted log from its start holds the same.
        with serving(tmp_path, kafka, topic_name) as other:
            other.until_ready()
            until_equal(other, kafka, topic_name)
            assert served(other) == served(sidecar)
        kinds = {type(value) for value, *_ in served(sidecar).values()}
        assert kinds == {dict, bytes}, "some are no JSON, and kept all the same"
        assert "Traceback" not in sidecar.output


def test_what_grows_too_old_goes_although_the_log_still_holds_it(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, **QUICKLY_COMPACTED)
    soon, later = now_ms() - LIFE_MS + 8_000, now_ms()
    records = [Outgoing(b"eu/old", b'{"state":1}', None, soon - 60_000),
               Outgoing(b"eu/soon", b'{"state":1}', None, soon),
               Outgoing(b"eu/late", b'{"state":1}', None, later)]  # fmt: skip
    produce(kafka.bootstrap_servers, topic_name, records)
    with serving(tmp_path, kafka, topic_name) as sidecar:
        sidecar.until_ready()
        assert b"eu/old" not in served(sidecar)
        sidecar.until(lambda: set(served(sidecar)) == {b"eu/late"}, "it grew too old")
        assert now_ms() > soon + LIFE_MS, "not before its time"
        held = read_topic(kafka.bootstrap_servers, topic_name)[0]
        assert b"eu/soon" in {record.key for record in held}
        assert sidecar.run("verify").returncode == 0
        assert sidecar.status()["tables"][0]["counters"]["aged"] == 1
