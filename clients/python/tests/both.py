"""What either client gives, so that one test serves both."""

import inspect


async def done(result):
    """The result of a call."""
    return await result if inspect.isawaitable(result) else result


async def collected(iterator):
    """All that an iterator gives."""
    if hasattr(iterator, "__aiter__"):
        return [value async for value in iterator]
    return list(iterator)
