"""What the HTTP addresses answer; no record data, and no I/O.

========== ==================================================================
/livez     200 while the loop turns. A broken Kafka never fails it: restarting
           the sidecar would not mend that and would throw the tables away.
/readyz    200 while every required table answers, else 503 and why.
/startupz  200 once every required table has answered once.
/metrics   Prometheus' text format.
/status.json  everything about the tables.
/          the same for people.
========== ==================================================================
"""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .metrics import registry_of
from .status import Observed, still, table_status
from .statuspage import render

__all__ = ["Page", "Pages"]

_TEXT: Final = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """One answer: HTTP status, content type and body."""

    status: int
    content_type: str
    body: bytes


_Route: TypeAlias = Callable[[], Page]


class Pages:
    """The pages of one sidecar; called from the HTTP thread.

    Args:
        observed: what they show.
        stuck_after: seconds without a heartbeat after which /livez fails.
    """

    def __init__(self, observed: Observed, *, stuck_after: float = 30.0) -> None:
        self._observed = observed
        self._stuck_after = stuck_after
        self._registry = registry_of(observed)
        self._began = observed.clock()
        self._started = False
        self._draining = False
        self._routes: dict[str, _Route] = {
            "/": self._status_page,
            "/livez": self._livez,
            "/metrics": self._metrics,
            "/readyz": self._readyz,
            "/startupz": self._startupz,
            "/status.json": self._status_json,
        }

    def drain(self) -> None:
        """The sidecar shuts down: it is not ready any more."""
        self._draining = True

    def page(self, path: str) -> Page:
        """The answer for a path, which may carry a query."""
        route = self._routes.get(path.partition("?")[0])
        if route is None:
            return _text(404, f"no such page; there are {' '.join(self._routes)}")
        return route()

    def _livez(self) -> Page:
        age = self._observed.heartbeat.age()
        if age > self._stuck_after:
            return _text(503, f"the event loop has not come round for {age:.0f} s")
        return _text(200, "alive")

    def _readyz(self) -> Page:
        waiting = ["the sidecar is shutting down"] if self._draining else self._waiting()
        return _text(503, *waiting) if waiting else _text(200, "ready")

    def _startupz(self) -> Page:
        waiting = [] if self._started else self._waiting()
        self._started = not waiting
        return _text(503, *waiting) if waiting else _text(200, "started")

    def _waiting(self) -> list[str]:
        """One line for each required table that does not answer."""
        now = self._observed.clock()
        tables = [still(served) for _, served in sorted(self._observed.tables.items())]
        return [
            f"{table.definition.name}: {table.state(now).name}: {_one_line(table.reason(now))}"
            for table in tables
            if table.definition.required and not table.ready
        ]

    def _metrics(self) -> Page:
        return Page(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))

    def _status_json(self) -> Page:
        body = json.dumps(self._status(), indent=1).encode()
        return Page(200, "application/json", body + b"\n")

    def _status_page(self) -> Page:
        return Page(200, "text/html; charset=utf-8", render(self._status()).encode())

    def _status(self) -> dict[str, Any]:
        observed = self._observed
        now = observed.clock()
        return {
            "version": observed.version,
            "config_fault": observed.recorder.config_fault,
            "registry_fault": observed.recorder.registry_fault,
            "uptime_ms": round((now - self._began) * 1000),
            "ready": not self._draining and not self._waiting(),
            "loop_lag_ms": round(observed.heartbeat.lag() * 1000),
            "tables": [table_status(served, now) for _, served in sorted(observed.tables.items())],
        }


def _text(status: int, *lines: str) -> Page:
    return Page(status, _TEXT, "".join(f"{line}\n" for line in lines).encode())


def _one_line(text: str) -> str:
    return " ".join(text.split())
