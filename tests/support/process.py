"""Child processes that never outlive the test run, and ports for them.

The child asks the kernel for SIGKILL when its parent ends (prctl's
PR_SET_PDEATHSIG), then becomes the wanted program: the request holds across
an exec. "Parent" means the *thread* that forked, so every child is forked
from one thread that lives as long as this process, not from whichever
pool thread a test happens to run in.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Child", "free_port", "run_bound"]

_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
# The parent's id is compared after the prctl: it may have died before.
_LAUNCH = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(9);"
    "os.execvp(sys.argv[2],sys.argv[2:])"
)
_handed_out: set[int] = set()


def free_port() -> int:
    """Give a port that nobody listens on and that no outgoing connection takes.

    It lies below the ephemeral range, so a broker that is stopped finds its
    port free when it starts again.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port


def _bound(command: list[str]) -> list[str]:
    return [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), *command]


def run_bound(command: list[str], *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; it dies with this process."""
    child = _FORKER.submit(
        subprocess.Popen, _bound(command), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ).result()  # fmt: skip
    with child:
        try:
            out, _ = child.communicate(timeout=timeout)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(command, child.returncode, out, "")


class Child:
    """A background program that dies with this process; its output goes to a file."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = _FORKER.submit(
                subprocess.Popen, _bound(command), stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, env=env,
            ).result()  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout: float = 60) -> int:
        """Give its exit code once it has ended: below zero, the signal that ended it."""
        return self._process.wait(timeout)

    def log_tail(self, lines: int = 25) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    def stop(self, timeout: float = 30) -> None:
        """End it with SIGTERM, or with SIGKILL when that takes too long."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
