"""What the server is given: its limits and values, and the ports that it calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Changed", "Limits", "NullRecorder", "Recorder", "ServerInfo", "Tls"]


class Recorder(Protocol):
    """Counts what happens. It is called on the way of every lookup, so it must be cheap."""

    def lookup(self, table: str, presence: int, count: int = 1) -> None:
        """`count` keys of a table were answered with this number of ``Presence``."""

    def rpc(self, method: str, seconds: float) -> None:
        """A call of a method took so long, from the parsed request to the made answer."""

    def undecodable(self, table: str) -> None:
        """A value was found that its table's format cannot decode."""


class NullRecorder:
    """Counts nothing."""

    def lookup(self, table: str, presence: int, count: int = 1) -> None:
        """Nothing."""

    def rpc(self, method: str, seconds: float) -> None:
        """Nothing."""

    def undecodable(self, table: str) -> None:
        """Nothing."""


class Changed(Protocol):
    """Tells of changes of the tables' states."""

    async def wait(self) -> None:
        """Return at the next change of any table's state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one caller may ask for.

    Attributes:
        keys: most keys in one MultiGet.
        page: most records in one page of List, and the default.
        message_bytes: largest message, either way.
        calls: most long calls (streams, scans, digests, waits) at a time. Short ones are
            answered in one go, so refusing them would cost as much as answering; gRPC
            itself stops at twice as many calls of any kind.
        watches: most watches at a time.
        watch_bytes: most that waits for one watch that does not read; twice as much of each
            table's past is kept, so that one may resume.
        wait_ms: most that a call waits for its freshness bounds, and the default.
        decoded_bytes: memory for decoded values.
    """

    keys: int = 1000
    page: int = 1000
    message_bytes: int = 4 << 20
    calls: int = 1000
    watches: int = 1000
    watch_bytes: int = 8 << 20
    wait_ms: int = 5000
    decoded_bytes: int = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """What GetServerInfo tells.

    Attributes:
        version: of the sidecar.
        started_at: seconds, by the server's clock.
        resident_bytes: tells the memory of the process.
        config_yaml: tells the effective configuration, secrets left out.
        config_fault: tells why a newer one is not taken; empty: there is none.
        registry_fault: tells why schemas are missing; empty: none is.
        features: what it does beyond the contract's first version.
    """

    version: str
    started_at: float
    resident_bytes: Callable[[], int]
    config_yaml: Callable[[], str] = str
    config_fault: Callable[[], str] = str
    registry_fault: Callable[[], str] = str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """TLS of the addresses that are not Unix sockets; PEM.

    Attributes:
        certificate: the server's certificate chain.
        key: its private key.
        client_ca: who signs clients; None: clients show no certificate.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None
