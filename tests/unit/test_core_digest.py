"""A digest that is built while writes go on is the digest of the table as it ends."""

import hashlib
from collections import defaultdict
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import Rec

from sidecar.core.changes import SHARDS, shard_of
from sidecar.core.digest import ALGORITHM, Digest, DigestBuild, entry_hash
from sidecar.core.model import origin_of
from sidecar.core.table import Table


def keys_in(shard, number):
    found = (key for key in map(b"%d".__mod__, count()) if shard_of(key) == shard)
    return [next(found) for _ in range(number)]


# Some keys that share one of the table's dicts, so that a walk stops amid them.
KEYS = [key for shard in (0, 1, SHARDS - 1) for key in keys_in(shard, 4)]


def by_the_contract(key, value, offset):
    """As PartitionDigest in admin.proto says it, with no help of `struct`."""
    text = (
        len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value
        + offset.to_bytes(8, "big", signed=True)
    )  # fmt: skip
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "big")


def digests_of(table):
    sums, numbers = defaultdict(int), defaultdict(int)
    for key in KEYS:
        entry = table.get(key)
        if entry is not None:
            value, origin, offset, _ = entry
            sums[origin >> 1] += by_the_contract(key, value, offset)
            numbers[origin >> 1] += 1
    return [Digest(sums[n] % 2**128, numbers[n]) for n in range(3)]


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 2**63 - 1))
def test_the_hash_of_an_entry_is_that_of_the_contract(key, value, offset):
    assert entry_hash(key, value, offset) == by_the_contract(key, value, offset)


def test_the_hash_of_an_entry_does_not_change_between_releases():
    assert ALGORITHM == "sha256-128-sum"
    assert f"{entry_hash(b'key', b'value', 7):032x}" == "2f884798e1899c95aa65234a53c3a554"
    assert entry_hash(b"ab", b"c", 0) != entry_hash(b"a", b"bc", 0)


def test_an_empty_table_has_an_empty_digest():
    build = DigestBuild(followed())
    while build.step(10):
        pass
    assert build.digest(0) == Digest(0, 0)
    assert build.digest(0).to_bytes() == b"\0" * 16


def test_a_digest_is_16_bytes_big_endian():
    assert Digest(1).to_bytes() == b"\0" * 15 + b"\1"
    assert Digest(2**128 - 1).to_bytes() == b"\xff" * 16


writes = st.tuples(
    st.sampled_from(KEYS), st.sampled_from([None, b"", b"v", b"w"]), st.integers(0, 2)
)
steps = st.integers(1, 3)


def followed():
    """A table of three partitions that was read to its target."""
    table = Table(partitions=3)
    table.tailing = True
    return table


def apply(table, offset, key, value, partition):
    table.apply([Rec(offset, key, value)], origin_of(partition, 0))


@settings(max_examples=400)
@given(st.lists(writes, max_size=12), st.lists(steps | writes, max_size=60), st.booleans())
def test_a_digest_that_is_interleaved_with_writes_is_that_of_the_end(before, between, skip):
    table, offsets = Table(partitions=3), count()
    for write in before:
        apply(table, next(offsets), *write)
    table.tailing = True
    build = DigestBuild(table)
    if skip:  # to the last of the dicts, where the walk can end in the middle
        while build._shard < SHARDS - 2:
            build.step(100)
    for action in between:
        if isinstance(action, int):
            build.step(action)
        else:
            apply(table, next(offsets), *action)
    while build.step(1):
        pass
    assert [build.digest(number) for number in range(3)] == digests_of(table)


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("value", [None, b"new"])
@pytest.mark.parametrize("key", KEYS[:4])
@pytest.mark.parametrize("moment", range(7))
def test_a_write_at_any_moment_of_the_walk_is_summed_once(size, value, key, moment):
    table = followed()
    for offset, each in enumerate(KEYS):
        apply(table, offset, each, b"old", 0)
    build = DigestBuild(table)
    for _ in range(moment):
        build.step(size)
    apply(table, 50, key, value, 1)
    while build.step(size):
        pass
    assert [build.digest(number) for number in range(3)] == digests_of(table)


def test_a_digest_goes_on_following_until_it_is_closed():
    table = followed()
    build = DigestBuild(table)
    while build.step(10):
        pass
    apply(table, 0, KEYS[0], b"v", 0)
    assert build.digest(0).entries == 1
    assert not build.step(10)
    build.close()
    apply(table, 1, KEYS[1], b"v", 0)
    assert build.digest(0).entries == 1
