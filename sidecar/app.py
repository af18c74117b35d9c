"""The composition root: builds the parts, wires them, and orders the start and the stop.

Start: the addresses are taken first, so that a used one is told at once; then the
topics are followed while every lookup is answered UNAVAILABLE. Stop: health turns
NOT_SERVING, new calls are refused, running ones finish or get a status, then the
followers end and the connections close.

There is one event loop and one task group. What goes wrong with Kafka is a state of a
table; a bug that a follower cannot get over ends the process: it never answers on from a
table that nobody feeds without saying so.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from . import __version__
from .core.model import Fetched
from .core.served import Served
from .follower.dump import Dump, DumpFault
from .follower.following import Following, boottime, kafka_settings
from .kafka.errors import leaves_of
from .kafka.examine import Examined
from .kafka.examine import examine as examine_topic
from .kafka.log import OnBegin
from .kafka.log import read_log as read_topic
from .ops.config import Config, ConfigError
from .ops.configfile import ConfigFile, NotTaken
from .ops.heartbeat import Heartbeat
from .ops.http import AddressFault, HttpServer
from .ops.logs import event
from .ops.memory import Budget, container_limit, resident_bytes
from .ops.pages import Pages
from .ops.recorder import Recorder
from .ops.status import Observed
from .rpc.ports import Limits, ServerInfo, Tls
from .rpc.server import Server
from .rpc.sockets import CannotListen

__all__ = ["Ended", "Sidecar", "examine", "read_log", "serve"]

_log = logging.getLogger("sidecar.app")

_GRACE_S = 10.0
# By how many objects there must be more before the collector looks at the young ones; at how many
# such looks at the older ones. By the default it looks, again and again, at all that stays (what
# watches may resume from, a connection each), and nothing is answered for a tenth of a second.
_GC = (5_000, 1000, 100)
# How often it looks at the young ones in any case. Where as many old objects go as new ones come
# (the past of a table that is watched), it would not look for long, and then for long.
_YOUNG_S = 0.05
# How often the configuration's file is looked at.
_LOOK_S = 1.0


class Ended(Exception):  # noqa: N818 (how a run ended, not what the program did wrong)
    """The sidecar cannot begin or go on; the message says why and what to do.

    `usage` tells that the configuration asks for what cannot be had.
    """

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


class Sidecar:
    """All the parts of one sidecar, wired; nothing runs yet.

    Args:
        config: what it serves.
        file: where that comes from; tables that are defined otherwise there are taken while it
            runs. None: nothing changes.
        dumps: by table, what it is served from in the place of its topic; empty: all from these.

    Attributes:
        http_address: where probes and pages are served, once `serve` has begun.
    """

    def __init__(
        self,
        config: Config,
        file: ConfigFile | None = None,
        dumps: Mapping[str, Dump] | None = None,
    ) -> None:
        recorder, limit = Recorder(), config.limits.memory or container_limit()
        self._following = Following(config, Budget(limit), recorder, dumps)
        self._observed = Observed(
            tables=self.tables,
            recorder=recorder,
            heartbeat=Heartbeat(),
            clock=boottime,
            version=__version__,
            memory_limit=limit,
        )
        self._pages = Pages(self._observed)
        self._http = HttpServer(config.http, self._pages.page)
        self._file = file
        self._reload = asyncio.Event()

    @property
    def tables(self) -> Mapping[str, Served]:
        """Every table, by name."""
        return self._following.tables

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port of the probes and pages."""
        return self._http.address

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            Ended: an address is in use, a dump cannot be served, or the sidecar itself is at fault.
        """
        gc.set_threshold(*_GC)
        server = self._server()
        try:
            self._http.start()
            await server.start()
        except (AddressFault, CannotListen) as fault:
            self._http.stop()
            raise Ended(str(fault), usage=True) from fault
        event(_log, logging.INFO, "serving", listen=",".join(self._following.config.listen))
        work = asyncio.create_task(self._work())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            event(_log, logging.INFO, "stopping")
        finally:
            stopped.cancel()
            self._pages.drain()
            await server.stop(_GRACE_S)
            work.cancel()
            await asyncio.wait({work})
            self._following.close()
            self._http.stop()
        _raise_faults(work)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._observed.heartbeat.run())
            tasks.create_task(self._following.run())
            tasks.create_task(_collect_young())
            if self._file is not None:
                tasks.create_task(self._reloading(self._file))

    # A configuration that changes

    def reload(self) -> None:
        """Look at the configuration's file again, whether or not it has changed."""
        self._reload.set()

    async def _reloading(self, file: ConfigFile) -> NoReturn:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._reload.wait()
            if not self._reload.is_set() and not file.changed():
                continue
            self._reload.clear()
            try:
                taken = self._following.take(file.load())
            except (ConfigError, NotTaken) as error:
                fault = "; ".join(str(error).splitlines())
                self._observed.recorder.reload(fault)
                event(_log, logging.ERROR, "configuration refused", why=fault)
            else:
                self._observed.recorder.reload()
                event(_log, logging.INFO, "configuration taken", tables=",".join(taken) or "none")

    def _config_yaml(self) -> str:
        return self._following.config.to_yaml()

    def _config_fault(self) -> str:
        return self._observed.recorder.config_fault

    def _registry_fault(self) -> str:
        return self._observed.recorder.registry_fault

    def _server(self) -> Server:
        config = self._following.config
        limits = config.limits
        return Server(
            tables=self.tables,
            listen=config.listen,
            clock=boottime,
            changed=self._following.changed,
            recorder=self._observed.recorder,
            limits=Limits(
                keys=limits.keys,
                page=limits.page,
                message_bytes=limits.message_bytes,
                calls=limits.calls,
                watches=limits.watches,
                watch_bytes=limits.watch_bytes,
                wait_ms=limits.wait_ms,
            ),
            info=ServerInfo(
                version=__version__,
                started_at=boottime(),
                resident_bytes=resident_bytes,
                config_yaml=self._config_yaml,
                config_fault=self._config_fault,
                registry_fault=self._registry_fault,
            ),
            tls=_tls(config),
        )


