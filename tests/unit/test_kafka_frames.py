"""Frames arrive whole however the network cuts them, and stay intact while the next arrives."""

import asyncio
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.kafka.connection import FrameProtocol
from sidecar.kafka.errors import BrokerFault


def framed(body):
    return struct.pack(">i", len(body)) + body


def receive(protocol, data):
    """What a transport does with bytes that have come: as many as the buffer takes at a time."""
    while data:
        buffer = protocol.get_buffer(-1)
        assert len(buffer) > 0, "an empty buffer makes a transport fail"
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def pieces(data, cuts):
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
    st.sets(st.integers(0, 44)),
)
def test_frames_may_be_cut_at_any_byte(bodies, cuts):
    async def run():
        protocol = FrameProtocol()
        for body in bodies:
            frame = protocol.expect()
            for piece in pieces(framed(body), cuts):
                assert not frame.done()
                receive(protocol, piece)
            assert bytes(await frame) == body

    asyncio.run(run())


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_frame_in_two_parts_is_one_frame(cut):
    protocol = FrameProtocol()
    frame = protocol.expect()
    receive(protocol, framed(b"response")[:cut])
    assert not frame.done()
    receive(protocol, framed(b"response")[cut:])
    assert bytes(await frame) == b"response"


@pytest.mark.parametrize(
    "size",
    [1, (1 << 16) - 5, (1 << 16) - 4, (1 << 16) - 3, 1 << 16, 100_000, 5_000_000],
)
async def test_a_buffer_grows_to_the_frame(size):
    protocol = FrameProtocol()
    for fill in (b"\x5a", b"\xa5", b"\x01"):
        frame = protocol.expect()
        receive(protocol, framed(fill * size))
        assert bytes(await frame) == fill * size


@pytest.mark.parametrize("sizes", [(10, 10), (10, 200_000), (200_000, 10), (70_000, 300_000)])
async def test_a_frame_stays_intact_while_the_next_arrives(sizes):
    protocol = FrameProtocol()
    frames = []
    for number, size in enumerate(sizes * 3):
        waiter = protocol.expect()
        receive(protocol, framed(bytes([number]) * size))
        frames.append(((await waiter), bytes([number]) * size))
        for frame, body in frames[-2:]:
            assert bytes(frame) == body


async def test_buffers_are_used_again():
    protocol = FrameProtocol()
    addresses = []
    for _ in range(4):
        waiter = protocol.expect()
        receive(protocol, framed(b"x"))
        addresses.append((await waiter).obj)
    assert addresses[0] is addresses[2]
    assert addresses[1] is addresses[3]
    assert addresses[0] is not addresses[1]


@pytest.mark.parametrize("head", [b"HTTP/1.1", b"\xff" * 4, b"\0" * 4, b"\x7f" * 9])
async def test_what_is_no_frame_is_a_fault_of_the_broker(head):
    protocol = FrameProtocol()
    waiter = protocol.expect()
    receive(protocol, head)
    with pytest.raises(BrokerFault):
        await waiter


async def test_the_largest_frame_is_512_mib():
    protocol = FrameProtocol()
    waiter = protocol.expect()
    receive(protocol, struct.pack(">i", (1 << 29) + 1))
    with pytest.raises(BrokerFault, match="536870913 bytes"):
        await waiter


async def test_bytes_that_nobody_asked_for_are_a_fault():
    protocol = FrameProtocol()
    waiter = protocol.expect()
    receive(protocol, framed(b"one") + b"more")
    with pytest.raises(BrokerFault):
        await waiter


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset by peer")])
async def test_a_lost_connection_fails_who_waits_and_who_asks_later(error):
    protocol = FrameProtocol()
    waiter = protocol.expect()
    receive(protocol, framed(b"half of it")[:8])
    protocol.connection_lost(error)
    with pytest.raises(BrokerFault, match=r"reset by peer|closed by the broker"):
        await waiter
    with pytest.raises(BrokerFault):
        await protocol.expect()


async def test_the_first_fault_is_the_one_that_is_told():
    protocol = FrameProtocol()
    waiter = protocol.expect()
    receive(protocol, b"HTTP")
    protocol.connection_lost(ConnectionResetError("later"))
    with pytest.raises(BrokerFault, match="no sense"):
        await waiter
    with pytest.raises(BrokerFault, match="no sense"):
        await protocol.expect()


async def test_a_frame_that_nobody_waits_for_any_more_is_dropped():
    protocol = FrameProtocol()
    waiter = protocol.expect()
    protocol.forget()
    receive(protocol, framed(b"late"))
    assert waiter.cancelled()
    again = protocol.expect()
    receive(protocol, framed(b"next"))
    assert bytes(await again) == b"next"


async def test_forgetting_before_anything_was_asked_is_allowed():
    FrameProtocol().forget()
