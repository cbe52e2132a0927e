"""Columns of every type that DuckDB has, with the extremes of each, sent to fields of every type."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

import streamhouse
from streamhouse.errors import InvalidRecordError

FIELDS = ["BIGINT", "UBIGINT", "DOUBLE", "DECIMAL(38,0)", "VARCHAR", "BLOB", "TIME", "TIMESTAMPTZ", "UUID"]
FIELDS += ["JSON", "INTEGER[]", "TIMESTAMP[]", "STRUCT(a INTEGER, b VARCHAR)"]
OUT_OF_RANGE = ["TIME", "TIMESTAMPTZ", "TIMESTAMP[]"]
INSIDE = ("hugeint", "JSON")  # 39 digits in a decimal of 38, on which DuckDB fails inside
CUT = {("timestamp_tz_ns", "TIMESTAMPTZ"): "make_timestamptz(epoch_ns(sent) // 1000)"}  # DuckDB rounds
NOT_IN_ARROW = ["tuple"]  # a struct there


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create table everything as from test_all_types()")
        yield connection


@pytest.mark.parametrize("field", FIELDS)
def test_what_fits_is_what_duckdb_makes_of_it(connection: duckdb.DuckDBPyConnection, field: str) -> None:
    cast = "to_json(sent)" if field == "JSON" else f"sent::{field}"
    accepted = 0
    with streamhouse.Log("memory://") as log, log.producer() as producer:
        log.create_topic("topic", schema={"sent": field})
        for name in [name for name in connection.table("everything").columns if name not in NOT_IN_ARROW]:
            relation = connection.sql(f'select "{name}" as sent from everything')
            try:
                stored = producer.send_many("topic", relation).result()
            except InvalidRecordError as error:
                if (name, field) != INSIDE:
                    assert str(error).startswith("field sent")  # noqa: PT017 - most do not fit
                continue
            accepted += 1
            where = f'where "offset" >= {stored.partitions[0].start} order by "offset"'
            found = log.sql(f"select sent::varchar from topic {where}").fetchall()
            expected = CUT.get((name, field), cast)
            assert found == relation.project(f"({expected})::varchar").fetchall(), name
            for value in (None, "bytes"):
                assert len(list(log.read("topic", start=stored.partitions[0].start, value=value))) == 3
    assert accepted or field in OUT_OF_RANGE
