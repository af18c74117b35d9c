"""How far a reading has come, on one line of a terminal.

Nothing is shown where standard error is no terminal.
"""

import sys
import time
from collections.abc import Mapping
from typing import Self

import click

from .text import count

__all__ = ["Counting", "ReadingProgress"]

_EVERY_S = 0.2


class ReadingProgress:
    """The line for one topic; written over until it is cleared."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._terminal = sys.stderr.isatty()
        self._shown_at = 0.0

    def show(
        self, reached: Mapping[int, int], starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        """Show how far each partition was read, between its start and its end."""
        now = time.monotonic()
        if not self._terminal or now < self._shown_at + _EVERY_S:
            return
        self._shown_at = now
        total = done = 0
        for number, end in ends.items():
            start = starts.get(number, 0)
            total += max(0, end - start)
            done += max(0, min(reached.get(number, start), end) - start)
        percent = 100 * done // total if total else 100
        text = f"reading {self._topic}: {percent} %, {count(done)} of {count(total)} offsets"
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown_at:
            click.echo("\r\x1b[K", nl=False, err=True)


class Counting:
    """A line with one number, as `text` has it at its braces; gone when the block ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._terminal = sys.stderr.isatty()
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown_at:
            click.echo("\r\x1b[K", nl=False, err=True)

    def show(self, number: int) -> None:
        """Show the number as it is now."""
        if self._terminal and (now := time.monotonic()) >= self._shown_at + _EVERY_S:
            self._shown_at = now
            click.echo(f"\r\x1b[K{self._text.format(count(number))}", nl=False, err=True)
