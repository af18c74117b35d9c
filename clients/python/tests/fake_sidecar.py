"""A sidecar of threads and a dict: it answers by the contract, or fails as it is told to."""
# The methods have the names of the contract.
# ruff: noqa: N802

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from kafka_cache_client._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc

GENERATION = 4242


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


class FakeSidecar(cache_pb2_grpc.CacheServiceServicer, admin_pb2_grpc.AdminServiceServicer):
    """What it holds and how it fails is set by the test."""

    def __init__(self):
        self.records = {}
        self.tables = [table()]
        self.bootstrapping = False
        self.failures = []
        self.max_keys = 1000
        self.delay = 0.0
        self.requests = []
        self.called = threading.Event()
        # What a Watch tells: the events, of which the number is the revision.
        self.generation = GENERATION
        self.events = []
        self.staleness_ms = 7
        self.cuts = 0

    def put(self, key, value, offset=0, **fields):
        self.records[key] = cache_pb2.Record(
            key=key, value=value, partition=1, offset=offset, timestamp_ms=1_700_000, **fields
        )
        self.events.append(cache_pb2.WatchEvent(upsert=self.records[key]))

    def delete(self, key):
        del self.records[key]
        self.events.append(cache_pb2.WatchEvent(deletion=cache_pb2.Deletion(key=key)))

    def rebuild(self, **records):
        """Another generation with these records; who follows is told that it is over."""
        self.generation += 1
        self.records, self.events = {}, []
        for key, value in records.items():
            self.put(key.encode(), value)

    def cut(self):
        """End all watches that are under way."""
        self.cuts += 1

    def Watch(self, request, context):
        self._begin(request, context)
        generation, cuts, prefix = self.generation, self.cuts, request.filter.key_prefix
        if request.resume_token:
            built, told = map(int, request.resume_token.split(":"))
        else:
            built, told = generation, len(self.events)
            records = [one for one in self.records.values() if one.key.startswith(prefix)]
            for record in records:
                yield self._told(cache_pb2.WatchEvent(upsert=record))
            yield self._told(cache_pb2.WatchEvent(snapshot_end=self._progress(told)), told)
        while context.is_active() and self.cuts == cuts:
            if built != self.generation:
                context.abort_with_status(failure(grpc.StatusCode.OUT_OF_RANGE, "RESUME_EXPIRED"))
            for event in self.events[told:]:
                told += 1
                key = event.upsert.key or event.deletion.key
                if key.startswith(prefix):
                    yield self._told(event, told)
            yield self._told(cache_pb2.WatchEvent(progress=self._progress(told)), told)
            time.sleep(0.01)
        context.abort_with_status(failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"))

    def _told(self, event, revision=None):
        token = "" if revision is None else f"{self.generation}:{revision}"
        return cache_pb2.WatchResponse(
            events=[event], resume_token=token, generation=self.generation, incarnation=77
        )

    def _progress(self, revision):
        progress = cache_pb2.WatchProgress(revision=revision, staleness_ms=self.staleness_ms)
        progress.positions.incarnation = 77
        progress.positions.next_offsets.add(partition=0, offset=revision)
        return progress

    def Get(self, request, context):
        self._begin(request, context)
        return cache_pb2.GetResponse(
            presence=self._presence(request.key),
            record=self.records.get(request.key),
            state=self._state(request),
        )

    def MultiGet(self, request, context):
        self._begin(request, context)
        if len(request.keys) > self.max_keys:
            context.abort_with_status(
                failure(grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_KEYS", limit=str(self.max_keys))
            )
        return cache_pb2.MultiGetResponse(
            results=[
                cache_pb2.LookupResult(presence=self._presence(key), record=self.records.get(key))
                for key in request.keys
            ],
            state=self._state(request),
        )

    def List(self, request, context):
        self._begin(request, context)
        keys = sorted(key for key in self.records if self._selected(request.filter, key))
        first = int(request.page_token or 0)
        following = first + (request.page_size or 2)
        return cache_pb2.ListResponse(
            records=[self.records[key] for key in keys[first:following]],
            next_page_token=str(following) if following < len(keys) else "",
            state=self._state(request),
        )

    def ListTables(self, request, context):
        return admin_pb2.ListTablesResponse(tables=self.tables)

    def WaitUntil(self, request, context):
        self._begin(request, context)
        while self.bootstrapping and context.is_active():
            time.sleep(0.01)
        return admin_pb2.WaitUntilResponse(tables=self.tables)

    def _begin(self, request, context):
        self.requests.append(request)
        self.called.set()
        time.sleep(self.delay)
        if self.failures and (status := self.failures.pop(0)) is not None:
            context.abort_with_status(status)

    def _presence(self, key):
        if key in self.records:
            return cache_pb2.PRESENCE_FOUND
        return cache_pb2.PRESENCE_UNKNOWN if self.bootstrapping else cache_pb2.PRESENCE_ABSENT

    def _state(self, request):
        state = cache_pb2.State(
            staleness_ms=self.staleness_ms,
            generation=self.generation,
            revision=len(self.events),
            incarnation=77,
        )
        if request.include_positions:
            state.positions.incarnation = 77
            state.positions.next_offsets.add(partition=0, offset=12, leader_epoch=3)
            state.positions.next_offsets.add(partition=1, offset=0)
        return state

    @staticmethod
    def _selected(selected, key):
        if selected.HasField("key_prefix"):
            return key.startswith(selected.key_prefix)
        bounds = selected.key_range
        return key >= bounds.start and (not bounds.end or key < bounds.end)


@contextlib.contextmanager
def served(sidecar, address="127.0.0.1:0", credentials=None):
    """Serves a sidecar at an address and gives the target to connect to."""
    with ThreadPoolExecutor(max_workers=16) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        cache_pb2_grpc.add_CacheServiceServicer_to_server(sidecar, server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(sidecar, server)
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        try:
            yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
