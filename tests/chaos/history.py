"""What is recorded of a chaos run, and how it is read again.

A run is a folder of JSONL files, one event a line. Whoever acts writes its own file:

    writes.jsonl    one line a record, once its fate is known (or known not to be)
    reads-N.jsonl   one line a call of client N, with its answer or its error
    faults.jsonl    one line a fault, with when it began, took effect, was healed
    monitor.jsonl   what AdminService said of the table, several times a second
    topics.jsonl    creations, deletions and sightings of the topic
    final.jsonl     at rest: the sidecar's whole table, and an independent reader's log

The checks read these files and nothing else. All times are seconds of CLOCK_BOOTTIME, one
clock for every process of the machine. Bytes are kept as text of Latin-1, one character
a byte.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Event", "History", "Recorder", "data_of", "now", "text_of"]

Event = dict[str, Any]


def now() -> float:
    """Seconds, CLOCK_BOOTTIME: it goes on while a process, or the machine, is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def text_of(data: bytes | None) -> str | None:
    """Bytes as JSON can hold them."""
    return None if data is None else data.decode("latin-1")


def data_of(text: str | None) -> bytes | None:
    """The bytes again."""
    return None if text is None else text.encode("latin-1")


class Recorder:
    """Appends events to one file, from any thread; a context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = (folder / f"{name}.jsonl").open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, **event: Any) -> None:
        """Write one event."""
        line = json.dumps(event, separators=(",", ":"))
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


@dataclass
class History:
    """All the events of a run."""

    writes: list[Event] = field(default_factory=list)
    reads: list[Event] = field(default_factory=list)
    faults: list[Event] = field(default_factory=list)
    monitor: list[Event] = field(default_factory=list)
    topics: list[Event] = field(default_factory=list)
    final: list[Event] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a run's files; reads in the order of their answers."""
        reads = [event for path in folder.glob("reads-*.jsonl") for event in _events(path)]
        reads.sort(key=lambda event: event["received"])
        names = ("writes", "faults", "monitor", "topics", "final")
        return cls(reads=reads, **{name: _events(folder / f"{name}.jsonl") for name in names})


def _events(path: Path) -> list[Event]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
