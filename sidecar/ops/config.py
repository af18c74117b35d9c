"""The effective configuration: one YAML file < environment < flags.

All that is wrong is told at once, each with the setting's full path, what was expected
and where the value came from. Two passes make that possible: settings that are wrong
by themselves are taken out, and what is left is checked together, without repeating
what follows from the first.

A setting of the documented contract that this version does not honour is refused.
What has no effect beside the other settings is a note, not an error, because one file
may serve several clusters.

Secrets come from files (`….file`) or the environment. `load` reads them, and no repr,
message or dump shows them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .addresses import is_loopback
from .formats import check_registry, check_values
from .problems import ConfigError, Problem
from .settings import SECRETS, Config, RegistrySettings, TableSettings
from .sources import (
    Given,
    SettingPath,
    dotted,
    environment_name,
    from_dumps,
    from_environment,
    from_file,
    from_flags,
)

__all__ = [
    "Config",
    "ConfigError",
    "Problem",
    "RegistrySettings",
    "TableSettings",
    "load",
    "notes",
    "schema",
]

_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "too_short": "at least one address",
    "string_too_short": "text that is not empty",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}
_LONGEST_SHOWN: Final = 200
_LONGEST_SECRET: Final = 64 * 1024


def load(
    path: str | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    dumps: Mapping[str, Any] | None = None,
) -> Config:
    """The effective configuration.

    Args:
        path: of the YAML file; None: there is none.
        environ: variables; those that begin with SIDECAR_ are settings.
        flags: a tree as the file's, of what the command line gave.
        dumps: by table, what the dump that it is served from says of it, as the file would: which
            holds if the file has no such table. No broker is needed then. None: there are none.

    Raises:
        ConfigError: with every problem.
    """
    file = from_file(path) if path is not None else from_flags({})
    flagged = from_flags(flags)
    own = _tables_of(file.given)
    dumped = from_dumps({name: said for name, said in (dumps or {}).items() if name not in own})
    tables = own | _tables_of(flagged.given) | _tables_of(dumped.given)
    environment = from_environment(environ, tables)
    given = _merged(dumped.given, file.given, environment.given, flagged.given)
    if dumps:
        given = {path: one for path, one in given.items() if not _reaches_brokers(path)}
    problems = [*file.problems, *environment.problems, *flagged.problems, *dumped.problems]
    problems += _take_secret_files(given)
    config, wrong = _validate(given)
    problems += wrong
    known = [problem.path for problem in problems]
    for problem in (*_check_source(config, dumps), *_check_together(config)):
        if not any(_concerns(path, problem.path) for path in known):
            problems.append(_with_origin(problem, given))
    if problems:
        raise ConfigError(problems)
    return config


def notes(config: Config) -> tuple[str, ...]:
    """Settings that were given and have no effect, one sentence each."""
    kafka = config.kafka
    idle = []
    if not kafka.uses_sasl:
        idle += ["sasl_username", "sasl_password", "sasl_password_file"]
    if not kafka.uses_tls:
        idle += ["ssl_ca", "ssl_certificate", "ssl_key", "ssl_key_password_file"]
    fields = type(kafka).model_fields
    return tuple(
        f"kafka.{fields[name].alias}: has no effect with security.protocol "
        f"{kafka.security_protocol}"
        for name in idle
        if getattr(kafka, name) is not None
    )


def schema() -> dict[str, Any]:
    """JSON Schema of the file, without the settings that a file must not hold."""
    tree = Config.model_json_schema(by_alias=True)
    tree["required"] = ["kafka", "tables"]
    tree["properties"]["tables"]["minProperties"] = 1
    for name in ("kafka", "limits"):
        del tree["properties"][name]["default"]
    sections = tree["$defs"]
    sections["KafkaSettings"]["required"] = ["bootstrap.servers"]
    sections["TlsSettings"]["required"] = ["certificate", "key"]
    sections["TableSettings"].pop("required")
    sections["RegistrySettings"]["required"] = ["url"]
    for secret in SECRETS:
        section, name = _path(secret)
        holder = {"kafka": "KafkaSettings", "schema_registry": "RegistrySettings"}[section]
        sections[holder]["properties"].pop(name)
    return tree


# Merging


def _merged(*sources: Mapping[SettingPath, Given]) -> dict[SettingPath, Given]:
    """Later sources win; what is only implied never does."""
    merged: dict[SettingPath, Given] = {}
    for source in sources:
        for path, given in source.items():
            if not (given.implied and path in merged):
                merged[path] = given
    return merged


def _tables_of(given: Mapping[SettingPath, Given]) -> dict[str, None]:
    """The tables that a source names."""
    return {path[1]: None for path in given if path[0] == "tables"}


def _reaches_brokers(path: SettingPath) -> bool:
    """A setting of which nothing is needed where no broker is asked."""
    return path[0] == "kafka" and path[1] != "isolation.level"


def _nested(given: Mapping[SettingPath, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, one in given.items():
        section = tree
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = one.value
    return tree


def _take_secret_files(given: dict[SettingPath, Given]) -> list[Problem]:
    """Put what the `….file` settings name in the secrets' places, where they are used."""
    problems = []
    for secret, file in SECRETS.items():
        secret_path, file_path = _path(secret), _path(file)
        source = given.get(file_path)
        if source is None or not isinstance(source.value, str) or not _in_use(secret, given):
            continue
        if secret_path in given:
            message = f"expected this or {environment_name(secret_path)}, got both"
            problems.append(Problem(file, message, source.origin))
            continue
        try:
            given[secret_path] = Given(_read_secret(source.value), source.origin)
        except ValueError as error:
            problems.append(Problem(file, f"{error}, got {_shown(source.value)}", source.origin))
    return problems


