"""Waiting for the log cleaner, by what it leaves behind."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from support.oracle import read_topic
from support.producing import Outgoing, produce

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["cleaned_to", "wait_compacted"]

FILLER = b"~filler"


def cleaned_to(log_dir: Path, topic: str) -> dict[int, int]:
    """Give the offset below which a broker's cleaner has been through each partition."""
    checkpoint = log_dir / "cleaner-offset-checkpoint"
    try:
        lines = checkpoint.read_text().splitlines()
    except FileNotFoundError:
        return {}
    rows = [line.rsplit(" ", 2) for line in lines[2:]]
    return {int(row[1]): int(row[2]) for row in rows if len(row) == 3 and row[0] == topic}


def wait_compacted(
    bootstrap: str,
    log_dirs: Sequence[Path],
    topic: str,
    *,
    tombstones: bool = False,
    filler: bytes | None = FILLER,
    timeout: float = 60,
) -> None:
    """Wait until the records that the topic has now were cleaned on every replica.

    Then no key has two records below the present end, and with
    `tombstones=True` (for topics with delete.retention.ms=0) no tombstone is
    left below it either.

    The cleaner never touches the active segment, and a segment is rolled by
    a later write only: so records with the key `filler` are appended while
    waiting (one a partition every half second). With `filler=None` nothing
    is written, and the caller's own writes must roll the segments.
    """
    deadline = time.monotonic() + timeout
    now = read_topic(bootstrap, topic, "read_uncommitted")
    ends = {p: each[-1].offset + 1 for p, each in now.items() if each}
    while not (_checkpointed(log_dirs, topic, ends) and _clean(bootstrap, topic, ends, tombstones)):
        if time.monotonic() > deadline:
            seen = [cleaned_to(folder, topic) for folder in log_dirs]
            raise TimeoutError(f"{topic} not compacted to {ends} after {timeout} s: {seen}")
        if filler is not None:
            produce(bootstrap, topic, [Outgoing(filler, b"", partition) for partition in ends])
        time.sleep(0.5)


def _checkpointed(log_dirs: Sequence[Path], topic: str, ends: dict[int, int]) -> bool:
    for folder in log_dirs:
        done = cleaned_to(folder, topic)
        held = {p for p in ends if (folder / f"{topic}-{p}").is_dir()}
        if any(done.get(partition, 0) < ends[partition] for partition in held):
            return False
    return True


def _clean(bootstrap: str, topic: str, ends: dict[int, int], tombstones: bool) -> bool:
    left = read_topic(bootstrap, topic, "read_uncommitted")
    for partition, end in ends.items():
        old = [record for record in left[partition] if record.offset < end]
        if any(count > 1 for count in Counter(record.key for record in old).values()):
            return False
        if tombstones and any(record.value is None for record in old):
            return False
    return True
