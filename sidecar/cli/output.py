"""What goes to standard output, in the form that was asked for.

The form never depends on where the output goes. A terminal gets colour (unless NO_COLOR
is set) and lines that are cut to its width; a pipe gets every line whole.

All text is written as UTF-8, whatever the locale says, so that a script sees the same
bytes everywhere.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from .text import compact_json, pretty_json

__all__ = ["FORMS", "JSON", "JSONL", "TABLE", "VALUE", "Grid", "document", "line", "paint", "raw"]

TABLE, JSON, JSONL, VALUE = FORMS = ("table", "json", "jsonl", "value")
_COLOURS = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33"}


def raw(data: bytes) -> None:
    """Bytes as they are."""
    sys.stdout.buffer.write(data)


def line(text: str = "") -> None:
    """One line of text."""
    raw(f"{text}\n".encode("utf-8", "backslashreplace"))


def document(form: str, values: Any, *, lines: Sequence[Any] = ()) -> None:
    """A JSON document (`values`), or one line of JSON for each of `lines`."""
    if form == JSON:
        line(pretty_json(values))
        return
    for value in lines:
        line(compact_json(value))


def paint(text: str, colour: str) -> str:
    """Colour for a terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


class Grid:
    """Aligned columns, written a block at a time; the last column is not padded.

    A long list comes in blocks, so a column may grow from one block to the next.
    """

    def __init__(self, *header: str) -> None:
        self._header: Sequence[str] | None = header
        self._widths = [len(title) for title in header]

    def write(self, rows: Sequence[Sequence[str]]) -> None:
        """One more block; the first one brings the header."""
        for row in rows:
            self._widths = [
                max(known, len(cell)) for known, cell in zip(self._widths, row, strict=True)
            ]
        if self._header is not None:
            line(paint(self._laid_out(self._header), "dim"))
            self._header = None
        for row in rows:
            line(self._laid_out(row))

    def _laid_out(self, row: Sequence[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)]
        text = "  ".join([*cells[:-1], row[-1]])
        if not sys.stdout.isatty():
            return text
        width = shutil.get_terminal_size().columns
        return text if len(text) <= width else text[: max(1, width - 1)] + "…"
