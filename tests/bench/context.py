"""What every part of the benchmark is given: the brokers, the data, the options."""

import secrets
from dataclasses import dataclass, replace

from bench import loader
from bench.machine import Quiet

__all__ = ["Context", "Data", "Topics"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The records of one topic."""

    name: str
    records: int
    distinct: int
    value_size: int
    compression: str = "none"
    shuffled: bool = False
    json: bool = False

    def __str__(self) -> str:
        packed = "" if self.compression == "none" else f", {self.compression}"
        order = ", in random order" if self.shuffled else ""
        packed += ", JSON" if self.json else ""
        size = f"{_short(self.records)} x (16 + {self.value_size} B)"
        return f"{size}, {_short(self.distinct)} keys{order}{packed}"


def _short(count: int) -> str:
    return f"{count / 1e6:g} M" if count >= 1_000_000 else f"{count / 1e3:g} k"


_SMALL = Data(name="small", records=2_000_000, distinct=1_000_000, value_size=100)
_LZ4 = replace(_SMALL, name="lz4", compression="lz4")
_SHUFFLED = replace(_SMALL, name="shuffled", shuffled=True)
_LARGE = Data(name="large", records=500_000, distinct=500_000, value_size=1024)
_JSON = replace(_SMALL, name="json", records=1_000_000, value_size=200, json=True)
_EMPTY = Data(name="empty", records=0, distinct=1, value_size=1)


class Topics:
    """The topics of one run, each written when it is first asked for.

    Their names carry a random mark, so that a broker that is there already is left as it is.
    """

    def __init__(self, servers: str, partitions: int, scale: float) -> None:
        self.servers = servers
        self.partitions = partitions
        self._scale = scale
        self._mark = secrets.token_hex(3)
        self._written: set[str] = set()

    def scaled(self, data: Data) -> Data:
        """Give the data in this run's size."""
        records, distinct = int(data.records * self._scale), int(data.distinct * self._scale)
        return replace(data, records=records, distinct=max(1, distinct))

    @property
    def small(self) -> Data:
        """The data that most parts use."""
        return self.scaled(_SMALL)

    @property
    def objects(self) -> Data:
        """Values that are JSON objects."""
        return self.scaled(_JSON)

    @property
    def empty(self) -> Data:
        """No records at all."""
        return _EMPTY

    @property
    def all(self) -> list[Data]:
        """The data that the bootstrap is measured with."""
        return [self.scaled(data) for data in (_SMALL, _SHUFFLED, _LZ4, _LARGE)]

    def written(self, data: Data) -> str:
        """Give the name of the topic that holds this data."""
        topic = f"bench-{data.name}-{self._mark}"
        if topic not in self._written:
            loader.run(
                "produce",
                servers=self.servers,
                topic=topic,
                records=data.records,
                distinct=data.distinct,
                value_size=data.value_size,
                partitions=self.partitions,
                compression=data.compression,
                shuffled=data.shuffled,
                json=data.json,
            )
            self._written.add(topic)
        return topic


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run of the benchmark."""

    topics: Topics
    quiet: Quiet
    pairs: int
    rounds: int
    length_s: float
    warmup_s: float
    in_flight: list[int]
    rates: list[int]
    empty_options: list[str]
    install_redis: bool
    before: str

    @property
    def servers(self) -> str:
        """The bootstrap servers."""
        return self.topics.servers
