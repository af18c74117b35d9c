"""From a refusal to what goes over the wire, and nowhere else.

A `Refused` becomes a gRPC status with one `google.rpc.ErrorInfo` and, where asking
again may help, a `RetryInfo`; in a Lookup stream, the same as a `LookupError`. The code
follows from the reason by one table.

Anything else that a handler raises is a bug: it is answered INTERNAL with a sentence
that is always the same, and its traceback is logged without the exception's own text,
which may quote a key or a value.

A status travels in HTTP/2 trailers, which clients bound (8 KiB by default), so whatever
a client or a table's name brings into a message is cut by `shown`, and long metadata
(the positions of a thousand partitions) at the wire.
"""

import logging
import traceback
from collections.abc import Iterable
from typing import Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_status import rpc_status

from .._pb import cache_pb2 as pb
from ..core.errors import Reason, Refused

__all__ = [
    "CODES",
    "abort",
    "bad_argument",
    "error_message",
    "internal_error_message",
    "log_bug",
    "shown",
    "shown_names",
    "shutting_down",
]

_log = logging.getLogger("sidecar.rpc")

DOMAIN: Final = "kafkacache"
INTERNAL_MESSAGE: Final = "internal error; the sidecar's log tells more"
_LONGEST_SHOWN: Final = 200
_LONGEST_METADATA: Final = 1000
_MOST_NAMES: Final = 20

_Code = grpc.StatusCode

CODES: Final = {
    Reason.BOOTSTRAPPING: _Code.UNAVAILABLE,
    Reason.TOPIC_MISSING: _Code.UNAVAILABLE,
    Reason.TOPIC_REPLACED: _Code.UNAVAILABLE,
    Reason.TABLE_FAILED: _Code.UNAVAILABLE,
    Reason.SHUTTING_DOWN: _Code.UNAVAILABLE,
    Reason.UNKNOWN_TABLE: _Code.NOT_FOUND,
    Reason.TABLE_REQUIRED: _Code.INVALID_ARGUMENT,
    Reason.NOT_FRESH: _Code.FAILED_PRECONDITION,
    Reason.INCARNATION_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.BAD_TOKEN: _Code.INVALID_ARGUMENT,
    Reason.BAD_RANGE: _Code.INVALID_ARGUMENT,
    Reason.BAD_REQUEST: _Code.INVALID_ARGUMENT,
    Reason.BAD_FILTER: _Code.INVALID_ARGUMENT,
    Reason.BAD_FRESHNESS: _Code.INVALID_ARGUMENT,
    Reason.TOO_MANY_KEYS: _Code.INVALID_ARGUMENT,
    Reason.TOO_MANY_CALLS: _Code.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_WATCHES: _Code.RESOURCE_EXHAUSTED,
    Reason.WATCH_LAGGED: _Code.RESOURCE_EXHAUSTED,
    Reason.RESUME_EXPIRED: _Code.OUT_OF_RANGE,
    Reason.GENERATION_CHANGED: _Code.ABORTED,
    Reason.UNKNOWN_INDEX: _Code.FAILED_PRECONDITION,
    Reason.NO_FORMAT: _Code.FAILED_PRECONDITION,
    Reason.RESPONSE_TOO_LARGE: _Code.RESOURCE_EXHAUSTED,
    Reason.NOT_YET: _Code.UNIMPLEMENTED,
}


# Refusals that only this edge knows


def bad_argument(field: str, problem: str) -> Refused:
    """A value of a request that is out of its range."""
    return Refused(Reason.BAD_REQUEST, f"{field}: {problem}", metadata={"field": field})


def shutting_down() -> Refused:
    """The sidecar is about to end."""
    return Refused(Reason.SHUTTING_DOWN, "the sidecar is shutting down")


def shown(text: str | bytes) -> str:
    """Text of unknown origin, fit for a message: escaped where not UTF-8, and cut."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def shown_names(names: Iterable[str]) -> str:
    """Names in order, as a list for a message; a long list is cut."""
    known = sorted(names)
    more = [f"… ({len(known)} in all)"] if len(known) > _MOST_NAMES else []
    return ", ".join([*map(shown, known[:_MOST_NAMES]), *more])


# What goes over the wire


async def abort(context: grpc.aio.ServicerContext[object, object], refused: Refused) -> NoReturn:
    """End the call with the status of a refusal.

    grpc and the error with which it ends a call hold each other, until a collector comes. What
    the call worked with shall not wait for that.
    """
    refused.__traceback__ = None
    status = Status(code=CODES[refused.reason].value[0], message=refused.message)
    metadata = {name: text[:_LONGEST_METADATA] for name, text in refused.metadata.items()}
    info = ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=metadata)
    status.details.append(_packed(info))
    if refused.retry_after_ms is not None:
        delay = Duration()
        delay.FromMilliseconds(refused.retry_after_ms)
        status.details.append(_packed(RetryInfo(retry_delay=delay)))
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort always raises")


def error_message(refused: Refused) -> pb.LookupError:
    """The same refusal inside a stream."""
    return pb.LookupError(
        code=CODES[refused.reason].value[0],
        message=refused.message,
        reason=refused.reason,
        metadata=refused.metadata,
        retry_after_ms=refused.retry_after_ms,
    )


def internal_error_message() -> pb.LookupError:
    """What a bug is answered with inside a stream."""
    return pb.LookupError(code=_Code.INTERNAL.value[0], message=INTERNAL_MESSAGE)


def log_bug(method: str, error: Exception) -> None:
    """Log an exception that no handler should raise: where, and of which kind."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    fields = {"method": method, "error": type(error).__name__, "where": where}
    _log.error("a handler failed", extra={"fields": fields})


def _packed(message: ErrorInfo | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
