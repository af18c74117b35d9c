"""The HTTP server of the probes, on a thread and a loop of its own.

It has to answer while the loop that serves is stuck, for only so can a probe tell. And
it must not be stuck itself, whatever a client does:

- One request a connection, answered and closed, all within a few seconds; a client
  that sends or reads drop by drop is cut at the end of them.
- A request's head is bounded; a body is never read.
- Connections are bounded: with too many, the oldest is cut, since the newest may be
  the kubelet's.

Methods other than GET and HEAD are refused; there is nothing here to change.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

from .addresses import Address, join_address
from .pages import Page

__all__ = ["AddressFault", "HttpServer"]

_logger = logging.getLogger(__name__)

_LONGEST_HEAD: Final = 16 * 1024
_READ: Final = 4096
_MOST_CONNECTIONS: Final = 64
_BACKLOG: Final = 64
_PAUSE_SECONDS: Final = 0.01
_STOP_SECONDS: Final = 5.0
_CONTENT_SECURITY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_END: Final = b"\r\n\r\n"


class AddressFault(Exception):  # noqa: N818 (it names what is at fault, not a kind of error)
    """The address cannot be listened on; the message says which, and why."""


class HttpServer:
    """Answers GET and HEAD with what `page` makes of the path.

    Args:
        address: host and port; port 0 lets the system choose.
        page: called on the server's thread; must not block.
        patience: seconds that a client has for one request and its answer.
    """

    def __init__(
        self, address: Address, page: Callable[[str], Page], *, patience: float = 5.0
    ) -> None:
        self._address = address
        self._page = page
        self._patience = patience
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._connections: dict[asyncio.Task[None], None] = {}

    @property
    def address(self) -> Address:
        """Where it listens: after `start`, with the port that the system chose."""
        return self._address

    def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            AddressFault: the address is in use or is none of this machine's.
        """
        listener = self._listen()
        self._address = (self._address[0], listener.getsockname()[1])
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, listener), name="sidecar-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut what is under way and end the thread. Twice is as good as once."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        self._thread = None
        with suppress(RuntimeError):  # its loop has ended already
            loop.call_soon_threadsafe(self._stopped.set)
        thread.join(_STOP_SECONDS)

    def _listen(self) -> socket.socket:
        host, port = self._address
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, place = found[0]
            return socket.create_server(place[:2], family=family, backlog=_BACKLOG)
        except OSError as error:
            why = error.strerror or str(error)
            if error.errno is not None and not isinstance(error, socket.gaierror):
                why = os.strerror(error.errno)
            raise AddressFault(
                f"http: cannot listen on {join_address(self._address)}: {why}"
            ) from error

    def _run(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve(loop, listener))

    async def _serve(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        listener.settimeout(0)
        loop.add_reader(listener, self._accept, loop, listener)
        await self._stopped.wait()
        loop.remove_reader(listener)
        listener.close()
        under_way = list(self._connections)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _accept(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # it went away, or no descriptor is left: the oldest gives up its own
            self._cut_oldest()
            time.sleep(_PAUSE_SECONDS)  # the listener stays readable: do not spin
            return
        client.settimeout(0)
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._cut_oldest()
        task = loop.create_task(self._converse(loop, client))
        self._connections[task] = None
        task.add_done_callback(partial(self._dismiss, client))

    def _cut_oldest(self) -> None:
        if self._connections:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()

    def _dismiss(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        """However it ended: a task that was cancelled before its first step ran nothing."""
        self._connections.pop(task, None)
        client.close()

    async def _converse(self, loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
        with suppress(OSError, EOFError, TimeoutError):  # it went away, or took too long
            async with asyncio.timeout(self._patience):
                head = await _read_head(loop, client)
                await loop.sock_sendall(client, self._answer(head))
                client.shutdown(socket.SHUT_WR)
                # Closing over what the client still sends would reset the answer away.
                while await loop.sock_recv(client, _READ):
                    pass

    def _answer(self, head: bytes) -> bytes:
        if _END not in head:
            return _response(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(_plain(HTTPStatus.BAD_REQUEST))
        method, path, _ = words
        if method not in {"GET", "HEAD"}:
            return _response(_plain(HTTPStatus.METHOD_NOT_ALLOWED), allow=True)
        return _response(self._made(path), body=method == "GET")

    def _made(self, path: str) -> Page:
        try:
            return self._page(path)
        except Exception:  # a page that has a bug must not end the probes
            _logger.exception("page failed")
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _read_head(loop: asyncio.AbstractEventLoop, client: socket.socket) -> bytes:
    """What came up to the empty line, or up to the bound.

    Raises:
        EOFError: the client said nothing more.
    """
    head = b""
    while _END not in head and len(head) < _LONGEST_HEAD:
        part = await loop.sock_recv(client, _READ)
        if not part:
            raise EOFError
        head += part
    return head


def _plain(status: HTTPStatus) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{status.phrase.lower()}\n".encode())


def _response(page: Page, *, body: bool = True, allow: bool = False) -> bytes:
    head = [
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Content-Security-Policy: {_CONTENT_SECURITY}",
        *(["Allow: GET, HEAD"] if allow else []),
        "Connection: close",
    ]
    return "\r\n".join(head).encode("latin-1") + _END + (page.body if body else b"")
