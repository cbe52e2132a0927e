import pytest

from streamhouse.testing.clock import ManualRuntime


def test_time_stands_still_until_moved() -> None:
    runtime = ManualRuntime(time_ms=1_000)
    begun = runtime.monotonic()
    assert (runtime.monotonic(), runtime.time_ms()) == (begun, 1_000)
    runtime.advance(1.5)
    assert (runtime.monotonic(), runtime.time_ms()) == (begun + 1.5, 2_500)


def test_the_wall_clock_can_jump_and_the_other_cannot() -> None:
    runtime = ManualRuntime(time_ms=10_000)
    begun = runtime.monotonic()
    runtime.jump_wall_clock(-5)
    assert (runtime.monotonic(), runtime.time_ms()) == (begun, 5_000)
    with pytest.raises(ValueError, match="backwards"):
        runtime.advance(-1)


def test_dice_fall_by_their_seed() -> None:
    first, same, other = ManualRuntime(1), ManualRuntime(1), ManualRuntime(2)
    drawn = [(r.random_bytes(8), r.uniform(0, 1)) for r in (first, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert first.random_bytes(8) != drawn[0][0]
    assert len(first.random_bytes(16)) == 16
    assert 2 <= first.uniform(2, 3) <= 3
