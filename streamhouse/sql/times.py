"""Timestamps that DuckDB has no number for: it keeps microseconds in 64 bits, a log milliseconds.

A record that could not be shown would keep all others of its topic from being shown. So such a time, of a
client that means nanoseconds say, is shown as the nearest that there is. Order is kept.
"""

from __future__ import annotations

from typing import Final

from streamhouse.format.columns import Columns
from streamhouse.format.integers import int64s

_MS_MAX: Final = (2**63 - 1) // 1000


def shown_times(block: Columns) -> bytes:
    """The timestamps of a block, as int64; as a rule those that are there."""
    if block.timestamp_min >= -_MS_MAX and block.timestamp_max <= _MS_MAX:
        return block.timestamps
    return b"".join(shown_time(time).to_bytes(8, "little", signed=True) for time in int64s(block.timestamps))


def shown_time(time_ms: int) -> int:
    """One timestamp, milliseconds."""
    return max(-_MS_MAX, min(time_ms, _MS_MAX))
