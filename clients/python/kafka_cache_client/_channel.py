"""Where the sidecar is and how the channel to it is set.

Creating a channel connects to nothing: that happens with the first call.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from ._pb import admin_pb2_grpc, cache_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENDPOINT_VARIABLE", "Settings", "methods"]

ENDPOINT_VARIABLE = "SIDECAR_ENDPOINT"
DEFAULT_TARGET = "127.0.0.1:50051"

# No keepalive pings: a closed local socket is reported by the kernel at once, every call has
# a deadline, and a gRPC server that was not told otherwise hangs up on frequent pings.
OPTIONS: dict[str, Any] = {
    # The sidecar bounds what it sends; a second, lower limit here would only get in the way.
    "grpc.max_receive_message_length": -1,
    # gRPC's own pauses grow to two minutes: too long for a sidecar that restarts in seconds.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    # An http_proxy of the application is not meant for its own pod.
    "grpc.enable_http_proxy": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One client's settings, checked."""

    target: str
    table: str
    timeout: float
    credentials: grpc.ChannelCredentials | None
    options: Sequence[tuple[str, Any]]

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError("timeout: must be greater than 0")

    def channel(self) -> grpc.Channel:
        """A channel for threads."""
        if self.credentials is None:
            return grpc.insecure_channel(self.target, self._options())
        return grpc.secure_channel(self.target, self.credentials, self._options())

    def async_channel(self) -> grpc.aio.Channel:
        """A channel of the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, self._options())
        return grpc.aio.secure_channel(self.target, self.credentials, self._options())

    def _options(self) -> list[tuple[str, Any]]:
        return list((OPTIONS | dict(self.options)).items())


def target_or_default(target: str | None) -> str:
    """The target that is named, that of the environment, or the sidecar's default."""
    return target or os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_TARGET


def methods(channel: grpc.Channel | grpc.aio.Channel) -> dict[str, Any]:
    """The callables of both services by their name; no two have the same."""
    cache = cache_pb2_grpc.CacheServiceStub(channel)  # type: ignore[no-untyped-call]
    admin = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
    return vars(cache) | vars(admin)
