"""`sidecar config` tells what is wrong, one problem a line, and shows no secret."""

import json
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli.config import config

GOOD = "kafka: {bootstrap.servers: localhost}\ntables: {users: , ants: }\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def start(*words, text=None, **environ):
        if text is not None:
            (tmp_path / "s.yaml").write_text(text)
            words = (*words, "--config", "s.yaml")
        return CliRunner().invoke(config, words, env=environ)

    return start


def test_check_accepts_what_serve_would(run):
    result = run("check", text=GOOD)
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "ok: 2 tables (ants, users)\n",
        "",
    )


def test_check_notes_what_has_no_effect(run):
    result = run("check", text=GOOD, SIDECAR_KAFKA__SASL_USERNAME="app")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: kafka.sasl.username: has no effect with security.protocol PLAINTEXT\n"
    )


@pytest.mark.parametrize("command", ["check", "show"])
def test_every_problem_is_a_line_and_the_exit_code_is_2(run, command):
    result = run(command, text="kafka: {bootstrap.servers: ':'}\nx: 1\n", SIDECAR_HTTP="x")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "x",
        "kafka.bootstrap.servers",
        "http",
        "tables",
    ]


def test_the_environment_alone_may_be_enough(run):
    environ = {
        "SIDECAR_KAFKA__BOOTSTRAP_SERVERS": "b",
        "SIDECAR_TABLES__USERS__TOPIC": "users",
    }
    assert run("check", **environ).stdout == "ok: 1 table (users)\n"


def test_show_prints_the_effective_configuration_without_secrets(run):
    result = run(
        "show",
        text=GOOD,
        SIDECAR_KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
        SIDECAR_KAFKA__SASL_USERNAME="app",
        SIDECAR_KAFKA__SASL_PASSWORD="hunter2",
    )
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    shown = yaml.safe_load(result.stdout)
    assert shown["kafka"]["sasl.username"] == "app"
    assert list(shown["tables"]) == ["ants", "users"]


def test_schema_prints_json(run):
    assert json.loads(run("schema").stdout)["title"] == "Config"


def test_the_command_is_imported_without_pydantic():
    code = "import sys, sidecar.cli.config; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
