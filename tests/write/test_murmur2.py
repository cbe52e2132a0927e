from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.write.murmur2 import LANE_BYTES, LANES_MAX, murmur2, murmur2_lanes

GOLDEN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def lanes_to_signed(number: int, count: int) -> list[int]:
    words = memoryview(number.to_bytes(LANE_BYTES * count, "little")).cast("Q").tolist()
    return [word - (1 << 32) if word >> 31 else word for word in words]


@pytest.mark.parametrize("key", GOLDEN)
def test_agrees_with_kafka(key: bytes) -> None:
    assert murmur2(key) == GOLDEN[key]


@pytest.mark.parametrize("key", GOLDEN)
def test_lanes_agree_with_kafka(key: bytes) -> None:
    assert lanes_to_signed(murmur2_lanes([key]), 1) == [GOLDEN[key]]


@pytest.mark.parametrize("length", range(71))
def test_lanes_agree_with_one_by_one_for_every_length(length: int) -> None:
    # Extremes in neighbouring lanes: a carry or a shift that leaks would show here.
    keys = [bytes([fill]) * length for fill in (0, 255, 127, 128, 255, 1)]
    keys += [bytes((7 * i + j * j) & 255 for j in range(length)) for i in range(50)]
    assert lanes_to_signed(murmur2_lanes(keys), len(keys)) == list(map(murmur2, keys))


def test_lanes_take_as_many_as_they_say() -> None:
    keys = [b"%08d" % number for number in range(LANES_MAX)]
    assert lanes_to_signed(murmur2_lanes(keys), LANES_MAX) == list(map(murmur2, keys))


@settings(max_examples=50)
@given(st.integers(0, 70).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=1)))
def test_lanes_agree_with_one_by_one(keys: list[bytes]) -> None:
    assert lanes_to_signed(murmur2_lanes(keys), len(keys)) == list(map(murmur2, keys))
