"""Values as a schema registry's serializers write them: a zero byte, a schema's id, the value.

Schemas are fetched beside, never while somebody waits for a value: an id is noted as its record is
read from the log, and `registry` brings the schema. Until then a value is answered with the reason
and its bytes. An id stands for one schema for ever, so what was brought is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from .text import Decode, Decoded

__all__ = ["Missing", "SchemaId", "Schemas"]

_PREFIX_BYTES: Final = 5
# What is no schema's id may look like any number of them.
_MOST_MISSING: Final = 1000

# The format (avro, protobuf) and the number in the registry.
SchemaId: TypeAlias = tuple[str, int]


@dataclass(slots=True)
class Missing:
    """A schema that is not here yet.

    Attributes:
        reason: why; empty: nobody has asked for it yet.
        due: when it may be asked for (again), the clock of whoever asks.
        silent: nobody answered.
    """

    reason: str = ""
    due: float = 0.0
    silent: bool = False


class Schemas:
    """The schemas by which values are read.

    Attributes:
        missing: by id.
        wanted: called when one more is missing.
    """

    def __init__(self) -> None:
        self.missing: dict[SchemaId, Missing] = {}
        self.wanted: Callable[[], None] = lambda: None
        self._known: dict[SchemaId, Decode] = {}

    def decode_of(self, kind: str) -> Decode:
        """The format of values whose schemas are of a kind."""
        return partial(self._decode, kind)

    def note_of(self, kind: str) -> Callable[[bytes], bytes]:
        """What sees each value of a log, and gives it back as it is."""
        return partial(self._note, kind)

    def bring(self, schema: SchemaId, decode: Decode) -> None:
        """One is here."""
        self._known[schema] = decode
        self.missing.pop(schema, None)

    def untried(self) -> Iterator[SchemaId]:
        """Those that nobody has asked for yet."""
        return (schema for schema, one in self.missing.items() if not one.reason)

    def _note(self, kind: str, value: bytes) -> bytes:
        if len(value) > _PREFIX_BYTES and not value[0]:
            schema = kind, int.from_bytes(value[1:_PREFIX_BYTES], "big")
            if schema not in self._known:
                self._miss(schema)
        return value

    def _decode(self, kind: str, value: bytes) -> Decoded:
        if len(value) < _PREFIX_BYTES or value[0]:
            return Decoded(None, "no schema's id: it does not begin with a zero byte and four more")
        schema = kind, int.from_bytes(value[1:_PREFIX_BYTES], "big")
        decode = self._known.get(schema)
        if decode is not None:
            return decode(value[_PREFIX_BYTES:])
        reason = self._miss(schema) or "it is being fetched"
        return Decoded(None, f"its schema {schema[1]} is not here: {reason}", pending=True)

    def _miss(self, schema: SchemaId) -> str:
        missing = self.missing.get(schema)
        if missing is None:
            if len(self.missing) >= _MOST_MISSING:
                return f"{_MOST_MISSING} others are missing too"
            missing = self.missing[schema] = Missing()
            self.wanted()
        return missing.reason
