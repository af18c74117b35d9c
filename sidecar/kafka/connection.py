"""Connections to one broker: aiokafka makes them, and a fetch connection then reads by itself.

aiokafka's part is TCP, TLS, SASL and the version handshake. asyncio's StreamReader,
which its connections read through, copies every byte twice and is most of what a
fetch costs at larger values; so a fetch connection takes the transport over with a
`BufferedProtocol` that reads each response into one reused buffer.

There are two such buffers, used in turn: a response is decoded from one while the
next arrives in the other. One request is under way at a time, so a frame stays valid
until the request after the next is sent.
"""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from ..core.progress import Wait
from .errors import BrokerFault, Unsupported
from .security import connection_options
from .settings import KafkaSettings
from .wire import NEEDED

__all__ = ["FrameProtocol", "Frames", "ask", "open_connection"]

_LENGTH = struct.Struct(">i")
_FIRST_BUFFER = 1 << 16
_LARGEST_FRAME = 1 << 29

# What aiokafka raises where a connection breaks, or something else than Kafka answers: it
# takes the answer's fields for good, so also what Python raises where they are not.
_BROKEN = (
    OSError,
    EOFError,
    KafkaError,
    ValueError,
    struct.error,
    TypeError,
    LookupError,
    AssertionError,
)

# What a failed connection means, the most specific first.
_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (
        ssl.SSLCertVerificationError,
        (
            "shows a certificate that is not trusted ({trust}); check ssl.ca.location, and that "
            "the certificate names this host"
        ),
    ),
    (ssl.SSLError, "does not speak TLS as we do ({cause}); check security.protocol ({protocol})"),
    (
        socket.gaierror,
        (
            "cannot be reached: the host name does not resolve ({cause}); check "
            "bootstrap.servers, and what the brokers advertise"
        ),
    ),
    (
        TimeoutError,
        (
            "did not answer within {timeout:g} s; is it a Kafka listener for security.protocol "
            "{protocol}, and is the broker running?"
        ),
    ),
    (ConnectionRefusedError, "refuses connections; is the broker running there?"),
    (
        (EOFError, ConnectionResetError, KafkaConnectionError),
        "closed the connection; is it a Kafka listener for security.protocol {protocol}?",
    ),
    (
        UnsupportedSaslMechanismError,
        "does not offer {mechanism}; check sasl.mechanism against what the broker has enabled",
    ),
    (
        IllegalSaslStateError,
        "takes no logins; is it a Kafka listener for security.protocol {protocol}?",
    ),
    (OSError, "cannot be reached: {cause}"),
)


def _first_time() -> Callable[[logging.LogRecord], bool]:
    """A filter of log records that lets each message pass once."""
    told: set[str] = set()

    def passes(record: logging.LogRecord) -> bool:
        new = record.getMessage() not in told
        told.add(record.getMessage())
        return new

    return passes


# It warns of a password in the clear with every connection, and the log is not to repeat itself.
logging.getLogger("aiokafka.conn").addFilter(_first_time())


async def open_connection(settings: KafkaSettings, host: str, port: int) -> AIOKafkaConnection:
    """Connect to a broker and check that it speaks what we need.

    Raises:
        BrokerFault: it cannot be reached, or is not a broker under these settings.
        Unsupported: it is too old.
    """
    address = f"{host}:{port}"
    try:
        connection = await create_conn(host, port, **connection_options(settings))
    except SaslAuthenticationFailed as error:
        why = error.args[0] if error.args else "no reason given"
        raise BrokerFault(
            f"{address} refuses to authenticate {settings.sasl_username!r} by "
            f"{settings.sasl_mechanism}: {why}; check sasl.username, the password and "
            "sasl.mechanism",
            Wait.AUTHORIZATION,
        ) from error
    except _BROKEN as error:
        raise BrokerFault(_explain(error, address, settings)) from error
    try:
        _check_versions(connection, address)
    except Unsupported:
        connection.close()
        raise
    return connection


def _explain(error: BaseException, address: str, settings: KafkaSettings) -> str:
    cause = error
    while isinstance(cause, KafkaConnectionError) and cause.__cause__ is not None:
        cause = cause.__cause__
    protocol = settings.security_protocol
    for kinds, sentence in _SENTENCES:
        if isinstance(cause, kinds):
            return f"{address} " + sentence.format(
                cause=getattr(cause, "strerror", None) or cause,
                trust=getattr(cause, "verify_message", ""),
                protocol=protocol,
                mechanism=settings.sasl_mechanism,
                timeout=settings.request_timeout_s,
            )
    return f"{address} does not answer like a Kafka broker: {cause}"


