"""Page tokens: where the next page of a List begins.

A token holds the generation and the first key to look at, and a checksum over these
and over the table and the range that they belong to. So it says which of two things is
wrong with it: a token that was made up or changed, or that belongs to another request,
does not match its checksum (BAD_TOKEN); one that is ours but older than the table's
build names another generation (GENERATION_CHANGED), and the caller begins again.

It is validated but no secret, and gives no right: who can make one up can as well ask
for the range. Nothing is kept on the server.

Layout, before base64url without padding: version (1 byte), checksum (8), generation
(8, big-endian), key.
"""

import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from ..core.errors import Reason, Refused
from .checks import KeyRange

__all__ = ["next_key", "token_for"]

_VERSION: Final = 1
_HEAD: Final = struct.Struct(">B8sQ")
_U32: Final = struct.Struct(">I")


def token_for(table: str, bounds: KeyRange, generation: int, key: bytes) -> str:
    """The token of the page that begins at `key`."""
    head = _HEAD.pack(_VERSION, _checksum(table, bounds, generation, key), generation)
    return _text(head + key)


def next_key(token: str, table: str, bounds: KeyRange, generation: int) -> bytes:
    """The key at which the page of a token begins.

    Raises:
        Refused: BAD_TOKEN, GENERATION_CHANGED.
    """
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        version, checksum, made_for = _HEAD.unpack_from(raw)
    except (ValueError, struct.error):
        raise _bad_token() from None
    key = raw[_HEAD.size :]
    ours = version == _VERSION and checksum == _checksum(table, bounds, made_for, key)
    # The decoder skips what is not base64, so the text is compared, too.
    if not ours or token != _text(raw):
        raise _bad_token()
    if made_for != generation:
        raise Refused(
            Reason.GENERATION_CHANGED,
            f"table {table!r} was built anew since the page before; begin again without a token",
            metadata={"table": table, "generation": str(generation)},
        )
    return key


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _checksum(table: str, bounds: KeyRange, generation: int, key: bytes) -> bytes:
    parts = (table.encode(), *bounds, b"%d" % generation, key)
    text = b"".join(_U32.pack(len(part)) + part for part in parts)
    return hashlib.blake2b(text, digest_size=8).digest()


def _bad_token() -> Refused:
    return Refused(
        Reason.BAD_TOKEN,
        "page_token is not one of this table and filter; pass next_page_token as it came",
        metadata={"field": "page_token"},
    )
