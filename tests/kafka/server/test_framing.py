"""Requests come out as they were sent, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.server.framing import Framer, FrameTooLargeError

LARGEST = 5 << 20


def feed(framer: Framer, data: bytes, most: int) -> list[bytes]:
    found = []
    position = 0
    while position < len(data):
        buffer = framer.buffer()
        assert len(buffer)
        count = min(len(buffer), most, len(data) - position)
        buffer[:count] = data[position : position + count]
        position += count
        framer.received(count)
        found += taken(framer)
    return found


def taken(framer: Framer) -> list[bytes]:
    found = []
    while (frame := framer.next()) is not None or framer.claimed:
        if frame is None:
            framer.grant()
        else:
            found.append(bytes(frame))
    return found


frames = st.lists(
    st.tuples(
        st.integers(8, 300) | st.sampled_from([65_532, 65_533, 65_540, 200_000, 3 << 20]), st.integers(0, 255)
    ),
    max_size=6,
).map(lambda sizes: [bytes([fill]) * size for size, fill in sizes])


@given(frames, st.integers(1, 100_000))
def test_they_come_out_as_they_were_sent(sent: list[bytes], most: int) -> None:
    data = b"".join(len(frame).to_bytes(4, "big") + frame for frame in sent)
    assert feed(Framer(LARGEST), data, max(most, len(data) // 200)) == sent


def test_frames_do_not_share_memory() -> None:
    framer = Framer(LARGEST)
    buffer = framer.buffer()
    buffer[:24] = (8).to_bytes(4, "big") + b"aaaaaaaa" + (8).to_bytes(4, "big") + b"bbbbbbbb"
    framer.received(24)
    first, second = framer.next(), framer.next()
    framer.buffer()[:12] = (8).to_bytes(4, "big") + b"cccccccc"
    framer.received(12)
    third = framer.next()
    assert first is not None
    assert second is not None
    assert third is not None
    assert (bytes(first), bytes(second), bytes(third)) == (b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")


@pytest.mark.parametrize("size", [-1, LARGEST + 1, (1 << 31) - 1])
def test_sizes_that_cannot_be(size: int) -> None:
    framer = Framer(LARGEST)
    framer.buffer()[:4] = size.to_bytes(4, "big", signed=True)
    framer.received(4)
    with pytest.raises(FrameTooLargeError, match=str(size)):
        framer.next()


def test_a_size_that_is_only_claimed_takes_no_memory() -> None:
    framer = Framer(1 << 31)
    framer.buffer()[:6] = (1 << 30).to_bytes(4, "big") + b"\0\0"
    framer.received(6)
    assert framer.next() is None
    assert framer.claimed == 1 << 30
    framer.grant()
    assert framer.filling
    assert len(framer.buffer()) <= 1 << 20


def test_a_large_request_waits_until_there_is_memory() -> None:
    framer = Framer(LARGEST)
    sent = (100_000).to_bytes(4, "big") + bytes(100_000)
    framer.buffer()[:1000] = sent[:1000]
    framer.received(1000)
    assert framer.next() is None
    assert (framer.claimed, framer.filling) == (100_000, False)
    framer.grant()
    assert (framer.claimed, framer.filling) == (0, True)
    assert feed(framer, sent[1000:], 5000) == [sent[4:]]


def test_the_size_of_a_kind_of_request_is_bounded() -> None:
    framer = Framer(LARGEST, lambda key: 1_000_000 if key else LARGEST)
    framer.buffer()[:6] = (2_000_000).to_bytes(4, "big") + (3).to_bytes(2, "big")
    framer.received(5)
    assert framer.next() is None  # its kind is not known yet
    assert not framer.claimed
    framer.received(1)
    with pytest.raises(FrameTooLargeError, match="request 3 of 2000000 bytes; 1000000"):
        framer.next()
