"""How much memory the process may take, and how much it has taken.

The limit is the configured one, or else that of the container (its control group), or
else there is none. It is looked at against the resident memory of the whole process,
for that is what the kernel kills for. A tenth is kept free: what is under way when a
build is refused needs room too.
"""

import ctypes
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["Budget", "container_limit", "give_back", "resident_bytes"]

_SHARE = 0.9
_FILES = ("memory.max", "memory/memory.limit_in_bytes")
# What control groups of the first kind say for "no limit" is about the largest integer.
_NO_LIMIT = 1 << 60


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def container_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the container may take, in bytes; None: there is no limit, or it is not told."""
    for name in _FILES:
        try:
            told = (root / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if told.isdecimal() and int(told) < _NO_LIMIT:
            return int(told)
    return None


def give_back() -> None:
    """Have the C library give the system what it keeps of freed memory; takes a moment.

    glibc keeps it otherwise, in pieces between what is in use. Others have no such call.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Budget:
    """What may be taken still.

    Args:
        limit: bytes; None: as much as there is.
        resident: tells what was taken.
    """

    def __init__(
        self, limit: int | None = None, resident: Callable[[], int] = resident_bytes
    ) -> None:
        self.limit = limit
        self._resident = resident

    def lacks(self, more: int = 0) -> str:
        """Why so many bytes more cannot be taken, in words; empty: they can."""
        if self.limit is None:
            return ""
        taken = self._resident()
        if taken + more <= self.limit * _SHARE:
            return ""
        needs = f", and {more >> 20} MiB more are needed" if more else ""
        return (
            f"the process takes {taken >> 20} MiB of the {self.limit >> 20} MiB that it may "
            f"(limits.memory, or the container's limit){needs}"
        )
