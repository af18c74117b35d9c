"""What the README names is there: commands, flags, settings, metrics, reasons to exit, files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from support.serving import free_address, run

from sidecar.cli import COMMANDS, root
from sidecar.ops.config import load, schema
from sidecar.ops.sources import environment_name

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(language, text) for language, text in FENCE.findall(README)]
PROSE = FENCE.sub("", README)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)


def shell_commands() -> list[str]:
    """Every `sidecar …` of the console blocks and of the prose."""
    lines = [
        line.removeprefix("$ ")
        for language, text in BLOCKS
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ ")
    ]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|\|?|;", line)]
    return [one for one in [*parts, *SPANS] if one.split()[0] == "sidecar" and one != "sidecar"]


COMMAND_LINES = sorted(set(shell_commands()))


def settings() -> set[str]:
    """Every setting by its own name, and by its path."""
    tree = schema()
    known = set(tree["properties"])
    for name, section in tree["$defs"].items():
        prefix = {"KafkaSettings": "kafka", "Limits": "limits", "TlsSettings": "tls"}.get(name)
        known |= set(section["properties"])
        known |= {f"{prefix}.{one}" for one in section["properties"] if prefix}
    return known


def resolve(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line means, and the rest of its words."""
    command: click.Command = root
    words = shlex.split(line)[1:]
    context = click.Context(root)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"{line!r}: no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


def test_the_readme_has_commands():
    assert len(COMMAND_LINES) >= 8
    assert {"serve", "demo", "get", "wait", "status", "verify"} <= {
        line.split()[1] for line in COMMAND_LINES
    }


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_each_command_line_is_understood(line):
    command, words = resolve(line)
    if isinstance(command, click.Group):
        return
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    assert set(flags) <= known | {"--help", "-h"}, f"{line!r}: {command.name} has {sorted(known)}"
    # Words in capitals stand for what the reader fills in; the rest must be parsed as it is.
    if not words or any(word.startswith("[") for word in words):
        return
    # --config names a file that the reader writes: its being there is not the question.
    given = [str(CHECKOUT / "pyproject.toml") if word.endswith(".yaml") else word for word in words]
    command.make_context(command.name, given)


def test_every_command_is_named():
    named = {line.split()[1] for line in COMMAND_LINES}
    assert set(COMMANDS) <= named


def test_every_command_has_help_with_an_example():
    for name in COMMANDS:
        shown = run(name, "--help")
        assert shown.returncode == 0, shown
        assert "Example" in shown.stdout, name


def test_flags_in_the_prose_exist():
    commands = [resolve(f"sidecar {name}")[0] for name in COMMANDS]
    commands += [one for each in commands if isinstance(each, click.Group)
                 for one in each.commands.values()]  # fmt: skip
    known = {name for each in commands for one in each.params for name in one.opts} | {"--help"}
    flags = {span.split()[0] for span in SPANS if span.startswith("-")}
    assert flags <= known, flags - known


def test_settings_and_variables_exist():
    known = settings()
    dotted = {
        span for span in SPANS
        if re.fullmatch(r"(kafka|limits|tls|tables)\.[a-z_.]+|(sasl|ssl|security|isolation|client|"
                        r"bootstrap)\.[a-z.]+", span)
    }  # fmt: skip
    assert dotted
    assert dotted <= known, dotted - known
    variables = set(re.findall(r"\bSIDECAR_[A-Z_]+__[A-Z_]+\b", README))
    paths = [tuple(one.split(".", 1)) for one in known if one.startswith(("kafka.", "limits."))]
    secrets = [("kafka", "sasl.password"), ("kafka", "ssl.key.password")]
    names = {environment_name(path) for path in [*paths, *secrets]}
    assert variables <= names, variables - names
    for span in SPANS:
        if re.fullmatch(r"[a-z]+(_[a-z]+)*_ms", span) and span != "max_staleness_ms":
            assert span in known, span


def test_metrics_exist():
    named = set(re.findall(r"\bsidecar_[a-z_]+\b", PROSE))
    metrics = (CHECKOUT / "sidecar/ops/metrics.py").read_text(encoding="utf-8")
    found = set(re.findall(r"sidecar_[a-z_]+", metrics))
    for name in named:
        stem = re.sub(r"_(total|bucket|count|sum)$", "", name)
        assert any(stem == one or one.startswith(stem) for one in found), name


YAML_BLOCKS = [text for language, text in BLOCKS if language == "yaml" and "tables:" in text]


@pytest.mark.parametrize("text", YAML_BLOCKS)
def test_configuration_blocks_are_taken(tmp_path, text):
    path = tmp_path / "sidecar.yaml"
    path.write_text(text, encoding="utf-8")
    assert set(load(str(path), {}, {}).tables) == set(yaml.safe_load(text)["tables"])
    checked = run("config", "check", "--config", str(path))
    assert checked.returncode == 0, checked


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PROSE)
    missing = [
        link for link in links if "://" not in link and not (CHECKOUT / link).exists()
    ]  # fmt: skip
    assert not missing


def test_http_paths_are_served(tmp_path):
    import urllib.error
    import urllib.request

    from support.serving import Serving

    paths = {span for span in SPANS if re.fullmatch(r"/[a-z.]*", span)}
    assert {"/readyz", "/livez", "/metrics", "/status.json"} <= paths
    address = ("--bootstrap-servers", "127.0.0.1:1", "--table", "users")
    with Serving(tmp_path, *address) as sidecar:
        sidecar.until_listens()
        for path in sorted(paths):
            try:
                with urllib.request.urlopen(f"http://{sidecar.http}{path}", timeout=10) as answer:
                    code = answer.status
            except urllib.error.HTTPError as error:
                code = error.code
                error.close()
            assert code in {200, 503}, (path, code)


def test_python_blocks_name_what_there_is():
    import kafka_cache_client

    from sidecar import embed

    blocks = [text for language, text in BLOCKS if language == "python"]
    for text in blocks:
        compile(text, "README.md", "exec")
        for name in re.findall(r"\bkafka_cache_client\.(\w+)", text):
            assert hasattr(kafka_cache_client, name), name
        embedded = "import sidecar" in text
        for name in re.findall(r"\b(?:users|client)\.(\w+)", text):
            assert hasattr(embed.Table if embedded else kafka_cache_client.Client, name), name


def test_exit_codes_are_those_of_the_code():
    from sidecar.cli import failure

    found = re.search(r"Exit codes:(.*?)\n\n", PROSE, re.DOTALL)
    assert found is not None
    told = {
        int(number): words.strip()
        for number, words in re.findall(r"(\d) ([^,.]+)", " ".join(found[1].split()))
    }
    assert sorted(told) == list(range(7))
    for code, word in (
        (failure.ABSENT, "absent"),
        (failure.USAGE, "usage"),
        (failure.NOT_READY, "not ready"),
        (failure.CANNOT_CONNECT, "cannot connect"),
        (failure.DEADLINE, "deadline"),
        (failure.SERVER_ERROR, "server error"),
    ):
        assert word in told[code], (code, told)


def test_a_sidecar_that_is_not_there_is_exit_code_4():
    assert run("status", "-e", free_address(), "--timeout", "5").returncode == 4
