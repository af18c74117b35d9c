"""The settings, their types and their defaults.

Each setting stands here once. The names in files (aliases) are the contract's:
librdkafka's for the Kafka client. The types are strict: text becomes a number only
where a source can hold nothing but text, and `sources` does that.

What the contract documents and this version does not honour is refused by name, never
ignored: a choice lists such values as `later`.

A setting in `SECRETS` has no repr, is in no dump, and can be given by the environment
only; beside it stands a setting that names a file.
"""

import json
import re
from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from ..core.rule import Load
from ..core.served import Definition
from ..formats import path_of, steps_of
from .addresses import Address, check_listen, check_urls, join_address, split_address, split_servers

__all__ = [
    "SECRETS",
    "Config",
    "KafkaSettings",
    "Limits",
    "RegistrySettings",
    "TableSettings",
    "TlsSettings",
    "legal_name",
]

# Secret → the setting that names a file which holds it.
SECRETS: Final = {
    "kafka.sasl.password": "kafka.sasl.password.file",
    "kafka.ssl.key.password": "kafka.ssl.key.password.file",
    "schema_registry.basic.auth.user.info": "schema_registry.basic.auth.user.info.file",
}

_Protocol: TypeAlias = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
_Mechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
_Isolation: TypeAlias = Literal["read_committed", "read_uncommitted"]
_Format: TypeAlias = Literal["bytes", "utf8", "json", "avro", "protobuf"]
_Unwrap: TypeAlias = Literal["debezium"]
_Rebuild: TypeAlias = Literal["keep_old", "drop_old", "refuse"]

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_MESSAGE: Final = 2**31 - 1
_MAX_BATCH: Final = 2**31 - 1


def legal_name(text: str) -> str:
    """A name that Kafka takes for a topic; tables are named by the same rule.

    Raises:
        ValueError: what was expected.
    """
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("expected 1 to 249 of the characters a-z A-Z 0-9 . _ -")
    return text


def _choice(literal: Any, later: tuple[str, ...] = ()) -> BeforeValidator:
    """One of the literal's values, in any case, as librdkafka takes them.

    `later` are documented, and this version does not have them.
    """
    values: tuple[str, ...] = get_args(literal)
    known = {value.lower(): value for value in (*values, *later)}

    def check(value: object) -> object:
        chosen = known.get(value.lower()) if isinstance(value, str) else None
        if chosen in later:
            raise ValueError(f"this version does not have {chosen} yet, only {', '.join(values)}")
        if chosen is None:
            raise ValueError(f"expected one of {', '.join(values)}")
        return chosen

    return BeforeValidator(check)