async def serve(config: Config, *, stop: asyncio.Event) -> None:
    """Serve the configured tables until `stop` is set.

    Raises:
        Ended: an address is in use, or the sidecar itself is at fault.
    """
    await Sidecar(config).run(stop)


def read_log(
    config: Config, topic: str, *, since: Mapping[int, int], on_begin: OnBegin
) -> AsyncGenerator[Fetched, None]:
    """Read a topic once, to its end; as `kafka.log.read_log`."""
    return read_topic(kafka_settings(config), topic, boottime, since=since, on_begin=on_begin)


async def examine(config: Config, topic: str, *, limit_s: float) -> Examined:
    """Gather what the brokers tell of a topic; as `kafka.examine.examine`."""
    return await examine_topic(kafka_settings(config), topic, boottime, limit_s=limit_s)


async def _collect_young() -> NoReturn:
    while True:
        await asyncio.sleep(_YOUNG_S)
        gc.collect(0)


def _tls(config: Config) -> Tls | None:
    if config.tls is None:
        return None
    try:
        return Tls(
            certificate=Path(config.tls.certificate).read_bytes(),
            key=Path(config.tls.key).read_bytes(),
            client_ca=Path(config.tls.client_ca).read_bytes() if config.tls.client_ca else None,
        )
    except OSError as error:
        raise Ended(
            f"tls: {error.filename} cannot be read: {error.strerror}", usage=True
        ) from error


def _raise_faults(work: asyncio.Task[None]) -> None:
    error = None if work.cancelled() else work.exception()
    if error is None:
        return
    leaves = leaves_of(error)
    if dumps := [leaf for leaf in leaves if isinstance(leaf, DumpFault)]:
        raise Ended("; ".join(map(str, dumps)), usage=True) from error
    faults = ", ".join(map(repr, leaves))
    raise Ended(f"a fault of the sidecar itself: {faults}") from error