def _check_versions(connection: AIOKafkaConnection, address: str) -> None:
    offered: dict[int, tuple[int, int]] = connection._versions  # noqa: SLF001
    for api_key, (name, version, release) in NEEDED.items():
        low, high = offered.get(api_key, (0, -1))
        if not low <= version <= high:
            raise Unsupported(
                f"{address} does not offer {name} v{version} (it has v{low} to v{high}): "
                f"Kafka {release} or newer is needed"
            )


async def ask(connection: AIOKafkaConnection, request: Any) -> Any:
    """Send one request over an aiokafka connection and wait for its response.

    Raises:
        BrokerFault: the connection broke, or no answer came in time; it is closed then.
    """
    address = f"{connection.host}:{connection.port}"
    try:
        return await connection.send(request)
    except TimeoutError as error:
        connection.close()
        raise BrokerFault(f"{address} did not answer in time") from error
    except _BROKEN as error:
        connection.close()
        raise BrokerFault(
            f"{address}: the connection broke: {error}; if it always does, check security.protocol"
        ) from error


class FrameProtocol(asyncio.BufferedProtocol):
    """Reads length-prefixed frames into two buffers in turn."""

    def __init__(self) -> None:
        self._views = [memoryview(bytearray(_FIRST_BUFFER)) for _ in range(2)]
        self._filled = 0
        self._waiter: asyncio.Future[memoryview] | None = None
        self._lost: BrokerFault | None = None

    def expect(self) -> asyncio.Future[memoryview]:
        """The next frame, without its length.

        Raises (when awaited):
            BrokerFault: the connection is lost, or a frame is larger than 512 MiB.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        if self._lost is not None:
            self._waiter.set_exception(self._lost)
        return self._waiter

    def forget(self) -> None:
        """Nobody waits for the next frame any more."""
        if self._waiter is not None and not self._waiter.cancel() and self._lost is not None:
            self._waiter.exception()  # seen: asyncio need not complain that nobody looked

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the transport reads to next."""
        return self._views[0][self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """The transport read so many bytes."""
        self._filled += nbytes
        if self._filled < _LENGTH.size:
            return
        (size,) = _LENGTH.unpack_from(self._views[0])
        behind = _LENGTH.size + size
        if not 0 < size <= _LARGEST_FRAME or self._filled > behind:
            self._lose(BrokerFault(f"a response of {size} bytes makes no sense"))
        elif self._filled == behind:
            self._finish(self._views[0][_LENGTH.size : behind])
        elif behind > len(self._views[0]):
            self._grow(behind)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._lose(BrokerFault(f"the connection broke: {exc or 'closed by the broker'}"))

    def _finish(self, frame: memoryview) -> None:
        self._views.reverse()
        self._filled = 0
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(frame)

    def _grow(self, size: int) -> None:
        larger = memoryview(bytearray(size + size // 4))
        larger[: self._filled] = self._views[0][: self._filled]
        self._views[0] = larger

    def _lose(self, fault: BrokerFault) -> None:
        self._lost = self._lost or fault
        self._filled = 0
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._lost)


class Frames:
    """A connection that was taken over: requests out, frames in, one at a time."""

    def __init__(self, connection: AIOKafkaConnection) -> None:
        self._connection = connection
        self._protocol = FrameProtocol()
        self._correlation_id = 0
        self.address = f"{connection.host}:{connection.port}"
        # From here on aiokafka's reader task must not see the bytes.
        connection._read_task.cancel()  # noqa: SLF001
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001
        self._transport.set_protocol(self._protocol)

    def next_id(self) -> int:
        """A correlation id for the next request."""
        self._correlation_id = (self._correlation_id + 1) % (1 << 31)
        return self._correlation_id

    def send(self, request: bytes) -> asyncio.Future[memoryview]:
        """Send an encoded request; its response's frame comes as the future's result."""
        waiter = self._protocol.expect()
        if self._transport.is_closing():  # uvloop's raises where asyncio's would only warn
            self._protocol.connection_lost(None)
        else:
            self._transport.write(request)
        return waiter

    def close(self) -> None:
        """Close the connection; a frame that is still expected never comes."""
        self._protocol.forget()
        self._connection.close()
        self._transport.abort()
