"""Ctrl-C, where what is done and what is remembered of it may not come apart.

A KeyboardInterrupt is raised between any two steps of the program: behind a line that was
shown, say, and before it is noted that it was. And where it comes while an object is
finalized, Python reports it and goes on. So it is held back in the parts that belong
together, and raised at the end of the next of them where it was lost. Whoever presses twice
means it, wherever the program is.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Interrupt"]


class Interrupt:
    """Hears Ctrl-C while its context is open; where that is ignored, it stays so."""

    def __init__(self) -> None:
        self._before: object = None
        self._held = self._heard = False

    def __enter__(self) -> Self:
        """Listen."""
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it as it was."""
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _hear(self, _: int, __: FrameType | None) -> None:
        again, self._heard = self._heard, True
        if again or not self._held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do not interrupt what is in this context, but right behind it.

        Raises:
            KeyboardInterrupt: it was heard meanwhile, or before and was lost.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._heard:
            raise KeyboardInterrupt
