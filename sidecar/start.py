"""Where the `sidecar` command begins: signals first, then everything else.

A pod may be told to stop while its processes are still importing. `serve` and `demo`
have nothing to lose then, so until the event loop takes the signals over they leave at
once, with exit code 0. This module imports nothing that takes time before that is so.
"""

import os
import signal
import sys

__all__ = ["main"]

_LONG_RUNNING = {"serve", "demo"}


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    if _LONG_RUNNING.intersection(sys.argv[1:2]):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
    from .cli import main as run

    run()
