"""What the file, the environment and the flags set, each with where it stands.

Every source ends as the same thing: a flat mapping from a setting's path to what was
given for it and by whom. A later source then simply wins, and whatever is wrong with a
value is said with the line, the variable or the flag that it came from.

A scalar is text or YAML by what the setting is: text is taken as it is written (a
topic named `no` or `0123` stays so), and only numbers, booleans, lists and mappings
are read as YAML. The environment knows nothing but text and is read by the same rule.

No message repeats the value of a setting that is not known: it may be a misspelled
password.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from .document import Node, plain, read_document
from .problems import Problem
from .settings import (
    SECRETS,
    Config,
    KafkaSettings,
    Limits,
    RegistrySettings,
    TableSettings,
    TlsSettings,
    legal_name,
)

__all__ = [
    "Given",
    "SettingPath",
    "Source",
    "dotted",
    "environment_name",
    "from_dumps",
    "from_environment",
    "from_file",
    "from_flags",
]

# ("tables", "users", "topic"): names may have dots of their own.
SettingPath: TypeAlias = tuple[str, ...]


class Given(NamedTuple):
    """A value and who gave it; `implied`: it only follows from another setting.

    The repr shows no value: it may be a secret.
    """

    value: Any
    origin: str
    implied: bool = False

    def __repr__(self) -> str:
        return f"Given({self.origin})"


class Source(NamedTuple):
    """What one source gave, and what is wrong with it."""

    given: dict[SettingPath, Given]
    problems: list[Problem]


_NEAR: Final = 0.5
_PREFIX: Final = "SIDECAR_"
_TABLES: Final = "SIDECAR_TABLES__"
# The command line's own variable.
_NOT_SETTINGS: Final = frozenset({"SIDECAR_ENDPOINT"})
# What Kubernetes sets in every pod for a Service named "sidecar" or "sidecar-…".
_SERVICE_LINK: Final = re.compile(
    r"SIDECAR_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
# Settings of a table that are lists or mappings.
_TREES: Final = ("indexes", "project", "filter_any_of")
_FLAGS: Final = {"kafka": "--bootstrap-servers", "tables": "--table"}


def _names(model: type[BaseModel]) -> dict[str, Any]:
    """Names as files write them → annotations, without `None` where that may be left out."""
    fields = model.model_fields.items()
    return {field.alias or name: _given(field.annotation) for name, field in fields}


def _given(annotation: Any) -> Any:
    if isinstance(annotation, UnionType) or get_origin(annotation) in {Union, Annotated}:
        return _given(get_args(annotation)[0])
    return annotation


_TABLE: Final = _names(TableSettings)
_SECTIONS: Final = {
    "kafka": _names(KafkaSettings),
    "limits": _names(Limits),
    "tls": _names(TlsSettings),
    "schema_registry": _names(RegistrySettings),
}
_ROOT: Final = _names(Config)
_KNOWN: Final = [
    *((name,) for name in _ROOT if name not in _SECTIONS and name != "tables"),
    *((section, name) for section, names in _SECTIONS.items() for name in names),
]


def dotted(path: SettingPath) -> str:
    """A path as messages and documents write it."""
    return ".".join(path)


def environment_name(path: SettingPath) -> str:
    """The variable that sets a path."""
    return _PREFIX + "__".join(_upper(part) for part in path)


def from_file(path: str) -> Source:
    """What a YAML file gives.

    Raises:
        ConfigError: it cannot be read or is no YAML.
    """
    tree, problems = read_document(path)
    walk = _Walk()
    walk.problems.extend(problems)
    walk.root(tree)
    return Source(walk.given, walk.problems)


def from_flags(flags: Mapping[str, Any]) -> Source:
    """What the flags give: a tree as the file's; None and empty sequences were not given."""
    walk = _Walk()
    walk.root(_flag_node(flags, ""))
    return Source(walk.given, walk.problems)


def from_dumps(dumps: Mapping[str, Any]) -> Source:
    """What the first lines of dumps say of their tables: a tree as the file's `tables`."""
    walk = _Walk()
    walk.root(Node({"tables": _flag_node(dumps, "--from")}, "--from", None))
    return Source(walk.given, walk.problems)


def _flag_node(value: Any, flag: str) -> Node:
    if not isinstance(value, Mapping):
        return Node(list(value) if isinstance(value, tuple) else value, flag, None)
    return Node(
        {
            name: _flag_node(child, flag or _FLAGS.get(name, f"--{name}"))
            for name, child in value.items()
            if child is not None and child not in ((), [])
        },
        flag,
    )


