"""Which partition is fetched from which broker, from where, and what an answer means for it.

One `Assigned` a partition holds where its next fetch begins. A request is planned from
all partitions that a broker leads, and an answer is accepted only if the partition
still stands where the request found it; so an answer that crossed a change of leaders
is dropped, not applied twice.

Partitions take turns at the front of a request: a broker fills a response in order and
gives a whole batch only for the first one, however large.

*A tail that is gone.* Compaction can leave nothing between the position and the end
of the log. Only a response that lists the partition, requested alone from its leader,
without error, redirect, divergence or throttling, and with no bytes, twice in a row,
proves it: a byte budget used up by other partitions looks the same otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.model import Fetched
from ..core.progress import Leader, Wait
from .backoff import Retry
from .batches import Span, decode_batches, find_batches
from .errors import BadBatch, LogCut
from .settings import BATCH_BYTES
from .wire import FetchAnswer, Wanted

__all__ = ["ERROR_NAMES", "Assigned", "Last", "acl_advice", "no_end_yet", "plan", "stopped_by"]

_NO_EPOCH = -1

# Fetch errors that end with fresh metadata, and what the partition waits for meanwhile.
_STALE_LEADER = {
    -1: "UNKNOWN_SERVER_ERROR",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    13: "NETWORK_EXCEPTION",
    56: "KAFKA_STORAGE_ERROR",
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    78: "OFFSET_NOT_AVAILABLE",
    100: "UNKNOWN_TOPIC_ID",
    103: "INCONSISTENT_TOPIC_ID",
}
_NOT_AUTHORIZED = {29: "TOPIC_AUTHORIZATION_FAILED", 31: "CLUSTER_AUTHORIZATION_FAILED"}
_UNREADABLE = {2: "CORRUPT_MESSAGE", 76: "UNSUPPORTED_COMPRESSION_TYPE"}

ERROR_NAMES = {**_STALE_LEADER, **_NOT_AUTHORIZED, **_UNREADABLE, 1: "OFFSET_OUT_OF_RANGE"}
_PROVING_ANSWERS = 2
_NOBODY = Leader()


class Last(NamedTuple):
    """The leader epochs that name the log up to where the next fetch begins; -1: none.

    Attributes:
        batch: that of the batch in front; -1: there is none that we know.
        leader: that under which a leader gave what is in front. Where nothing was written
            under it, another replica knows it not.
    """

    batch: int = _NO_EPOCH
    leader: int = _NO_EPOCH

    @property
    def asked(self) -> int:
        """What a fetch names, to be told if the log was cut."""
        return self.leader if self.batch < 0 else self.batch

    def holds(self, epoch: int) -> bool:
        """A log where `epoch` is the greatest not above the one asked may be the same."""
        return self.batch in {epoch, _NO_EPOCH}


_NONE = Last()


@dataclass(slots=True)
class Assigned:
    """Where one partition's fetching stands.

    Attributes:
        offset: where the next fetch begins.
        last: what is in front of it.
        retry: when it may be fetched again after an error.
        empty: answers in a row that gave nothing although the log goes on: the first
            raises the suspicion, those that follow count where it was asked alone.
        told: the leader that last told where its log ends.
        resets: how often it began again at an offset: what was accepted before does not follow.
    """

    partition: int
    offset: int
    leader: Leader
    last: Last = _NONE
    retry: Retry = field(default_factory=Retry)
    empty: int = 0
    told: Leader = _NOBODY
    resets: int = 0

    def reset(self, offset: int) -> None:
        """Fetch from another offset on: what was accepted and not yet taken is void."""
        self.offset, self.last, self.empty = offset, Last(leader=self.last.leader), 0
        self.resets += 1

    def wanted(self) -> Wanted:
        """What to ask for."""
        return Wanted(self.partition, self.leader.epoch, self.offset, self.last.asked)

    def accept(
        self,
        answer: FetchAnswer,
        *,
        sent_at: float,
        arrived_at: float,
        alone: bool,
        committed: bool,
        batch_bytes: int = BATCH_BYTES,
    ) -> Fetched:
        """Take an answer without error: the next fetch begins behind its last whole batch.

        Raises:
            LogCut: the log was cut and has grown again.
            BadBatch: its bytes make no sense.
        """
        self.retry.worked()
        if answer.diverging is not None:
            self._check_divergence(*answer.diverging)
        self.last = self.last._replace(leader=self.leader.epoch)
        spans = find_batches(self.partition, answer.records)
        bounds = answer.bounds
        end = bounds.last_stable_offset if committed else bounds.high_watermark
        if spans or answer.diverging is not None or end <= self.offset:
            self.empty, nothing_before = 0, None
        else:
            nothing_before = self._proof(answer, end, alone=alone)
        if nothing_before is not None:
            self.offset, self.last = nothing_before, Last(leader=self.leader.epoch)
        aborted = answer.aborted if committed else []
        batches = decode_batches(self.partition, spans, aborted, batch_bytes)
        self._move_behind(spans)
        size = len(answer.records)
        return Fetched(self.partition, batches, bounds, sent_at, nothing_before, size, arrived_at)

    def _move_behind(self, spans: list[Span]) -> None:
        if spans:
            self.offset = max(self.offset, spans[-1].next_offset)
            self.last = Last(spans[-1].leader_epoch, self.leader.epoch)

    def _check_divergence(self, epoch: int, end_offset: int) -> None:
        if self.last.holds(epoch) and end_offset >= self.offset:
            self.last = _NONE  # the leader has what is in front, and did not know our name for it
            return
        raise LogCut(
            f"partition {self.partition}: the log was cut below offset {self.offset} and has "
            f"grown again (epoch {epoch} ends at {end_offset})"
        )

    def _proof(self, answer: FetchAnswer, end: int, *, alone: bool) -> int | None:
        if answer.preferred_read_replica != -1:
            self.empty = 0
            return None
        if answer.records and alone:
            raise BadBatch(
                f"is cut off: the broker gives {len(answer.records)} bytes of it, and no more when "
                "asked alone",
                partition=self.partition,
                offset=self.offset,
            )
        if alone or self.empty == 0:
            self.empty += 1
        if self.empty <= _PROVING_ANSWERS:
            return None
        self.empty = 0
        return end


def plan(partitions: Iterable[Assigned], node: int, now: float, turn: int) -> list[Assigned]:
    """What to fetch next from one broker: all that it leads, or one alone to prove its tail.

    Args:
        partitions: of the topic.
        node: the broker.
        now: seconds.
        turn: number of the request: who stands in front.
    """
    ours = [
        part for part in partitions if part.leader.node == node and part.retry.not_before <= now
    ]
    suspects = [part for part in ours if part.empty]
    if suspects and turn % 2:
        return suspects[:1]
    front = turn % len(ours) if ours else 0
    return ours[front:] + ours[:front]


def acl_advice(topic: str) -> str:
    """What to do where reading is not allowed."""
    return (
        f"not allowed to read topic {topic!r}; grant it: kafka-acls --add --allow-principal "
        f"User:NAME --operation Read --topic {topic}"
    )


def no_end_yet(leader: Leader, error_code: int) -> str:
    """What a partition waits for while its new leader answers ListOffsets with an error."""
    name = ERROR_NAMES.get(error_code, f"error {error_code}")
    return f"leader {leader.node} (epoch {leader.epoch}) does not know its end yet ({name})"


def stopped_by(error_code: int, partition: int, topic: str) -> tuple[Wait, str]:
    """What a partition waits for when its fetch is answered with an error.

    Raises:
        LogCut: there is nothing to wait for.
    """
    if error_code in _STALE_LEADER:
        return Wait.LEADER, f"the leader answers {_STALE_LEADER[error_code]}; asking who leads now"
    if error_code in _NOT_AUTHORIZED:
        return Wait.AUTHORIZATION, acl_advice(topic)
    if error_code == 1:
        raise LogCut(
            f"partition {partition}: the broker no longer has the offset that is next "
            "(OFFSET_OUT_OF_RANGE): the log was cut, or its start has passed us"
        )
    if error_code in _UNREADABLE:
        return Wait.BAD_BATCH, f"the broker cannot give the next batch ({_UNREADABLE[error_code]})"
    return Wait.BROKER, f"the leader answers error {error_code}"
