"""A Kubernetes sidecar that serves compacted Kafka topics as in-memory keyed tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .embed import Tables
    from .ops.config import Config

__all__ = ["__version__", "open"]

__version__: str


def open(  # noqa: A001 (read as sidecar.open)
    config: Config | Mapping[str, Any] | str | Path,
) -> AbstractAsyncContextManager[Tables]:
    """Hold the tables of a configuration in this process, with no server; see `sidecar.embed`.

    Args:
        config: a file's path, or what such a file holds.

    Raises (on entering):
        sidecar.ops.config.ConfigError: it cannot be used; the message names each setting.
    """
    # Late: the command line imports this package, and most commands need none of it.
    from .embed import opened

    return opened(config)


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: importing the metadata takes its time."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("kafka-cache-sidecar")
