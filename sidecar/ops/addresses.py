"""Network addresses as people write them.

A broker is `host`, `host:port` or `[v6]:port`; what the sidecar listens on has a port
always, or is `unix:///path`. An IPv6 address stands in brackets, because its colons
could not be told from the one before the port.

Errors are ValueErrors whose text says what was expected; the caller knows the setting.
"""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

__all__ = [
    "Address",
    "check_listen",
    "check_urls",
    "is_loopback",
    "join_address",
    "split_address",
    "split_servers",
]

# A host (IPv6 without its brackets) and a port.
Address: TypeAlias = tuple[str, int]

_KAFKA_PORT: Final = 9092
_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:/@\s]+))(?::(?P<port>\d+))?")
_UNIX: Final = "unix://"
_LONGEST_SOCKET_PATH: Final = 107


def split_servers(text: str) -> tuple[Address, ...]:
    """Brokers from `bootstrap.servers`: a comma between two, port 9092 unless given.

    Raises:
        ValueError: what was expected.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("expected host:port,host:port")
    return tuple(_split(part, default_port=_KAFKA_PORT, lowest=1) for part in parts)


def split_address(text: str) -> Address:
    """Host and port of an address to listen on; port 0 lets the system choose.

    Raises:
        ValueError: what was expected.
    """
    return _split(text, default_port=None, lowest=0)


def check_listen(text: str) -> str:
    """An address for gRPC as it was given, if it is one.

    Raises:
        ValueError: what was expected.
    """
    if not text.startswith("unix:"):
        split_address(text)
        return text
    path = text.removeprefix(_UNIX)
    if not text.startswith(_UNIX + "/") or path == "/":
        raise ValueError("expected unix:/// and an absolute path")
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"expected a socket path of at most {_LONGEST_SOCKET_PATH} bytes")
    return text


def check_urls(text: str) -> str:
    """Addresses of HTTP servers as they were given, with commas between, if they are some.

    Raises:
        ValueError: what was expected.
    """
    for part in text.split(","):
        url = urlsplit(part.strip())
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError("expected http://host:port or https://host:port")
        if url.username or url.password:
            raise ValueError("expected no user or password in it: use basic.auth.user.info.file")
    return text


def is_loopback(text: str) -> bool:
    """Only this machine (in a pod: only its containers) reaches this listen address."""
    if text.startswith(_UNIX):
        return True
    host, _ = split_address(text)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def join_address(address: Address) -> str:
    """The text of an address, an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str, *, default_port: int | None, lowest: int) -> Address:
    form = "host:port" if default_port is None else "host or host:port"
    match = _ADDRESS.fullmatch(text)
    if match is None or (match["port"] is None and default_port is None):
        hint = " (an IPv6 address in brackets)" if text.count(":") > 1 else ""
        raise ValueError(f"expected {form}{hint}")
    if match["v6"] is not None:
        _check_v6(match["v6"])
    port = int(match["port"] or default_port or 0)
    if not lowest <= port <= 0xFFFF:
        raise ValueError(f"expected a port from {lowest} to 65535")
    return match["v6"] or match["host"], port


def _check_v6(text: str) -> None:
    try:
        IPv6Address(text)
    except ValueError:
        raise ValueError("expected an IPv6 address in the brackets") from None
