"""Why a lookup is refused.

There is one error, because a caller does one of few things with it, and the reason
says which::

    Refused
      BOOTSTRAPPING TOPIC_MISSING TOPIC_REPLACED SHUTTING_DOWN   ask again later
      TABLE_FAILED                                               call an operator
      NOT_FRESH                                                  relax the bound, or wait
      INCARNATION_MISMATCH                                       forget the positions
      UNKNOWN_TABLE TABLE_REQUIRED BAD_* TOO_MANY_KEYS
      RESPONSE_TOO_LARGE NO_FORMAT UNKNOWN_INDEX NOT_YET         mend the request
      GENERATION_CHANGED                                         begin the scan again
      TOO_MANY_CALLS TOO_MANY_WATCHES                            fewer at a time
      WATCH_LAGGED                                               resume, and read faster
      RESUME_EXPIRED                                             take a snapshot

The edge (rpc) maps a reason to its status code; nothing else interprets it.
"""

from collections.abc import Mapping
from enum import StrEnum, auto

__all__ = ["Reason", "Refused"]


class Reason(StrEnum):
    """The machine-readable reason, as ``google.rpc.ErrorInfo.reason`` carries it."""

    @staticmethod
    def _generate_next_value_(name: str, *_: object) -> str:
        return name

    BOOTSTRAPPING = auto()
    TOPIC_MISSING = auto()
    TOPIC_REPLACED = auto()
    TABLE_FAILED = auto()
    SHUTTING_DOWN = auto()
    UNKNOWN_TABLE = auto()
    TABLE_REQUIRED = auto()
    NOT_FRESH = auto()
    INCARNATION_MISMATCH = auto()
    BAD_TOKEN = auto()
    BAD_RANGE = auto()
    BAD_FILTER = auto()
    BAD_FRESHNESS = auto()
    BAD_REQUEST = auto()
    TOO_MANY_KEYS = auto()
    TOO_MANY_CALLS = auto()
    TOO_MANY_WATCHES = auto()
    WATCH_LAGGED = auto()
    RESUME_EXPIRED = auto()
    GENERATION_CHANGED = auto()
    UNKNOWN_INDEX = auto()
    NO_FORMAT = auto()
    RESPONSE_TOO_LARGE = auto()
    NOT_YET = auto()


class Refused(Exception):  # noqa: N818 (not an error of the program: an answer)
    """A lookup that gets no answer, and why.

    Args:
        reason: what a program branches on.
        message: a sentence for a person: what happened and what to do.
        metadata: names and numbers that belong to it, as text.
        retry_after_ms: when asking again may help; None: it will not by itself.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_ms = retry_after_ms
