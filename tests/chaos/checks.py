"""All checks of a history, and that each of them has had something to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.answers import (
    answers,
    check_min_offsets,
    check_promise,
    check_staleness,
    check_visible,
)
from chaos.course import (
    check_end,
    check_final,
    check_identity,
    check_log,
    check_recovery,
    check_refusals,
)
from chaos.order import check_monotonic, check_revisions
from chaos.verdict import Verdict

if TYPE_CHECKING:
    from chaos.history import History

__all__ = ["check"]

# What a run that deserves its name has looked at.
_EXPECTED = (
    "records shown",
    "results against the fold",
    "stated ages",
    "reads of own writes",
    "answers in order",
    "entries at rest",
    "acknowledged records in the log",
    "records compacted away",
    "orderly ends",
)


def check(history: History) -> Verdict:
    """Judge a run by its records alone."""
    verdict = Verdict()
    found = answers(history, verdict)
    for answer in found:
        check_visible(answer, verdict)
        check_promise(answer, verdict)
        check_staleness(answer, verdict)
        check_min_offsets(answer, verdict)
    check_monotonic(found, verdict)
    check_revisions(found, verdict)
    check_refusals(history, verdict)
    check_recovery(history, verdict)
    check_identity(history, found, verdict)
    check_final(history, verdict)
    check_log(history, verdict)
    check_end(history, verdict)
    for name in _EXPECTED:
        if not verdict.checked[name]:
            verdict.violate("harness", "nothing to check", name, {})
    return verdict
