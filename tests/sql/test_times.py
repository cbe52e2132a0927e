"""Times that DuckDB has no number for, in records that were stored before gateways refused them."""

from __future__ import annotations

import pytest

import streamhouse
from streamhouse.commits.proposal import PartBlocks
from streamhouse.format.block import encode_block
from streamhouse.format.columns import columns_from_lists

LAST_MS = 9_223_372_036_854_775
STORED = {b"least": 1 - 2**63, b"usual": 1_700_000_000_000, b"nanoseconds": 1_700_000_000_000_000_000}
SHOWN = [("least", -LAST_MS), ("usual", 1_700_000_000_000), ("nanoseconds", LAST_MS)]


@pytest.fixture
def beyond(log: streamhouse.Log) -> streamhouse.Log:
    log.create_topic("t")
    block = encode_block(columns_from_lists(None, list(STORED), list(STORED.values()), None))
    commits = log._inside.commits
    appended = commits.append(log.topic("t").id, -1, 0, [PartBlocks(0, 0, [block])])
    commits.urge()
    appended.result(timeout=30)
    return log


def test_they_are_shown_as_the_nearest(beyond: streamhouse.Log) -> None:
    rows = beyond.sql("SELECT value, epoch_ms(timestamp) FROM t ORDER BY offset").fetchall()
    assert rows == SHOWN
    assert len(beyond.sql("SELECT * FROM t").fetchall()) == 3
    assert [record.timestamp for record in beyond.read("t")] == list(STORED.values())


def test_conditions_and_order_hold(beyond: streamhouse.Log) -> None:
    late = "SELECT value, epoch_ms(timestamp) FROM t WHERE timestamp >= TIMESTAMPTZ '2023-01-01' ORDER BY 2"
    assert beyond.sql(late).fetchall() == SHOWN[1:]
    assert beyond.sql("SELECT value FROM t ORDER BY timestamp LIMIT 1").fetchone() == ("least",)


def test_so_are_the_ends(beyond: streamhouse.Log) -> None:
    ends = beyond.sql("SELECT epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM t").fetchone()
    assert ends == (-LAST_MS, LAST_MS)
    last = beyond.sql("SELECT epoch_ms(last_timestamp) FROM streamhouse.partitions WHERE topic = 't'")
    assert last.fetchone() == (LAST_MS,)
