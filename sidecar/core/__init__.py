"""The pure core: no I/O, no clock, no asyncio; times come in as arguments, in seconds."""
