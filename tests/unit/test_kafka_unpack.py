"""Unpacking: what was packed comes out again, up to a limit, and memory stays within it."""

import gzip
import struct
import subprocess
import sys
from contextlib import suppress

import cramjam
import google_crc32c
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch

from sidecar.kafka.unpack import CODECS, UnpackError, unpack

NUMBERS = {name: number for number, name in CODECS.items()}
PACK = {
    "gzip": gzip_encode,
    "snappy": snappy_encode,
    "snappy plain": lambda data: snappy_encode(data, xerial_compatible=False),
    "lz4": lz4_encode,
    "zstd": zstd_encode,
}
FORMS = pytest.mark.parametrize("form", PACK)
LIMIT = 1 << 20


def unpacked(form, packed, limit=LIMIT):
    return bytes(unpack(NUMBERS[form.split()[0]], memoryview(packed), limit=limit))


DATA = st.builds(lambda piece, times: piece * times, st.binary(max_size=300), st.integers(1, 900))


@FORMS
@settings(max_examples=50, deadline=None)
@given(data=DATA)
def test_what_was_packed_comes_out_again(form, data):
    if data or form != "snappy":  # a snappy stream without blocks is taken for a plain one
        assert unpacked(form, PACK[form](data)) == data


@FORMS
@settings(max_examples=50, deadline=None)
@given(data=DATA.filter(bool), more=st.integers(0, 9))
def test_the_limit_is_exact(form, data, more):
    packed = PACK[form](data)
    assert unpacked(form, packed, limit=len(data) + more) == data
    with pytest.raises(UnpackError, match=rf"than {len(data) - 1} bytes \(limits.batch_bytes\)"):
        unpacked(form, packed, limit=len(data) - 1)


@FORMS
def test_the_head_stands_before_what_was_unpacked(form):
    packed = memoryview(PACK[form](b"data" * 99))
    whole = unpack(NUMBERS[form.split()[0]], packed, limit=LIMIT, head=b"head")
    assert bytes(whole) == b"head" + b"data" * 99


@pytest.mark.parametrize("form", ["gzip", "lz4", "zstd"])
def test_frames_one_after_another_are_one_stream(form):
    assert unpacked(form, PACK[form](b"ab") + PACK[form](b"cd")) == b"abcd"


@FORMS
@pytest.mark.parametrize("body", [b"", b"\0\0", b"nonsense" * 9, b"\xff" * 40, b"\x1f\x8b\x08"])
def test_garbage_is_named(form, body):
    with pytest.raises(UnpackError, match=form.split()[0]):
        unpacked(form, body)


@pytest.mark.parametrize("codec", [0, 5, 6, 7])
def test_a_codec_that_is_not_known_is_named(codec):
    with pytest.raises(UnpackError, match=f"codec {codec} is not known"):
        unpack(codec, memoryview(b""), limit=LIMIT)


@pytest.mark.parametrize("length", [-4, -(1 << 31), 0, 99])
def test_a_snappy_block_cannot_lie_about_its_length(length):
    head = snappy_encode(b"x" * 50)[:16]
    with pytest.raises(UnpackError, match=f"a snappy block of {length} bytes makes no sense"):
        unpacked("snappy", head + struct.pack(">i", length) + b"abc")
    with pytest.raises(UnpackError, match="cut off"):
        unpacked("snappy", head + b"\0\0\0")


def test_a_size_that_snappy_claims_is_not_believed_beyond_the_limit():
    with pytest.raises(UnpackError, match=r"limits\.batch_bytes"):
        unpacked("snappy", b"\xff\xff\xff\xff\x0f" + b"\0" * 20)


@st.composite
def damage(draw):
    """Something packed, with some of its bytes changed, or its end off, or more behind it."""
    form = draw(st.sampled_from(list(PACK)))
    data = bytearray(PACK[form](draw(DATA.filter(bool))))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, min(len(data) - 1, 200)))] = draw(st.integers(0, 255))
    return form, bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=9))


@settings(max_examples=600, deadline=None)
@given(damage())
def test_damaged_bytes_are_unpacked_within_the_limit_or_named(damaged):
    form, packed = damaged
    with suppress(UnpackError):
        assert len(unpacked(form, packed)) <= LIMIT


# Memory, measured where nothing else needs any

_MEASURE = """
import resource, sys
from sidecar.kafka.batches import decode_batches, find_batches
from sidecar.kafka.errors import LogFault
data = sys.stdin.buffer.read()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
try:
    list(decode_batches(3, find_batches(3, memoryview(data)), [], int(sys.argv[1])))
except LogFault as fault:
    print(fault)
print(peak() - before)
"""


def bomb(codec):
    """A gigabyte of zeros, packed a mebibyte at a time."""
    if codec == "snappy":
        block = cramjam.snappy.compress_raw(bytes(1 << 20))
        head = snappy_encode(b"x" * 50)[:16]
        return head + (struct.pack(">i", len(block)) + bytes(block)) * 1024
    packer = getattr(cramjam, codec).Compressor()
    parts = []
    for _ in range(1024):
        packer.compress(bytes(1 << 20))
        parts.append(bytes(packer.flush()))
    return b"".join([*parts, bytes(packer.finish())])


@pytest.mark.parametrize("codec", NUMBERS)
def test_a_batch_that_would_unpack_to_a_gigabyte_is_refused_in_little_memory(codec):
    data = bytearray(batch([(b"k", b"v")], base_offset=77, codec=codec, compress=lambda _: b""))
    data += bomb(codec)
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">I", data, 17, google_crc32c.value(bytes(data[21:])))
    limit = 32 << 20
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(limit)], input=data, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    fault, grown = done.stdout.decode().splitlines()
    for part in ("partition 3", "offset 77", codec, str(limit), "limits.batch_bytes"):
        assert part in fault
    # The limit, the copy that the CRC needs, and some for the codec.
    assert int(grown) < 32 + len(data) / (1 << 20) + 32


def test_corrupt_gzip_ends_as_soon_as_it_is_seen():
    packed = bytearray(gzip.compress(b"data" * 4000))
    packed[-6] ^= 1  # its checksum
    with pytest.raises(UnpackError, match="not what gzip makes"):
        unpacked("gzip", packed)
