"""The checks of answers against each other: within a generation nothing goes back.

Compared is in real time, across all clients: whatever an answer that had arrived before
a request was sent has shown, the answer to that request does not fall behind it. One
client's own order is a part of that.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaos.answers import Answer
    from chaos.verdict import Verdict

__all__ = ["check_monotonic", "check_revisions"]


@dataclass
class _Seen:
    """The most that was seen of one generation, by answers that have arrived."""

    offsets: dict[str, int] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    revision: int = 0

    def take(self, answer: Answer) -> None:
        """An answer has arrived."""
        for shown in answer.shown:
            self.offsets[shown.key] = max(self.offsets.get(shown.key, -1), shown.offset)
        for number, position in (answer.positions or {}).items():
            self.positions[number] = max(self.positions.get(number, 0), position)
        self.revision = max(self.revision, answer.event.get("revision", 0))

    def copy_for(self, answer: Answer) -> _Seen:
        """What matters for one answer, as it stands now."""
        keys = {shown.key: self.offsets.get(shown.key, -1) for shown in answer.shown}
        return _Seen(keys, dict(self.positions), self.revision)


def check_monotonic(answers: list[Answer], verdict: Verdict) -> None:
    """Neither a key's offset, nor a position, nor the revision goes back."""
    moments = [(answer.event["sent"], 1, place) for place, answer in enumerate(answers)]
    moments += [(answer.event["received"], 0, place) for place, answer in enumerate(answers)]
    arrived: dict[tuple[int, int], _Seen] = defaultdict(_Seen)
    before: dict[int, _Seen] = {}
    # The keys are known with the answer only: they are looked up in what was seen when it was sent.
    for _, sending, place in sorted(moments):
        answer = answers[place]
        seen = arrived[answer.event["incarnation"], answer.event["generation"]]
        if sending:
            before[place] = seen.copy_for(answer)
        else:
            _compare(answer, before.pop(place), verdict)
            seen.take(answer)


def _compare(answer: Answer, before: _Seen, verdict: Verdict) -> None:
    verdict.checked["answers in order"] += 1
    event = answer.event
    for shown in answer.shown:
        seen = before.offsets[shown.key]
        if not shown.absent and shown.offset < seen:
            what = f"{shown}, after offset {seen} had been shown"
            verdict.violate("I9", "non-monotonic read", what, event)
    for number, seen in before.positions.items():
        if answer.positions is not None and answer.positions.get(number, -1) < seen:
            what = f"partition {number} at {answer.positions.get(number)}, after {seen}"
            verdict.violate("I9", "non-monotonic positions", what, event)
    if "revision" in event and event["revision"] < before.revision:
        what = f"revision {event['revision']}, after {before.revision}"
        verdict.violate("I9", "non-monotonic revision", what, event)


def check_revisions(answers: list[Answer], verdict: Verdict) -> None:
    """The same generation and revision are the same table."""
    known: dict[tuple[Any, ...], int] = {}
    for answer in answers:
        if "revision" not in answer.event:
            continue
        build = (answer.event["generation"], answer.event["revision"])
        for shown in answer.shown:
            verdict.checked["results by revision"] += 1
            first = known.setdefault((*build, shown.key), shown.offset)
            if first != shown.offset:
                what = f"{shown} and offset {first} at revision {build[1]}"
                verdict.violate("I9", "two tables of one revision", what, answer.event)
