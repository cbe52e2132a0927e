"""Blocks go to liblz4 itself where they are large: the same comes of it, and the same is refused."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format import lz4blocks
from streamhouse.format.lz4blocks import decompress

LARGE = b"".join(b'{"user":"user-%d","amount":%d}' % (n % 977, n * n) for n in range(10_000))


@pytest.fixture(params=["liblz4", "package"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: as it is here, and as where the function cannot be found."""
    if request.param == "package":
        monkeypatch.setattr(lz4blocks, "_decompress_safe", None)
    return str(request.param)


def packed(raw: bytes) -> bytes:
    return bytes(lz4.block.compress(raw, store_size=False))


def test_the_function_is_found_here() -> None:
    assert lz4blocks._decompress_safe is not None


@given(st.binary(min_size=1, max_size=2000), st.integers(1, 200))
def test_what_was_compressed_comes_back(piece: bytes, times: int) -> None:
    raw = piece * times
    assert decompress(packed(raw), len(raw)) == raw
    assert lz4blocks._directly(packed(raw), len(raw)) == raw


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_will_do_and_is_let_go(either: str, make: Any) -> None:
    around = bytearray(b"before" + packed(LARGE) + b"after")
    assert decompress(make(memoryview(around)[6:-5]), len(LARGE)) == LARGE
    around.clear()  # raises BufferError if a view is left


def test_fewer_bytes_than_there_is_room_for(either: str) -> None:
    assert decompress(packed(LARGE), len(LARGE) + 1000) == LARGE


def test_more_bytes_than_there_is_room_for(either: str) -> None:
    with pytest.raises(ValueError, match="LZ4 fails"):
        decompress(packed(LARGE), len(LARGE) - 1)


def test_damage_is_refused_or_gives_bytes_but_never_writes_elsewhere(either: str) -> None:
    dice = random.Random(5)
    good = packed(LARGE)
    refused = 0
    for _ in range(500):
        bad = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        cut = bytes(bad[: dice.choice((len(bad), dice.randrange(len(bad))))])
        try:
            raw = decompress(cut, len(LARGE))
        except ValueError:
            refused += 1
        else:
            assert len(raw) <= len(LARGE)
    assert refused
    assert decompress(good, len(LARGE)) == LARGE


def test_what_is_no_buffer_is_refused(either: str) -> None:
    with pytest.raises(TypeError):
        decompress("text", len(LARGE))  # type: ignore[arg-type]


def test_from_many_threads_at_once() -> None:
    blocks = [(packed(raw), raw) for raw in (LARGE[shift:] for shift in range(64))]
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(decompress, stored, len(raw)) for stored, raw in blocks * 8]
        assert [future.result() for future in futures] == [raw for _, raw in blocks] * 8
