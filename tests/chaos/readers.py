"""The clients: threads that ask the running sidecar, one call at a time, and note all they hear.

Each has a channel of its own. What it asks is seeded; how often is not: a call that
waits (for a frozen sidecar, for its own write) is a call fewer.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from chaos.history import Recorder, now, text_of
from chaos.writer import keys_of
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from sidecar._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.cluster import Site
    from chaos.history import Event
    from chaos.writer import Board

__all__ = ["CLIENTS", "DEADLINE_S", "TABLE", "Monitor", "Readers", "read_table"]

TABLE = "t"
CLIENTS = 4
DEADLINE_S = 10.0
_OWN_WRITE_MS = 3000
_PAUSE_S = 0.03
_UNREACHABLE_S = 0.3
_PRESENCE = {
    cache_pb2.PRESENCE_FOUND: "found",
    cache_pb2.PRESENCE_ABSENT: "absent",
    cache_pb2.PRESENCE_UNKNOWN: "unknown",
}


class _Call(NamedTuple):
    method: str
    request: Any
    told: Event


class _Asker(threading.Thread, ABC):
    """Asks until it is told to end; a failure of its own is kept, not an error of a call."""

    def __init__(self, name: str, endpoint: str, record: Recorder) -> None:
        super().__init__(name=name, daemon=True)
        self.record = record
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        self._channel = grpc.insecure_channel(
            endpoint,
            [
                ("grpc.use_local_subchannel_pool", 1),
                # A sidecar that comes back is found soon.
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )

    def run(self) -> None:
        try:
            with self._channel:
                self.ask_on()
        except BaseException as error:
            self.failure = error
            raise

    @abstractmethod
    def ask_on(self) -> None:
        """What it does until it is told to end."""


class _Client(_Asker):
    def __init__(self, number: int, endpoint: str, folder: Path, site: Site, board: Board,
                 seed: int) -> None:  # fmt: skip
        super().__init__(f"client-{number}", endpoint, Recorder(folder, f"reads-{number}"))
        self._number = number
        self._site, self._board = site, board
        self._chance = random.Random(f"{seed} client {number}")

    def ask_on(self) -> None:
        stub = cache_pb2_grpc.CacheServiceStub(self._channel)
        with self.record:
            while not self.ending.wait(_PAUSE_S):
                call = self._next()
                heard = _asked(stub, call)
                self.record.note(**heard, client=self._number)
                if not heard["ok"] and not heard["reason"]:
                    self.ending.wait(_UNREACHABLE_S)

    def _next(self) -> _Call:
        kind = self._chance.random()
        if kind < 0.35:
            return self._get()
        if kind < 0.65:
            return self._multi_get()
        if kind < 0.9:
            return self._own_write() or self._get()
        return self._list()

    def _key(self) -> bytes:
        partition = self._chance.randrange(max(1, self._site.partitions))
        return self._chance.choice(keys_of(partition))

    def _get(self) -> _Call:
        key = self._key()
        positions = self._chance.random() < 0.8
        request = cache_pb2.GetRequest(table=TABLE, key=key, include_positions=positions)
        return _Call("Get", request, {"keys": [text_of(key)]})

    def _multi_get(self) -> _Call:
        keys = list({self._key() for _ in range(self._chance.randrange(2, 16))})
        request = cache_pb2.MultiGetRequest(table=TABLE, keys=keys, include_positions=True)
        return _Call("MultiGet", request, {"keys": [text_of(key) for key in keys]})

    def _own_write(self) -> _Call | None:
        own = self._board.draw(self._chance)
        if own is None:
            return None
        least = [cache_pb2.PartitionOffset(partition=own.partition, offset=own.offset)]
        freshness = cache_pb2.Freshness(min_offsets=least, wait_ms=_OWN_WRITE_MS)
        request = cache_pb2.GetRequest(
            table=TABLE, key=own.key, freshness=freshness, include_positions=True
        )
        told = {
            "keys": [text_of(own.key)],
            "min": [[own.partition, own.offset]],
            "min_topic_id": own.topic_id,
        }
        return _Call("Get", request, told)

    def _list(self) -> _Call:
        prefix = b"p%d-" % self._chance.randrange(max(1, self._site.partitions))
        request = cache_pb2.ListRequest(
            table=TABLE, filter=cache_pb2.Filter(key_prefix=prefix), include_positions=True
        )
        return _Call("List", request, {"prefix": text_of(prefix)})


def _asked(stub: Any, call: _Call) -> Event:
    sent = now()
    try:
        answer = getattr(stub, call.method)(call.request, timeout=DEADLINE_S)
    except grpc.RpcError as error:
        told = {"ok": False, **_error(error)}
    else:
        told = {"ok": True, **_answer(call, answer)}
    return {"op": call.method, "sent": sent, "received": now(), **call.told, **told}


def _error(error: Any) -> Event:
    info = ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
    return {"code": error.code().name, "reason": info.reason, "message": error.details()}


def _answer(call: _Call, answer: Any) -> Event:
    state = answer.state
    told = {
        "staleness_ms": state.staleness_ms if state.HasField("staleness_ms") else None,
        "incarnation": state.incarnation,
        "generation": state.generation,
        "revision": state.revision,
        "positions": None,
    }
    if state.HasField("positions"):
        told["positions"] = {str(p.partition): p.offset for p in state.positions.next_offsets}
    if call.method == "List":
        results = [["found", *_record(record)] for record in answer.records]
        return told | {"results": results, "more": bool(answer.next_page_token)}
    found = answer.results if call.method == "MultiGet" else [answer]
    keys = call.told["keys"]
    return told | {"results": [_result(key, one) for key, one in zip(keys, found, strict=True)]}


def _result(key: str, one: Any) -> list[Any]:
    presence = _PRESENCE.get(one.presence, str(one.presence))
    return [presence, *_record(one.record)] if presence == "found" else [presence, key]


def _record(record: Any) -> list[Any]:
    value = text_of(record.value) if record.HasField("value") else None
    return [text_of(record.key), value, record.partition, record.offset, record.timestamp_ms]


class Monitor(_Asker):
    """Notes what AdminService says of the table, and keeps the last that it heard."""

    def __init__(self, endpoint: str, record: Recorder) -> None:
        super().__init__("monitor", endpoint, record)
        self.fresh_as_of = 0.0
        """The latest moment of which the sidecar says that it knew all there was."""

    def ask_on(self) -> None:
        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        while not self.ending.wait(0.15):
            sent = now()
            try:
                table = stub.GetTable(admin_pb2.GetTableRequest(table=TABLE), timeout=5).table
            except grpc.RpcError as error:
                told: Event = {"ok": False, **_error(error)}
            else:
                told = {"ok": True, **_table(table)}
                if table.HasField("staleness_ms") and table.state in {2, 3}:
                    self.fresh_as_of = sent - table.staleness_ms / 1000
            self.record.note(op="table", sent=sent, received=now(), **told)


def _table(table: Any) -> Event:
    return {
        "state": admin_pb2.TableState.Name(table.state).removeprefix("TABLE_STATE_"),
        "reason": table.reason,
        "topic_id": table.topic_id,
        "incarnation": table.incarnation,
        "generation": table.generation,
        "entries": table.entries,
        "staleness_ms": table.staleness_ms if table.HasField("staleness_ms") else None,
        # partition, position, high watermark, last stable offset, lag, wait
        "partitions": [
            [p.partition, p.position, p.high_watermark, p.last_stable_offset, p.lag, p.wait]
            for p in table.partitions
        ],
    }


class Readers:
    """All the clients."""

    def __init__(self, endpoint: str, folder: Path, site: Site, board: Board, seed: int) -> None:
        self.threads = [
            _Client(number, endpoint, folder, site, board, seed) for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End; raises whatever has ended a client before that."""
        for thread in self.threads:
            thread.ending.set()
        for thread in self.threads:
            thread.join(DEADLINE_S + 20)
            if thread.failure is not None:
                raise thread.failure


def read_table(endpoint: str) -> Event:
    """The whole table by one Scan, with the state of its last chunk; at rest only."""
    records: list[list[Any]] = []
    with grpc.insecure_channel(endpoint) as channel:
        stub = cache_pb2_grpc.CacheServiceStub(channel)
        request = cache_pb2.ScanRequest(table=TABLE, include_positions=True)
        for chunk in stub.Scan(request, timeout=60):
            records += [_record(record) for record in chunk.records]
            positions = {str(p.partition): p.offset for p in chunk.state.positions.next_offsets}
    return {"records": records, "positions": positions}
