"""The tables as requests name them, and their values as requests want them."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused
from ..core.model import Entry
from ..core.served import Generation, Served
from ..core.view import View
from ..formats import Decode, DecodedValues, Decoder
from .errors import bad_argument, shown, shown_names
from .ports import Recorder
from .records import FILLS, Fill, json_fill

__all__ = ["Form", "Order", "Tables", "generation_changed", "in_order"]

_RAW: Final = frozenset({pb.ENCODING_UNSPECIFIED, pb.ENCODING_RAW})


class Form(Protocol):
    """The fields of a request that say in which form it wants its records."""

    @property
    def view(self) -> int:
        """A number of ``View``."""

    @property
    def encoding(self) -> int:
        """A number of ``Encoding``."""


class Order(Protocol):
    """A table's entries in an order; each stands there by a word, whose order is that of bytes."""

    @property
    def built(self) -> bool:
        """It is all there."""

    def build_one(self) -> None:
        """Do a step of what is missing."""

    def page(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        """Up to `limit` words with start <= word < end, in order; an empty end is no end."""

    def key_of(self, word: bytes) -> bytes:
        """The key of a word's entry."""

    def repeats(self, word: bytes, key: bytes, entry: Entry, start: bytes, /) -> bool:
        """The entry has an earlier word from `start` on."""


class Tables:
    """All tables that are served; which, does not change.

    Args:
        tables: by name.
        decoded_bytes: memory for the decoded values of all of them.
        recorder: counts values that cannot be decoded.
    """

    def __init__(
        self, tables: Mapping[str, Served], *, decoded_bytes: int, recorder: Recorder
    ) -> None:
        self._tables = dict(sorted(tables.items()))
        self._named = dict(self._tables)
        if len(tables) == 1:
            self._named[""] = next(iter(tables.values()))
        self._kept = DecodedValues(decoded_bytes)
        self._recorder = recorder
        self._decoders: dict[str, tuple[Decode, Decoder]] = {}

    def __iter__(self) -> Iterator[Served]:
        """Every table, by name."""
        return iter(self._tables.values())

    def named(self, name: str) -> Served:
        """The table that a request means.

        Raises:
            Refused: TABLE_REQUIRED, UNKNOWN_TABLE.
        """
        served = self._named.get(name)
        if served is not None:
            return served
        names = shown_names(self._tables) or "none"
        if not name:
            raise Refused(
                Reason.TABLE_REQUIRED,
                f"name a table, because several are served: {names}",
                metadata={"tables": names},
            )
        raise Refused(
            Reason.UNKNOWN_TABLE,
            f"no table {shown(name)!r}; served are: {names}",
            metadata={"table": shown(name), "tables": names},
        )

    def required(self) -> list[Served]:
        """The tables that the sidecar's readiness needs."""
        return [served for served in self if served.definition.required]

    def undecodable(self, served: Served) -> int:
        """How many values of the table's generation were found to be undecodable."""
        decoder = self._decoder_of(served)
        if decoder is None or served.view is None:
            return 0
        return decoder.undecodable_of(served.view.identity[1])

    def fill_of(self, served: Served, form: Form, generation: int) -> Fill:
        """What fills a record in the form that a request wants.

        Raises:
            Refused: BAD_REQUEST for an unknown number, NO_FORMAT.
        """
        view, encoding = form.view, form.encoding
        fill = FILLS.get(view)
        if fill is None:
            raise bad_argument("view", f"{view} is no View that this version knows")
        if encoding in _RAW:
            return fill
        if encoding != pb.ENCODING_JSON:
            raise bad_argument("encoding", f"{encoding} is no Encoding that this version knows")
        decoder = self._decoder_of(served)
        if decoder is None:
            raise _no_format(served)
        return json_fill(view, decoder, generation)

    def _decoder_of(self, served: Served) -> Decoder | None:
        """A table's format may change with its definition, so each generation has its own."""
        decode = served.current.plan.decode if served.current else None
        if decode is None:
            return None
        name = served.definition.name
        known = self._decoders.get(name)
        if known is None or known[0] is not decode:
            made = Decoder(name, decode, self._kept, self._recorder.undecodable)
            known = self._decoders[name] = decode, made
        return known[1]


async def in_order(served: Served, index: str) -> tuple[View, Order]:
    """A table that is ready in an order, and the view that this belongs to.

    The first use sorts it, one of the table's dicts a step, with the loop free between
    two steps. Several first users share the steps: each does the next one that is
    missing, so nothing is sorted twice.

    Args:
        served: the table.
        index: whose order; empty: that of the keys.

    Raises:
        Refused: GENERATION_CHANGED, UNKNOWN_INDEX.
    """
    generation = served.current
    if generation is None:
        raise generation_changed(served)
    view, ordered = generation.view, _order_of(served, generation, index)
    while not ordered.built:
        ordered.build_one()
        await asyncio.sleep(0)
    if served.view is not view:
        raise generation_changed(served)
    return view, ordered


def _order_of(served: Served, generation: Generation, index: str) -> Order:
    if not index:
        return generation.view.ordered()
    known = generation.plan.indexes.get(index)
    if known is None:
        name, names = served.definition.name, shown_names(generation.plan.indexes) or "none"
        raise Refused(
            Reason.UNKNOWN_INDEX,
            f"table {name!r} has no index {shown(index)!r}; it has: {names}",
            metadata={"table": name, "index": shown(index), "indexes": names},
        )
    return known


def generation_changed(served: Served) -> Refused:
    """The table was built anew while it was being read in order."""
    name = served.definition.name
    return Refused(
        Reason.GENERATION_CHANGED,
        f"table {name!r} was built anew meanwhile; begin again",
        metadata={"table": name},
    )


def _no_format(served: Served) -> Refused:
    name = served.definition.name
    return Refused(
        Reason.NO_FORMAT,
        f"table {name!r} has format bytes, which has no JSON form; ask for ENCODING_RAW, or set "
        f"tables.{name}.format to utf8, json, avro or protobuf",
        metadata={"table": name, "format": served.definition.format},
    )
