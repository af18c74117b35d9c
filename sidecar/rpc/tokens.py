"""Tokens: where the next page of a List begins, and where a Watch goes on.

A token holds the generation and a place in it (of a page: the first key to look at; of a
watch: the revision that was reached), and a checksum over these and over the use, the table
and the range that they belong to. So it says which of two things is
wrong with it: a token that was made up or changed, or that belongs to another request,
does not match its checksum (BAD_TOKEN); one that is ours but older than the table's
build names another generation (GENERATION_CHANGED), and the caller begins again.

It is validated but no secret, and gives no right: who can make one up can as well ask
for the range. Nothing is kept on the server.

Layout, before base64url without padding: version (1 byte), checksum (8), generation
(8, big-endian), the place (a key, or 8 bytes, big-endian).
"""

import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final, TypeAlias

from ..core.errors import Reason, Refused

# The range that a token belongs to, and the index by which it is ordered, if any.
Bounds: TypeAlias = tuple[bytes, ...]

__all__ = ["next_key", "resume_point", "resume_tokens", "token_for"]

_VERSION: Final = 1
_HEAD: Final = struct.Struct(">B8sQ")
_U32: Final = struct.Struct(">I")
_REVISION: Final = struct.Struct(">Q")
# The fields of requests that hold them, which are their uses, too.
_PAGE, _RESUME = "page_token", "resume_token"
_FROM: Final = {_PAGE: "next_page_token", _RESUME: "the last one of the watch"}


def token_for(table: str, bounds: Bounds, generation: int, key: bytes) -> str:
    """The token of the page that begins at `key`."""
    return _made(_begun(_PAGE, table, bounds, generation), generation, key)


def next_key(token: str, table: str, bounds: Bounds, generation: int) -> bytes:
    """The key at which the page of a token begins.

    Raises:
        Refused: BAD_TOKEN, GENERATION_CHANGED.
    """
    made_for, key = _read(_PAGE, token, table, bounds)
    if made_for != generation:
        raise Refused(
            Reason.GENERATION_CHANGED,
            f"table {table!r} was built anew since the page before; begin again without a token",
            metadata={"table": table, "generation": str(generation)},
        )
    return key


def resume_tokens(table: str, bounds: Bounds, generation: int) -> Callable[[int], str]:
    """Makes the tokens of a watch: each for a revision up to which it has sent all."""
    begun = _begun(_RESUME, table, bounds, generation)

    def token(revision: int) -> str:
        return _made(begun.copy(), generation, _REVISION.pack(revision))

    return token


def resume_point(token: str, table: str, bounds: Bounds) -> tuple[int, int]:
    """The generation and the revision behind which a watch goes on.

    Raises:
        Refused: BAD_TOKEN.
    """
    generation, place = _read(_RESUME, token, table, bounds)
    return generation, _REVISION.unpack(place)[0]


def _made(begun: "hashlib.blake2b", generation: int, place: bytes) -> str:
    return _text(_HEAD.pack(_VERSION, _checksum(begun, place), generation) + place)


def _read(use: str, token: str, table: str, bounds: Bounds) -> tuple[int, bytes]:
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        version, checksum, generation = _HEAD.unpack_from(raw)
    except (ValueError, struct.error):
        raise _bad_token(use) from None
    place = raw[_HEAD.size :]
    begun = _begun(use, table, bounds, generation)
    ours = version == _VERSION and checksum == _checksum(begun, place)
    # The decoder skips what is not base64, so the text is compared, too.
    if not ours or token != _text(raw):
        raise _bad_token(use)
    return generation, place


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _begun(use: str, table: str, bounds: Bounds, generation: int) -> "hashlib.blake2b":
    """The checksum of all that tokens of one use have in common, to go on with."""
    parts = (use.encode(), table.encode(), *bounds, b"%d" % generation)
    return hashlib.blake2b(b"".join(map(_sized, parts)), digest_size=8)


def _checksum(begun: "hashlib.blake2b", place: bytes) -> bytes:
    begun.update(_sized(place))
    return begun.digest()


def _sized(part: bytes) -> bytes:
    return _U32.pack(len(part)) + part


def _bad_token(use: str) -> Refused:
    return Refused(
        Reason.BAD_TOKEN,
        f"{use} is not one of this table and filter; pass {_FROM[use]} as it came",
        metadata={"field": use},
    )
