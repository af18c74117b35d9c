"""The options that commands share, and the connection that they describe.

gRPC takes a third of a second to import on a cold start, so nothing but `Connection.open`
does it: `--help` and completion never wait for it.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from . import output
from .failure import USAGE, Failed, failed_call
from .text import KEY_FORMATS, escaped_text

if TYPE_CHECKING:
    from ..rpc.client import Client

__all__ = [
    "Connection",
    "Decorator",
    "connected",
    "key_format_option",
    "limit_option",
    "output_option",
    "table_option",
]

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """Where the sidecar is and how long one call may take (seconds)."""

    endpoint: str
    timeout: float
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""

    def to(self, endpoint: str) -> "Connection":
        """The same to another sidecar."""
        return replace(self, endpoint=endpoint)

    @contextmanager
    def open(self) -> "Iterator[Client]":
        """A client; every failed call within becomes a `Failed`."""
        # gRPC's own log lines would stand beside the one line that we owe.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from ..rpc.client import Address, CallFailed, Client, Tls

        tls = None
        if self.tls_ca is not None:
            tls = Tls(
                ca=self.tls_ca,
                certificate=self.tls_cert,
                key=self.tls_key,
                server_name=self.tls_server_name,
            )
        try:
            client = Client(Address(self.endpoint, tls), timeout=self.timeout)
        except (ValueError, OSError) as error:
            raise Failed(f"--endpoint or TLS: {escaped_text(str(error))}", USAGE) from error
        with client:
            try:
                yield client
            except CallFailed as error:
                raise failed_call(
                    self.endpoint,
                    error.code,
                    error.reason,
                    error.message,
                    unreachable=error.unreachable,
                ) from error


def connected(*, timeout: float = 10.0, endpoint: bool = True) -> Decorator:
    """A command that gets a `Connection` as its first argument.

    Without `endpoint` the command has arguments of its own for it, and uses `Connection.to`.
    """
    options = (
        click.option(
            "-e",
            "--endpoint",
            envvar="SIDECAR_ENDPOINT",
            default="127.0.0.1:50051",
            show_default=True,
            show_envvar=True,
            metavar="ADDR",
            help="The sidecar: host:port or unix:///path.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout,
            show_default=True,
            metavar="SECONDS",
            help="How long one call may take.",
        ),
        click.option("--tls-ca", type=_FILE, help="Speak TLS; trust this CA (PEM)."),
        click.option("--tls-cert", type=_FILE, help="Own certificate (PEM), for mutual TLS."),
        click.option("--tls-key", type=_FILE, help="Key of --tls-cert (PEM)."),
        click.option(
            "--tls-server-name",
            default="",
            metavar="NAME",
            help="Name in the sidecar's certificate, where it is not the endpoint's.",
        ),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(**given: Any) -> Any:
            names = Connection.__dataclass_fields__
            connection = Connection(**{name: given.pop(name, "") for name in names})
            _check_tls(connection)
            return command(connection, **given)

        wrapped: Callable[..., Any] = call
        for option in reversed(options if endpoint else options[1:]):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _check_tls(given: Connection) -> None:
    if (given.tls_cert is None) != (given.tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if given.tls_ca is None and (given.tls_cert or given.tls_server_name):
        raise click.UsageError("TLS needs --tls-ca: the CA that signed the sidecar's certificate")


def table_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """-t/--table."""
    return click.option(
        "-t",
        "--table",
        default="",
        metavar="NAME",
        help="The table; may be left out where one is served.",
    )(command)


def raw_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--raw, of commands that show values."""
    return click.option(
        "--raw",
        "as_is",
        is_flag=True,
        help="Values as they are on the topic; else those of avro and protobuf are shown as JSON.",
    )(command)


def limit_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--limit, of a command that compares."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=10,
        show_default=True,
        help="How many differing keys to show.",
    )(command)


def output_option(*forms: str) -> Decorator:
    """-o/--output, with the forms that make sense for the command."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms or output.FORMS),
        default=output.TABLE,
        show_default=True,
        help="Form of the output.",
    )


def key_format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--key-format."""
    return click.option(
        "--key-format",
        type=click.Choice(KEY_FORMATS),
        default="utf8",
        show_default=True,
        help="How keys are written on the command line.",
    )(command)
