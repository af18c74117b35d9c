"""Indexes over a real topic: `sidecar list --index` is what a scan and JSON give, in order."""

from __future__ import annotations

import json
import random
import threading

import pytest
from support.producing import produce
from support.scanning import scan
from support.serving import Serving

CITIES = ["Delft", "Delfzijl", "Den Haag", "Gouda", "Ede", "é", ""]
ROLES = ["admin", "adm", "read", "write"]


class Writer(threading.Thread):
    """Writes and deletes users, over and over."""

    def __init__(self, kafka, topic, seed):
        super().__init__(daemon=True)
        self._at, self._topic = kafka.bootstrap_servers, topic
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self.written = 0

    def write(self, number):
        chance = self._chance
        keys = [b"%04d" % chance.randrange(400) for _ in range(number)]
        produce(self._at, self._topic, [(key, self._value()) for key in keys])
        self.written += number

    def _value(self):
        chance = self._chance
        if chance.random() < 0.2:
            return chance.choice([None, None, b"not JSON"])
        tree = {"roles": chance.sample(ROLES, chance.randrange(4)), "n": chance.randrange(100)}
        if chance.random() < 0.9:
            tree["city"] = chance.choice(CITIES)
        return json.dumps(tree).encode()

    def run(self):
        while not self._over.wait(0.05):
            self.write(50)

    def end(self):
        self._over.set()
        self.join()


def texts_of(value, field):
    """The texts by which a record is found."""
    try:
        found = json.loads(value).get(field, [])
    except ValueError:
        return []
    return found if isinstance(found, list) else [found]


def expected(records, field, wanted):
    """Keys in order of the first text that is wanted, then of the key, by a scan and JSON."""
    words = []
    for record in records:
        texts = sorted(filter(wanted, texts_of(record.value, field)), key=str.encode)
        words += [(texts[0].encode(), record.key)] if texts else []
    return [key for _, key in sorted(words)]


def listed(sidecar, *arguments):
    shown = sidecar.run("list", "-o", "jsonl", *arguments)
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


@pytest.fixture
def sidecar(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, 3, cleanup_policy="compact")
    file = tmp_path / "sidecar.yaml"
    table = {"topic": topic_name, "format": "json"}
    table["indexes"] = {"city": "$.city", "role": "$.roles[*]"}
    config = {"kafka": {"bootstrap.servers": kafka.bootstrap_servers}, "tables": {"t": table}}
    file.write_text(json.dumps(config))
    with Serving(tmp_path, "--config", str(file)) as running:
        yield running


def test_an_index_is_in_order_while_records_change_and_at_rest_what_a_scan_gives(
    sidecar, kafka, topic_name
):
    writer = Writer(kafka, topic_name, 1)
    writer.write(1000)
    sidecar.until_ready()
    writer.start()
    for _ in range(3):
        before = writer.written
        for wanted in (["--equals", "Delft"], ["--prefix", "De"], ["--prefix", ""]):
            words = []
            for line in listed(sidecar, "--index", "city", *wanted):
                (city,) = texts_of(line["value"], "city")
                assert city == wanted[1] if wanted[0] == "--equals" else city.startswith(wanted[1])
                words.append((city.encode(), line["key"]))
            assert words, wanted
            assert words == sorted(set(words))
        sidecar.until(lambda before=before: writer.written > before, "more is written")
    writer.end()
    sidecar.until(lambda: sidecar.run("verify").returncode == 0, "all was read")
    records = scan(sidecar.endpoint)
    assert len(records) > 200
    for index, field, texts in (("city", "city", CITIES), ("role", "roles", ROLES)):
        for text in [*texts, "nobody's"]:
            found = [line["key"] for line in listed(sidecar, "--index", index, "--equals", text)]
            wanted = expected(records, field, text.__eq__)
            assert found == [key.decode() for key in wanted], text
        for prefix in ("", "D", "De", "Delf", "ad", "adm"):
            found = [line["key"] for line in listed(sidecar, "--index", index, "--prefix", prefix)]
            wanted = expected(records, field, lambda text, p=prefix: text.startswith(p))
            assert found == [key.decode() for key in wanted], prefix
