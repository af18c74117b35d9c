#!/usr/bin/env python3
"""Answers `GET /KEY` with the value that the topic holds for the key.

200 with the value, 404 when the topic holds no such key, 503 when that is not known now.
The sidecar is where SIDECAR_ENDPOINT says.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_to_bytes

import kafka_cache_client as kafka_cache

PORT = 8080


class Lookup(BaseHTTPRequestHandler):
    """One lookup; threads share the client."""

    client: kafka_cache.Client

    def do_GET(self) -> None:
        """Look the path's key up."""
        try:
            record = self.client.get(unquote_to_bytes(self.path.removeprefix("/")))
        except kafka_cache.SidecarError as error:
            self._answer(503, f"{error}\n".encode())
            return
        if record is None:
            self._answer(404, b"no such key\n")
        else:
            self._answer(200, record.value or b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not a line for each request: it would hold the key."""


def main() -> None:
    """Wait for the table, then serve until SIGTERM."""
    # A container's first process ignores SIGTERM unless it says otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with kafka_cache.connect(table="users") as Lookup.client:
        # At once where the startupProbe holds the app back; needed where nothing does.
        Lookup.client.wait_until_ready(timeout=600)
        with ThreadingHTTPServer(("", PORT), Lookup) as server:
            server.serve_forever()


if __name__ == "__main__":
    main()
