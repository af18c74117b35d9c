"""Aligned text tables, each with lines that say how its figures were measured."""

import textwrap
from dataclasses import dataclass, field

__all__ = ["Table", "micros", "rate", "ratio"]


@dataclass
class Table:
    """One table: the first column is text to the left, the others figures to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line on how it was measured, once; its own line breaks do not count."""
        text = " ".join(text.split())
        if text not in self.notes:
            self.notes.append(text)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        text = ["", self.title, "=" * len(self.title)]
        for number, line in enumerate(lines):
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip())
            if number == 0:
                text.append("  ".join("-" * width for width in widths))
        text += [
            textwrap.fill(note, 110, initial_indent="  * ", subsequent_indent="    ")
            for note in self.notes
        ]
        return "\n".join(text)


def rate(value: float | None) -> str:
    """Write a rate as thousands a second."""
    if value is None:
        return "-"
    return f"{value / 1e3:,.0f} k" if value >= 99_500 else f"{value / 1e3:.1f} k"


def micros(value: float | None) -> str:
    """Write microseconds."""
    return "-" if value is None else f"{value:,.0f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """Write a ratio, above one where ours is the greater."""
    return f"{ours / theirs:.2f}" if ours is not None and theirs else "-"
