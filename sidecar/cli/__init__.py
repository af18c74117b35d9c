"""The command line.

`sidecar --help` names every command without importing any: each module is loaded when
its command runs, so a lookup pays neither for the server nor for Kafka, and `serve` pays
for no client. The one-line descriptions below are those of the commands themselves.

However a command ends, no traceback is shown for what is not our mistake: a reader that
closed the pipe ends it as a signal would (141), and so does Ctrl-C (130).
"""

import importlib
import os
import sys
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "Lazy", "main", "root"]


class Lazy(NamedTuple):
    """Where a command is and what it does: module of this package, name there, one line."""

    module: str
    name: str
    description: str


COMMANDS = {
    "serve": Lazy("serve", "serve", "Run the sidecar."),
    "demo": Lazy("demo", "demo", "Run all of it on an embedded broker, with moving data."),
    "get": Lazy("lookup", "get", "Look keys up."),
    "list": Lazy("lookup", "list_records", "List records in key order."),
    "watch": Lazy("watch", "watch", "Show changes as they come."),
    "dump": Lazy("dump", "dump", "Write a table to a file, one line a record."),
    "tables": Lazy("tables", "tables", "List the tables and how they stand."),
    "top": Lazy("top", "top", "Show the tables as they change."),
    "describe": Lazy("tables", "describe", "Show one table and each of its partitions."),
    "status": Lazy("status", "status", "Say what is not ready, why, and what to do."),
    "wait": Lazy("status", "wait", "Block until the sidecar is ready."),
    "explain": Lazy("explain", "explain", "Say why a key is served as it is."),
    "verify": Lazy("verify", "verify", "Compare a table with its topic."),
    "diff": Lazy("diff", "diff", "Compare a table of two sidecars."),
    "doctor": Lazy("doctor", "doctor", "Examine a topic and what serving it takes."),
    "config": Lazy("config", "config", "Check and show the configuration."),
    "completion": Lazy("about", "completion", "Print a shell's completion script."),
    "version": Lazy("about", "version", "Print the version."),
}


class _Root(click.Group):
    """Commands that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command = getattr(importlib.import_module(f"{__name__}.{lazy.module}"), lazy.name)
        return command if isinstance(command, click.Command) else None

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.description) for name, lazy in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(name, help=lazy.description)
            for name, lazy in COMMANDS.items()
            if name.startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            _forget_stdout()
            raise click.exceptions.Exit(141) from error
        except KeyboardInterrupt as error:
            raise click.exceptions.Exit(130) from error
        return result


def _forget_stdout() -> None:
    """Give what is still buffered a place to go, or the interpreter complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


@click.group(
    cls=_Root,
    name="sidecar",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`sidecar demo` shows all of it on one machine. Every command's --help has an example.",
)
def root() -> None:
    """Compacted Kafka topics as in-memory tables: serve them, look into them."""


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    root(prog_name="sidecar")
