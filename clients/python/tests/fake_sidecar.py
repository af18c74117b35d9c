"""The package's own fake with one table, which fails as it is told to."""
# The methods have the names of the contract.
# ruff: noqa: N802

from __future__ import annotations

import contextlib
import threading
import time

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from kafka_cache_client import testing
from kafka_cache_client._pb import admin_pb2
from kafka_cache_client.testing import GENERATION

__all__ = ["GENERATION", "FakeSidecar", "failure", "served", "table"]


def failure(code, reason="", *, domain="kafkacache", retry_ms=None, message="so it is", **metadata):
    """The status of a failed call, with the details that the contract asks for."""
    details = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    if retry_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(retry_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)


def table(name="users", state=admin_pb2.TABLE_STATE_LIVE, **fields):
    return admin_pb2.TableInfo(name=name, topic=name, state=state, required=True, **fields)


class FakeSidecar(testing.FakeSidecar):
    """How it fails is set by the test."""

    def __init__(self):
        super().__init__({"users": {}})
        self.tables = [table()]
        self.failures = []
        self.max_keys = 1000
        self.delay = 0.0
        self.called = threading.Event()
        users = self["users"]
        self.delete, self.users = users.delete, users

    @property
    def bootstrapping(self):
        return not self.ready

    @bootstrapping.setter
    def bootstrapping(self, value):
        self.ready = not value

    @property
    def records(self):
        return self.users.records

    @property
    def staleness_ms(self):
        return self.users.staleness_ms

    @staleness_ms.setter
    def staleness_ms(self, value):
        self.users.staleness_ms = value

    def put(self, key, value, offset=0, **fields):
        self.users.put(key, value, **{"partition": 1, "offset": offset} | fields)

    def rebuild(self, **records):
        self.users.rebuild()
        for key, value in records.items():
            self.put(key.encode(), value)

    def MultiGet(self, request, context):
        if len(request.keys) > self.max_keys:
            self.requests.append(request)
            context.abort_with_status(
                failure(grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_KEYS", limit=str(self.max_keys))
            )
        return super().MultiGet(request, context)

    def List(self, request, context):
        request.page_size = request.page_size or 2
        return super().List(request, context)

    def WaitUntil(self, request, context):
        self._begin(request, context)
        return super().WaitUntil(request, context)

    def _infos(self):
        return self.tables

    def _begin(self, request, context):
        self.requests.append(request)
        self.called.set()
        time.sleep(self.delay)
        if self.failures and (status := self.failures.pop(0)) is not None:
            context.abort_with_status(status)
        return self.users

    def _state(self, table, request):
        state = super()._state(table, request)
        if request.include_positions:
            del state.positions.next_offsets[:]
            state.positions.next_offsets.add(partition=0, offset=12, leader_epoch=3)
            state.positions.next_offsets.add(partition=1, offset=0)
        return state


@contextlib.contextmanager
def served(sidecar, address="127.0.0.1:0", credentials=None):
    """Serves a sidecar at an address and gives the target to connect to."""
    sidecar.start(address, credentials)
    try:
        yield sidecar.target
    finally:
        sidecar.stop()
