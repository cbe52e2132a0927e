"""What the fold remembers of compactions by key: enough to tell which tombstones may go."""

from __future__ import annotations

import pytest

from streamhouse.commits import fold_topics
from streamhouse.commits.state import PartitionState, State, TopicState
from streamhouse.config import TopicSettings
from streamhouse.format.operations import Cleaned

DAY_MS = 86_400_000


@pytest.mark.parametrize("every_ms", [60_000, 3_600_000, DAY_MS // 6 + 1, DAY_MS // 2, 3 * DAY_MS])
def test_of_compactions_in_a_row_one_is_always_old_enough(every_ms: int) -> None:
    state = State()
    state.topics[1] = TopicState(1, "t", 1, 0, TopicSettings(cleanup_policy="compact"))
    partition = state.topics[1].partitions[0] = PartitionState()
    partition.high_watermark = 1 << 40
    time_ms = 0
    for offset in range(1, 6 * DAY_MS // min(every_ms, DAY_MS // 6) + 50):
        time_ms += every_ms
        if time_ms > 4 * DAY_MS:
            ripe = [at for _, at in partition.cleaned if time_ms - at >= DAY_MS]
            assert ripe, (time_ms, partition.cleaned)
            # No tombstone waits for much longer than it has to, either.
            assert time_ms - max(ripe) <= DAY_MS * 4 // 3 + every_ms
        fold_topics.cleaned(state, time_ms, Cleaned(1, 0, "worker", offset))
        assert partition.cleaned[-1] == (offset, time_ms)
        assert partition.cleaned == sorted(partition.cleaned)
        assert len(partition.cleaned) <= 8
