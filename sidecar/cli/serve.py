"""`sidecar serve`: run the sidecar until it is told to stop.

SIGTERM and Ctrl-C end it with exit code 0 at any moment; while it is still importing,
`start` sees to that. A configuration that cannot be used, a used address among them, ends it with
2; a log that cannot be followed any further with 6, and one line that says why.

On a terminal a line shows how far each bootstrap has come; logs go to stderr as events
either way.

With --from it serves dumps in the place of topics, for tests of apps. A table is what the
configuration says of it, so that a test can have that of production; what this does not name is
what the dump's first line says. Everything about brokers is left aside, secrets too.
"""

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from .failure import SERVER_ERROR, USAGE, Failed

if TYPE_CHECKING:
    from ..follower.dump import Dump
    from ..ops.config import Config
    from ..ops.configfile import ConfigFile

__all__ = ["run", "serve"]


def _table(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    tables = {}
    for text in given:
        name, equals, topic = text.partition("=")
        if not name or (equals and not topic):
            raise click.BadParameter(f"expected NAME=TOPIC, got {text!r}")
        if name in tables:
            raise click.BadParameter(f"table {name!r} is given twice")
        tables[name] = {"topic": topic or name}
    return tables


@click.command(
    epilog="Example: sidecar serve --bootstrap-servers localhost:9092 --table users=users    |    "
    "sidecar serve --from users.jsonl",
    short_help="Run the sidecar.",
)
@click.option("--config", "path", type=click.Path(dir_okay=False), help="YAML file of settings.")
@click.option("--bootstrap-servers", metavar="HOST:PORT,...", help="Kafka brokers to begin with.")
@click.option(
    "--table",
    "tables",
    metavar="NAME=TOPIC",
    multiple=True,
    callback=_table,
    help="A table and the topic that feeds it; may be given several times.",
)
@click.option(
    "--from",
    "given_dumps",
    metavar="[NAME=]FILE",
    multiple=True,
    help="Serve what `sidecar dump -f FILE` wrote, with no Kafka; may be given several times.",
)
@click.option(
    "--listen",
    metavar="ADDR",
    multiple=True,
    help="gRPC address, host:port or unix:///path; may be given several times.",
)
@click.option("--http", metavar="ADDR", help="host:port of probes, metrics and the status page.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="SIDECAR_LOG_FORMAT",
    help="Form of the log lines.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="SIDECAR_LOG_LEVEL",
    help="The least of what is logged.",
)
def serve(
    path: str | None,
    bootstrap_servers: str | None,
    tables: dict[str, Any],
    given_dumps: tuple[str, ...],
    listen: tuple[str, ...],
    http: str | None,
    log_format: str,
    log_level: str,
) -> None:
    """Run the sidecar.

    Settings come from the file, then the environment (SIDECAR_KAFKA__BOOTSTRAP_SERVERS
    for kafka: bootstrap.servers), then the flags. `sidecar config schema` describes them.
    When the file changes, or at SIGHUP, tables that are defined otherwise are read anew, and
    take the place of the old ones when they are ready; a file with a mistake changes nothing.

    With --from a table is exactly what was dumped, as NAME or as it was called, and stays so; a
    table of the configuration that no dump is given for is a mistake.
    """
    from ..ops import logs
    from ..ops.config import ConfigError, notes
    from ..ops.configfile import ConfigFile

    if given_dumps and (bootstrap_servers is not None or tables):
        raise click.UsageError("--from is without --bootstrap-servers and --table")
    dumps = _dumps(given_dumps)
    flags = {
        "kafka": {"bootstrap.servers": bootstrap_servers},
        "tables": tables,
        "listen": listen,
        "http": http,
    }
    said = {
        name: {"topic": dump.topic, "format": dump.format, "headers": True}
        for name, dump in dumps.items()
    }
    file = ConfigFile(path, os.environ, flags, said)
    try:
        config = file.load()
    except ConfigError as error:
        raise Failed(str(error), USAGE) from error
    screen = Screen(sys.stderr)
    logs.configure(log_level, "json" if log_format == "json" else "text", cast("TextIO", screen))
    for note in notes(config):
        click.echo(f"note: {note}", err=True)
    run(config, screen, file, dumps)


def _dumps(given: tuple[str, ...]) -> "dict[str, Dump]":
    """The dumps to be served, by table."""
    if not given:
        return {}
    from ..follower.dump import DumpFault, open_dump

    dumps: dict[str, Dump] = {}
    for text in given:
        name, path = _name_and_path(text)
        try:
            dump = open_dump(path)
        except DumpFault as fault:
            raise Failed(str(fault), USAGE) from fault
        name = name or dump.table
        if name in dumps:
            raise click.UsageError(
                f"--from: {dumps[name].path} and {path} are both of table {name!r}; NAME=FILE "
                "serves one under another name"
            )
        dumps[name] = dump
    return dumps


def _name_and_path(text: str) -> tuple[str, str]:
    """The name is empty where none is given; a path may have an equals sign of its own."""
    from ..ops.settings import legal_name

    name, equals, path = text.partition("=")
    try:
        return (legal_name(name), path) if equals else ("", text)
    except ValueError:
        return "", text


class Screen(io.TextIOBase):
    """A stream for logs with one line below them that is written over."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._line = ""
        self.terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write above the line."""
        if not self._line:
            return self._stream.write(text)
        return self._stream.write(f"\r\x1b[K{text}{self._line if text.endswith(chr(10)) else ''}")

    def flush(self) -> None:
        """Pass it on."""
        self._stream.flush()

    def show(self, line: str) -> None:
        """Replace the line; empty: take it away."""
        if self._line or line:
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()
        self._line = line


def run(
    config: "Config",
    screen: Screen,
    file: "ConfigFile | None" = None,
    dumps: "dict[str, Dump] | None" = None,
) -> None:
    """Serve a configuration in this process until a signal stops it.

    SIGHUP has its file read again, which is also done when that has changed.

    Raises:
        Failed: an address is in use, a dump cannot be served, or the sidecar itself is at fault.
    """
    import asyncio

    import uvloop

    from ..app import Ended, Sidecar
    from .bootstrap import show_bootstrap

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            stop.set()
            _ignore_signals()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        sidecar = Sidecar(config, file, dumps)
        if file is not None:
            loop.add_signal_handler(signal.SIGHUP, sidecar.reload)
        showing = asyncio.create_task(show_bootstrap(sidecar, screen))
        try:
            await sidecar.run(stop)
        finally:
            showing.cancel()
            screen.show("")
            _ignore_signals()

    try:
        uvloop.run(main())
    except Ended as ended:
        raise Failed(str(ended), USAGE if ended.usage else SERVER_ERROR) from ended


def _ignore_signals() -> None:
    """The stop is under way: a second signal must not turn it into a failure.

    One that comes in just between two steps of `signal.signal` is ignored too, but Python
    reports that with a traceback.
    """
    report = sys.unraisablehook

    def unless_ignored(unraisable: "sys.UnraisableHookArgs") -> None:
        if "ignored due to race condition" not in str(unraisable.exc_value):
            report(unraisable)

    sys.unraisablehook = unless_ignored
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
