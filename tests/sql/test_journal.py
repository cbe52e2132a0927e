"""The table ``queries``: what it says of a query whose rows are read in one way or another."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import streamhouse

LATE = "select if(range < 150_000, range::varchar, 'oops')::int as n from range(150_001)"


def entry_of(log: streamhouse.Log, text: str) -> dict[str, Any]:
    result = log.sql("from streamhouse.queries where query = $text", text=text)
    (row,) = result.fetchall()
    return dict(zip(result.columns, row, strict=True))


@pytest.fixture
def many_blocks(log: streamhouse.Log) -> streamhouse.Log:
    """A topic ``t`` of 40 blocks, of which the cache holds none; the last one has another value."""
    log.create_topic("t")
    with log.producer() as producer:
        for block in range(40):
            producer.send_many("t", [b"1" if block < 39 else b"x"] * 3000).result()
    return log


def test_a_query_whose_result_is_an_arrow_stream(many_blocks: streamhouse.Log) -> None:
    query = "select value from t"
    reader = pa.RecordBatchReader.from_stream(many_blocks.sql(query))
    reader.read_next_batch()
    row = entry_of(many_blocks, query)
    assert (row["state"], row["seconds"]) == ("running", None)
    assert row["blocks_read"] > 0
    reader.read_all()
    row = entry_of(many_blocks, query)
    assert (row["state"], row["blocks_read"], row["error"]) == ("done", 40, None)
    assert row["seconds"] > 0


def test_an_arrow_stream_that_nobody_reads_to_its_end(many_blocks: streamhouse.Log) -> None:
    query = "select value from t"
    reader = pa.RecordBatchReader.from_stream(many_blocks.sql(query))
    reader.read_next_batch()
    del reader
    row = entry_of(many_blocks, query)
    assert row["state"] == "done"
    assert row["blocks_read"] > 0


def test_an_arrow_stream_that_fails(many_blocks: streamhouse.Log) -> None:
    for query in ("select value::int from t", LATE):
        with pytest.raises(OSError, match="Could not convert"):
            pa.table(many_blocks.sql(query))
        row = entry_of(many_blocks, query)
        assert row["state"] == "failed"
        assert row["error"].startswith("QueryError: Conversion Error: Could not convert string")
    assert entry_of(many_blocks, "select value::int from t")["blocks_read"] == 40


def test_a_query_tells_of_the_pass_that_was_begun_last(many_blocks: streamhouse.Log) -> None:
    query = "select value from t"
    result = many_blocks.sql(query)
    reader = pa.RecordBatchReader.from_stream(result)
    result.fetchall()
    row = entry_of(many_blocks, query)
    assert (row["state"], row["blocks_read"]) == ("done", 40)
    first = iter(result)
    next(first)
    reader.read_all()
    assert entry_of(many_blocks, query)["state"] == "running"
    first.close()
    assert entry_of(many_blocks, query)["state"] == "done"


@pytest.mark.parametrize("restricted", [True, False])
def test_what_has_run_when_it_was_asked(many_blocks: streamhouse.Log, restricted: bool) -> None:
    query = "select count(value) from t"
    if not restricted:
        query = f"create table counted as {query}"
    with many_blocks.sql_session(restricted=restricted) as session:
        result = session.sql(query)
        row = entry_of(many_blocks, query)
        assert (row["state"], row["blocks_read"], row["commit"]) == ("done", 40, result.commit)
        assert row["bytes_read"] > 0
        result.fetchall()
        assert entry_of(many_blocks, query) == row


def test_the_last_of_several_statements_runs_when_it_is_asked_for_rows(many_blocks: streamhouse.Log) -> None:
    query = "create temp table one as select 1 as n; select count(value) from t, one"
    result = many_blocks.sql(query)
    assert entry_of(many_blocks, query)["state"] == "ready"
    assert result.fetchall() == [(120_000,)]
    row = entry_of(many_blocks, query)
    assert (row["state"], row["blocks_read"]) == ("done", 40)
