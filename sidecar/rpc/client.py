"""A synchronous client of a running sidecar, for the command line.

Answers are the contract's own messages. Whatever goes wrong becomes one exception,
`CallFailed`, because a command does one thing with it: say so in a line and choose an
exit code. It carries the status code by name, and reason, metadata and delay from the
`google.rpc.ErrorInfo` and `RetryInfo` beside it, so that nobody else needs gRPC.

Nobody there is not the same as a sidecar that refuses. A refusal is UNAVAILABLE with a
reason; without one, no sidecar has answered: `CallFailed.unreachable`. A host that takes
the connection and then keeps silent ends in DEADLINE_EXCEEDED, as a slow answer does;
the two are told apart by asking the channel whether it ever became ready.

Creating a client connects to nothing: that happens with the first call.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from .._pb import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from ..formats import SCHEMA_FORMATS

__all__ = ["Address", "CallFailed", "Client", "Tls", "parse_endpoint"]

_DOMAIN = "kafkacache"
_RAW = cache_pb2.ENCODING_RAW
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):(\d{1,5})")
_OPTIONS: tuple[tuple[str, Any], ...] = (
    # The server bounds what it sends; a lower limit here would only get in the way.
    ("grpc.max_receive_message_length", -1),
    # An http_proxy is not meant for the sidecar of one's own pod.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def parse_endpoint(text: str) -> str:
    """The gRPC target of `unix:///path` or `host:port`.

    Raises:
        ValueError: it is neither; the message says what was expected.
    """
    if text.startswith("unix:///"):
        return text
    found = _HOST_PORT.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError(f"{text!r} is neither host:port nor unix:///path")
    return f"dns:///{text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """The files of a TLS connection (PEM).

    Attributes:
        ca: whom to trust.
        certificate: the client's own, with its key; None: the client shows none.
        key: see `certificate`.
        server_name: the name that the server's certificate must bear; empty: the endpoint's.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises OSError."""
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.key.read_bytes() if self.key else None,
            self.certificate.read_bytes() if self.certificate else None,
        )


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sidecar listens: an endpoint as `parse_endpoint` takes it, and how to trust it."""

    endpoint: str
    tls: Tls | None = None

    def channel(self) -> grpc.Channel:
        """A channel, not connected yet; raises ValueError or OSError."""
        target = parse_endpoint(self.endpoint)
        if self.tls is None:
            return grpc.insecure_channel(target, _OPTIONS)
        name = self.tls.server_name
        override = (("grpc.ssl_target_name_override", name),) if name else ()
        return grpc.secure_channel(target, self.tls.credentials(), (*_OPTIONS, *override))


