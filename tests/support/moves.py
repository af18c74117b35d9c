"""Moving replicas, which librdkafka's admin client cannot: one request of aiokafka's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ReassignmentError", "reassign"]


class ReassignmentError(RuntimeError):
    """The controller refused; the message has its error codes."""


def reassign(bootstrap: str, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """Give partitions other replicas, or the same in another order; the first is preferred.

    The controller has accepted it when this returns; copying data may take longer.
    """
    asyncio.run(_reassign(bootstrap, topic, replicas))


async def _reassign(bootstrap: str, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        parts = [(number, list(nodes), {}) for number, nodes in replicas.items()]
        request = AlterPartitionReassignmentsRequest(20_000, [(topic, parts, {})], {})
        answer = await client.send(client.get_random_node(), request)
    finally:
        await client.close()
    codes = [answer.error_code, *(part[1] for each in answer.responses for part in each[1])]
    if any(codes):
        raise ReassignmentError(f"{topic} was not reassigned: errors {codes}")
