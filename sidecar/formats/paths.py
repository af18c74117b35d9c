"""Where to look inside a value: a JSON path, as RFC 9535 has it.

What a path is, and what it finds, a library knows. A plain one (members and elements only,
``$.address.city``) finds one thing or nothing, and is gone along here: that is done for every
record of a table with an index or a rule, and is twenty times as fast.
"""

from collections.abc import Callable
from typing import Any, Final

__all__ = ["Path", "path_of", "steps_of"]

_NOTHING: Final = object()

# What a path finds in a value made of dicts, lists, str, numbers, bool and None.
Path = Callable[[Any], list[Any]]


def path_of(text: str) -> Path:
    """Compile a path.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    steps, query = _compiled(text)
    if steps is None:
        return query

    def find(value: Any) -> list[Any]:
        for step in steps:
            value = _step(value, step)
            if value is _NOTHING:
                return []
        return [value]

    return find


def steps_of(text: str) -> tuple[str | int, ...] | None:
    """The members and elements that a plain path goes along; None: it is not plain.

    Raises:
        ValueError: as `path_of`.
    """
    return _compiled(text)[0]


def _compiled(text: str) -> tuple[tuple[str | int, ...] | None, Path]:
    # Late, for most sidecars have no paths.
    from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError
    from jsonpath.selectors import IndexSelector, NameSelector

    # Of an empty path the library's own message cannot be shown.
    if not text.startswith("$"):
        raise ValueError("expected a JSON path, which begins with $, as $.address.city")
    try:
        query = JSONPathEnvironment(strict=True).compile(text)
    except JSONPathError as error:
        told = getattr(error, "message", "") or type(error).__name__
        raise ValueError(f"expected a JSON path (RFC 9535), as $.address.city: {told}") from None
    assert isinstance(query, JSONPath), "strict mode knows no compound paths"  # noqa: S101
    if not query.singular_query():
        return None, query.findall
    chosen = [selector for segment in query.segments for selector in segment.selectors]
    steps: list[str | int] = []
    for selector in chosen:
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
        else:
            return None, query.findall
    return tuple(steps), query.findall


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _NOTHING) if isinstance(value, dict) else _NOTHING
    inside = isinstance(value, list) and -len(value) <= step < len(value)
    return value[step] if inside else _NOTHING
