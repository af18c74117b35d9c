"""`sidecar config`: look at a configuration without running it.

The settings are read as `serve` reads them, the environment included. What is wrong
goes to stderr, one problem a line, and the exit code is 2.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..ops.config import Config

__all__ = ["config"]

_BAD_CONFIG = 2

_file = click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The YAML file. Without it, only the environment is read.",
)


@click.group()
def config() -> None:
    """Check and show the configuration.

    \b
    Example:
      sidecar config check --config sidecar.yaml
    """


@config.command()
@_file
def check(path: str | None) -> None:
    """Tell every problem of the configuration, one a line.

    Exit code 0: it can be used (what has no effect is noted on stderr); 2: it cannot.

    \b
    Example:
      sidecar config check --config sidecar.yaml
    """
    from ..ops.config import notes

    loaded = _load(path)
    for note in notes(loaded):
        click.echo(f"note: {note}", err=True)
    names = ", ".join(sorted(loaded.tables))
    click.echo(f"ok: {len(loaded.tables)} {_plural(len(loaded.tables))} ({names})")


@config.command()
@_file
def show(path: str | None) -> None:
    """Print the effective configuration as YAML, secrets left out.

    \b
    Example:
      SIDECAR_LIMITS__KEYS=50 sidecar config show --config sidecar.yaml
    """
    click.echo(_load(path).to_yaml(), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors and CI.

    \b
    Example:
      sidecar config schema > sidecar.schema.json
    """
    from ..ops.config import schema as schema_of_file

    click.echo(json.dumps(schema_of_file(), indent=2, ensure_ascii=False))


def _load(path: str | None) -> Config:
    from ..ops.config import ConfigError, load

    try:
        return load(path, os.environ, {})
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise click.exceptions.Exit(_BAD_CONFIG) from None


def _plural(count: int) -> str:
    return "table" if count == 1 else "tables"
