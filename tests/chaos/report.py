"""What a run was, in a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.history import Event, History
    from chaos.verdict import Verdict

__all__ = ["summary"]

_SHOWN = 10


def summary(history: History, verdict: Verdict) -> str:
    """Faults, operations, availability, recoveries, and what was found."""
    lines = ["", "faults                    times   worst recovery"]
    worst: dict[str, list[float]] = defaultdict(list)
    for kind, took in verdict.recoveries:
        worst[kind].append(took)
    for kind, each in sorted(worst.items()):
        lines.append(f"  {kind:<22} {len(each):>6}   {max(each):>12.1f} s")
    lines += [f"  {'all':<22} {len(verdict.recoveries):>6}", ""]
    lines += ["calls                     times   answered   of those that met a ready table"]
    for name, each in sorted(_by(history.reads, "op").items()):
        answered = sum(event["ok"] for event in each)
        ready = sum(event["ok"] or not _turned_away(event) for event in each)
        share, of_ready = answered / len(each), answered / max(1, ready)
        lines.append(f"  {name:<22} {len(each):>6}   {share:>8.2%}   {of_ready:>8.2%}")
    refused = Counter(f"{e['code']} {e['reason']}" for e in history.reads if not e["ok"])
    lines += [f"  refused: {name} {times}" for name, times in refused.most_common()]
    outcomes = Counter(event["outcome"] for event in history.writes)
    lines += ["", "records written           " + _counts(outcomes)]
    lines += ["checked"]
    lines += [f"  {name:<34} {times:>8}" for name, times in sorted(verdict.checked.items())]
    lines += ["", f"violations: {len(verdict.violations)}"]
    lines += [f"  {name}: {times}" for name, times in verdict.anomalies.most_common()]
    lines += [f"- {one}" for one in verdict.violations[:_SHOWN]]
    return "\n".join(lines)


def _turned_away(event: Event) -> bool:
    """Nobody was there, or there was no table yet."""
    return event["code"] in {"UNAVAILABLE", "CANCELLED"}


def _by(events: list[Event], field: str) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event[field]].append(event)
    return found


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{times} {name}" for name, times in sorted(counter.items()))
