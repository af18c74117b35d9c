"""What all commands have in common."""

import importlib.util

import click
import pytest
from click.testing import CliRunner

from sidecar.cli import COMMANDS, root

READY = {
    name: lazy
    for name, lazy in COMMANDS.items()
    if importlib.util.find_spec(f"sidecar.cli.{lazy.module}")
}


@pytest.mark.parametrize("name", READY)
def test_a_command_is_described_in_the_list_as_by_itself(name):
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.get_short_help_str(100).rstrip(".") == COMMANDS[name].description.rstrip(".")


@pytest.mark.parametrize("name", READY)
def test_every_help_shows_an_example(name):
    result = CliRunner().invoke(root, [name, "--help"])
    command = root.get_command(click.Context(root), name)
    if not isinstance(command, click.Group):
        assert "Example" in result.output
    assert result.exit_code == 0


def test_an_unknown_command_is_a_usage_error():
    assert CliRunner().invoke(root, ["nope"]).exit_code == 2


def test_the_version_is_printed():
    assert CliRunner().invoke(root, ["version"]).output.count(".") == 2
