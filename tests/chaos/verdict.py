"""What a check says: violations, and how often it has looked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chaos.history import Event

__all__ = ["Verdict", "Violation"]


class Violation(NamedTuple):
    """An invariant that did not hold, the anomaly by its usual name, and the evidence."""

    invariant: str
    anomaly: str
    what: str
    event: Event

    def __str__(self) -> str:
        return f"{self.invariant} {self.anomaly}: {self.what}\n    {str(self.event)[:600]}"


@dataclass
class Verdict:
    """All violations that were found, and of what kind and how many things were looked at."""

    violations: list[Violation] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    """Kind of each fault, and seconds from its healing to a table known to be current."""

    def violate(self, invariant: str, anomaly: str, what: str, event: Event) -> None:
        """Something did not hold."""
        self.violations.append(Violation(invariant, anomaly, what, event))

    @property
    def anomalies(self) -> Counter[str]:
        """How often each anomaly was found."""
        return Counter(f"{one.invariant} {one.anomaly}" for one in self.violations)
