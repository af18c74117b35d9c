"""What a running sidecar holds, by its Scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from sidecar._pb import cache_pb2, cache_pb2_grpc

if TYPE_CHECKING:
    from sidecar._pb.cache_pb2 import Record

__all__ = ["scan"]


def scan(endpoint: str, **request: Any) -> list[Record]:
    """Give all records, in order; none while nothing answers."""
    with grpc.insecure_channel(endpoint) as channel:
        stub = cache_pb2_grpc.CacheServiceStub(channel)
        try:
            chunks = list(stub.Scan(cache_pb2.ScanRequest(**request), timeout=30))
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED):
                raise
            return []
    return [record for chunk in chunks for record in chunk.records]
