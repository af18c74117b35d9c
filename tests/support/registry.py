"""A schema registry of a dict and a thread: what serializers register, and what readers ask.

It speaks as much of the API as Confluent's clients use: register under a subject, look up, get by
id, get a subject's version. Of Protobuf it keeps what it is given, a descriptor in base64, and
gives it to who asks for `format=serialized`.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["FakeRegistry"]


class FakeRegistry:
    """Serves while its context is open; the same one may be opened again, at the same address.

    Attributes:
        schemas: by id, as they were registered.
        requests: the paths that were asked for.
        credentials: user:password that is asked for; empty: none.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[str] = []
        self.credentials = ""
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self._answer(json.loads(self.rfile.read(length)))

            def _answer(self, body: Any) -> None:
                registry.requests.append(self.path)
                wanted = base64.b64encode(registry.credentials.encode()).decode()
                if registry.credentials and self.headers["Authorization"] != f"Basic {wanted}":
                    status, told = 401, {"error_code": 401, "message": "who are you?"}
                else:
                    status, told = registry.answer(self.path, body)
                text = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def add(self, subject: str, schema: str, kind: str = "AVRO", references: Any = ()) -> int:
        """Register a schema; its id."""
        given = {"schema": schema, "schemaType": kind, "references": list(references)}
        number = next((n for n, one in self.schemas.items() if one == given), None)
        if number is None:
            number = len(self.schemas) + 1
            self.schemas[number] = given
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def answer(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        address = urlsplit(path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        serialized = parse_qs(address.query).get("format") == ["serialized"]
        match parts:
            case ["schemas", "ids", number] if int(number) in self.schemas:
                return 200, self._shown(int(number), serialized=serialized)
            case ["subjects", subject, "versions"] if body is not None:
                kind, refs = body.get("schemaType", "AVRO"), body.get("references", ())
                return 200, {"id": self.add(subject, body["schema"], kind, refs)}
            case ["subjects", subject] if body is not None:
                kind, refs = body.get("schemaType", "AVRO"), body.get("references", ())
                number = self.add(subject, body["schema"], kind, refs)
                return 200, self._registered(subject, number)
            case ["subjects", subject, "versions", version] if subject in self.subjects:
                number = self.subjects[subject][int(version) - 1]
                told = self._registered(subject, number)
                return 200, told | self._shown(number, serialized=serialized)
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _shown(self, number: int, *, serialized: bool) -> dict[str, Any]:
        kept = self.schemas[number]
        if kept["schemaType"] == "PROTOBUF" and not serialized:
            return kept | {"schema": 'syntax = "proto3"; // asked for as text'}
        return kept

    def _registered(self, subject: str, number: int) -> dict[str, Any]:
        version = self.subjects[subject].index(number) + 1
        return {"subject": subject, "id": number, "version": version} | self.schemas[number]
