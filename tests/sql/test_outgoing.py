"""Arrow streams of results: in memory as a whole, and the error of one that DuckDB makes."""

from __future__ import annotations

import gc
from typing import Any

import duckdb
import nanoarrow as na
import polars as pl
import pyarrow as pa
import pytest

from streamhouse.sql import outgoing
from streamhouse.sql.outgoing import collected, watched

LATE = "select if(range < 150_000, range::varchar, 'oops')::int as n from range(150_001)"


class Listener:
    def __init__(self) -> None:
        self.heard: list[str | None] = []

    def tell(self, error: str | None) -> None:
        self.heard.append(error)


class Holder:
    def __init__(self, query: str, listener: Listener) -> None:
        self._query = query
        self._listener = listener

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return watched(duckdb.connect().sql(self._query).__arrow_c_stream__(), self._listener)


CONSUMERS = [pa.table, pl.DataFrame, na.Array, lambda holder: duckdb.sql("from holder").fetchall()]


@pytest.mark.parametrize("consume", CONSUMERS)
def test_consumers_that_meet_an_error(consume: Any) -> None:
    listener = Listener()
    with pytest.raises(Exception, match="Could not convert string 'oops'"):
        consume(Holder(LATE, listener))
    assert set(listener.heard) == {listener.heard[0]}
    assert str(listener.heard[0]).startswith("Conversion Error: Could not convert string 'oops'")


@pytest.mark.parametrize("consume", CONSUMERS)
def test_consumers_that_meet_none(consume: Any) -> None:
    listener = Listener()
    assert consume(Holder("select range as n from range(300_000)", listener)) is not None
    assert not listener.heard


def test_two_streams_at_once_and_one_that_nobody_listens_to() -> None:
    first, second = Listener(), Listener()
    good = pa.RecordBatchReader.from_stream(Holder("select range as n from range(300_000)", first))
    bad = pa.RecordBatchReader.from_stream(Holder(LATE, second))
    forgotten = pa.RecordBatchReader.from_stream(Holder(LATE, Listener()))
    gc.collect()
    for reader in (bad, forgotten):
        with pytest.raises(OSError, match="oops"):
            reader.read_all()
    assert good.read_all().num_rows == 300_000
    assert not first.heard
    assert second.heard


def test_listeners_are_let_go() -> None:
    listener = Listener()
    stream = watched(duckdb.connect().sql("select 1").__arrow_c_stream__(), listener)
    del listener
    gc.collect()
    assert not outgoing._listeners
    assert len(outgoing._tellers) == 1
    del stream


def test_what_is_collected_leaves_the_connection_free() -> None:
    with duckdb.connect() as connection:
        whole = collected(connection.sql("select range as n, 'a'::enum('a', 'b') as e from range(300_000)"))
        assert connection.execute("select 1").fetchall() == [(1,)]
    table = pa.table(whole)
    assert (table.num_rows, table.column("e")[299_999].as_py()) == (300_000, "a")


def test_what_cannot_be_collected() -> None:
    with duckdb.connect() as connection:
        with pytest.raises(duckdb.Error, match=r"^Conversion Error: Could not convert string 'oops'"):
            collected(connection.sql(LATE))
        assert connection.execute("select 1").fetchall() == [(1,)]
        connection.execute("set memory_limit = '10MB'; set temp_directory = ''")
        with pytest.raises(duckdb.OutOfMemoryException):
            collected(connection.sql("select md5(range::varchar) as n from range(1_000_000) order by n"))
