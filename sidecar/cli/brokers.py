"""How a command that reads the topic itself reaches the brokers.

They are those of the running sidecar's own configuration, unless a file or a flag says
otherwise. Secrets come from the file or the environment, never from the sidecar.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import USAGE, Failed
from .text import escaped_text

if TYPE_CHECKING:
    from .._pb.admin_pb2 import TableInfo
    from ..ops.config import Config
    from ..rpc.client import Client

__all__ = ["broker_options", "brokers_of", "check_has_topic", "served_config"]


def broker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--bootstrap-servers, and --config (as `path`)."""
    wrapped = click.option(
        "--config",
        "path",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A sidecar's configuration file, for the brokers' credentials.",
    )(command)
    return click.option(
        "--bootstrap-servers",
        metavar="HOST:PORT,...",
        help="Brokers; default: those of --config, or of the sidecar itself.",
    )(wrapped)


def served_config(client: "Client") -> dict[str, Any]:
    """The configuration of a running sidecar, as it tells it."""
    import yaml

    return yaml.safe_load(client.server_info().config_yaml) or {}


def check_has_topic(table: "TableInfo", path: Path | None, servers: str | None) -> None:
    """A table that is served from a dump has no topic, unless one is given.

    Raises:
        Failed: so it is.
    """
    if table.dump and path is None and servers is None:
        raise Failed(
            f"table {escaped_text(table.name)} is served from the dump {escaped_text(table.dump)}: "
            "the sidecar has no topic to look at; name the brokers of one with --bootstrap-servers "
            "or --config",
            USAGE,
        )


def brokers_of(
    served: Mapping[str, Any], path: Path | None, servers: str | None, topics: Mapping[str, str]
) -> "Config":
    """A configuration that reaches the brokers.

    Args:
        served: the running sidecar's; empty: there is none.
        path: of a file to take instead.
        servers: to ask instead of either's.
        topics: by table.

    Raises:
        Failed: it is not one; the message names each setting.
    """
    from ..ops.config import ConfigError, load

    kafka = {} if path else _usable_here(served.get("kafka", {}))
    flags = {
        "kafka": kafka | ({"bootstrap.servers": servers} if servers else {}),
        "tables": {table: {"topic": topic} for table, topic in topics.items()},
    }
    try:
        return load(str(path) if path else None, os.environ, flags)
    except ConfigError as error:
        problems = "; ".join(str(error).splitlines())
        raise Failed(
            f"how to reach the brokers is not clear: {problems}; give --config", USAGE
        ) from error


def _usable_here(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar's settings without its files of secrets, unless they are here too."""
    return {
        name: value
        for name, value in kafka.items()
        if not name.endswith(".file") or Path(str(value)).is_file()
    }
