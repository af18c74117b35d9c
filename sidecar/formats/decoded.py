"""Decoded values, kept while there is room.

What is kept can always be made again, so a bounded cache is right here, as it would
not be under a table. A value is known by its slot, (table, generation, partition,
offset): in one build of a table it never holds another value, so nothing kept is ever
stale and nothing needs to be invalidated. Failures are kept too: they cost as much to
find out.

The bound counts the bytes of JSON and a constant for the objects around them.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from cachetools import LRUCache

from ..core.model import OFFSET, ORIGIN, VALUE, Entry, partition_of
from .text import Decode, Decoded

__all__ = ["DecodedValues", "Decoder"]

# Table, generation, partition, offset.
_Slot: TypeAlias = tuple[str, int, int, int]

# An entry of the cache beside its JSON: key tuple, result, and the slots of three dicts.
_OVERHEAD_BYTES: Final = 400


def _size_of(decoded: Decoded) -> int:
    return _OVERHEAD_BYTES + len(decoded.json or b"") + len(decoded.error)


class DecodedValues(LRUCache[_Slot, Decoded]):
    """Slot → the decoded value; all tables share one.

    Args:
        max_bytes: about how much memory it may take.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, _size_of)

    def keep(self, slot: _Slot, decoded: Decoded) -> None:
        """Keep a value, unless it alone is larger than the cache."""
        if _size_of(decoded) <= self.maxsize:
            self[slot] = decoded


class Decoder:
    """One table's format with the values that are kept.

    Args:
        table: its name.
        decode: the format.
        kept: where decoded values are kept.
        count_undecodable: told the table for each value that is found to be undecodable;
            one that the cache has lost meanwhile is found anew when it is asked for again.
    """

    def __init__(
        self,
        table: str,
        decode: Decode,
        kept: DecodedValues,
        count_undecodable: Callable[[str], None],
    ) -> None:
        self._table = table
        self._generation = self._undecodable = 0
        self._decode = decode
        self._kept = kept
        self._count_undecodable = count_undecodable

    def __call__(self, generation: int, entry: Entry) -> Decoded:
        """The value of an entry of `generation`, as JSON."""
        slot = (self._table, generation, partition_of(entry[ORIGIN]), entry[OFFSET])
        decoded = self._kept.get(slot)
        if decoded is None:
            decoded = self._decode(entry[VALUE])
            if decoded.pending:
                return decoded
            self._kept.keep(slot, decoded)
            if decoded.json is None:
                self._count(generation)
        return decoded

    def undecodable_of(self, generation: int) -> int:
        """How many values of `generation` were found to be undecodable."""
        return self._undecodable if generation == self._generation else 0

    def _count(self, generation: int) -> None:
        if generation != self._generation:
            self._generation, self._undecodable = generation, 0
        self._undecodable += 1
        self._count_undecodable(self._table)
