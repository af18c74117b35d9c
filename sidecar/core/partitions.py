"""What each partition said of a key, where more than one may have spoken.

Within a partition the later offset holds. Between partitions there is no order, so a rule
makes one for keys that several hold (producers that hash differently make them, and so
does a topic that was given more partitions): the greatest (timestamp, partition) holds,
be it a record or a tombstone. That does not depend on the order in which they are read.

A bootstrap is folded into a dict a partition. So a batch needs no choice for each of its
records, and each partition's own fold is there when two of them hold the same key. Where
there is more than one partition, tombstones are remembered beside it until everything was
read: another partition may yet bring an older record of the key. Then the table takes it
all over, a key at a time; what stays here are the keys that several partitions hold.

What a partition's log no longer holds, because its start has moved past it (retention,
DeleteRecords), counts no more: a fresh reader would not find it. So a *floor* hides it
at once, until a sweep has taken it out.

What was forgotten cannot speak: a tombstone that came when no other partition was known
to hold its key is not remembered once the bootstrap is over, and compaction may take a
tombstone away while another partition's older record remains.
"""

from collections.abc import Iterable

from .stored import offset_of, rank_of, source_of

__all__ = ["Partitions"]


class Partitions:
    """The folds of a bootstrap, by partition, and the keys that several partitions hold.

    Attributes:
        remember: keep tombstones while reading: there are several partitions.
        floors: by partition, the log start offset, where it has moved and no sweep was done since.
    """

    __slots__ = ("_parts", "_several", "_tombstones", "floors", "remember")

    def __init__(self, *, remember: bool) -> None:
        self.remember = remember
        self._parts: dict[int, dict[bytes, bytes]] = {}
        self._tombstones: dict[int, dict[bytes, bytes]] = {}
        self._several: dict[bytes, dict[int, bytes]] = {}
        self.floors: dict[int, int] = {}

    # What is read before the table is ready

    @property
    def unsettled(self) -> bool:
        """Whether anything is left to be taken over, be it a tombstone."""
        return bool(self._parts or self._tombstones)

    def part(self, partition: int) -> dict[bytes, bytes]:
        """One partition's records, to be written to."""
        return self._parts.setdefault(partition, {})

    def parts(self) -> list[dict[bytes, bytes]]:
        """All partitions' records that were not taken over yet."""
        return list(self._parts.values())

    def remove(self, partition: int, key: bytes, tombstone: bytes) -> bool:
        """Take a key out of one partition's records; whether it was there."""
        if self.remember:
            self._tombstones.setdefault(partition, {})[key] = tombstone
        return self.part(partition).pop(key, None) is not None

    def said(self, key: bytes) -> list[bytes]:
        """What each partition last said of a key: its record, or else its tombstone."""
        found = [part[key] for part in self._parts.values() if key in part]
        for partition, tombstones in self._tombstones.items():
            if key in tombstones and key not in self._parts.get(partition, ()):
                found.append(tombstones[key])
        return found

    def take(self, key: bytes) -> list[bytes]:
        """As `said`; it is no longer kept here."""
        found = self.said(key)
        for part in (*self._parts.values(), *self._tombstones.values()):
            part.pop(key, None)
        return found

    def take_any(self) -> tuple[bytes, bytes] | None:
        """Any key with what one partition said of it; None: all was taken.

        Tombstones come after all records. One may be older than its own partition's record.
        """
        for kind in (self._parts, self._tombstones):
            while kind:
                partition, part = next(iter(kind.items()))
                if part:
                    return part.popitem()
                del kind[partition]
        return None

    # Keys of several partitions

    @property
    def busy(self) -> bool:
        """Whether a record may be more than the next word on its key."""
        return bool(self._parts or self._tombstones or self._several)

    @property
    def several(self) -> int:
        """How many keys are known to be held by several partitions."""
        return len(self._several)

    def share(self, key: bytes) -> bool:
        """Whether several partitions hold a key."""
        return key in self._several

    def word(self, key: bytes, partition: int) -> bytes | None:
        """What a partition last said of a key that several hold; None: nothing, or it is none."""
        return self._several.get(key, {}).get(partition)

    def shared_keys(self, partition: int) -> list[bytes]:
        """The keys that several partitions hold, this one among them."""
        return [key for key, words in self._several.items() if partition in words]

    def retract(self, key: bytes, partition: int) -> None:
        """Forget what a partition said of a key that several hold."""
        words = self._several.get(key, {})
        words.pop(partition, None)
        if not words:
            self._several.pop(key, None)

    def forget(self, key: bytes) -> None:
        """Forget what all partitions said of a key."""
        self._several.pop(key, None)

    def hear(self, key: bytes, held: bytes | None, said: bytes) -> bytes:
        """Note what a partition says of a key that several hold from now on.

        Args:
            key: of which.
            held: what the table holds for it.
            said: the partition's record or tombstone.

        Returns:
            The record or tombstone that holds now.
        """
        words = self._several.setdefault(key, {})
        _note(words, (said,) if held is None else (held, said))
        return self._highest(words) or said

    def weigh(self, key: bytes, held: bytes | None) -> bytes | None:
        """What holds for a key, all that was said and every floor considered; None: nothing."""
        words = dict(self._several.get(key, {}))
        _note(words, self.said(key) if held is None else [held, *self.said(key)])
        return self._highest(words)

    def _highest(self, words: dict[int, bytes]) -> bytes | None:
        standing = list(words.values())
        if self.floors:
            standing = [word for word in standing if not self.fell(word)]
        return max(standing, key=rank_of, default=None)

    # What the log no longer holds

    def fell(self, word: bytes) -> bool:
        """Whether its partition's log begins behind it."""
        return offset_of(word) < self.floors.get(source_of(word), 0)

    def forget_fallen(self) -> None:
        """Forget what fell of the keys that several partitions hold."""
        for key, words in list(self._several.items()):
            for partition, word in list(words.items()):
                if self.fell(word):
                    del words[partition]
            if not words:
                del self._several[key]


def _note(words: dict[int, bytes], said: Iterable[bytes]) -> None:
    """Keep each partition's latest word."""
    for word in said:
        partition = source_of(word)
        words[partition] = max(words.get(partition, word), word, key=offset_of)