class _Walk:
    """One pass over a source's tree."""

    def __init__(self) -> None:
        self.given: dict[SettingPath, Given] = {}
        self.problems: list[Problem] = []

    def root(self, node: Node) -> None:
        for name, child in self._children((), node).items():
            if name == "tables":
                self._tables(child)
            elif name in _SECTIONS:
                self._section((name,), child, _SECTIONS[name])
            elif name in _ROOT:
                self._put((name,), child, _ROOT[name])
            else:
                self._unknown((name,), child, _ROOT)

    def _tables(self, node: Node) -> None:
        for name, child in self._children(("tables",), node).items():
            if _named(name, child.origin, self.given, self.problems):
                self._section(("tables", name), child, _TABLE)

    def _section(self, path: SettingPath, node: Node, names: Mapping[str, Any]) -> None:
        for name, child in self._children(path, node).items():
            if name in names:
                self._put((*path, name), child, names[name])
            else:
                self._unknown((*path, name), child, names)

    def _children(self, path: SettingPath, node: Node) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        if node.value is not None:
            kind = "a list" if isinstance(node.value, list) else "one value"
            self._problem(path, f"expected a mapping of settings, got {kind}", node)
        return {}

    def _put(self, path: SettingPath, node: Node, annotation: Any) -> None:
        name = dotted(path)
        if name in SECRETS:
            self._problem(
                path,
                f"a secret is given by {SECRETS[name]} or by the environment variable "
                f"{environment_name(path)}, not here",
                node,
            )
        else:
            self.given[path] = Given(_value(node, annotation), node.origin)

    def _unknown(self, path: SettingPath, node: Node, names: Iterable[str]) -> None:
        self._problem(path, _unknown(path, names), node)

    def _problem(self, path: SettingPath, message: str, node: Node) -> None:
        self.problems.append(Problem(dotted(path) or "configuration", message, node.origin))


def _value(node: Node, annotation: Any) -> Any:
    if _is_text(annotation) and node.text is not None and node.value is not None:
        return node.text
    return _listed(plain(node), annotation)


def _is_text(annotation: Any) -> bool:
    return annotation not in (int, bool, _ROOT["listen"], *map(_TABLE.get, _TREES))


def _listed(value: Any, annotation: Any) -> Any:
    """A list that was written as text, with commas."""
    if annotation == _ROOT["listen"] and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _named(
    name: str, origin: str, given: dict[SettingPath, Given], problems: list[Problem]
) -> bool:
    """A source names a table: that alone gives it a topic. False: it cannot be named so."""
    try:
        given.setdefault(("tables", name, "topic"), Given(legal_name(name), origin, implied=True))
    except ValueError as error:
        problems.append(Problem(f"tables.{name}", f"not a name for a table: {error}", origin))
        return False
    return True


def _unknown(path: SettingPath, names: Iterable[str]) -> str:
    """What may have been meant: near names here, the same elsewhere, or all there are."""
    near = difflib.get_close_matches(path[-1], list(names), n=3, cutoff=_NEAR)
    if not near:
        near = [dotted(known) for known in _KNOWN if known[-1] == path[-1]]
    if near:
        return f"unknown setting; did you mean {' or '.join(near)}?"
    return f"unknown setting; known here: {', '.join(names)}"


# The environment


def from_environment(environ: Mapping[str, str], tables: Iterable[str]) -> Source:
    """What SIDECAR_… variables give.

    Args:
        environ: all variables.
        tables: names that other sources gave to tables; others are lower case.
    """
    given: dict[SettingPath, Given] = {}
    problems: list[Problem] = []
    known = {environment_name(path): path for path in _KNOWN}
    for variable, text in sorted(environ.items()):
        if not _is_setting(variable):
            continue
        path = known.get(variable) or _table_path(variable, tables, problems)
        if path is None:
            problems.append(_unknown_variable(variable, known))
            continue
        if path[0] != "tables" or _named(path[1], variable, given, problems):
            given[path] = Given(_from_text(text, path), variable)
    return Source(given, problems)


def _is_setting(variable: str) -> bool:
    if not variable.startswith(_PREFIX) or variable in _NOT_SETTINGS:
        return False
    return "__" in variable or not _SERVICE_LINK.fullmatch(variable)


def _table_path(
    variable: str, tables: Iterable[str], problems: list[Problem]
) -> SettingPath | None:
    stem, _, last = variable.rpartition("__")
    written = stem.removeprefix(_TABLES)
    settings = {_upper(name): name for name in _TABLE}
    if not stem.startswith(_TABLES) or not written or last not in settings:
        return None
    names = [name for name in tables if _upper(name) == written] or [written.lower()]
    if len(names) > 1:
        problems.append(Problem(variable, f"may mean any of the tables {', '.join(names)}"))
    return ("tables", names[0], settings[last])


def _unknown_variable(variable: str, known: Iterable[str]) -> Problem:
    stem, _, _ = variable.rpartition("__")
    names = list(known)
    if stem.startswith(_TABLES):
        names = [f"{stem}__{_upper(name)}" for name in _TABLE]
    near = difflib.get_close_matches(variable, names, n=3, cutoff=0.8)
    return Problem(variable, f"unknown setting; did you mean {' or '.join(near or names)}?")


def _from_text(text: str, path: SettingPath) -> Any:
    annotation = ({"tables": _TABLE} | _SECTIONS).get(path[0], _ROOT)[path[-1]]
    if _is_text(annotation):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    return _listed(value, annotation)


def _upper(text: str) -> str:
    return text.upper().replace(".", "_").replace("-", "_")
