"""What goes wrong between us and a cluster, by what the reader should do.

::

    KafkaFault
      BrokerFault    try again, at another broker or later
      Unsupported    an operator must act: the cluster can not be read by this version
      LogFault       the log can not be read any further
        BadBatch     here, by one partition; another replica may have it whole
        LogCut       it is no longer the one that was folded: read it anew
        TopicGone    nor is its topic

Messages name the address or the topic, say what was expected, and what to do.
"""

from ..core.progress import Wait

__all__ = [
    "BadBatch",
    "BrokerFault",
    "KafkaFault",
    "LogCut",
    "LogFault",
    "TopicGone",
    "Unsupported",
    "leaves_of",
]


class KafkaFault(Exception):  # noqa: N818 (its kinds say how bad it is)
    """Something between us and the cluster."""


class BrokerFault(KafkaFault):
    """A broker that cannot be used now; `wait` is what its partitions wait for."""

    def __init__(self, message: str, wait: Wait = Wait.BROKER) -> None:
        super().__init__(message)
        self.wait = wait


class Unsupported(KafkaFault):
    """A cluster or topic that this version cannot read."""


class LogFault(KafkaFault):
    """A log that cannot be read any further."""


class BadBatch(LogFault):
    """A batch that cannot be read, of one partition.

    Args:
        problem: what is wrong with it.
        partition: that it belongs to.
        offset: at which it begins.
        next_offset: at which the log goes on behind it; None: that cannot be told.
    """

    def __init__(
        self, problem: str, *, partition: int, offset: int, next_offset: int | None = None
    ) -> None:
        self.detail = f"the batch at offset {offset} {problem}"
        super().__init__(f"partition {partition}: {self.detail}")
        self.partition = partition
        self.offset = offset
        self.next_offset = next_offset


class LogCut(LogFault):
    """A log that lost records which were read from it, and may have others in their place."""


class TopicGone(LogFault):
    """A topic that was deleted, or is another one now."""

    def __init__(self, message: str, *, deleted: bool = False) -> None:
        super().__init__(message)
        self.deleted = deleted


def leaves_of(error: BaseException) -> list[Exception]:
    """An error, or all that a group of them holds."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]
    return [error] if isinstance(error, Exception) else []
