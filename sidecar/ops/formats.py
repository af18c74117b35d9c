"""What a table's format needs of the other settings, of files and of what is installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from ..formats import SCHEMA_FORMATS, BadSchema, file_decode
from .problems import Problem
from .settings import RegistrySettings, TableSettings

__all__ = ["check_registry", "check_values"]

_EXTRA: Final = "pip install 'kafka-cache-sidecar[schemas]'"
# By whose events: the formats that those may be in.
_UNWRAPPED: Final = frozenset({"json", *SCHEMA_FORMATS})


def check_values(
    path: str, table: TableSettings, registry: RegistrySettings | None
) -> Iterator[Problem]:
    """What is wrong with how a table's values are described.

    Args:
        path: of the table's settings.
        table: them.
        registry: where schemas are; None: nowhere.
    """
    by_schema = table.format in SCHEMA_FORMATS
    if table.unwrap and table.format not in _UNWRAPPED:
        yield Problem(f"{path}.unwrap", f"needs format json, avro or protobuf, got {table.format}")
    if table.schema_file and not by_schema:
        yield Problem(f"{path}.schema_file", f"format {table.format} has no schema")
    if table.message and not (table.format == "protobuf" and table.schema_file):
        yield Problem(f"{path}.message", "needs format protobuf and a schema_file")
    if table.format == "avro" and find_spec("fastavro") is None:
        yield Problem(f"{path}.format", f"avro needs a package that is not installed: {_EXTRA}")
    elif by_schema and table.schema_file:
        yield from _check_file(path, table, table.schema_file)
    elif by_schema:
        yield from _check_framed(path, table, registry)


def check_registry(registry: RegistrySettings | None) -> Iterator[Problem]:
    """What is wrong with how the schema registry is described."""
    if registry is None:
        return
    if not registry.url:
        yield Problem("schema_registry.url", "expected an address, got nothing")
    if registry.basic_auth and ":" not in registry.basic_auth:
        yield Problem("schema_registry.basic.auth.user.info", "expected user:password")
    if find_spec("confluent_kafka") is None or find_spec("authlib") is None:
        yield Problem("schema_registry", f"needs packages that are not installed: {_EXTRA}")


def _check_file(path: str, table: TableSettings, file: str) -> Iterator[Problem]:
    if table.format == "protobuf" and not table.message:
        yield Problem(f"{path}.message", "expected the name of the message in schema_file")
        return
    try:
        file_decode(table.format, file, table.message or "")
    except BadSchema as error:
        yield Problem(f"{path}.schema_file", f"{file}: {error}")
    except OSError as error:
        expected = "expected a file that can be read"
        yield Problem(f"{path}.schema_file", f"{expected}, got {file} ({error.strerror})")


def _check_framed(
    path: str, table: TableSettings, registry: RegistrySettings | None
) -> Iterator[Problem]:
    if registry is None:
        yield Problem(f"{path}.format", f"{table.format} needs schema_file, or schema_registry.url")
    for name in ("filter_path", "project", "indexes"):
        if getattr(table, name):
            yield Problem(
                f"{path}.{name}",
                "needs schema_file: a registry's schema may come later than a value, and what a "
                "table holds may not depend on when",
            )
