"""Between the messages of the contract and the values of `model`; nothing is decided here.

One rule: a number that this version does not know never reads as "absent" or "ready".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import model
from ._pb import cache_pb2

if TYPE_CHECKING:
    from ._pb import admin_pb2

__all__ = ["answer", "answers", "page", "positions", "positions_message", "record", "table"]

PRESENCE: dict[int, model.Presence] = {
    cache_pb2.PRESENCE_FOUND: model.Presence.FOUND,
    cache_pb2.PRESENCE_ABSENT: model.Presence.ABSENT,
}
TABLE_STATES = tuple(model.TableState)


def answer(response: cache_pb2.GetResponse) -> model.Answer:
    """The answer for one key."""
    return _answer(response, _state(response.state))


def answers(response: cache_pb2.MultiGetResponse) -> tuple[model.Answer, ...]:
    """The answers for many keys, in the order of the request; they share one state."""
    state = _state(response.state)
    return tuple(_answer(result, state) for result in response.results)


def page(response: cache_pb2.ListResponse) -> model.Page:
    """One page of records."""
    return model.Page(
        records=tuple(map(record, response.records)),
        state=_state(response.state),
        next_page_token=response.next_page_token,
    )


def table(info: admin_pb2.TableInfo) -> model.Table:
    """One table's state."""
    known = 0 <= info.state < len(TABLE_STATES)
    return model.Table(
        name=info.name,
        topic=info.topic,
        state=TABLE_STATES[info.state] if known else model.TableState.UNSPECIFIED,
        reason=info.reason,
        entries=info.entries,
        staleness_ms=info.staleness_ms if info.HasField("staleness_ms") else None,
        eta_ms=info.eta_ms if info.HasField("eta_ms") else None,
        required=info.required,
    )


def positions_message(positions: model.Positions) -> cache_pb2.Positions:
    """Positions of an earlier answer, to be sent back."""
    return cache_pb2.Positions(
        next_offsets=[
            cache_pb2.PartitionOffset(
                partition=slot.partition, offset=slot.offset, leader_epoch=slot.leader_epoch
            )
            for slot in positions.next_offsets
        ],
        incarnation=positions.incarnation,
    )


def _answer(
    result: cache_pb2.GetResponse | cache_pb2.LookupResult, state: model.State
) -> model.Answer:
    presence = PRESENCE.get(result.presence, model.Presence.UNKNOWN)
    found = presence is model.Presence.FOUND
    return model.Answer(presence, record(result.record) if found else None, state)


def record(record: cache_pb2.Record) -> model.Record:
    return model.Record(
        key=record.key,
        value=record.value if record.HasField("value") else None,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        headers=tuple(
            (header.key, header.value if header.HasField("value") else None)
            for header in record.headers
        ),
        decode_error=record.decode_error,
        raw_value=record.raw_value if record.HasField("raw_value") else None,
    )


def _state(state: cache_pb2.State) -> model.State:
    return model.State(
        staleness_ms=state.staleness_ms if state.HasField("staleness_ms") else None,
        generation=state.generation,
        revision=state.revision,
        incarnation=state.incarnation,
        positions=positions(state.positions) if state.HasField("positions") else None,
    )


def positions(positions: cache_pb2.Positions) -> model.Positions:
    return model.Positions(
        next_offsets=tuple(
            model.PartitionOffset(
                partition=slot.partition,
                offset=slot.offset,
                leader_epoch=slot.leader_epoch if slot.HasField("leader_epoch") else None,
            )
            for slot in positions.next_offsets
        ),
        incarnation=positions.incarnation,
    )
