"""What the measurements stand on: the machine, and whether anything else keeps it busy.

Two cores that something else uses as well give figures that mean nothing. So every
measurement first waits for the machine to be idle, and one that had to begin without is
counted and told of.
"""

import os
import platform
import statistics
import time
from pathlib import Path

__all__ = ["Quiet", "describe", "median"]

_SAMPLE_S = 0.3
_BUSY = 0.15


def describe() -> str:
    """Name the processor, the cores and the interpreter, in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    system = f"Python {platform.python_version()}, Linux {platform.release()}"
    return f"{os.cpu_count()} cores ({model}), {system}"


def median(values: list[float]) -> float:
    """Give the median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


class Quiet:
    """Waits for an idle machine, and counts how often that was in vain."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.waited_for = 0
        self.disturbed = 0

    def wait(self) -> None:
        """Return once less than 15 % of the processors' time is used, or patience ends."""
        self.waited_for += 1
        until = time.monotonic() + self._patience_s
        while _busy_share() > _BUSY:
            if time.monotonic() > until:
                self.disturbed += 1
                return

    def __str__(self) -> str:
        return f"{self.waited_for} measurements, {self.disturbed} of them begun on a busy machine"


def _busy_share() -> float:
    used, total = _jiffies()
    time.sleep(_SAMPLE_S)
    used_then, total_then = _jiffies()
    return (used_then - used) / max(1, total_then - total)


def _jiffies() -> tuple[int, int]:
    # user nice system idle iowait irq softirq steal: proc(5)
    with open("/proc/stat") as stat:
        times = [int(field) for field in stat.readline().split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)
