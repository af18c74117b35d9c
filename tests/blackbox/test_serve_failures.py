"""What `sidecar serve` says when something is wrong: one clear message, and no more.

What an operator must mend before the process can begin ends it with its documented exit
code. What may mend itself (a broker, a topic) is waited for; meanwhile the log does not
repeat itself, and `sidecar status` says the same in words and exits with 3.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.admin import wait_until
from support.producing import produce
from support.serving import Serving, free_address
from support.tls import make_tls

TABLE = ("--table", "users")
NEVER = ("Traceback", "exception", "Task ", "alice-secret", "wrong-secret")


def clean(sidecar: Serving) -> None:
    found = [line for line in sidecar.lines if any(word in line for word in NEVER)]
    assert not found, sidecar


def one_warning(sidecar: Serving, *words: str, beside: Sequence[str] = ()) -> None:
    """All that was said beside the beginning is one line with these words, and those `beside`."""
    clean(sidecar)
    others = [line for line in sidecar.lines if " INFO " not in line]
    assert len(others) == 1 + len(beside), sidecar
    for each in beside:
        others.remove(next(line for line in others if each in line))
    assert " WARN " in others[0]
    missing = [word for word in words if word not in others[0]]
    assert not missing, f"{missing} not in {others[0]}"


def waiting_status(sidecar: Serving, *words: str) -> None:
    """`sidecar status` tells the same, with a way out."""
    told = sidecar.run("status")
    assert told.returncode == 3, told
    assert "not ready: users" in told.stdout
    why = next(line for line in told.stdout.splitlines() if line.startswith("  why:"))
    assert not [word for word in words if word not in why], why
    assert "  do:   " in told.stdout
    assert "give it time" not in told.stdout
    assert told.stderr == ""


def ended(sidecar: Serving, code: int, *words: str) -> None:
    """It has ended with this code and one line on why."""
    assert sidecar.wait() == code, sidecar
    clean(sidecar)
    errors = [line for line in sidecar.lines if " INFO " not in line]
    assert len(errors) == 1, sidecar
    assert errors[0].startswith("Error: "), sidecar
    missing = [word for word in words if word not in errors[0]]
    assert not missing, f"{missing} not in {errors[0]}"


# What is no Kafka broker


class Stranger:
    """A listener that answers whatever comes with the same bytes, and may hang up then."""

    def __init__(self, reply: bytes, *, hang_up: bool = False) -> None:
        self._reply, self._hang_up = reply, hang_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(connection)
                with contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(self._reply)
                if self._hang_up:
                    connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for connection in self._open:
            connection.close()


STRANGERS = {
    "silent": (b"", False),
    "redis": (b"-ERR unknown command\r\n", False),
    "http": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", True),
}
SILENT = ("did not answer within 10 s", "security.protocol PLAINTEXT", "is the broker running?")
CLOSED = ("closed the connection", "is it a Kafka listener for security.protocol PLAINTEXT?")
EXPECTED = {
    "host": ("no.such.host.invalid:9092", "does not resolve", "check bootstrap.servers"),
    "port": ("refuses connections; is the broker running there?",),
    "both": ("no.such.host.invalid:9092", "does not resolve", "refuses connections"),
    "silent": SILENT,
    "redis": SILENT,
    "http": CLOSED,
    "own gRPC port": CLOSED,
    "own HTTP port": CLOSED,
}


class Waiting:
    """All the wrong addresses at once, because some are only told after ten seconds."""

    def __init__(self, folder: Path) -> None:
        self.strangers = {
            name: Stranger(reply, hang_up=hang_up) for name, (reply, hang_up) in STRANGERS.items()
        }
        own = {name: free_address() for name in ("own gRPC port", "own HTTP port")}
        self.address = {
            "host": "no.such.host.invalid:9092",
            "port": free_address(),
            "both": f"no.such.host.invalid:9092,{free_address()}",
            **{name: stranger.address for name, stranger in self.strangers.items()},
            **own,
        }
        self.began = time.monotonic()
        self.sidecars = {
            name: Serving(
                folder, "--bootstrap-servers", address, *TABLE,
                listen=own["own gRPC port"] if name == "own gRPC port" else None,
                http=own["own HTTP port"] if name == "own HTTP port" else None,
            )
            for name, address in self.address.items()
        }  # fmt: skip

    def tried_again(self, name: str) -> bool:
        """It has been tried at least once after it was told to be wrong."""
        if name in self.strangers:
            return self.strangers[name].accepted >= 3
        return time.monotonic() - self.began > 8

    def close(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.__exit__(None, None, None)
        for stranger in self.strangers.values():
            stranger.close()


@pytest.fixture(scope="module")
def wrong_addresses(tmp_path_factory):
    waiting = Waiting(tmp_path_factory.mktemp("waiting"))
    yield waiting
    waiting.close()


@pytest.mark.parametrize("name", EXPECTED)
def test_an_address_that_is_no_kafka_broker_is_waited_for_and_told_once(wrong_addresses, name):
    sidecar = wrong_addresses.sidecars[name]
    sidecar.until_says("table waits")
    waiting_status(sidecar, *EXPECTED[name])
    sidecar.until(lambda: wrong_addresses.tried_again(name), "another try")
    one_warning(sidecar, wrong_addresses.address[name].split(",")[-1], *EXPECTED[name])
    assert sidecar.stop() == 0
    clean(sidecar)


# What ends it


def write(folder: Path, text: str) -> str:
    path = folder / "sidecar.yaml"
    path.write_text(text)
    return str(path)


GOOD = "kafka: {bootstrap.servers: 'localhost:9092'}\ntables: {users: {}}\n"
WRONG_FILES = {
    "broken": (
        "kafka: {bootstrap.servers: 'a:1'\ntables",
        ("sidecar.yaml", "line 2", "expected ',' or '}'"),
    ),
    "near": (
        GOOD.replace("kafka: {", "kafka: {clientid: a, "),
        ("kafka.clientid", "unknown setting", "did you mean client.id", "sidecar.yaml"),
    ),
    "far": (GOOD + "zzz: 1\n", ("zzz", "unknown setting", "known here", "tables")),
    "a format without its schema": (
        GOOD.replace("users: {}", "users: {format: avro}"),
        ("tables.users.format", "avro needs schema_file, or schema_registry.url"),
    ),
    "secret": (
        GOOD.replace("kafka: {", "kafka: {sasl.password: alice-secret, "),
        ("kafka.sasl.password", "sasl.password.file", "SIDECAR_KAFKA__SASL_PASSWORD"),
    ),
    "wide": (GOOD + "listen: ['0.0.0.0:50051']\n", ("listen", "tls.certificate", "0.0.0.0:50051")),
    "topic": (GOOD.replace("{}", "{topic: 'a b'}"), ("tables.users.topic", "a-z A-Z 0-9 . _ -")),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_configuration_file_ends_it_with_2(tmp_path, name):
    text, words = WRONG_FILES[name]
    path = write(tmp_path, text)
    listen = ("0.0.0.0:50051",) if name == "wide" else ()
    with Serving(tmp_path, "--config", path, listen=listen[0] if listen else None) as sidecar:
        ended(sidecar, 2, *words)


def test_several_mistakes_are_told_at_once(tmp_path):
    path = write(tmp_path, "kafka: {bootstrap.server: a:1}\nlimits: {keys: -1}\ntable: {}\n")
    with Serving(tmp_path, "--config", path) as sidecar:
        assert sidecar.wait() == 2
        assert len(sidecar.lines) == 5, sidecar
        assert sidecar.lines[0].startswith("Error: ")
        for problem in (
            "kafka.bootstrap.server: unknown setting; did you mean bootstrap.servers?",
            "kafka.bootstrap.servers: expected",
            "limits.keys: expected at least 1, got -1",
            "table: unknown setting; did you mean ",
            "tables: expected",
        ):
            assert len(sidecar.saying(problem)) == 1, sidecar
        clean(sidecar)


def test_a_configuration_that_is_no_mapping_ends_it_with_2(tmp_path):
    with Serving(tmp_path, "--config", write(tmp_path, "- a\n- b\n")) as sidecar:
        assert sidecar.wait() == 2
        assert "expected a mapping of settings, got a list" in sidecar.lines[0], sidecar
        clean(sidecar)


@pytest.mark.parametrize("kind", ["missing", "folder", "link to itself", "no text"])
def test_a_configuration_file_that_cannot_be_read_ends_it_with_2(tmp_path, kind):
    path = tmp_path / "c.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe\x00\x80")
    with Serving(tmp_path, "--config", str(path)) as sidecar:
        assert sidecar.wait() == 2, sidecar
        clean(sidecar)
        assert len(sidecar.saying("c.yaml")) == 1, sidecar


def test_an_unknown_variable_ends_it_with_2_and_names_the_near_one(tmp_path):
    variables = {"SIDECAR_KAFKA__BOOTSTRAP_SERVER": "a:1"}
    with Serving(tmp_path, *TABLE, "--bootstrap-servers", "a:1", **variables) as sidecar:
        ended(sidecar, 2, "SIDECAR_KAFKA__BOOTSTRAP_SERVER", "SIDECAR_KAFKA__BOOTSTRAP_SERVERS")


def test_a_certificate_file_that_is_not_there_ends_it_with_2(tmp_path):
    settings = "security.protocol: SSL, ssl.ca.location: /nowhere/ca.pem"
    path = write(tmp_path, GOOD.replace("kafka: {", f"kafka: {{{settings}, "))
    with Serving(tmp_path, "--config", path) as sidecar:
        ended(sidecar, 2, "kafka.ssl.ca.location", "/nowhere/ca.pem", "No such file")


# Addresses that are taken


@pytest.mark.parametrize("which", ["listen", "http"])
def test_a_used_address_ends_it_with_2_and_gives_the_others_back(tmp_path, which):
    path = tmp_path / "s.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Serving(
            tmp_path,
            *("--bootstrap-servers", "127.0.0.1:1", *TABLE, "--listen", f"unix://{path}"),
            **{which: address},
        ) as sidecar:
            ended(sidecar, 2, f"cannot listen on {address}", "already in use")
    assert not path.exists()


def test_the_second_sidecar_of_a_host_is_told_that_the_address_is_in_use(tmp_path):
    wrong = ("--bootstrap-servers", "127.0.0.1:1", *TABLE)
    with Serving(tmp_path, *wrong) as first:
        first.until_listens()
        with Serving(tmp_path, *wrong, listen=first.endpoint) as second:
            ended(second, 2, f"cannot listen on {first.endpoint}", "already in use")
        with Serving(tmp_path, *wrong, http=first.http) as second:
            ended(second, 2, f"cannot listen on {first.http}", "already in use")
        assert first.run("status").returncode == 3


def test_a_unix_socket_of_a_live_server_is_left_alone_and_a_dead_ones_is_taken_over(tmp_path):
    wrong = ("--bootstrap-servers", "127.0.0.1:1", *TABLE)
    path = tmp_path / "sidecar.sock"
    where = f"unix://{path}"
    with Serving(tmp_path, *wrong, listen=where) as first:
        first.until_listens()
        with Serving(tmp_path, *wrong, listen=where) as second:
            ended(second, 2, where, "another server is listening there")
        assert first.run("status").returncode == 3
    assert path.is_socket()  # it was killed, and left it behind
    with Serving(tmp_path, *wrong, listen=where) as third:
        third.until_listens()
        assert third.run("status").returncode == 3
        assert third.stop() == 0
    assert not path.exists()


def test_a_file_at_the_unix_sockets_path_is_not_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    wrong = ("--bootstrap-servers", "127.0.0.1:1", *TABLE)
    with Serving(tmp_path, *wrong, listen=f"unix://{path}") as sidecar:
        ended(sidecar, 2, str(path), "exists and is no socket")
    assert path.read_text() == "data"


def test_a_unix_socket_in_a_folder_that_is_not_there_ends_it_with_2(tmp_path):
    where = f"unix://{tmp_path}/nowhere/sidecar.sock"
    with Serving(tmp_path, "--bootstrap-servers", "127.0.0.1:1", *TABLE, listen=where) as sidecar:
        ended(sidecar, 2, where, "No such file or directory")


# Brokers with limits


FETCH, METADATA = 1, 3


@pytest.mark.parametrize(
    ("api", "words"), [(METADATA, ("Metadata v12",)), (FETCH, ("Fetch v13", "v4 to v12"))]
)
def test_a_broker_that_is_too_old_fails_its_tables(tmp_path, fake, api, words):
    fake.add_topic("users")
    for broker in fake.brokers.values():
        low, high = broker.versions[api]
        broker.versions[api] = (low, high - 1)
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, *TABLE) as sidecar:
        words = (fake.brokers[1].address, *words, "Kafka 3.1 or newer is needed")
        sidecar.until(lambda: any(words[-1] in line for line in sidecar.lines), "the warning")
        one_warning(sidecar, *words)
        waiting_status(sidecar, *words)


def test_a_missing_topic_is_told_once_whichever_broker_answers(tmp_path, fake):
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, *TABLE) as sidecar:
        sidecar.until(lambda: len(fake.of("metadata")) > 8, "a few tries")
        one_warning(sidecar, "topic 'users' does not exist", "cleanup.policy=compact")
        waiting_status(sidecar, "topic 'users' does not exist")
        fake.add_topic("users", cleanup_policy="compact")[0].write([(b"a", b"1")])
        sidecar.until_ready()
        assert sidecar.run("get", "a", "-o", "value").stdout == "1"


def test_brokers_that_are_all_lost_are_told_once(tmp_path, fake):
    topic = fake.add_topic("users", partitions=2, cleanup_policy="compact")
    topic[1].leader = 2
    with Serving(tmp_path, "--bootstrap-servers", fake.bootstrap_servers, *TABLE) as sidecar:
        sidecar.until_ready()
        said = len(sidecar.lines)
        for broker in fake.brokers.values():
            fake.call(broker.stop())
        sidecar.until(lambda: sidecar.status()["tables"][0]["state"] == "STALE", "staleness")
        told = sidecar.run("status")
        assert told.returncode == 3
        assert "refuses connections; is the broker running there?" in told.stdout
        settled = len(sidecar.lines)
        before = time.monotonic()
        wait_until(lambda: time.monotonic() - before > 4, "some tries")
        assert len(sidecar.lines) == settled, sidecar
        assert settled - said <= 4, sidecar
        clean(sidecar)


# On a real broker


def test_a_missing_topic_is_waited_for_and_not_created(tmp_path, kafka, topic_name):
    at = kafka.bootstrap_servers
    table = ("--table", f"users={topic_name}")
    with Serving(tmp_path, "--bootstrap-servers", at, *table) as sidecar:
        sidecar.until_says("does not exist")
        assert sidecar.run("get", "a").returncode == 3
        waiting_status(sidecar, f"topic {topic_name!r} does not exist", "create it with")
        assert topic_name not in kafka.topics()
        one_warning(sidecar, topic_name, at, "does not exist")
        kafka.create_topic(topic_name, cleanup_policy="compact")
        sidecar.until_ready()
        sidecar.until(lambda: sidecar.run("status").returncode == 0, "known to be current")
        assert sidecar.stop() == 0
        one_warning(sidecar, topic_name)


def test_a_topic_that_is_not_compacted_is_warned_of_and_served(tmp_path, kafka, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="delete")
    produce(kafka.bootstrap_servers, topic_name, [(b"a", b"1")])
    table = ("--table", f"users={topic_name}")
    with Serving(tmp_path, "--bootstrap-servers", kafka.bootstrap_servers, *table) as sidecar:
        sidecar.until_ready()
        one_warning(sidecar, "not compacted", topic_name, "cleanup.policy=compact")
        assert sidecar.run("get", "a", "-o", "value").stdout == "1"


def tls_file(folder: Path, kafka, ca: Path, listener: str = "SSL") -> str:
    return write(
        folder,
        f"kafka: {{bootstrap.servers: '{kafka.bootstrap(listener)}', "
        f"security.protocol: SSL, ssl.ca.location: {ca}}}\ntables: {{users: {{}}}}\n",
    )


def told_once_while_waiting(sidecar: Serving, *words: str, beside: Sequence[str] = ()) -> None:
    sidecar.until_says("table waits")
    waiting_status(sidecar, *words)
    before = time.monotonic()
    sidecar.until(lambda: time.monotonic() - before > 3, "some tries")
    one_warning(sidecar, *words, beside=beside)


def test_a_wrong_ca_is_told_once(tmp_path, kafka):
    other = make_tls(tmp_path / "other")
    with Serving(tmp_path, "--config", tls_file(tmp_path, kafka, other.ca)) as sidecar:
        told_once_while_waiting(
            sidecar, kafka.bootstrap("SSL"), "certificate that is not trusted", "ssl.ca.location"
        )


def test_tls_towards_a_plain_listener_is_told_once(tmp_path, kafka, tls):
    path = tls_file(tmp_path, kafka, tls.ca, "PLAINTEXT")
    with Serving(tmp_path, "--config", path) as sidecar:
        told_once_while_waiting(sidecar, kafka.bootstrap("PLAINTEXT"), "security.protocol", "SSL")


def test_plain_text_towards_a_tls_listener_is_told_once(tmp_path, kafka):
    with Serving(tmp_path, "--bootstrap-servers", kafka.bootstrap("SSL"), *TABLE) as sidecar:
        told_once_while_waiting(sidecar, kafka.bootstrap("SSL"), "security.protocol PLAINTEXT")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_told_once_and_never_shown(tmp_path, kafka, mechanism):
    config = write(
        tmp_path,
        f"kafka: {{bootstrap.servers: '{kafka.bootstrap('SASL')}', sasl.username: alice, "
        f"security.protocol: SASL_PLAINTEXT, sasl.mechanism: {mechanism}}}\n"
        "tables: {users: {}}\n",
    )
    secret = {"SIDECAR_KAFKA__SASL_PASSWORD": "wrong-secret"}
    with Serving(tmp_path, "--config", config, "--log-level", "debug", **secret) as sidecar:
        sidecar.until_says("table waits")
        in_the_clear = ["Sending username and password in the clear"]
        told_once_while_waiting(
            sidecar, "alice", mechanism, "the password",
            beside=in_the_clear if mechanism == "PLAIN" else [],
        )  # fmt: skip
        assert "wrong-secret" not in str(sidecar.status())
        assert not re.search("wrong-secret", sidecar.run("status", "-o", "json").stdout)


def test_a_wrong_mechanism_is_told_once(tmp_path, kafka):
    config = write(
        tmp_path,
        f"kafka: {{bootstrap.servers: '{kafka.bootstrap('SASL')}', sasl.username: alice, "
        "security.protocol: SASL_PLAINTEXT, sasl.mechanism: SCRAM-SHA-512}\n"
        "tables: {users: {}}\n",
    )
    secret = {"SIDECAR_KAFKA__SASL_PASSWORD": "alice-secret"}
    with Serving(tmp_path, "--config", config, **secret) as sidecar:
        told_once_while_waiting(sidecar, "does not offer SCRAM-SHA-512", "check sasl.mechanism")


def test_a_host_that_is_mended_while_waiting_is_found(tmp_path, kafka, kafka_proxy, topic_name):
    kafka.create_topic(topic_name, cleanup_policy="compact")
    kafka_proxy.cut()
    table = ("--table", f"users={topic_name}")
    with Serving(tmp_path, "--bootstrap-servers", kafka.bootstrap("PROXIED"), *table) as sidecar:
        sidecar.until_says("refuses connections")
        assert sidecar.run("wait", "--ready", "--timeout", "1").returncode == 5
        kafka_proxy.heal()
        sidecar.until_ready()
        clean(sidecar)


def test_a_login_at_a_listener_without_one_is_told_once(tmp_path, kafka):
    config = write(
        tmp_path,
        f"kafka: {{bootstrap.servers: '{kafka.bootstrap_servers}', sasl.username: alice, "
        "security.protocol: SASL_PLAINTEXT, sasl.mechanism: SCRAM-SHA-512}\n"
        "tables: {users: {}}\n",
    )
    secret = {"SIDECAR_KAFKA__SASL_PASSWORD": "alice-secret"}
    with Serving(tmp_path, "--config", config, **secret) as sidecar:
        told_once_while_waiting(sidecar, "takes no logins", "security.protocol SASL_PLAINTEXT")