def _parsed(parse: Callable[[str], Any]) -> BeforeValidator:
    def check(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError("expected text")  # noqa: TRY004 (pydantic maps ValueErrors only)
        return parse(value)

    return BeforeValidator(check)


def _json_path(text: str) -> str:
    path_of(text)
    return text


def _apart(texts: tuple[str, ...]) -> tuple[str, ...]:
    chosen = [(text, steps_of(text) or ()) for text in texts]
    for (inner, steps), (outer, fewer) in permutations(chosen, 2):
        if steps[: len(fewer)] == fewer:
            raise ValueError(f"{inner} is a part of {outer}: name one of them")
    return texts


def _members(text: str) -> str:
    steps = steps_of(text)
    if not steps or not all(isinstance(step, str) for step in steps):
        raise ValueError("expected a JSON path of one or more members, as $.address.city")
    return text


def _servers_text(servers: tuple[Address, ...]) -> str:
    return ",".join(map(join_address, servers))


_Servers: TypeAlias = Annotated[
    tuple[Address, ...],
    _parsed(split_servers),
    PlainSerializer(_servers_text),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
_HostPort: TypeAlias = Annotated[
    Address,
    _parsed(split_address),
    PlainSerializer(join_address),
    WithJsonSchema({"type": "string"}),
]
_Topic: TypeAlias = Annotated[str, AfterValidator(legal_name)]
_File: TypeAlias = Annotated[str, Field(min_length=1)]
_JsonPath: TypeAlias = Annotated[str, AfterValidator(_json_path)]
_Field: TypeAlias = Annotated[str, AfterValidator(_members)]
_IndexName: TypeAlias = Annotated[str, AfterValidator(legal_name)]
_Scalar: TypeAlias = str | int | Annotated[float, Field(allow_inf_nan=False)] | bool | None
# A hundred years.
_Age: TypeAlias = Annotated[int, Field(le=3_155_760_000_000)]
_Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Section(BaseModel):
    """What all sections share."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_by_name=False,
        validate_by_alias=True,
    )


class KafkaSettings(_Section):
    """How to reach the cluster. Files are PEM."""

    bootstrap: _Servers = Field(
        (), alias="bootstrap.servers", description="host:port of brokers, with commas between"
    )
    client_id: Annotated[str, Field(min_length=1)] = Field(
        "sidecar", alias="client.id", description="what brokers see in logs and quotas"
    )
    security_protocol: Annotated[_Protocol, _choice(_Protocol)] = Field(
        "PLAINTEXT", alias="security.protocol"
    )
    sasl_mechanism: Annotated[_Mechanism, _choice(_Mechanism, later=("OAUTHBEARER",))] = Field(
        "SCRAM-SHA-512", alias="sasl.mechanism"
    )
    sasl_username: str | None = Field(None, alias="sasl.username")
    sasl_password: str | None = Field(None, alias="sasl.password", repr=False, exclude=True)
    sasl_password_file: _File | None = Field(
        None, alias="sasl.password.file", description="file whose text is the password"
    )
    ssl_ca: _File | None = Field(
        None, alias="ssl.ca.location", description="who signs the brokers; unset: the system's"
    )
    ssl_certificate: _File | None = Field(
        None, alias="ssl.certificate.location", description="our certificate, for mutual TLS"
    )
    ssl_key: _File | None = Field(None, alias="ssl.key.location", description="its private key")
    ssl_key_password: str | None = Field(None, alias="ssl.key.password", repr=False, exclude=True)
    ssl_key_password_file: _File | None = Field(None, alias="ssl.key.password.file")
    isolation_level: Annotated[_Isolation, _choice(_Isolation)] = Field(
        "read_committed", alias="isolation.level"
    )

    @property
    def uses_tls(self) -> bool:
        """Connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Connections log in."""
        return self.security_protocol.startswith("SASL")


class TableSettings(_Section):
    """One table."""

    topic: _Topic = Field(description="Kafka topic; unset: the table's name")
    format: Annotated[_Format, _choice(_Format)] = Field(
        "bytes", description="what the values are, for lookups that ask for JSON"
    )
    schema_file: _File | None = Field(
        None,
        description="of avro: the schema; of protobuf: descriptors as protoc --include_imports "
        "--descriptor_set_out writes them. Unset: values name their schema in schema_registry",
    )
    message: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="of protobuf with a schema_file: the message's full name"
    )
    unwrap: Annotated[_Unwrap, _choice(_Unwrap)] | None = Field(
        None, description="debezium: the values are its change events, of which after is meant"
    )
    headers: bool = Field(default=False, description="keep the records' headers")
    required: bool = Field(default=True, description="the sidecar's readiness needs this table")
    min_entries: Annotated[int, Field(ge=0)] = Field(
        0, description="with fewer entries the table does not become ready"
    )
    rebuild: Annotated[_Rebuild, _choice(_Rebuild)] = Field(
        "keep_old",
        description="when a log was cut: keep_old answers, STALE, until the table was read anew; "
        "drop_old: nothing answers meanwhile; refuse: nothing is read anew before a restart",
    )
    stale_after_ms: Annotated[_Milliseconds, Field(ge=1)] = Field(
        5000, description="staleness in ms from which the table is STALE"
    )
    open_transaction_wait_ms: _Milliseconds = Field(
        75_000, description="how long, in ms, a bootstrap waits for an open transaction"
    )
    delete_retention_ms: _Milliseconds | None = Field(
        None,
        description="for how long the topic keeps tombstones, ms; only used where the brokers do "
        "not tell (without DescribeConfigs on the topic)",
    )
    skip_bad_batches: bool = Field(
        default=False,
        description="pass over batches that cannot be read, and count them; else they stop the "
        "table where they stand",
    )
    filter_key_prefix: str = Field("", description="take only keys that begin so, text")
    filter_path: _JsonPath | None = Field(
        None, description="take only values in which this JSON path finds something"
    )
    filter_any_of: tuple[_Scalar, ...] = Field(
        (), strict=False, description="and finds one of these"
    )
    project: Annotated[tuple[_Field, ...], AfterValidator(_apart)] = Field(
        (),
        strict=False,
        description="the fields of the values that the table keeps, as JSON paths of members; "
        "the values are then JSON. None: the values as they are",
    )
    expire_after_ms: Annotated[_Age, Field(ge=1)] | None = Field(
        None, description="entries whose record's timestamp is older than this are gone, ms"
    )
    strip_schema_id: bool = Field(
        default=False,
        description="the keys were written by a schema registry's serializer: the table's keys "
        "are without its five bytes",
    )
    indexes: Mapping[_IndexName, _JsonPath] = Field({}, description="name: JSON path")

    def load(self) -> Load:
        """Which records the table takes, and how much of each."""
        return Load(
            strip_schema_id=self.strip_schema_id,
            key_prefix=self.filter_key_prefix.encode(),
            path=self.filter_path or "",
            any_of=tuple(json.dumps(each) for each in self.filter_any_of),
            project=self.project,
            expire_after_ms=self.expire_after_ms,
        )


class Limits(_Section):
    """What one caller may ask for."""

    keys: Annotated[int, Field(ge=1)] = Field(1000, description="keys in one MultiGet")
    page: Annotated[int, Field(ge=1)] = Field(1000, description="entries in one page of List")
    message_bytes: Annotated[int, Field(ge=1024, le=_MAX_MESSAGE)] = Field(
        4 * 1024 * 1024, description="largest gRPC message, bytes"
    )
    batch_bytes: Annotated[int, Field(ge=1024, le=_MAX_BATCH)] = Field(
        128 * 1024 * 1024, description="largest record batch when it is unpacked, bytes"
    )
    calls: Annotated[int, Field(ge=1)] = Field(
        1000, description="streams, scans and waits at a time"
    )
    watches: Annotated[int, Field(ge=0)] = Field(1000, description="watches at a time")
    watch_bytes: Annotated[int, Field(ge=1024)] = Field(
        8 * 1024 * 1024,
        description="what may wait for one watch before it is cut, bytes; twice as much of each "
        "table's past is kept for those who resume",
    )
    memory: Annotated[int, Field(ge=1 << 20)] | None = Field(
        None,
        description="what the process may take, bytes; unset: the container's limit. A table that "
        "would pass nine tenths of it is refused",
    )
    wait_ms: Annotated[int, Field(ge=0)] = Field(
        5000, description="longest wait for a freshness bound, and the default, milliseconds"
    )


class RegistrySettings(_Section):
    """Where the schemas are that avro and protobuf values name. Files are PEM."""

    url: Annotated[str, AfterValidator(check_urls)] = Field(
        "", description="http:// or https:// address; several with commas between"
    )
    basic_auth: str | None = Field(None, alias="basic.auth.user.info", repr=False, exclude=True)
    basic_auth_file: _File | None = Field(
        None, alias="basic.auth.user.info.file", description="file whose text is user:password"
    )
    ssl_ca: _File | None = Field(
        None, alias="ssl.ca.location", description="who signs the registry; unset: the system's"
    )
    ssl_certificate: _File | None = Field(
        None, alias="ssl.certificate.location", description="our certificate, for mutual TLS"
    )
    ssl_key: _File | None = Field(None, alias="ssl.key.location", description="its private key")


class TlsSettings(_Section):
    """TLS of the gRPC addresses that are not unix sockets. Files are PEM."""

    certificate: str = Field("", description="the server's certificate chain")
    key: str = Field("", description="its private key")
    client_ca: _File | None = Field(
        None, description="who signs clients; set: clients must show a certificate"
    )


class Config(_Section):
    """The effective configuration."""

    kafka: KafkaSettings = KafkaSettings.model_validate({})
    listen: Annotated[
        tuple[Annotated[str, AfterValidator(check_listen)], ...], Field(strict=False, min_length=1)
    ] = Field(("127.0.0.1:50051",), description="gRPC: host:port or unix:///path")
    http: _HostPort = Field(
        ("127.0.0.1", 9464), description="probes, metrics and the status page: host:port"
    )
    tables: Mapping[str, TableSettings] = Field({}, description="tables by name")
    limits: Limits = Limits.model_validate({})
    tls: TlsSettings | None = None
    schema_registry: RegistrySettings | None = None

    def definitions(self) -> tuple[Definition, ...]:
        """The tables as the core takes them, by name."""
        return tuple(
            Definition(
                name=name,
                topic=table.topic,
                format=table.format,
                schema_file=table.schema_file or "",
                message=table.message or "",
                unwrap=table.unwrap or "",
                headers=table.headers,
                required=table.required,
                min_entries=table.min_entries,
                stale_after_ms=table.stale_after_ms,
                isolation=self.kafka.isolation_level,
                load=table.load(),
                indexes=tuple(sorted(table.indexes.items())),
            )
            for name, table in sorted(self.tables.items())
        )

    def to_yaml(self) -> str:
        """The configuration as a file would hold it: no secrets, always in the same order."""
        import yaml

        tree = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        tree["tables"] = dict(sorted(tree["tables"].items()))
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
