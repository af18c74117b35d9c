"""Change events of Debezium, taken out of their envelope.

An event's ``after`` is the row, null where ``op`` is ``d``. What is a table's entry is decided by
Kafka's tombstones, as ever: Debezium writes one behind the event of a deletion
(``tombstones.on.delete``); in between the row is there, and is null.
"""

from typing import Any, Final

from .rules import json_of, parsed
from .text import Decode, Decoded

__all__ = ["unwrapped"]

_ENVELOPE: Final = frozenset({"payload", "schema"})


def unwrapped(decode: Decode) -> Decode:
    """The format of values whose JSON is an envelope: what is in it."""

    def take_out(value: bytes) -> Decoded:
        decoded = decode(value)
        if decoded.json is None:
            return decoded
        try:
            tree = parsed(decoded.json)
            if isinstance(tree, dict) and tree.keys() == _ENVELOPE:  # of Connect's JSON converter
                tree = tree["payload"]
            if not _is_event(tree):
                return Decoded(None, "not an event of Debezium: it lacks op, or after")
            return Decoded(json_of(tree.get("after")))
        except RecursionError:
            return Decoded(None, "JSON that is nested too deeply")

    return take_out


def _is_event(tree: Any) -> bool:
    """Protobuf leaves a row out that is null."""
    return isinstance(tree, dict) and "op" in tree and ("after" in tree or tree["op"] == "d")
