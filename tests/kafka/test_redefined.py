"""A table redefined under load: real topic, a producer, lookups and watches all the while."""

from __future__ import annotations

import json
import threading

import grpc
from support.producing import produce
from support.scanning import scan
from support.serving import Serving

from sidecar._pb import cache_pb2 as pb
from sidecar._pb import cache_pb2_grpc

KEYS = [b"%d" % number for number in range(200)]
OLD, NEW = {"id", "name"}, {"id"}


class Worker(threading.Thread):
    """Does one thing over and over until it is told to end; what it raises is kept."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.fault = threading.Event(), None

    def run(self):
        try:
            self.work()
        except Exception as fault:
            self.fault = fault

    def end(self):
        self.over.set()
        self.join(60)
        assert self.fault is None, self.fault


class Writer(Worker):
    """Writes all keys, at some thousand records a second."""

    def __init__(self, kafka, topic):
        super().__init__()
        self._at, self._topic, self.rounds = kafka.bootstrap_servers, topic, 0

    def write(self, without=()):
        self.rounds += 1
        values = {key: json.dumps({"id": self.rounds, "name": "x" * 20}).encode() for key in KEYS}
        records = [(key, None if key in without else value) for key, value in values.items()]
        produce(self._at, self._topic, records)

    def work(self):
        while not self.over.is_set():
            self.write()


class Lookups(Worker):
    """Looks keys up; keeps the fields and the id of each answer, or the error."""

    def __init__(self, endpoint, key):
        super().__init__()
        self._endpoint, self._key, self.answers = endpoint, key, []

    def work(self):
        with grpc.insecure_channel(self._endpoint) as channel:
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            while not self.over.is_set():
                record = stub.Get(pb.GetRequest(key=self._key), timeout=10).record
                tree = json.loads(record.value)
                self.answers.append((frozenset(tree), tree["id"]))


class Watch(Worker):
    """A watch: the shapes that it was told, by the generation, and what it holds."""

    def __init__(self, endpoint, *, snapshot_on_reset):
        super().__init__()
        self._endpoint, self._on_reset = endpoint, snapshot_on_reset
        self.shapes, self.held, self.kinds, self.refused = {}, {}, [], None
        self.begun = threading.Event()

    def work(self):
        request = pb.WatchRequest(snapshot={}, snapshot_on_reset=self._on_reset)
        with grpc.insecure_channel(self._endpoint) as channel:
            self._call = cache_pb2_grpc.CacheServiceStub(channel).Watch(request)
            try:
                for response in self._call:
                    for event in response.events:
                        self._meet(response.generation, event)
            except grpc.RpcError as error:
                self.refused = error.code(), error.details()

    def _meet(self, generation, event):
        kind = event.WhichOneof("event")
        if kind == "upsert":
            value = event.upsert.value
            self.held[event.upsert.key] = value
            self.shapes.setdefault(generation, set()).add(frozenset(json.loads(value)))
        elif kind == "deletion":
            self.held.pop(event.deletion.key, None)
        else:
            self.kinds += [kind] if kind != "progress" else []
            self.held = {} if kind == "reset" else self.held
            self.begun.set()

    def end(self):
        self._call.cancel()
        super().end()


def configured(path, kafka, topic, **table):
    tables = {"t": {"topic": topic, "format": "json"} | table}
    config = {"kafka": {"bootstrap.servers": kafka.bootstrap_servers}, "tables": tables}
    path.write_text(json.dumps(config))


def test_a_projection_changes_under_load_without_a_gap_and_never_back(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, 3, cleanup_policy="compact")
    path, writer = tmp_path / "sidecar.yaml", Writer(kafka, topic_name)
    configured(path, kafka, topic_name)
    writer.write()
    with Serving(tmp_path, "--config", str(path)) as sidecar:
        sidecar.until_ready()
        lookups = [Lookups(sidecar.endpoint, key) for key in KEYS[:2]]
        once = Watch(sidecar.endpoint, snapshot_on_reset=False)
        again = Watch(sidecar.endpoint, snapshot_on_reset=True)
        workers = [writer, *lookups, once, again]
        for worker in workers:
            worker.start()
        sidecar.until(lambda: once.begun.is_set() and again.begun.is_set(), "the watches")
        sidecar.until(lambda: min(len(one.answers) for one in lookups) > 50, "lookups")
        written = writer.rounds
        configured(path, kafka, topic_name, project=["$.id"])
        sidecar.until(
            lambda: all(one.answers[-1][0] == NEW for one in lookups), "the new one is served"
        )
        assert writer.rounds > written, "it was written to meanwhile"
        swapped = [len(one.answers) for one in lookups]
        sidecar.until(
            lambda: all(len(one.answers) > n + 50 for one, n in zip(lookups, swapped, strict=True)),
            "lookups of the new one",
        )
        sidecar.until(lambda: not once.is_alive(), "the watch that asked for no reset ended")
        sidecar.until(lambda: again.kinds.count("snapshot_end") == 2, "the other went on")
        for worker in (writer, *lookups):
            worker.end()
        writer.write(without=KEYS[:5])
        sidecar.until(lambda: sidecar.run("verify").returncode == 0, "all was read")
        table = {record.key: record.value for record in scan(sidecar.endpoint)}
        assert set(table) == set(KEYS[5:])
        sidecar.until(lambda: again.held == table, "the watch is the table")
        again.end()
        told = sidecar.status()["tables"][0]
    for one in lookups:
        shapes, ids = zip(*one.answers, strict=True)
        first = shapes.index(NEW)
        assert set(shapes[:first]) == {frozenset(OLD)}
        assert set(shapes[first:]) == {frozenset(NEW)}
        assert list(ids) == sorted(ids), "no answer is older than the one before it"
    assert once.refused[0] is grpc.StatusCode.OUT_OF_RANGE, once.refused
    assert "built anew" in once.refused[1]
    assert list(once.shapes.values()) == [{frozenset(OLD)}]
    assert again.kinds == ["snapshot_end", "reset", "snapshot_end"]
    assert list(again.shapes.values()) == [{frozenset(OLD)}, {frozenset(NEW)}]
    assert (told["state"], told["generations"]) == ("LIVE", 2)
