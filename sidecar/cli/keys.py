"""Keys that are pressed on the terminal, one at a time and without Enter.

Only where standard input is a terminal and this process may read from it: a job in the
background that touches the terminal is stopped by the kernel (SIGTTIN, SIGTTOU). Ctrl-C
stays a signal. The terminal is put back whatever ends the block.
"""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["pressed_keys"]


@contextmanager
def pressed_keys(press: Callable[[str], None]) -> Iterator[bool]:
    """Call `press` with each key while the block runs; gives whether there is a terminal.

    Needs a running event loop.
    """
    terminal = _terminal()
    if terminal is None:
        yield False
        return
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(terminal)
    tty.setcbreak(terminal, termios.TCSANOW)
    loop.add_reader(terminal, _read, loop, terminal, press)
    try:
        yield True
    finally:
        loop.remove_reader(terminal)
        if _in_foreground(terminal):
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _terminal() -> int | None:
    """Standard input, where it is a terminal that is ours now."""
    try:
        number = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or none at all
        return None
    return number if os.isatty(number) and _in_foreground(number) else None


def _in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def _read(loop: asyncio.AbstractEventLoop, terminal: int, press: Callable[[str], None]) -> None:
    if not _in_foreground(terminal):
        return
    try:
        read = os.read(terminal, 64)
    except OSError:
        read = b""
    if not read:
        loop.remove_reader(terminal)  # it hung up
    for key in read.decode("utf-8", "replace"):
        press(key)
