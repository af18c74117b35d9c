"""What is wrong with a configuration: all of it at once, never a secret's value."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["ConfigError", "Problem"]


class Problem(NamedTuple):
    """What is wrong with one setting.

    `path` is the setting (or the file), `message` says what was expected and what was
    got, `origin` is the line, the variable or the flag it came from; empty: none did.
    """

    path: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}"
        return f"{text} ({self.origin})" if self.origin else text


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all that were found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
