"""A configuration that changes while the sidecar runs: lookups are answered all the time."""

from __future__ import annotations

import signal
import threading

import grpc
from support.serving import Serving

from sidecar._pb import cache_pb2, cache_pb2_grpc

CONFIG = """
kafka: {bootstrap.servers: "%s"}
tables:
  users: {format: json%s}
"""
WHOLE, PART = b'{"id": 1, "name": "a"}', b'{"id":1}'


class Lookups(threading.Thread):
    """Looks one key up, over and over; keeps what it is answered each time."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.answers: list[bytes | str] = []
        self._endpoint, self._over = endpoint, threading.Event()

    def run(self) -> None:
        with grpc.insecure_channel(self._endpoint) as channel:
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            while not self._over.is_set():
                self.answers.append(self._answer(stub))

    @staticmethod
    def _answer(stub) -> bytes | str:
        try:
            return stub.Get(cache_pb2.GetRequest(key=b"a"), timeout=10).record.value
        except grpc.RpcError as error:
            return str(error)

    def end(self) -> list[bytes | str]:
        self._over.set()
        self.join()
        return self.answers


def test_a_projection_changes_without_a_gap(fake, tmp_path):
    path = tmp_path / "sidecar.yaml"
    path.write_text(CONFIG % (fake.bootstrap_servers, ""))
    fake.add_topic("users")[0].write([(b"a", WHOLE)])
    with Serving(tmp_path, "--config", str(path)) as sidecar:
        sidecar.until_ready()
        lookups = Lookups(sidecar.endpoint)
        lookups.start()
        sidecar.until(lambda: len(lookups.answers) > 20, "lookups")
        path.write_text(CONFIG % (fake.bootstrap_servers, ", project: [$.id]"))
        sidecar.until(lambda: lookups.answers[-1] == PART, "the new one is served")
        answers = lookups.end()
        swapped = answers.index(PART)
        assert set(answers[:swapped]) == {WHOLE}
        assert set(answers[swapped:]) == {PART}
        assert sidecar.saying("configuration taken")
        assert sidecar.status()["tables"][0]["state"] == "LIVE"


def test_a_file_with_a_mistake_leaves_the_old_one_running_and_says_so(fake, tmp_path):
    path = tmp_path / "sidecar.yaml"
    path.write_text(CONFIG % (fake.bootstrap_servers, ""))
    fake.add_topic("users")[0].write([(b"a", WHOLE)])
    with Serving(tmp_path, "--config", str(path)) as sidecar:
        sidecar.until_ready()
        path.write_text(CONFIG % (fake.bootstrap_servers, ", projekt: [$.id]"))
        sidecar.until_says("configuration refused")
        assert sidecar.saying("did you mean project?")
        told = sidecar.run("status")
        assert told.returncode == 0
        assert "tables.users.projekt: unknown setting" in told.stdout
        assert sidecar.status()["config_fault"].startswith("tables.users.projekt: ")
        assert sidecar.run("get", "a", "-o", "value").stdout.encode() == WHOLE
        path.write_text(CONFIG % (fake.bootstrap_servers, ""))
        sidecar.until(lambda: not sidecar.status()["config_fault"], "taken")
        assert "its configuration has changed" not in sidecar.run("status").stdout


def test_sighup_has_the_file_read(fake, tmp_path):
    path = tmp_path / "sidecar.yaml"
    path.write_text(CONFIG % (fake.bootstrap_servers, ""))
    fake.add_topic("users")[0].write([(b"a", WHOLE)])
    with Serving(tmp_path, "--config", str(path)) as sidecar:
        sidecar.until_ready()
        sidecar.signal(signal.SIGHUP)
        sidecar.until_says("configuration taken")
        assert sidecar.run("status").returncode == 0
