"""A YAML file as a tree whose nodes know their lines.

PyYAML's own loading forgets where a value stood, takes the last of two equal keys
without a word, and turns a table named `on` into True. So the composed nodes are
walked here: a key is its text, and a scalar keeps its text beside its value.

Messages repeat no text of the file, which may hold a secret in the wrong place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from .problems import ConfigError, Problem

__all__ = ["Node", "plain", "read_document"]

_DEEPEST: Final = 32
# PyYAML's sentence up to where it would quote the file: more than a character or a token's name.
_WITHOUT_TEXT: Final = re.compile(r"""(?:[^'"]|'(?:\\?.|<[^'"<>]+>)')*""")


class Node(NamedTuple):
    """One value, its text if it was written as a scalar, and who gave it.

    A mapping's value is a dict of nodes; any other value is as YAML means it.
    """

    value: Any
    origin: str
    text: str | None = None

    def __repr__(self) -> str:
        return f"Node({self.origin})"


def plain(node: Node) -> Any:
    """The value without the nodes."""
    if isinstance(node.value, Mapping):
        return {name: plain(child) for name, child in node.value.items()}
    return node.value


def read_document(path: str) -> tuple[Node, list[Problem]]:
    """The file's tree, and the keys in it that stand twice.

    Raises:
        ConfigError: it cannot be read or is no YAML.
    """
    try:
        loader = yaml.SafeLoader(Path(path).read_bytes())
        try:
            return _Tree(loader, path).read()
        finally:
            loader.dispose()
    except OSError as error:
        raise ConfigError([Problem(path, f"cannot be read: {error.strerror}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([_fault(path, error)]) from None


def _fault(path: str, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and mark is not None:
        told = ", ".join(part for part in (error.context, error.problem) if part)
        said = _WITHOUT_TEXT.match(told)[0].rstrip()  # type: ignore[index]  # it always matches
        return Problem(path, f"line {mark.line + 1}, column {mark.column + 1}: {said}")
    if isinstance(error, yaml.reader.ReaderError):
        return Problem(path, f"is no text: {error.reason} at position {error.position}")
    return Problem(path, "is no YAML: a value that cannot be read")


class _Tree:
    """One walk over a document's nodes."""

    def __init__(self, loader: yaml.SafeLoader, path: str) -> None:
        self._loader = loader
        self._path = path
        self._problems: list[Problem] = []

    def read(self) -> tuple[Node, list[Problem]]:
        root = self._loader.get_single_node()
        node = Node({}, self._path) if root is None else self._node(root, ())
        return node, self._problems

    def _node(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        origin = f"{self._path}, line {node.start_mark.line + 1}"
        if len(path) > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, path), origin)
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        return Node(self._loader.construct_object(node, deep=True), origin, text)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="expected a name", problem_mark=key.start_mark)
            line = key.start_mark.line + 1
            if key.value in found:
                first = found[key.value].origin.rpartition(" ")[2]
                self._problems.append(
                    Problem(
                        ".".join((*path, key.value)),
                        f"stands twice in one mapping, first in line {first}",
                        f"{self._path}, line {line}",
                    )
                )
            child = self._node(value, (*path, key.value))
            found[key.value] = child._replace(origin=f"{self._path}, line {line}")
        return found
