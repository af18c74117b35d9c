"""The command line as a process: pipes, signals, sockets, TLS, and what it imports."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
import trustme
from support.cli_sidecar import FakeSidecar, record, serving

SIDECAR = Path(sys.executable).with_name("sidecar")
HEAVY = ("pydantic", "aiokafka", "prometheus_client")


def environment(**given):
    known = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return known | given


def run(*arguments, **given):
    return subprocess.run(
        [SIDECAR, *arguments], capture_output=True, timeout=60, env=environment(**given)
    )


def imported_by(*arguments):
    code = (
        "import sys\nfrom sidecar.cli import root\n"
        f"root({list(arguments)!r}, standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(done.stderr.decode().split())


@pytest.fixture(scope="module")
def endpoint():
    many = [record(b"%06d" % number, b"v" * 100) for number in range(5000)]
    with serving(FakeSidecar(records=many, page=1000)) as where:
        yield where


def test_a_lookup_as_a_process(endpoint):
    done = run("get", "000001", "-o", "value", SIDECAR_ENDPOINT=endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"v" * 100, b"")


def test_a_reader_that_closes_the_pipe_gets_no_traceback(endpoint):
    with subprocess.Popen(
        [SIDECAR, "list", "-e", endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.fixture
def silent():
    """A host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_ctrl_c_gets_no_traceback(silent):
    with subprocess.Popen(
        [SIDECAR, "get", "a", "-e", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "60"],
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        connection, _ = silent.accept()  # it is in its call
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait(60) == 130
        connection.close()


def test_a_host_that_keeps_silent_is_one_that_cannot_be_connected_to(silent):
    done = run("get", "a", "-e", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.5")
    assert done.returncode == 4
    assert done.stderr.startswith(b"Error: cannot connect to")


def test_a_sidecar_that_answers_too_late_is_a_deadline():
    late, over = FakeSidecar(), threading.Event()
    late.check = lambda _: over.wait(30)
    with serving(late) as where:
        done = run("get", "a", "-e", where, "--timeout", "0.5")
        over.set()
    assert done.returncode == 5
    assert done.stderr.count(b"\n") == 1


def test_a_unix_socket(tmp_path):
    where = f"unix://{tmp_path}/s.sock"
    with serving(FakeSidecar(records=[record(b"a", b"1")]), where):
        assert run("get", "a", "-o", "value", "-e", where).stdout == b"1"
    assert run("get", "a", "-e", f"unix://{tmp_path}/none.sock").returncode == 4


def test_mutual_tls(tmp_path):
    ca = trustme.CA()
    ours, theirs = ca.issue_cert("app"), ca.issue_cert("sidecar.internal")
    for name, blob in (
        ("ca", ca.cert_pem),
        ("cert", ours.cert_chain_pems[0]),
        ("key", ours.private_key_pem),
    ):
        blob.write_to_path(tmp_path / name)
    credentials = grpc.ssl_server_credentials(
        [(theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes())],
        ca.cert_pem.bytes(),
        require_client_auth=True,
    )
    files = [f"--tls-{name}={tmp_path / name}" for name in ("ca", "cert", "key")]
    with serving(FakeSidecar(records=[record(b"a", b"1")]), credentials=credentials) as where:
        get = ["get", "a", "-o", "value", "-e", where, "--timeout", "5"]
        assert run(*get, *files, "--tls-server-name=sidecar.internal").stdout == b"1"
        assert run(*get).returncode == 4
        assert run(*get, files[0], "--tls-server-name=sidecar.internal").returncode == 4
        assert run(*get, files[1]).returncode == 2


def test_the_form_does_not_depend_on_colour(endpoint):
    shown = run("get", "000001", "-e", endpoint, NO_COLOR="1").stdout
    assert run("get", "000001", "-e", endpoint).stdout == shown
    assert b"\x1b" not in shown


def test_help_and_lookups_import_neither_kafka_nor_configuration(endpoint):
    assert not imported_by("--help") & {*HEAVY, "grpc", "asyncio"}
    assert not imported_by("get", "--help") & {*HEAVY, "grpc"}
    assert not imported_by("get", "000001", "-e", endpoint) & set(HEAVY)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(shell):
    done = run("completion", shell)
    assert done.returncode == 0
    assert b"_SIDECAR_COMPLETE" in done.stdout


def test_commands_are_completed():
    done = run(_SIDECAR_COMPLETE="bash_complete", COMP_WORDS="sidecar ve", COMP_CWORD="1")
    assert done.stdout.split() == [b"plain,verify", b"plain,version"]
