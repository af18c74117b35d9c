"""Looks keys up in the Kafka cache sidecar that runs beside the application.

    import kafka_cache_client as kafka_cache

    with kafka_cache.connect(table="users") as client:
        client.wait_until_ready(timeout=120)
        record = client.get("user-42", max_staleness_ms=5000)
        print("no such user" if record is None else record.json())

`connect` makes a client for threads, `connect_async` the same client for asyncio. A `None` from
`get` is an answer: the topic, as far as the sidecar read it, holds no record of that key. What
is not known is never `None` but an error; `errors` draws the tree of them.
"""

from ._async_client import AsyncClient, connect_async
from ._async_mirror import AsyncMirror
from ._calls import CallOptions, LookupOptions, ReadOptions
from ._client import Client, connect
from ._mirror import Mirror
from ._replica import Change
from .errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFresh,
    NotReady,
    Outdated,
    Overloaded,
    SidecarError,
    TableFailed,
    TooLarge,
    Unavailable,
    UnknownTable,
    Unsupported,
)
from .model import (
    Answer,
    Page,
    PartitionOffset,
    Positions,
    Presence,
    Record,
    State,
    Table,
    TableState,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncMirror",
    "CallOptions",
    "Change",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "LookupOptions",
    "Mirror",
    "NotFresh",
    "NotReady",
    "Outdated",
    "Overloaded",
    "Page",
    "PartitionOffset",
    "Positions",
    "Presence",
    "ReadOptions",
    "Record",
    "SidecarError",
    "State",
    "Table",
    "TableFailed",
    "TableState",
    "TooLarge",
    "Unavailable",
    "UnknownTable",
    "Unsupported",
    "connect",
    "connect_async",
]
