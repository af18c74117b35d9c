"""Records of a log, for tests that write one by hand."""

from typing import NamedTuple


class Rec(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    headers: list = []  # noqa: RUF012 (never changed)
