"""Reading a topic once, for a command that compares it with what is served.

Brokers that send nothing for a while are given up, since nobody sits behind a command to
tell it so; how far the reading has come is shown on a terminal.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.counters import Counters
from ..core.model import Fetched
from ..core.rule import Rule
from ..core.served import Definition
from .brokers import brokers_of, check_has_topic, served_config
from .failure import CANNOT_CONNECT, NOT_READY, SERVER_ERROR, Failed
from .progress import ReadingProgress
from .text import escaped_text

if TYPE_CHECKING:
    from ..ops.config import Config
    from ..rpc.client import Client

__all__ = ["Fold", "LogMoved", "LogSpan", "ReadLog", "Subject", "read", "subject_of"]

_STALLED_S = 30.0


class LogSpan(NamedTuple):
    """What a reading of the log covers.

    Attributes:
        incarnation: of the topic, as `core.served.incarnation_of` makes it.
        starts: where the reading begins in every partition.
        ends: where it ends: the partition's end when the reading began.
    """

    incarnation: int
    starts: Mapping[int, int]
    ends: Mapping[int, int]


class Fold(Protocol):
    """What takes the parts of a log in; `reached` is how far it has come, by partition."""

    @property
    def reached(self) -> Mapping[int, int]:
        """See the class."""

    def add(self, fetched: Fetched) -> None:
        """Take one part in; the parts of a partition come in order."""


class ReadLog(Protocol):
    """Reads a topic once.

    Yields the parts of the log from its first kept offsets, or from `since` where that is
    later, to the ends that the partitions have when the reading begins (with
    read_committed: their last stable offsets); then it ends. `on_begin` is called once,
    before the first part, with the topic's incarnation, the first kept offsets and the
    ends of all partitions.

    Raises:
        KafkaFault: the log cannot be read.
    """

    def __call__(
        self,
        config: "Config",
        topic: str,
        *,
        since: Mapping[int, int],
        on_begin: Callable[[int, Mapping[int, int], Mapping[int, int]], None],
    ) -> AsyncGenerator[Fetched, None]:
        """See the class."""


class Subject(NamedTuple):
    """What is compared: a table of a sidecar, its topic, and how to reach that.

    `rule` is that through which the table sees its topic; None: as it is.
    """

    table: str
    topic: str
    config: "Config"
    headers: bool
    rule: Rule | None = None


class LogMoved(Failed):
    """The log changed under the reading (its start passed it, it grew): begin again."""


def subject_of(
    client: "Client", table: str, topic: str | None, path: Path | None, servers: str | None
) -> Subject:
    """A running sidecar's table and its topic, as it says itself unless told otherwise.

    Raises:
        CallFailed: of the client.
        Failed: how to reach the brokers is not clear.
    """
    from ..follower.following import rule_of

    known = client.table(table)
    check_has_topic(known, path, servers)
    served = served_config(client)
    topic = topic or known.topic
    settings = served.get("tables", {}).get(known.name, {})
    config = brokers_of(served, path, servers, {known.name: topic})
    definition = _definition_of(known.name, settings, served.get("kafka", {}))
    if known.definition_hash not in {"", definition.hash}:
        raise Failed(
            f"table {escaped_text(known.name)} is being read anew by a changed definition: run the "
            "command again once that is served",
            NOT_READY,
        )
    rule = rule_of(definition)
    return Subject(known.name, topic, config, bool(settings.get("headers", False)), rule)


def _definition_of(table: str, settings: Mapping[str, Any], kafka: Mapping[str, Any]) -> Definition:
    """What a running sidecar says that a table is.

    Raises:
        Failed: it is not one that this version knows.
    """
    from pydantic import ValidationError

    from ..ops.config import TableSettings

    try:
        known = TableSettings.model_validate({"topic": "-", **settings})
    except ValidationError as error:
        names = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise Failed(
            f"the sidecar's table {escaped_text(table)} has settings that this version does not "
            f"know ({names}): use the sidecar's own version",
            SERVER_ERROR,
        ) from error
    isolation = kafka.get("isolation.level", "read_committed")
    return Definition(
        name=table,
        topic=known.topic,
        format=known.format,
        schema_file=known.schema_file or "",
        message=known.message or "",
        unwrap=known.unwrap or "",
        load=known.load(),
        isolation=str(isolation),
    )


def read(read_log: ReadLog, subject: Subject, fold: Fold, since: Mapping[int, int]) -> LogSpan:
    """Read the topic into a fold, to the ends that it has now.

    Args:
        read_log: the reader.
        subject: what to read.
        fold: takes the parts in.
        since: offset to begin at, by partition, where it is past the first kept one.

    Raises:
        LogMoved: what was read is no part of the log any more.
        Failed: the log cannot be read.
    """
    from ..kafka.errors import BadBatch, BrokerFault, KafkaFault, LogFault

    try:
        return asyncio.run(_read(read_log, subject, fold, since))
    except TimeoutError as error:
        raise Failed(
            f"topic {subject.topic!r}: the brokers sent nothing for {_STALLED_S:g} s; does the "
            "topic exist, and may this user read it? (--bootstrap-servers, --topic, --config)",
            CANNOT_CONNECT,
        ) from error
    except KafkaFault as error:
        text = f"cannot read the topic: {escaped_text(str(error))}"
        if isinstance(error, LogFault) and not isinstance(error, BadBatch):
            raise LogMoved(text, SERVER_ERROR) from error
        code = CANNOT_CONNECT if isinstance(error, BrokerFault) else SERVER_ERROR
        raise Failed(text, code) from error


async def _read(
    read_log: ReadLog, subject: Subject, fold: Fold, since: Mapping[int, int]
) -> LogSpan:
    spans: list[LogSpan] = []
    parts = read_log(
        subject.config,
        subject.topic,
        since=since,
        on_begin=lambda *given: spans.append(LogSpan(*given)),
    )
    progress, rule = ReadingProgress(subject.topic), subject.rule
    try:
        async with aclosing(parts):
            while (part := await _next(parts)) is not None:
                fold.add(part if rule is None else rule.fetched(part, Counters()))
                progress.show(fold.reached, {**spans[0].starts, **since}, spans[0].ends)
    finally:
        progress.clear()
    return spans[0]


async def _next(parts: AsyncGenerator[Fetched, None]) -> Fetched | None:
    async with asyncio.timeout(_STALLED_S):
        return await anext(parts, None)
