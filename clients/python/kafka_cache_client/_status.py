"""From a failed gRPC call to the error that the caller sees.

A status carries its particulars in the trailing metadata ``grpc-status-details-bin``: a
google.rpc.Status with an ErrorInfo and, where a retry helps, a RetryInfo. The usual package
for these types would be a third dependency for five fields, so they are declared here, in a
descriptor pool of their own: an application that has that package too meets no conflict.

The reason decides where there is one of ours; the gRPC code decides elsewhere, as for a
connection that was refused. Details that cannot be read never hide the failure itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc
from google.protobuf import any_pb2, duration_pb2, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from . import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["details_of", "error_of"]

DOMAIN = "kafkacache"
DETAILS = "grpc-status-details-bin"

# Fields that are left out here are skipped when they come.
DECLARATIONS = """
name: "google/rpc/status_details.proto" package: "google.rpc" syntax: "proto3"
dependency: "google/protobuf/any.proto"
dependency: "google/protobuf/duration.proto"
message_type {
  name: "Status"
  field { name: "details" number: 3 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".google.protobuf.Any" }
}
message_type {
  name: "ErrorInfo"
  field { name: "reason" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "domain" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "metadata" number: 3 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".google.rpc.ErrorInfo.MetadataEntry" }
  nested_type {
    name: "MetadataEntry" options { map_entry: true }
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  }
}
message_type {
  name: "RetryInfo"
  field { name: "retry_delay" number: 1 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" }
}
"""

BY_REASON: dict[str, type[errors.SidecarError]] = {
    "BOOTSTRAPPING": errors.NotReady,
    "TOPIC_MISSING": errors.NotReady,
    "TOPIC_REPLACED": errors.NotReady,
    "TABLE_FAILED": errors.TableFailed,
    "SHUTTING_DOWN": errors.Unavailable,
    "UNKNOWN_TABLE": errors.UnknownTable,
    "TABLE_REQUIRED": errors.UnknownTable,
    "NOT_FRESH": errors.NotFresh,
    "INCARNATION_MISMATCH": errors.Outdated,
    "RESUME_EXPIRED": errors.Outdated,
    "GENERATION_CHANGED": errors.Outdated,
    "TOO_MANY_KEYS": errors.TooLarge,
    "RESPONSE_TOO_LARGE": errors.TooLarge,
    "WATCH_LAGGED": errors.Overloaded,
    "TOO_MANY_WATCHES": errors.Overloaded,
    "TOO_MANY_CALLS": errors.Overloaded,
    "UNKNOWN_INDEX": errors.InvalidRequest,
    "NO_FORMAT": errors.InvalidRequest,
    "NOT_YET": errors.Unsupported,
}
BY_CODE: dict[grpc.StatusCode, type[errors.SidecarError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.ABORTED: errors.Outdated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.TooLarge,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: errors.InvalidRequest,
    grpc.StatusCode.PERMISSION_DENIED: errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: errors.InvalidRequest,
}


class FailedCall(Protocol):
    """What the errors of grpc and of grpc.aio have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def error_of(rpc_error: grpc.RpcError) -> errors.SidecarError:
    """The error that says what this failed call means."""
    call = cast("FailedCall", rpc_error)
    info, retry = _details(call.trailing_metadata() or ())
    ours = info.domain == DOMAIN
    kind = BY_REASON.get(info.reason) if ours else None
    return (kind or BY_CODE.get(call.code(), errors.SidecarError))(
        call.details() or call.code().name,
        reason=info.reason if ours else "",
        metadata=info.metadata if ours else None,
        retry_after=_seconds(retry),
    )


def details_of(reason: str) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a call that failed for a reason of the contract."""
    status = Status()
    status.details.add().Pack(ErrorInfo(reason=reason, domain=DOMAIN))
    return ((DETAILS, status.SerializeToString()),)


def _details(trailing: Iterable[tuple[str, str | bytes]]) -> tuple[Any, Any]:
    """The ErrorInfo and the RetryInfo of a status, empty where it has none."""
    info, retry = ErrorInfo(), RetryInfo()
    try:
        for value in (value for name, value in trailing if name == DETAILS):
            for detail in Status.FromString(value).details:
                # Each takes what is its own and leaves the other's alone.
                detail.Unpack(info)
                detail.Unpack(retry)
    except DecodeError:
        return ErrorInfo(), RetryInfo()
    return info, retry


def _seconds(retry: Any) -> float | None:
    delay = retry.retry_delay
    return delay.seconds + delay.nanos / 1e9 if retry.HasField("retry_delay") else None


def _declared(*names: str) -> list[Any]:
    pool = DescriptorPool()
    for known in (any_pb2, duration_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(DECLARATIONS, FileDescriptorProto()))
    return [GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}")) for name in names]


Status, ErrorInfo, RetryInfo = _declared("Status", "ErrorInfo", "RetryInfo")
