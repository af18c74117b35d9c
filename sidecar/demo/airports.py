"""The demo's data: the world's airports by ICAO code, and changes that harm nothing.

The fields are those of the package airportsdata, with one more, `revision`: a change
raises it and leaves the facts alone. Now and then a small airport (one without an IATA
code) is deleted and, later, added again. KJFK is always there.

This module does no I/O besides reading the package's file.
"""

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import airportsdata

__all__ = ["Airports", "load"]

_MOST_CLOSED = 50
_CLOSES, _OPENS = 0.05, 0.10  # shares of the changes, each above the one before


def load() -> dict[str, dict[str, Any]]:
    """About 28 000 airports by ICAO code."""
    return {code: dict(facts) for code, facts in airportsdata.load("ICAO").items()}


class Airports:
    """The airports as the topic shall have them.

    Args:
        facts: by code, as `load` gives them.
        random: decides what changes.
    """

    def __init__(self, facts: Mapping[str, Mapping[str, Any]], random: Random) -> None:
        self._facts = facts
        self._random = random
        self._revisions = dict.fromkeys(facts, 1)
        self._codes = list(facts)
        self._small = [code for code, known in facts.items() if not known["iata"]]
        self._closed: list[str] = []

    def everything(self) -> Iterator[tuple[bytes, bytes]]:
        """Every airport, as key and value."""
        return ((code.encode(), self._value(code)) for code in self._codes)

    def change(self) -> tuple[bytes, bytes | None]:
        """The next change: a key, and its new value or None for a deletion."""
        chance = self._random.random()
        if chance < _CLOSES and len(self._closed) < min(_MOST_CLOSED, len(self._small)):
            return self._close(), None
        if chance < _OPENS and self._closed:
            code = self._closed.pop(0)
        else:
            code = self._random.choice(self._codes)
            if code in self._closed:
                self._closed.remove(code)
        self._revisions[code] += 1
        return code.encode(), self._value(code)

    def _close(self) -> bytes:
        code = self._random.choice(self._small)
        while code in self._closed:
            code = self._random.choice(self._small)
        self._closed.append(code)
        return code.encode()

    def _value(self, code: str) -> bytes:
        record = {**self._facts[code], "revision": self._revisions[code]}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