def _path(name: str) -> SettingPath:
    """The path of a setting that is no table's."""
    return tuple(name.split(".", 1))


def _in_use(name: str, given: Mapping[SettingPath, Given]) -> bool:
    """Whether the protocol has the part (SASL, SSL) that a secret of Kafka's belongs to."""
    if not name.startswith("kafka."):
        return True
    protocol = given.get(("kafka", "security.protocol"), Given("", "")).value
    return name.split(".")[1].upper() in str(protocol).upper().split("_")


def _read_secret(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LONGEST_SECRET + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"expected a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("expected a file of UTF-8 text") from None
    if not text or len(text) > _LONGEST_SECRET:
        raise ValueError("expected a file that holds the secret and nothing else")
    return text


# Checking


def _validate(given: dict[SettingPath, Given]) -> tuple[Config, list[Problem]]:
    """The configuration of all settings that are right, and the problems of the others."""
    try:
        return Config.model_validate(_nested(given)), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong: dict[SettingPath, Problem] = {}
    for detail in details:
        path = _longest_given(detail["loc"], given)
        wrong.setdefault(path, _problem(detail, path, given[path]))
    right = {path: one for path, one in given.items() if path not in wrong}
    for path in wrong:
        if path[0] == "tables" and path[-1] == "topic":
            right[path] = Given("-", "")
    return Config.model_validate(_nested(right)), list(wrong.values())


def _longest_given(
    location: tuple[int | str, ...], given: Mapping[SettingPath, Given]
) -> SettingPath:
    path = tuple(str(part) for part in location)
    while path not in given:
        path = path[:-1]
    return path


def _problem(detail: ErrorDetails, path: SettingPath, given: Given) -> Problem:
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        message = str(context["error"])
    else:
        expected = _EXPECTED.get(detail["type"], detail["msg"])
        message = f"expected {expected.format(**context)}"
    index = "".join(f"[{part}]" for part in detail["loc"] if isinstance(part, int))
    got = "" if dotted(path) in SECRETS else f", got {_shown(detail['input'])}"
    return Problem(dotted(path) + index, message + got, given.origin)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _with_origin(problem: Problem, given: Mapping[SettingPath, Given]) -> Problem:
    sources = [source for path, source in given.items() if dotted(path) == problem.path]
    known = sources and not problem.origin
    return problem._replace(origin=sources[0].origin) if known else problem


def _concerns(known: str, path: str) -> bool:
    """A problem that is known already is, or stands above or below, this one."""
    known = known.partition("[")[0]
    return known == path or known.startswith(path + ".") or path.startswith(known + ".")


def _check_table(path: str, table: TableSettings) -> Iterator[Problem]:
    if table.filter_any_of and table.filter_path is None:
        yield Problem(
            f"{path}.filter_any_of", "needs filter_path, which says where in the values to look"
        )
    for name in ("filter_path", "project", "indexes"):
        if getattr(table, name) and table.format == "bytes":
            yield Problem(
                f"{path}.{name}",
                "looks inside the values, whose format is bytes: set format to what they are",
            )


def _check_source(config: Config, dumps: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Every table can be read from somewhere."""
    if not dumps:
        if not config.kafka.bootstrap:
            yield Problem("kafka.bootstrap.servers", "expected host:port of a broker, got nothing")
        return
    for name in config.tables:
        if name not in dumps:
            yield Problem(
                f"tables.{name}",
                f"expected a dump for each table, got none for this: --from {name}=FILE, or leave "
                "the table out",
            )


def _check_together(config: Config) -> Iterator[Problem]:
    """What settings need of each other."""
    if not config.tables:
        yield Problem("tables", "expected at least one table, got none")
    yield from _check_login(config)
    yield from _check_files(config)
    for name, table in config.tables.items():
        yield from _check_table(f"tables.{name}", table)
        yield from check_values(f"tables.{name}", table, config.schema_registry)
    yield from check_registry(config.schema_registry)
    wide = [address for address in config.listen if not is_loopback(address)]
    if wide and config.tls is None:
        yield Problem(
            "listen",
            "expected tls.certificate and tls.key with an address wider than loopback, "
            f"got {', '.join(wide)} without them",
        )


def _check_login(config: Config) -> Iterator[Problem]:
    kafka = config.kafka
    if not kafka.uses_sasl:
        return
    needs = f"with security.protocol {kafka.security_protocol}, got nothing"
    if not kafka.sasl_username:
        yield Problem("kafka.sasl.username", f"expected a user {needs}")
    if not kafka.sasl_password:
        variable = environment_name(_path("kafka.sasl.password"))
        yield Problem("kafka.sasl.password", f"expected sasl.password.file or {variable} {needs}")


def _check_files(config: Config) -> Iterator[Problem]:
    """The PEM files that are used are there, and a certificate has its key."""
    kafka, tls = config.kafka, config.tls
    files: dict[str, str | None] = {}
    if kafka.uses_tls:
        files["kafka.ssl.ca.location"] = kafka.ssl_ca
        if kafka.ssl_certificate or kafka.ssl_key:
            files["kafka.ssl.certificate.location"] = kafka.ssl_certificate or ""
            files["kafka.ssl.key.location"] = kafka.ssl_key or ""
    if tls is not None:
        files |= {"tls.certificate": tls.certificate, "tls.key": tls.key}
        files["tls.client_ca"] = tls.client_ca
    if (registry := config.schema_registry) is not None:
        files["schema_registry.ssl.ca.location"] = registry.ssl_ca
        if registry.ssl_certificate or registry.ssl_key:
            files["schema_registry.ssl.certificate.location"] = registry.ssl_certificate or ""
            files["schema_registry.ssl.key.location"] = registry.ssl_key or ""
    for name, path in files.items():
        if path is not None and (reason := _unreadable(path)):
            yield Problem(name, f"expected a PEM file, got {reason}")


def _unreadable(path: str) -> str:
    if not path:
        return "nothing: a certificate and its key are given together"
    try:
        Path(path).open("rb").close()
    except OSError as error:
        return f"{_shown(path)} ({error.strerror})"
    return ""
