"""The addresses that the server listens on.

gRPC takes a Unix socket's path from a server that still uses it, without a word, and
removes at its end whatever lies there by then. So a path is held by a lock on a file
beside it, which the kernel lets go when its process ends, however it ends; only the
holder removes a socket that was left behind. gRPC is given another name in the same
directory, and the socket is moved to its path when its mode is right: it never can be
reached with another mode, and gRPC's own cleaning up finds nothing.

The lock file stays: to remove it would let two servers hold locks on two files of the
same name.

Used TCP addresses are told by binding them once beforehand, because gRPC only says
that it could not.
"""

import asyncio
import fcntl
import os
import socket
import stat
from contextlib import suppress

__all__ = ["CannotListen", "UnixSocket", "check_free", "split_host_port"]

_MODE = 0o660
_MAX_PORT = 65535
_LONGEST_PATH = 106  # sun_path's 108, less the end mark and the mark of the other name


class CannotListen(Exception):  # noqa: N818 (what the server cannot do, in a sentence)
    """An address cannot be listened on; the message names it and says why."""


class UnixSocket:
    """One path, from the lock to the removal.

    Args:
        path: absolute.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock: int | None = None
        self._inode: int | None = None

    @property
    def bind_path(self) -> str:
        """Where the listening socket is to be made, before `publish`."""
        return f"{self._path}~"

    def take(self) -> None:
        """Hold the path, and remove what a dead server left there.

        Raises:
            CannotListen: another server holds it, or it cannot be used.
        """
        if len(os.fsencode(self._path)) > _LONGEST_PATH:
            raise self._cannot(f"the path is longer than {_LONGEST_PATH} bytes")
        try:
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove_stale(self._path)
            self._remove_stale(self.bind_path)
        except BlockingIOError:
            self.release()
            raise self._cannot("another server is listening there") from None
        except OSError as error:
            self.release()
            raise self._cannot(f"{error.strerror} ({error.filename or self._path})") from error

    def publish(self) -> None:
        """Let the socket, which listens by now, be found at its path; user and group may connect.

        Raises:
            CannotListen: the directory does not allow it.
        """
        try:
            os.chmod(self.bind_path, _MODE)
            self._inode = os.stat(self.bind_path).st_ino
            os.rename(self.bind_path, self._path)
        except OSError as error:
            raise self._cannot(error.strerror or str(error)) from error

    def release(self) -> None:
        """Remove the socket, if it is still ours, and let the path go."""
        with suppress(OSError):
            if self._inode is not None and os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        self._inode = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_stale(self, path: str) -> None:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            self.release()
            raise self._cannot(f"{path} exists and is no socket")
        os.unlink(path)

    def _cannot(self, why: str) -> CannotListen:
        return CannotListen(f"cannot listen on unix://{self._path}: {why}")


def split_host_port(address: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port of `host:port`.

    Raises:
        CannotListen: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise CannotListen(f"cannot listen on {address!r}: expected host:port or unix:///path")
    return host.strip("[]"), int(port)


async def check_free(address: str) -> None:
    """Find out whether every address of `host:port` can be listened on.

    Raises:
        CannotListen: one cannot.
    """
    host, port = split_host_port(address)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, target in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(target)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error
