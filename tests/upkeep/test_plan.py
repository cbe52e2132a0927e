"""Which blocks are put together: few rewritings of each byte, full segments, apart where records expire."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from streamhouse import limits
from streamhouse.commits.state import INLINE, PartitionState, lane_object, segment_object
from streamhouse.config import TopicSettings
from streamhouse.upkeep.plan import plan

MIB = 1 << 20
KEPT = TopicSettings()


def partition_of(*blocks: tuple[str, int]) -> PartitionState:
    """Blocks by place (``i3``: inline in commit 3, ``l3``: in flush 3, ``s3``: in segment 3) and size."""
    partition = PartitionState()
    for place, size in blocks:
        number = int(place[1:])
        lane, obj = {
            "i": (INLINE, number),
            "l": lane_object(0, number, 0),
            "s": segment_object(0, number),
        }[place[0]]
        partition.add(lane, obj, 0, size, 1, (0, 0), size)
    return partition


def runs(partition: PartitionState, *, thorough: bool = False, young_from: int = 0) -> list[tuple[int, int]]:
    return [(r.start, r.stop) for r in plan(partition, KEPT, {INLINE: young_from}, thorough=thorough)]


def test_a_few_young_blocks_are_left_alone() -> None:
    assert runs(partition_of(*[(f"i{n}", 100) for n in range(63)])) == []


def test_many_small_blocks_are_put_together() -> None:
    assert runs(partition_of(*[(f"i{n}", 100) for n in range(64)])) == [(0, 64)]


def test_few_blocks_are_enough_when_they_are_large() -> None:
    assert runs(partition_of(*[("l0", 2 * MIB)] * 3)) == []
    assert runs(partition_of(*[("l0", 2 * MIB)] * 4)) == [(0, 4)]


def test_a_segment_is_not_rewritten_for_little_more() -> None:
    fresh = [(f"i{n}", 100) for n in range(64)]
    assert runs(partition_of(("s0", 3000), *fresh)) == [(1, 65)]
    assert runs(partition_of(("s0", 1600), *fresh)) == [(0, 65)]


def test_segments_of_one_size_are_put_together() -> None:
    assert runs(partition_of(*[(f"s{n}", 10_000) for n in range(3)])) == []
    assert runs(partition_of(*[(f"s{n}", 10_000) for n in range(4)])) == [(0, 4)]


def test_a_full_segment_is_left_alone_for_good() -> None:
    full = ("s0", 64 * MIB)
    assert runs(partition_of(full, full, full, full)) == []
    assert runs(partition_of(full, *[(f"i{n}", 100) for n in range(64)]), thorough=True) == [(1, 65)]


def test_much_is_cut_into_segments_between_64_and_128_mib() -> None:
    partition = partition_of(*[("l0", 3 * MIB)] * 200)
    found = plan(partition, KEPT, {})
    sizes = [sum(partition.lengths[run.start : run.stop]) for run in found]
    assert all(64 * MIB <= size < 128 * MIB for size in sizes[:-1])
    assert [run.start for run in found[1:]] == [run.stop for run in found[:-1]]
    assert found[-1].stop == 198  # what is left is not worth it yet


def test_a_segment_is_never_cut_in_two() -> None:
    blocks = [("s0", 20 * MIB)] * 3 + [("s1", 20 * MIB)] * 3 + [("i9", 100)]
    assert runs(partition_of(*blocks)) == [(0, 6)]


def test_old_blocks_are_moved_though_they_are_few() -> None:
    partition = partition_of(("s0", 5000), ("i5", 100), ("i6", 100))
    assert runs(partition, young_from=5) == []
    assert runs(partition, young_from=6) == [(1, 3)]
    assert runs(partition, thorough=True) == [(1, 3)]


def test_a_thorough_plan_has_nothing_to_add_to_its_own_work() -> None:
    assert runs(partition_of(("s0", 5000), ("s1", 100)), thorough=True) == []


def test_records_that_expire_at_other_times_stay_apart() -> None:
    settings = TopicSettings(retention_ms=800)
    partition = PartitionState()
    for number in range(200):
        partition.add(INLINE, number, 0, 100, 1, (10 * number, 10 * number), 100)
    found = plan(partition, settings, {}, thorough=True)
    assert [(run.start, run.stop) for run in found] == [(n, n + 10) for n in range(0, 200, 10)]
    assert len(plan(partition, KEPT, {}, thorough=True)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_byte_is_rewritten_a_logarithmic_number_of_times(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Blocks come, plans are carried out: rewritten bytes stay in proportion to the logarithm."""
    monkeypatch.setattr(limits, "SEGMENT_BYTES_MIN", 1 << 22)
    dice = random.Random(seed)
    blocks: list[tuple[str, int]] = []
    rewritten = total = segments = pieces_most = 0
    for number in range(20_000):
        size = dice.choice([100, 1000, 10_000]) if seed else 1000
        blocks.append((f"i{number}", size))
        total += size
        if number % 16 == 0:
            partition = partition_of(*blocks)
            for run in reversed(plan(partition, KEPT, {})):
                size = sum(size for _, size in blocks[run.start : run.stop])
                rewritten += size
                segments += 1
                blocks[run.start : run.stop] = [(f"s{segments}", size)]
            pieces_most = max(pieces_most, Counter(place[0] for place, _ in blocks)["s"])
    growths = math.log(limits.SEGMENT_BYTES_MIN / 100, 4)
    assert rewritten <= total * (growths + 1)
    assert pieces_most <= total / limits.SEGMENT_BYTES_MIN + 4 * growths  # and yet they are few
    assert sum(place[0] == "i" for place, _ in blocks) < 100
