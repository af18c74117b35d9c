"""Every call passes here: it is admitted, timed, and its refusal becomes a status.

There are two kinds. A *short* call is answered in one go from memory, at most after a
wait that is bounded. A *long* one
lives as long as its client likes (a stream) or as its work takes (a scan, a digest, a
wait); these are counted against a limit, and kept, so that they can be ended.

When the sidecar stops, new calls of both kinds are refused SHUTTING_DOWN and running
ones may finish. Those that would never finish by themselves, the endless ones, are
ended at once; the rest when the time is over. They are ended by aborting from a task
beside the handler, not by cancelling it: a handler that is cancelled while it waits in
a read or a write sends no status at all, and its client would hang. An abort waits
until the client has read what was sent before it, which is why it has a time limit.

Only a plain decorator stands around a handler. An interceptor would do the same for
several times the cost of a lookup.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import wraps
from time import perf_counter
from typing import Any, Final, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from ..core.errors import Reason, Refused
from .errors import INTERNAL_MESSAGE, abort, bad_argument, log_bug, shutting_down
from .ports import Recorder

__all__ = ["Calls", "Context", "Service", "long_call", "short_call"]

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_ABORT_S: Final = 0.2


class Calls:
    """The calls that are under way.

    Args:
        limit: most long calls at a time.
        recorder: told how long each call took.

    Attributes:
        active: calls of both kinds.
        stopping: new calls are refused.
    """

    def __init__(self, limit: int, recorder: Recorder) -> None:
        self.active = 0
        self.stopping = False
        self.recorder = recorder
        self._limit = limit
        self._long: dict[Context, bool] = {}
        self._idle = asyncio.Event()

    def begin(self, context: Context, *, endless: bool) -> None:
        """Admit a long call.

        Raises:
            Refused: SHUTTING_DOWN, TOO_MANY_CALLS.
        """
        if self.stopping:
            raise shutting_down()
        if len(self._long) >= self._limit:
            raise Refused(
                Reason.TOO_MANY_CALLS,
                f"{self._limit} streams, scans and waits are under way, and no more are allowed",
                metadata={"limit": str(self._limit)},
                retry_after_ms=1000,
            )
        self._long[context] = endless

    def end(self, context: Context) -> None:
        """A long call is over."""
        self._long.pop(context, None)

    def done(self) -> None:
        """A call of either kind is over."""
        self.active -= 1
        if not self.active and self.stopping:
            self._idle.set()

    async def drain(self, grace_seconds: float) -> None:
        """Wait until the running calls are over, and end those that are not in time."""
        self.stopping = True
        ending = _end(context for context, endless in self._long.items() if endless)
        if self.active:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._idle.wait()
        ending |= _end(context for context, endless in self._long.items() if not endless)
        if ending:
            _, late = await asyncio.wait(ending, timeout=_ABORT_S)
            for task in late:
                task.cancel()


def _end(contexts: Iterable[Context]) -> set[asyncio.Task[None]]:
    return {asyncio.create_task(_shut(context)) for context in list(contexts)}


async def _shut(context: Context) -> None:
    with suppress(grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError):
        await abort(context, shutting_down())


class Service(Protocol):
    """What the decorators need of the object whose method they wrap."""

    @property
    def calls(self) -> Calls:
        """The calls under way."""


_ServiceT = TypeVar("_ServiceT", bound=Service)
_RequestT = TypeVar("_RequestT")
_ResponseT = TypeVar("_ResponseT")


def short_call(
    method: str, answer: Callable[[_ServiceT, _RequestT, Context], Awaitable[_ResponseT]]
) -> Callable[[_ServiceT, _RequestT, Context], Awaitable[_ResponseT]]:
    """The gRPC handler of a short call."""

    @wraps(answer)
    async def handle(self: _ServiceT, request: _RequestT, context: Context) -> _ResponseT:
        began = perf_counter()
        calls = self.calls
        calls.active += 1
        try:
            if calls.stopping:
                raise shutting_down()  # noqa: TRY301 (answered below, as every refusal)
            return await answer(self, request, context)
        except Exception as error:  # noqa: BLE001 (whatever it is, the call gets a status)
            await _fail(method, context, error)
        finally:
            calls.done()
            calls.recorder.rpc(method, perf_counter() - began)

    return handle


def long_call(
    method: str,
    answer: Callable[[_ServiceT, _RequestT, Context], Awaitable[_ResponseT]],
    *,
    endless: bool = False,
) -> Callable[[_ServiceT, _RequestT, Context], Awaitable[_ResponseT]]:
    """The gRPC handler of a long call; `endless`: it ends only when its client says so."""

    @wraps(answer)
    async def handle(self: _ServiceT, request: _RequestT, context: Context) -> _ResponseT:
        began = perf_counter()
        calls = self.calls
        calls.active += 1
        try:
            calls.begin(context, endless=endless)
            return await answer(self, request, context)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.InternalError as error:
            # A read or a write of a stream whose client is gone.
            raise asyncio.CancelledError from error
        except Exception as error:  # noqa: BLE001 (whatever it is, the call gets a status)
            await _fail(method, context, error)
        finally:
            calls.end(context)
            calls.done()
            calls.recorder.rpc(method, perf_counter() - began)

    return handle


async def _fail(method: str, context: Context, error: Exception) -> NoReturn:
    if context.done():  # it was ended from outside, and nothing can be sent any more
        raise asyncio.CancelledError from error
    if isinstance(error, DecodeError):
        error = bad_argument("request", "it cannot be parsed as a message of this method")
    if isinstance(error, Refused):
        await abort(context, error)
    log_bug(method, error)
    await context.abort(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
