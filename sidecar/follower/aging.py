"""Takes out the entries that are older than their table's rule allows.

Once a second, in slices. What was too old when it was read never came in.
"""

import asyncio

from ..core.expiry import Expiry
from ..core.served import Generation

__all__ = ["age"]

_SLICE = 512
_ROUND_S = 1.0


async def age(generation: Generation) -> None:
    """Do so until cancelled; nothing, where entries may be of any age."""
    rule, table = generation.plan.rule, generation.view.table
    if rule is None or rule.expire_after_ms is None:
        return
    while not (table.tailing and table.settled):  # noqa: ASYNC110 (the feed sees to that)
        await asyncio.sleep(_ROUND_S / 10)
    expiry = Expiry(table, rule.expire_after_ms)
    for _ in expiry.walk(_SLICE):
        await asyncio.sleep(0)
    while True:
        for _ in expiry.expire(rule.oldest_ms(), _SLICE):
            await asyncio.sleep(0)
        await asyncio.sleep(_ROUND_S)
