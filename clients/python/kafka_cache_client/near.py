"""A bounded near-cache: what was looked up lately, answered again without a call.

    from kafka_cache_client.near import NearCache

    users = NearCache(client, maxsize=10_000, ttl=1.0)
    record = users.get("user-42")

For an application that looks the same few keys up again and again in a table that is too large to
mirror. Nothing tells it of changes: an answer is up to `ttl` seconds older than what the sidecar
would have answered, counted from when it was asked; two keys may be of two moments. Where that is
not good enough, `Client.mirror` follows the table, and `Client.get` asks.

Absence is kept as well. Errors are not; and while the sidecar does not answer, what is too old is
not answered either. Needs cachetools: ``pip install kafka-cache-client[near]``.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from cachetools import TLRUCache

if TYPE_CHECKING:
    from typing import Unpack

    from ._async_client import AsyncClient
    from ._calls import LookupOptions
    from ._client import Client
    from .model import Record

__all__ = ["AsyncNearCache", "NearCache"]


class _Kept(NamedTuple):
    record: Record | None
    asked_at: float


class _Near:
    """What both have in common.

    Attributes:
        hits: how many lookups were answered from here.
        misses: how many asked the sidecar.
    """

    def __init__(
        self, client: Client | AsyncClient, maxsize: int, ttl: float, options: LookupOptions
    ) -> None:
        if ttl <= 0 or maxsize < 1:
            raise ValueError("ttl and maxsize: must be greater than 0")
        self.hits = self.misses = 0
        self._client = client
        self._options = options
        self._lock = threading.Lock()
        self._kept: TLRUCache[bytes, _Kept] = TLRUCache(
            maxsize, lambda _, kept, __: kept.asked_at + ttl, timer=time.monotonic
        )

    def forget(self, key: bytes | str) -> None:
        """Ask the sidecar at the key's next lookup: after a write of one's own, for one."""
        with self._lock:
            self._kept.pop(_bytes(key), None)

    def _find(self, key: bytes) -> _Kept | None:
        with self._lock:
            kept: _Kept | None = self._kept.get(key)
            if kept is None:
                self.misses += 1
            else:
                self.hits += 1
        return kept

    def _keep(self, key: bytes, record: Record | None, asked_at: float) -> None:
        with self._lock:
            known = self._kept.get(key)
            if known is None or known.asked_at < asked_at:
                self._kept[key] = _Kept(record, asked_at)


class NearCache(_Near):
    """Keeps the answers of a client's `get` for `ttl` seconds, at most `maxsize` of them.

    Threads may share it; a key that two look up at once may be asked for twice. The client stays
    the caller's to close.

    client: that asks.
    maxsize: keys.
    ttl: seconds.
    options: of each `get` of the client.
    """

    _client: Client

    def __init__(
        self,
        client: Client,
        maxsize: int = 10_000,
        ttl: float = 1.0,
        **options: Unpack[LookupOptions],
    ) -> None:
        super().__init__(client, maxsize, ttl, options)

    def get(self, key: bytes | str) -> Record | None:
        """The key's record; None means that the topic holds none. Raises as the client's `get`."""
        wanted = _bytes(key)
        kept = self._find(wanted)
        if kept is not None:
            return kept.record
        asked_at = time.monotonic()
        record = self._client.get(wanted, **self._options)
        self._keep(wanted, record, asked_at)
        return record


class AsyncNearCache(_Near):
    """`NearCache` for asyncio."""

    _client: AsyncClient

    def __init__(
        self,
        client: AsyncClient,
        maxsize: int = 10_000,
        ttl: float = 1.0,
        **options: Unpack[LookupOptions],
    ) -> None:
        super().__init__(client, maxsize, ttl, options)

    async def get(self, key: bytes | str) -> Record | None:
        """The key's record; None means that the topic holds none. Raises as the client's `get`."""
        wanted = _bytes(key)
        kept = self._find(wanted)
        if kept is not None:
            return kept.record
        asked_at = time.monotonic()
        record = await self._client.get(wanted, **self._options)
        self._keep(wanted, record, asked_at)
        return record


def _bytes(key: bytes | str) -> bytes:
    return key.encode() if isinstance(key, str) else key