class CallFailed(Exception):  # noqa: N818 (an answer too, though not the one asked for)
    """A call without an answer.

    Attributes:
        code: name of the gRPC status code.
        reason: of the sidecar's ErrorInfo; empty: there was none.
        message: the sidecar's sentence, or gRPC's.
        metadata: of the ErrorInfo.
        retry_after_ms: when asking again may help; None: not said.
        unreachable: no sidecar was there to answer.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        message: str,
        metadata: dict[str, str],
        retry_after_ms: int | None,
        *,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.retry_after_ms = retry_after_ms
        self.unreachable = unreachable


class Client:
    """Calls to one sidecar; a context manager.

    Args:
        address: where it listens.
        timeout: seconds that one call may take, a whole scan too.

    Every method raises `CallFailed`. A table may be named "" where only one is served.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        self._channel = address.channel()
        self._timeout = timeout
        self._cache = cache_pb2_grpc.CacheServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def encoding_of(self, table: str) -> cache_pb2.Encoding:
        """How to ask for values that people can read: as JSON where that takes a schema."""
        by_schema = self.table(table).format in SCHEMA_FORMATS
        return cache_pb2.ENCODING_JSON if by_schema else cache_pb2.ENCODING_RAW

    def get(
        self, table: str, keys: Sequence[bytes], encoding: cache_pb2.Encoding = _RAW
    ) -> cache_pb2.MultiGetResponse:
        """Look keys up at one position; results are in their order."""
        request = cache_pb2.MultiGetRequest(table=table, keys=keys, encoding=encoding)
        answer: cache_pb2.MultiGetResponse = self._call(self._cache.MultiGet, request)
        return answer

    def pages(
        self,
        table: str,
        *,
        chosen: cache_pb2.Filter | None = None,
        page_size: int = 0,
        encoding: cache_pb2.Encoding = _RAW,
    ) -> Iterator[cache_pb2.ListResponse]:
        """All records in key order, or those that a filter chooses, page by page."""
        request = cache_pb2.ListRequest(
            table=table, filter=chosen, page_size=page_size, encoding=encoding
        )
        while True:
            page: cache_pb2.ListResponse = self._call(self._cache.List, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def scan(self, table: str, *, headers: bool = False) -> Iterator[cache_pb2.ScanResponse]:
        """Every record in key order, in one call."""
        view = cache_pb2.VIEW_FULL if headers else cache_pb2.VIEW_RECORD
        call = self._cache.Scan(
            cache_pb2.ScanRequest(table=table, view=view), timeout=self._timeout
        )
        try:
            yield from call
        except grpc.RpcError as error:
            self._fail(error)
        finally:
            call.cancel()

    def watch(self, request: cache_pb2.WatchRequest) -> Iterator[cache_pb2.WatchResponse]:
        """Changes as they come, without a limit of time."""
        call = self._cache.Watch(request)
        try:
            yield from call
        except grpc.RpcError as error:
            self._fail(error)
        finally:
            call.cancel()

    def server_info(self) -> admin_pb2.GetServerInfoResponse:
        """Version, limits and configuration."""
        request = admin_pb2.GetServerInfoRequest()
        answer: admin_pb2.GetServerInfoResponse = self._call(self._admin.GetServerInfo, request)
        return answer

    def tables(self) -> Sequence[admin_pb2.TableInfo]:
        """The state of every table, by name."""
        request = admin_pb2.ListTablesRequest()
        answer: admin_pb2.ListTablesResponse = self._call(self._admin.ListTables, request)
        return answer.tables

    def table(self, table: str) -> admin_pb2.TableInfo:
        """The state of one table."""
        request = admin_pb2.GetTableRequest(table=table)
        answer: admin_pb2.GetTableResponse = self._call(self._admin.GetTable, request)
        return answer.table

    def wait_until(
        self, table: str, *, timeout: float, positions: Mapping[int, int] | None = None
    ) -> None:
        """Block until a table is ready; "": until all are that readiness needs.

        With positions (by partition: the next offset to read) until it was read that far too.
        A sidecar that is not there yet is waited for.
        """
        request = admin_pb2.WaitUntilRequest(table=table)
        for partition, offset in (positions or {}).items():
            request.freshness.at_least.next_offsets.add(partition=partition, offset=offset)
        self._call(self._admin.WaitUntil, request, timeout=timeout, wait_for_ready=True)

    def digest(self, table: str) -> admin_pb2.GetDigestResponse:
        """What a table holds, as sums."""
        request = admin_pb2.GetDigestRequest(table=table)
        answer: admin_pb2.GetDigestResponse = self._call(self._admin.GetDigest, request)
        return answer

    def _call(self, call: Callable[..., Any], request: object, **options: Any) -> Any:
        try:
            return call(request, **{"timeout": self._timeout} | options)
        except grpc.RpcError as error:
            self._fail(error)

    def _fail(self, error: grpc.RpcError) -> NoReturn:
        assert isinstance(error, grpc.Call)  # noqa: S101 (grpc's errors of calls are calls)
        code, info, retry = error.code().name, *_details(error)
        unreachable = not info.reason and (
            code == "UNAVAILABLE" or (code == "DEADLINE_EXCEEDED" and not self._connected())
        )
        raise CallFailed(
            code,
            info.reason,
            error.details() or code,
            dict(info.metadata),
            retry.retry_delay.ToMilliseconds() if retry.HasField("retry_delay") else None,
            unreachable=unreachable,
        ) from error

    def _connected(self) -> bool:
        try:
            grpc.channel_ready_future(self._channel).result(timeout=0.2)
        except grpc.FutureTimeoutError:
            return False
        return True


def _details(error: grpc.Call) -> tuple[ErrorInfo, RetryInfo]:
    """The ErrorInfo and the RetryInfo of a failure, empty where it has none of ours."""
    info, retry = ErrorInfo(), RetryInfo()
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the status: the status itself still counts
        status = None
    for detail in status.details if status is not None else ():
        detail.Unpack(info)  # each takes its own and leaves the other's alone
        detail.Unpack(retry)
    return (info if info.domain == _DOMAIN else ErrorInfo()), retry
