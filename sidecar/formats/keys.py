"""Keys as a schema registry's serializers write them: a zero byte, then a schema's id."""

__all__ = ["strip_schema_id"]

_PREFIX_BYTES = 5


def strip_schema_id(key: bytes) -> bytes | None:
    """A key without the zero byte and the four bytes of its schema's id; None: it has none."""
    if len(key) < _PREFIX_BYTES or key[0]:
        return None
    return key[_PREFIX_BYTES:]
