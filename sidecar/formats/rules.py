"""What a table keeps of a value: the part of its rule that looks inside.

A value is decoded by the table's format. Where the rule has a path, the value is the table's
if the path finds something in it: one of `any_of`, where those are given. Of what is the
table's, `project` keeps the named fields, each where it stood, as JSON; a field that a value
does not have is left out. Numbers keep every digit.

A value that cannot be decoded is kept as it is: whether it is the table's nobody can tell, and
it is not lost, but answered with the reason.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from ..core.rule import Load, Rule
from .keys import strip_schema_id
from .paths import path_of, steps_of
from .text import Decode

__all__ = ["json_of", "parsed", "rule_of", "texts_of"]

_MISSING = object()


def rule_of(
    load: Load,
    decode: Decode | None,
    now_ms: Callable[[], int],
    note: Callable[[bytes], bytes] | None = None,
) -> Rule | None:
    """The rule that a table's owner wants; None: everything as it is.

    Args:
        load: what is wanted.
        decode: the format; only where the rule looks inside values.
        now_ms: milliseconds since the Unix epoch.
        note: is shown each value, and gives it back.
    """
    if not load and note is None:
        return None
    value: Callable[[bytes], bytes | None] | None = note
    if load.looks_inside:
        assert decode is not None, "checked with the settings"  # noqa: S101
        value = partial(_kept, decode, _matches(load), _projection(load))
    key = partial(_key, load) if load.strip_schema_id or load.key_prefix else None
    return Rule(key=key, value=value, expire_after_ms=load.expire_after_ms, now_ms=now_ms)


def parsed(text: bytes) -> Any:
    """The tree of JSON that is known to be valid, with numbers as they are written."""
    import simplejson  # late, for most sidecars need none of it

    return simplejson.loads(text, use_decimal=True)


def texts_of(path: str, decode: Decode) -> Callable[[bytes], set[str]]:
    """What an index finds in a value: text as it is, numbers as they are written, true and false.

    Null, objects and lists are no text; the elements of a list are, where the path goes to them.
    """
    find = path_of(path)

    def texts(value: bytes) -> set[str]:
        decoded = decode(value)
        try:
            found = [] if decoded.json is None else find(parsed(decoded.json))
        except RecursionError:
            return set()
        kept = [one for one in found if isinstance(one, str | bool | int | Decimal)]
        return {str(one).lower() if isinstance(one, bool) else str(one) for one in kept}

    return texts


def _key(load: Load, key: bytes) -> bytes | None:
    if load.strip_schema_id:
        stripped = strip_schema_id(key)
        key = key if stripped is None else stripped
    return key if key.startswith(load.key_prefix) else None


def _kept(
    decode: Decode,
    matches: Callable[[Any], bool],
    projected: Callable[[Any], Any] | None,
    value: bytes,
) -> bytes | None:
    decoded = decode(value)
    if decoded.json is None:
        return value
    try:
        tree = parsed(decoded.json)
        if not matches(tree):
            return None
        return value if projected is None else json_of(projected(tree))
    except RecursionError:
        return value


def _matches(load: Load) -> Callable[[Any], bool]:
    if not load.path:
        return lambda _: True
    find, wanted = path_of(load.path), [parsed(text.encode()) for text in load.any_of]
    if not wanted:
        return lambda tree: bool(find(tree))
    return lambda tree: any(_same(found, one) for found in find(tree) for one in wanted)


def _same(found: Any, wanted: Any) -> bool:
    """Equal as JSON: True is not 1."""
    return bool(found == wanted) and isinstance(found, bool) is isinstance(wanted, bool)


def _projection(load: Load) -> Callable[[Any], Any] | None:
    """What keeps the named fields of a value, each inside the objects in which it stood."""
    if not load.project:
        return None
    wanted: dict[str, Any] = {}
    for text in load.project:
        inner = wanted
        *outer, last = [str(step) for step in steps_of(text) or ()]
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = None
    return partial(_picked, wanted)


def _picked(wanted: dict[str, Any] | None, tree: Any) -> Any:
    if wanted is None:
        return tree
    if not isinstance(tree, dict):
        return _MISSING
    picked = {name: _picked(inner, tree[name]) for name, inner in wanted.items() if name in tree}
    return {name: value for name, value in picked.items() if value is not _MISSING}


def json_of(tree: Any) -> bytes:
    """A tree of `parsed` as JSON."""
    if tree is _MISSING:
        tree = {}
    try:
        return _dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can say
        return _dumps(tree, ensure_ascii=True).encode()


def _dumps(tree: Any, *, ensure_ascii: bool) -> str:
    import simplejson

    text: str = simplejson.dumps(
        tree, use_decimal=True, separators=(",", ":"), ensure_ascii=ensure_ascii
    )
    return text
