"""Retention: how far a partition's log start may move. Pure.

As in Kafka whole blocks go, from the oldest on: those whose newest record is older than ``retention_ms``, and
those without which there are still ``retention_bytes``. A block whose newest record is young keeps all after
it, too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate

from streamhouse.commits.state import PartitionState
from streamhouse.config import TopicSettings


def new_log_start(partition: PartitionState, settings: TopicSettings, now_ms: int) -> int:
    """Where the log of a partition should begin; the present log start when nothing may go."""
    if not settings.deletes:
        return partition.log_start
    gone = 0
    if settings.retention_ms is not None:
        gone = bisect_left(partition.timestamps, now_ms - settings.retention_ms)
    if settings.retention_bytes is not None:
        ends = list(accumulate(partition.lengths))
        surplus = (ends[-1] if ends else 0) - settings.retention_bytes
        gone = max(gone, bisect_right(ends, surplus))
    if not gone:
        return partition.log_start
    bases = partition.base_offsets
    return bases[gone] if gone < len(bases) else partition.high_watermark
