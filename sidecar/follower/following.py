"""All tables of a configuration, and what feeds them.

This is what a sidecar holds before anybody asks: `app` puts servers before it, and a process
that embeds the tables reads them as they are.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.index import Index
from ..core.rule import Rule
from ..core.served import Definition, Plan, Served
from ..core.table import Table
from ..formats import Schemas, decode_of, is_framed, steps_of, texts_of
from ..formats import rule_of as rule_for
from ..kafka.cluster import Cluster
from ..kafka.settings import KafkaSettings
from ..ops.config import Config, RegistrySettings, TableSettings
from ..ops.configfile import check_reload
from ..ops.memory import Budget
from ..ops.recorder import Recorder
from .dump import Dump
from .dumped import Dumped
from .follower import Follower
from .setting import Bell, Policy, Rebuild, Setting

if TYPE_CHECKING:
    from ..registry import Registry as _Registry

__all__ = ["Following", "boottime", "kafka_settings", "plan_of", "rule_of"]


# How long a table about to be ready, or a watch, waits for schemas that nobody has asked for yet.
_PREPARE_S = 2.0


def boottime() -> float:
    """Seconds that go on while the machine sleeps, and that no clock setting moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Following:
    """The tables of a configuration, followed while `run` runs.

    Args:
        config: which, and how to reach their topics.
        budget: of memory, for the whole process.
        recorder: told of each broker error, and of what the schema registry lacks.
        dumps: by table, what it is fed from in the place of its topic; for all tables, or none.

    Attributes:
        tables: by name; which there are does not change.
        changed: rung when a table's state changes.
        config: as it was last taken.
        registry: brings the schemas that values name; None: there is none.
    """

    def __init__(
        self,
        config: Config,
        budget: Budget,
        recorder: Recorder,
        dumps: Mapping[str, Dump] | None = None,
    ) -> None:
        dumps = dumps or {}
        self.config = config
        self.tables = {
            one.name: Served(replace(one, dump=dumps[one.name].name) if dumps else one)
            for one in config.definitions()
        }
        self.changed = Bell()
        self.registry: _Registry | None = None
        schemas = Schemas()
        if config.schema_registry is not None:
            from ..registry import Registry  # late, for it takes a fifth of a second to load

            settings = _registry_settings(config.schema_registry)
            self.registry = Registry(settings, schemas, boottime, recorder.registry)
        self._cluster = Cluster(kafka_settings(config), boottime)
        settings = {
            name: Setting(
                served=served,
                cluster=self._cluster,
                clock=boottime,
                changed=self.changed,
                count_error=recorder.broker_error,
                policy=_policy(config.tables[name]),
                budget=budget,
                plan_of=partial(plan_of, schemas=schemas, registry=self.registry),
            )
            for name, served in self.tables.items()
        }
        self._followers: dict[str, Follower | Dumped] = {
            name: Dumped(setting, dumps[name]) if dumps else Follower(setting)
            for name, setting in settings.items()
        }

    async def run(self) -> NoReturn:
        """Follow them all until cancelled.

        Raises (in an ExceptionGroup):
            DumpFault: a dump cannot be served.
            Exception: a bug of ours, after three tries to begin anew.
        """
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers.values():
                tasks.create_task(follower.run())
            if self.registry is not None:
                tasks.create_task(self.registry.run())
        raise AssertionError("followers end by raising")

    def take(self, config: Config) -> list[str]:
        """Take the tables that are defined otherwise in a newer configuration; which.

        Raises:
            NotTaken: something else is other than it was.
        """
        check_reload(self.config, config)
        before = self.config
        known = {one.name: one for one in before.definitions()}
        changed = [
            one
            for one in config.definitions()
            if one != known[one.name] or config.tables[one.name] != before.tables[one.name]
        ]
        for definition in changed:
            policy = _policy(config.tables[definition.name])
            self._followers[definition.name].redefine(definition, policy)
        self.config = config
        return [definition.name for definition in changed]

    def end(self) -> None:
        """Nothing is fed any more: wake all who wait."""
        for served in self.tables.values():
            served.arrivals.wake()
            if served.current is not None:
                served.current.end()
        self.changed.ring()

    def close(self) -> None:
        """Close the connections to the brokers, once nothing runs any more."""
        self._cluster.close()


def rule_of(definition: Definition) -> Rule | None:
    """What a table's definition makes of the records of its log; None: leaves them as they are."""
    return rule_for(definition.load, decode_of(definition, Schemas()), wall_ms)


def plan_of(
    definition: Definition,
    table: Table,
    schemas: Schemas | None = None,
    registry: "_Registry | None" = None,
) -> Plan:
    """What a definition asks of a generation whose table is this one.

    Args:
        definition: what is asked for.
        table: of the generation.
        schemas: by which values are read that name theirs.
        registry: where these come from.
    """
    schemas = schemas or Schemas()
    decode = decode_of(definition, schemas)
    framed = is_framed(definition)
    note = schemas.note_of(definition.format) if framed else None
    prepare = partial(registry.tried, _PREPARE_S) if framed and registry else None
    rule = rule_for(definition.load, decode, wall_ms, note)
    indexes = {
        name: Index(table, texts_of(path, decode), several=steps_of(path) is None)
        for name, path in definition.indexes
        if decode is not None
    }
    return Plan(definition, rule, indexes, decode, prepare)


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


def _registry_settings(settings: RegistrySettings) -> dict[str, Any]:
    return {
        name: value
        for name, value in (
            ("url", settings.url),
            ("basic.auth.user.info", settings.basic_auth),
            ("ssl.ca.location", settings.ssl_ca),
            ("ssl.certificate.location", settings.ssl_certificate),
            ("ssl.key.location", settings.ssl_key),
        )
        if value is not None
    }


def _policy(table: TableSettings) -> Policy:
    kept_ms = table.delete_retention_ms
    return Policy(
        open_transaction_wait_s=table.open_transaction_wait_ms / 1000,
        rebuild=Rebuild(table.rebuild),
        skip_bad_batches=table.skip_bad_batches,
        delete_retention_s=None if kept_ms is None else kept_ms / 1000,
    )
