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
        found += [bytes(frame) for frame in framer.received(count)]
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
    first, second = framer.received(24)
    framer.buffer()[:12] = (8).to_bytes(4, "big") + b"cccccccc"
    (third,) = framer.received(12)
    assert (bytes(first), bytes(second), bytes(third)) == (b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")


@pytest.mark.parametrize("size", [-1, LARGEST + 1, (1 << 31) - 1])
def test_sizes_that_cannot_be(size: int) -> None:
    framer = Framer(LARGEST)
    framer.buffer()[:4] = size.to_bytes(4, "big", signed=True)
    with pytest.raises(FrameTooLargeError, match=str(size)):
        list(framer.received(4))


def test_a_size_that_is_only_claimed_takes_no_memory() -> None:
    framer = Framer(1 << 31)
    framer.buffer()[:4] = (1 << 30).to_bytes(4, "big")
    assert list(framer.received(4)) == []
    assert len(framer.buffer()) <= 4 << 20
