"""What goes wrong between us and a cluster, by what the reader should do.

::

    KafkaFault
      BrokerFault   try again, at another broker or later
      Unsupported   give up: the cluster can not be read by this version
      LogFault      stop: the log is no longer the one that this generation folded,
                    or a part of it cannot be read; going on would answer wrongly

Messages name the address or the topic, say what was expected, and what to do.
"""

from ..core.progress import Wait

__all__ = ["BrokerFault", "KafkaFault", "LogFault", "Unsupported"]


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
    """A log that this generation cannot follow any further."""
