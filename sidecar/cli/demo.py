"""`sidecar demo`: everything on one machine, and what to try next.

A broker inside this process, a topic with real data that goes on changing, and the same
sidecar that `serve` runs. Only the broker is a stand-in.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Final

import click

from .failure import SERVER_ERROR, USAGE, Failed
from .keys import pressed_keys
from .output import line, paint
from .stage import KEYS, Stage
from .text import count, escaped_text

if TYPE_CHECKING:
    from ..ops.config import Config

__all__ = ["demo"]

_TOPIC: Final = "airports"
_BROKERS: Final = 3
_PARTITIONS: Final = 8
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_DEFAULT_LISTEN: Final = "127.0.0.1:50051"


@click.command(
    epilog="Example: sidecar demo    |    sidecar demo --listen 127.0.0.1:50052 --rate 100",
    short_help="Run all of it on an embedded broker, with moving data.",
)
@click.option(
    "--listen",
    default=_DEFAULT_LISTEN,
    show_default=True,
    metavar="ADDR",
    help="Where the sidecar listens for gRPC: host:port or unix:///path.",
)
@click.option(
    "--http",
    default="127.0.0.1:9464",
    show_default=True,
    metavar="ADDR",
    help="Where the status page, the probes and the metrics are.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.01, max=1000),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Changes a second.",
)
def demo(*, listen: str, http: str, rate: float) -> None:
    """Run all of it on an embedded broker, with moving data.

    The data are the world's airports by ICAO code. Nothing is kept: Ctrl-C ends it all.

    On a terminal, keys freeze the broker (f) and delete the topic (d), to show what a
    sidecar does then.
    """
    with _needs_extra():
        from ..demo.airports import Airports, load
        from ..demo.broker import running_broker
        from ..demo.writer import Writer
    for number in _SIGNALS:  # until the loop takes them over there is nothing to stop
        signal.signal(number, lambda *_: sys.exit(0))
    from ..app import Ended
    from ..ops import logs

    logs.configure("warning", "text", sys.stderr)
    try:
        with running_broker(_TOPIC, brokers=_BROKERS, partitions=_PARTITIONS) as broker:

            def writer() -> Writer:
                return Writer(broker.servers, _TOPIC, partitions=_PARTITIONS)

            airports = Airports(load(), Random())  # noqa: S311 (which airport is no secret)
            stage = Stage(broker, writer, airports, rate, _say, _where(listen))
            asyncio.run(_run(_config(broker.servers, listen, http), stage, rate))
    except (Ended, OSError, ExceptionGroup) as error:
        cause = _first(error)
        if not isinstance(cause, (Ended, OSError)):
            raise
        text = escaped_text(str(cause))
        if isinstance(cause, Ended) and cause.usage:
            raise Failed(f"{text}; take other addresses: --listen, --http", USAGE) from error
        raise Failed(text, SERVER_ERROR) from error
    _say("ended")


@contextlib.contextmanager
def _needs_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise Failed(
            f"the demo needs {error.name}: pip install 'kafka-cache-sidecar[demo]'", USAGE
        ) from error


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _config(servers: str, listen: str, http: str) -> "Config":
    from ..ops.config import ConfigError, load

    flags = {
        "kafka": {"bootstrap.servers": servers},
        "listen": [listen],
        "http": http,
        "tables": {_TOPIC: {"topic": _TOPIC, "format": "json"}},
    }
    try:
        # Not the environment's settings: they are those of another cluster.
        return load(None, {}, flags)
    except ConfigError as error:
        raise Failed("; ".join(str(error).splitlines()), USAGE) from error


async def _run(config: "Config", stage: Stage, rate: float) -> None:
    from ..app import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    written = await stage.fill()
    _say(f"a broker in this process: {count(written)} airports, {_PARTITIONS} partitions")
    with pressed_keys(stage.press) as keys:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(config, stop=stop))
            tasks.create_task(_invite(config, rate, stop, keys=keys))
            tasks.create_task(stage.run(stop))


def _say(text: str) -> None:
    """A line that is seen at once, in a pipe too."""
    line(text)
    sys.stdout.flush()


async def _invite(config: "Config", rate: float, stop: asyncio.Event, *, keys: bool) -> None:
    """Say what to try, once the table answers."""
    from ..rpc.client import Address, CallFailed, Client

    address = Address(config.listen[0])
    with Client(address, timeout=1.0) as client:
        while not stop.is_set():
            try:
                await asyncio.to_thread(client.wait_until, _TOPIC, timeout=0.5)
            except CallFailed:
                continue
            _say(_invitation(config, rate, keys=keys))
            return


def _invitation(config: "Config", rate: float, *, keys: bool) -> str:
    listen = config.listen[0]
    where = _where(listen)
    host, port = config.http
    rows = (
        (f"sidecar get KJFK{where}", "one airport, and where its record came from"),
        (f"sidecar list --prefix KJ{where}", "keys in order"),
        (f"sidecar get NOPE{where}", "an absent key: exit code 1"),
        (f"sidecar status{where}", "is it ready, and if not, why"),
        (f"sidecar tables{where}", "what is served"),
        (f"sidecar describe {_TOPIC}{where}", "every partition"),
        (f"sidecar verify{where}", "is the table what the topic says"),
        (f"sidecar explain KJFK{where}", "the same for one key, and why"),
        (f"curl http://{host}:{port}/", "the status page; /metrics, /readyz"),
    )
    width = max(len(command) for command, _ in rows)
    text = [
        f"  {paint(command.ljust(width), 'bold')}  {paint(what, 'dim')}" for command, what in rows
    ]
    return "\n".join(
        [
            f"sidecar at {listen}: ready; about {rate:g} airports change every second",
            "",
            "Try in another terminal:",
            *text,
            "",
            *(_keys() if keys else ()),
            "Ctrl-C ends it.",
        ]
    )


def _where(listen: str) -> str:
    return "" if listen == _DEFAULT_LISTEN else f" -e {listen}"


def _keys() -> list[str]:
    rows = [f"  {paint(key, 'bold')}  {paint(what, 'dim')}" for key, what in KEYS.items()]
    return ["Press here:", *rows, ""]
