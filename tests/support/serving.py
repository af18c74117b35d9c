"""The installed `sidecar` as a process, and its other commands beside it.

    with Serving(tmp_path, "--bootstrap-servers", "localhost:9092", "--table", "t") as sidecar:
        assert sidecar.run("wait", "--ready").returncode == 0
        assert sidecar.run("get", "k").stdout == ...

No variable of the environment reaches it, so the machine's own settings change nothing.
What it says (stdout and stderr together) is in `sidecar.lines`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.admin import wait_until
from support.process import Child, free_port

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SIDECAR", "Serving", "environment", "free_address", "run"]

SIDECAR = str(Path(sys.executable).with_name("sidecar"))


def environment(**given: str) -> dict[str, str]:
    """Give this process's variables without the sidecar's, and some more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return kept | given


def run(
    *arguments: str, timeout: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [SIDECAR, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        env=environment(**variables),
    )


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


class Serving:
    """`sidecar serve` with these arguments; a context manager that kills what is left of it.

    It listens at addresses of its own unless others are given.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        listen: str | None = None,
        http: str | None = None,
        **variables: str,
    ) -> None:
        self.endpoint, self.http = listen or free_address(), http or free_address()
        self._log = folder / f"sidecar-{free_port()}.log"
        self._child = Child(
            [SIDECAR, "serve", "--listen", self.endpoint, "--http", self.http, *arguments],
            self._log,
            environment(**variables),
        )

    def __repr__(self) -> str:
        return f"Serving({self.endpoint}, running={self.running}):\n{self.output}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def output(self) -> str:
        """All that it has said so far."""
        return self._log.read_text(errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    def saying(self, words: str) -> list[str]:
        """Give the lines with these words."""
        return [line for line in self.lines if words in line]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run another command against it."""
        return run(*arguments, SIDECAR_ENDPOINT=self.endpoint, **options)

    def status(self) -> dict[str, Any]:
        """Give /status.json."""
        with urllib.request.urlopen(f"http://{self.http}/status.json", timeout=10) as answer:
            return json.load(answer)

    def until(self, claim: Any, what: str, timeout: float = 60) -> None:
        """Return once the claim holds; an end before that is an error."""

        def holds() -> bool:
            done = claim()
            if not done and not self.running:
                raise RuntimeError(f"it ended before: {what}\n{self.output}")
            return bool(done)

        try:
            wait_until(holds, what, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.output}") from None

    def until_says(self, words: str, timeout: float = 60) -> None:
        """Return once a line has these words."""
        self.until(lambda: self.saying(words), f"a line with {words!r}", timeout)

    def until_listens(self, timeout: float = 60) -> None:
        """Return once it answers calls."""
        self.until_says(" serving ", timeout)

    def until_ready(self, timeout: float = 120) -> None:
        """Return once every required table answers."""
        done = self.run("wait", "--ready", "--timeout", str(timeout), timeout=timeout + 30)
        assert done.returncode == 0, f"{done.stderr}\n{self.output}"

    def signal(self, number: signal.Signals) -> None:
        self._child.signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Give its exit code once it has ended."""
        return self._child.wait(timeout)

    def stop(self, timeout: float = 60) -> int:
        """End it with SIGTERM; give its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)
