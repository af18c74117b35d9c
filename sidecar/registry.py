"""Brings schemas from a schema registry, beside everything else.

Nobody waits for it but a table about to be ready and a watch about to send values whose schema
nobody has asked for yet, and those for a moment. While the registry does not answer, it is asked
again and again; what is known already is not asked for any more.
"""

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from .formats import BadSchema, Decoded, Missing, SchemaId, Schemas, decode_by

__all__ = ["Registry"]

_log = logging.getLogger("sidecar.registry")

_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_MOST_REFERENCES: Final = 1000
_TYPES: Final = {"avro": "AVRO", "protobuf": "PROTOBUF"}


class Registry:
    """Fetches what is missing, while it runs.

    Args:
        settings: of the client, as the library names them.
        schemas: where they are missing, and are brought to.
        clock: seconds.
        report: told why schemas are missing, each time; and "" when none is any more.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        schemas: Schemas,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._report = report
        self._fault = ""
        self._settings = settings
        self._schemas = schemas
        self._clock = clock
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S
        schemas.wanted = self._wanted.set

    async def run(self) -> NoReturn:
        """Fetch until cancelled."""
        async with await self._client() as client:
            while True:
                await self._round(client)
                await self._wait()

    async def _client(self) -> AsyncSchemaRegistryClient:
        """A client; while its certificates are not to be read, it is tried again and again."""
        settings = {"timeout": _TIMEOUT_S, "max.retries": 0} | self._settings
        while True:
            try:
                return AsyncSchemaRegistryClient(settings)
            except (OSError, ValueError) as error:
                self._unmade(error)
            await asyncio.sleep(self._slower())

    def _unmade(self, error: Exception) -> None:
        missing = self._schemas.missing.values()
        for one in missing:
            one.silent = True
        self._fail(missing, f"the schema registry cannot be asked: {_sentence(error)}")
        self._tried.set()

    def _slower(self) -> float:
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        return self._pause_s

    async def tried(self, seconds: float) -> None:
        """Wait until whatever is missing has been asked for once, for at most so long.

        While the registry does not answer, nothing is waited for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._worth_waiting():
                    self._tried.clear()
                    await self._tried.wait()

    def _worth_waiting(self) -> bool:
        silent = any(one.silent for one in self._schemas.missing.values())
        return not silent and next(self._schemas.untried(), None) is not None

    async def _wait(self) -> None:
        missing = self._schemas.missing.values()
        pause_s = min((one.due for one in missing), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if pause_s is None else pause_s - self._clock()):
                await self._wanted.wait()
        self._wanted.clear()

    async def _round(self, client: AsyncSchemaRegistryClient) -> None:
        now, missing = self._clock(), self._schemas.missing
        due = [(schema, one) for schema, one in missing.items() if one.due <= now]
        failed = False
        for schema, one in due:
            error = await self._fetch(client, schema)
            failed |= error is not None
            if error is not None:
                one.silent = not isinstance(error, SchemaRegistryError)
                reason = f"the schema registry answers: {_sentence(error)}"
                self._fail([each for _, each in due] if one.silent else [one], reason)
            self._tried.set()
            if one.silent:
                break
        if due and not failed:
            self._pause_s = _FIRST_PAUSE_S
        elif failed:
            self._slower()
        if self._fault and not any(one.reason for one in missing.values()):
            self._fault = ""
            self._report("")

    def _fail(self, missing: Iterable[Missing], reason: str) -> None:
        if reason != self._fault:
            _log.warning("schemas are missing: %s", reason)
        self._fault = reason
        self._report(reason)
        for one in missing:
            one.reason = reason
            one.due = self._clock() + self._pause_s * random.uniform(0.5, 1)  # noqa: S311

    async def _fetch(self, client: AsyncSchemaRegistryClient, schema: SchemaId) -> Exception | None:
        """Bring a schema; or the error with which the registry does not give it."""
        try:
            decode = await _decode_of(client, *schema)
        except BadSchema as error:
            reason = f"schema {schema[1]}: {error}"
            _log.error("%s", reason)
            self._schemas.bring(schema, lambda _: Decoded(None, reason))
        except Exception as error:  # noqa: BLE001 (the client lets those of several libraries through)
            return error
        else:
            self._schemas.bring(schema, decode)
        return None


def _sentence(error: Exception) -> str:
    """What happened, without addresses that may hold a password."""
    told = getattr(error, "error_message", "") or str(error)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


async def _decode_of(client: AsyncSchemaRegistryClient, kind: str, number: int) -> Any:
    serialized = "serialized" if kind == "protobuf" else None
    found = await client.get_schema(number, fmt=serialized)
    if (found.schema_type or "AVRO") != _TYPES[kind]:
        raise BadSchema(f"it is of type {found.schema_type}, and the table's format is {kind}")
    references: dict[str, str] = {}
    await _gather(client, found, (serialized, set()), references)
    if kind == "avro":
        from .formats import avro

        return decode_by(avro.reader_of(found.schema_str or "", references.values()))
    from .formats import protobuf

    files = [protobuf.file_of(name, _bytes(text)) for name, text in references.items()]
    file = protobuf.file_of(f"schema-{number}.proto", _bytes(found.schema_str or ""))
    return decode_by(protobuf.framed_reader_of(file, files))


async def _gather(
    client: AsyncSchemaRegistryClient,
    schema: Any,
    asked: tuple[str | None, set[str]],
    found: dict[str, str],
) -> None:
    """Fetch what a schema names, each behind those that it names itself.

    Args:
        client: of the registry.
        schema: whose references.
        asked: in which form, and the names that were asked for already.
        found: by name; is filled.
    """
    form, names = asked
    for one in schema.references or ():
        if one.name in names:
            continue
        names.add(one.name)
        if len(names) > _MOST_REFERENCES:
            raise BadSchema(f"it refers to more than {_MOST_REFERENCES} others")
        registered = await client.get_version(one.subject, one.version, deleted=True, fmt=form)
        await _gather(client, registered.schema, asked, found)
        found[one.name] = registered.schema.schema_str or ""


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSchema("the schema registry does not serve it as a descriptor") from None
