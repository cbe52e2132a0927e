"""Copying ranges, against slices."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.batches import ranges
from streamhouse.kafka.batches.ranges import copy_ranges, gather, running

lengths = st.one_of(
    st.lists(st.integers(0, 300), max_size=60),
    st.lists(st.sampled_from([0, 1, 2, 63, 64, 65, 127, 128, 2_047, 2_048, 5_000]), max_size=60),
    st.integers(0, 100).flatmap(lambda size: st.lists(st.just(size), max_size=60)),
)


@pytest.mark.parametrize("joined", [0, 1_000], ids=["elements", "slices"])
@given(lengths=lengths, seed=st.integers(0, 99))
def test_ranges_are_those_that_slices_give(joined, lengths, seed):
    dice = random.Random(seed)
    source = dice.randbytes(6_000)
    starts = [dice.randrange(len(source) - length + 1) for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_SLICED_COUNT", 0)
        patch.setattr(ranges, "_JOINED_COUNT", joined)
        offsets, found = gather(
            np.frombuffer(source, np.uint8), np.array(starts, np.int64), np.array(lengths, np.int64)
        )
    pieces = [source[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    assert found == b"".join(pieces)
    assert offsets.tolist() == [sum(lengths[:place]) for place in range(len(lengths) + 1)]


@pytest.mark.parametrize("sliced", [0, 1_000], ids=["elements", "slices"])
@given(lengths=lengths, gap=st.integers(0, 9))
def test_nothing_else_is_written(sliced, lengths, gap):
    sizes = np.array(lengths, np.int64)
    starts = running(sizes)[:-1]
    source = np.full(int(sizes.sum()), 0xBB, np.uint8)
    targets = running(sizes + gap)[:-1] + gap
    target = np.zeros(int(sizes.sum()) + gap * (len(lengths) + 1), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_SLICED_COUNT", sliced)
        copy_ranges(source, starts, target, targets, sizes)
    expected = b"".join([bytes(gap), *[b"\xbb" * length + bytes(gap) for length in lengths]])
    assert target.tobytes() == expected


@pytest.mark.parametrize("sliced", [0, 1_000], ids=["elements", "slices"])
@pytest.mark.parametrize("length", [3, 5_000])
def test_ranges_outside_of_a_buffer_are_refused(sliced, length, monkeypatch):
    monkeypatch.setattr(ranges, "_SLICED_COUNT", sliced)
    large, small = np.zeros(length + 1, np.uint8), np.zeros(length - 1, np.uint8)
    zero, size = np.array([0]), np.array([length])
    for source, starts, target, targets in (
        (small, zero, large, zero),
        (large, zero, small, zero),
        (large, zero + 2, large, zero),
        (large, zero, large, zero + 2),
    ):
        with pytest.raises(IndexError):
            copy_ranges(source, starts, target, targets, size)


@pytest.mark.parametrize("length", [3, 5_000])
def test_only_what_is_there_is_gathered(length):
    source = np.zeros(length, np.uint8)
    for lengths in ([length + 1], [1, length + 1]):
        with pytest.raises(IndexError):
            gather(source, np.zeros(len(lengths), np.int64), np.array(lengths))
