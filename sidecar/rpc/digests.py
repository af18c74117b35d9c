"""GetDigest: a sum over a table, made in steps while writes go on."""

import asyncio
from collections.abc import Callable
from typing import Final

from .._pb import admin_pb2 as pb
from ..core.digest import ALGORITHM, DigestBuild
from ..core.served import Served
from ..core.view import View
from .tables import generation_changed

__all__ = ["digest_of"]

# Entries hashed between two yields to the loop: about a millisecond.
_STEP: Final = 500


async def digest_of(served: Served, clock: Callable[[], float]) -> pb.GetDigestResponse:
    """The digest of a table that is ready, at the position where the walk ends.

    Raises:
        Refused: as `Served.read`; GENERATION_CHANGED.
    """
    view, reading = served.view, served.read(clock())
    build = DigestBuild(reading.table)
    try:
        while build.step(_STEP):  # noqa: ASYNC110 (work, not polling)
            await asyncio.sleep(0)
        if view is None or served.view is not view:
            raise generation_changed(served)
        return _response(served, view, build)
    finally:
        build.close()


def _response(served: Served, view: View, build: DigestBuild) -> pb.GetDigestResponse:
    incarnation, generation = view.identity
    response = pb.GetDigestResponse(
        incarnation=incarnation,
        definition_hash=served.definition.hash,
        generation=generation,
        revision=view.table.revision,
        algorithm=ALGORITHM,
    )
    for number, progress in sorted(view.progress.items()):
        digest = build.digest(number)
        response.partitions.add(
            partition=number,
            position=progress.position,
            entries=digest.entries,
            digest=digest.to_bytes(),
            log_start_offset=progress.bounds.log_start_offset,
        )
    return response
