"""What can go wrong, sorted by what the caller should do about it.

    SidecarError          every failure of a call; it alone: a fault of the sidecar, report it
    ├── Unavailable       no answer for now: fall back, or try again after `retry_after`
    │   ├── NotReady      the table is still being read, or its topic is missing or replaced
    │   └── TableFailed   the table cannot become ready: an operator must act
    ├── DeadlineExceeded  no answer in time: try again, or give the call more time
    ├── NotFresh          the bound was not met in time: wait longer, or accept an older answer
    ├── Outdated          a page or positions belong to a table that was rebuilt: begin again
    ├── Overloaded        too many calls at once: fewer, or later
    ├── TooLarge          the request or its answer is over a limit: ask for less at a time
    └── InvalidRequest    the call or the configuration is wrong: a retry cannot help
        ├── UnknownTable  the sidecar serves no such table, or the call must name one
        └── Unsupported   this sidecar is older than what was asked of it

An absent key is never an error. Arguments that could not be sent at all raise ValueError or
TypeError, and a closed client raises RuntimeError.
"""
# The names say what is wrong, as the contract does; only the root says that it is an error.
# ruff: noqa: N818

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DeadlineExceeded",
    "InvalidRequest",
    "NotFresh",
    "NotReady",
    "Outdated",
    "Overloaded",
    "SidecarError",
    "TableFailed",
    "TooLarge",
    "Unavailable",
    "UnknownTable",
    "Unsupported",
]


class SidecarError(Exception):
    """A call failed.

    message: the sentence, for people.
    reason: the contract's word for it, such as ``BOOTSTRAPPING``; empty when no sidecar said one.
    metadata: particulars by name, such as the table, a partition or a limit.
    retry_after: seconds after which the sidecar asks for the next try; None when it names none.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        prefix = f"{self.reason}: " if self.reason else ""
        particulars = ", ".join(f"{name}={value}" for name, value in self.metadata.items())
        return prefix + self.message + (f" ({particulars})" if particulars else "")


class Unavailable(SidecarError):
    """No sidecar answers, it is shutting down, or the table cannot answer yet."""


class NotReady(Unavailable):
    """The table is still being read, or its topic is missing or is another one now.

    Two reasons are the client's own: ``KEY_UNKNOWN``, when a key was asked for with
    allow_partial and has not been seen yet, and ``NOT_READY``, when wait_until_ready gave up.
    """


class TableFailed(Unavailable):
    """The table never became ready and cannot without an operator; the message says why."""


class DeadlineExceeded(SidecarError):
    """The call's timeout passed without an answer."""


class NotFresh(SidecarError):
    """The freshness that was asked for was not reached in time."""


class Outdated(SidecarError):
    """The page, or the positions, belong to another build of the table, or to another topic."""


class Overloaded(SidecarError):
    """The sidecar has too many calls open."""


class TooLarge(SidecarError):
    """Too many keys in one call, or an answer over the message limit; metadata has the limit."""


class InvalidRequest(SidecarError):
    """The sidecar cannot make sense of the call, or refuses it."""


class UnknownTable(InvalidRequest):
    """No such table, or none named where several are served; metadata has the names."""


class Unsupported(InvalidRequest):
    """The sidecar does not have this call or this field yet."""
