"""Arrow streams of results: in memory as a whole."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from streamhouse.sql.outgoing import collected

LATE = "select if(range < 150_000, range::varchar, 'oops')::int as n from range(150_001)"


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
