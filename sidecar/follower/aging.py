"""Takes out what has grown too old: once a second, in slices.

That is entries that are older than their table's rule allows; what was too old when it was
read never came in. And the past of a table that nobody has followed for a while: nobody is
about to resume, and while nobody follows a change should cost no more than the fold.
"""

import asyncio
from typing import NoReturn

from ..core.expiry import Expiry
from ..core.served import Generation
from ..ops.memory import give_back

__all__ = ["age"]

_SLICE = 512
_ROUND_S = 1.0
# So many rounds without a watch, and what it might resume from is let go.
_QUIET_ROUNDS = 30


async def age(generation: Generation) -> None:
    """Do so until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_expire(generation))
        tasks.create_task(_forget(generation))


async def _forget(generation: Generation) -> NoReturn:
    while True:
        await asyncio.sleep(_ROUND_S)
        watches = generation.watches
        if watches is not None and watches.rest(_QUIET_ROUNDS):
            generation.watches = None
            for _ in watches.dismantle(_SLICE):
                await asyncio.sleep(0)
            await asyncio.to_thread(give_back)


async def _expire(generation: Generation) -> None:
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
