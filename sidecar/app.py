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
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from . import __version__
from .core.index import Index
from .core.model import Fetched
from .core.rule import Rule
from .core.served import Definition, Served
from .core.table import Table
from .follower import Bell, Follower, Policy, Rebuild, Setting, Shaping
from .formats import FORMATS, steps_of, texts_of
from .formats import rule_of as rule_for
from .kafka.cluster import Cluster
from .kafka.errors import leaves_of
from .kafka.examine import Examined
from .kafka.examine import examine as examine_topic
from .kafka.log import OnBegin
from .kafka.log import read_log as read_topic
from .kafka.settings import KafkaSettings
from .ops.config import Config, TableSettings
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

__all__ = [
    "Ended",
    "Sidecar",
    "boottime",
    "examine",
    "kafka_settings",
    "read_log",
    "rule_of",
    "serve",
]

_log = logging.getLogger("sidecar.app")

_GRACE_S = 10.0


class Ended(Exception):  # noqa: N818 (how a run ended, not what the program did wrong)
    """The sidecar cannot begin or go on; the message says why and what to do.

    `usage` tells that the configuration asks for what cannot be had.
    """

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


def boottime() -> float:
    """Seconds that go on while the machine sleeps, and that no clock setting moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sidecar:
    """All the parts of one sidecar, wired; nothing runs yet.

    Attributes:
        tables: by name.
        http_address: where probes and pages are served, once `serve` has begun.
    """

    def __init__(self, config: Config) -> None:
        definitions = config.definitions()
        self.tables = {definition.name: Served(definition) for definition in definitions}
        self._changed = Bell()
        self._cluster = Cluster(kafka_settings(config), boottime)
        self._observed = Observed(
            tables=self.tables,
            recorder=Recorder(),
            heartbeat=Heartbeat(),
            clock=boottime,
            version=__version__,
            memory_limit=config.limits.memory or container_limit(),
        )
        self._pages = Pages(self._observed)
        self._http = HttpServer(config.http, self._pages.page)
        self._config = config

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port of the probes and pages."""
        return self._http.address

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            Ended: an address is in use, or the sidecar itself is at fault.
        """
        server = self._server()
        try:
            self._http.start()
            await server.start()
        except (AddressFault, CannotListen) as fault:
            self._http.stop()
            raise Ended(str(fault), usage=True) from fault
        event(_log, logging.INFO, "serving", listen=",".join(self._config.listen))
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
            self._cluster.close()
            self._http.stop()
        _raise_faults(work)

    async def _work(self) -> None:
        budget = Budget(self._observed.memory_limit)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._observed.heartbeat.run())
            for name, served in self.tables.items():
                setting = Setting(
                    served=served,
                    cluster=self._cluster,
                    clock=boottime,
                    changed=self._changed,
                    count_error=self._observed.recorder.broker_error,
                    policy=_policy(self._config.tables[name]),
                    budget=budget,
                    shaping=Shaping(rule_of, indexes_of),
                )
                tasks.create_task(Follower(setting).run())

    def _server(self) -> Server:
        limits = self._config.limits
        return Server(
            tables=self.tables,
            listen=self._config.listen,
            clock=boottime,
            changed=self._changed,
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
                config_yaml=self._config.to_yaml(),
            ),
            tls=_tls(self._config),
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


def rule_of(definition: Definition) -> Rule | None:
    """What a table's definition makes of the records of its log; None: leaves them as they are."""
    return rule_for(definition.load, FORMATS[definition.format], wall_ms)


def indexes_of(definition: Definition, table: Table) -> dict[str, Index]:
    """The indexes that a table's definition wants, by name."""
    decode = FORMATS[definition.format]
    return {
        name: Index(table, texts_of(path, decode), several=steps_of(path) is None)
        for name, path in definition.indexes
        if decode is not None
    }


def wall_ms() -> int:
    """Milliseconds since the Unix epoch, which records' timestamps are compared with."""
    return time.time_ns() // 1_000_000


def kafka_settings(config: Config) -> KafkaSettings:
    """The Kafka client's settings of a configuration."""
    kafka = config.kafka
    return KafkaSettings(
        bootstrap=tuple(kafka.bootstrap),
        client_id=kafka.client_id,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password,
        ssl_ca=kafka.ssl_ca,
        ssl_certificate=kafka.ssl_certificate,
        ssl_key=kafka.ssl_key,
        ssl_key_password=kafka.ssl_key_password,
        isolation_level=kafka.isolation_level,
        batch_bytes=config.limits.batch_bytes,
    )


def _policy(table: TableSettings) -> Policy:
    kept_ms = table.delete_retention_ms
    return Policy(
        open_transaction_wait_s=table.open_transaction_wait_ms / 1000,
        rebuild=Rebuild(table.rebuild),
        skip_bad_batches=table.skip_bad_batches,
        delete_retention_s=None if kept_ms is None else kept_ms / 1000,
    )


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
    if error is not None:
        faults = ", ".join(map(repr, leaves_of(error)))
        raise Ended(f"a fault of the sidecar itself: {faults}") from error
