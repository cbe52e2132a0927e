"""Bounds rule out only blocks in which nothing fits, as DuckDB judges it; plans tell what is scanned once."""

from __future__ import annotations

import datetime as dt
import math
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from duckdb._sources.nodes import Binary, Col, In, Lit, Node, Postfix, Unary
from hypothesis import given, settings
from hypothesis import strategies as st

import streamhouse
from streamhouse.format.columns import ArrowColumn
from streamhouse.schema.model import Field, Schema, Type
from streamhouse.schema.rows import RowDecoder
from streamhouse.schema.shred import shred
from streamhouse.sql import bounds
from streamhouse.sql.bounds import BoundsOf, hint_of
from streamhouse.sql.scans import scanned_once

TYPES = {
    "n": (Type("integer"), st.integers(-3, 3)),
    "wide": (Type("ubigint"), st.sampled_from([0, 1, 2**63, 2**64 - 1])),
    "f": (Type("double"), st.sampled_from([-1.5, -0.0, 0.0, 2.5, float("inf"), float("-inf"), float("nan")])),
    "s": (Type("varchar"), st.sampled_from(["", "a", "ab", "b", "ü", "x" * 70])),
    "d": (Type("decimal", 6, 2), st.integers(-3, 3).map(lambda n: Decimal(n) / 4)),
    "day": (Type("date"), st.integers(1, 5).map(lambda n: dt.date(2024, 5, n))),
    "t": (Type("timestamp"), st.integers(0, 4).map(lambda n: dt.datetime(2024, 5, 1, n))),  # noqa: DTZ001
    "z": (Type("timestamptz"), st.integers(0, 4).map(lambda n: dt.datetime(2024, 5, 1, n, tzinfo=dt.UTC))),
    "c": (Type("time"), st.integers(0, 4).map(dt.time)),
    "ok": (Type("boolean"), st.booleans()),
}
SCHEMA = Schema(tuple(Field(name, type_, True) for name, (type_, _) in TYPES.items()))
FIELDS = {field.name: field for field in SCHEMA.fields}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

rows = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in TYPES.items()})


@st.composite
def comparisons(draw: st.DrawFn) -> Node:
    name = draw(st.sampled_from(sorted(TYPES)))
    type_, values = TYPES[name]
    constants = values.map(lambda value: Lit(as_duckdb_says(value), type_.sql))
    return draw(
        st.one_of(
            st.builds(
                Binary, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.just(Col((name,))), constants
            ),
            st.builds(In, st.just(Col((name,))), st.lists(constants, min_size=1, max_size=3)),
            st.builds(Postfix, st.sampled_from(["IS NULL", "IS NOT NULL"]), st.just(Col((name,)))),
        )
    )


conditions = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(Binary, st.sampled_from(["AND", "OR"]), inner, inner),
        st.builds(Unary, st.just("NOT"), inner),
    ),
    max_leaves=4,
)


def as_duckdb_says(value: Any) -> Any:
    """A constant as DuckDB hands it to a source."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return (value - EPOCH) // dt.timedelta(microseconds=1)
    return value


@pytest.fixture(scope="module")
def plain() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        columns = ", ".join(f'"{name}" {type_.sql}' for name, (type_, _) in TYPES.items())
        connection.execute(f"create table t ({columns})")
        yield connection


@given(st.lists(rows, min_size=1, max_size=4), st.lists(conditions, min_size=1, max_size=2))
@settings(max_examples=150, deadline=None)
def test_no_block_is_ruled_out_that_holds_what_fits(
    plain: duckdb.DuckDBPyConnection, records: list[dict[str, Any]], wanted: list[Node]
) -> None:
    decoder = RowDecoder(SCHEMA)
    column = shred(SCHEMA, decoder.unpack([decoder.pack(record) for record in records]))
    fits = all(may_fit(condition, lambda field: bounds_in(column, field)) for condition in wanted)
    plain.execute("truncate t")
    places = ", ".join([f"({', '.join('?' * len(TYPES))})"] * len(records))
    plain.execute(f"insert into t values {places}", [record[name] for record in records for name in TYPES])
    where = " and ".join(f"({sql_of(condition)})" for condition in wanted)
    ((found,),) = plain.execute(f"select count(*) from t where {where}").fetchall()
    assert fits or not found


def may_fit(condition: Node, bounds_of: BoundsOf) -> bool:
    hint = hint_of(condition, FIELDS)
    return hint is None or hint(bounds_of)


def sql_of(node: Node) -> str:
    """A condition for DuckDB; unlike ``fragment`` it can say infinity, too."""
    match node:
        case Col():
            return f'"{node.parts[0]}"'
        case Lit(type="TIMESTAMP WITH TIME ZONE"):
            return f"make_timestamptz({node.value})"
        case Lit():
            return f"cast('{node.value}' as {node.type})"
        case Binary():
            return f"({sql_of(node.left)} {node.op} {sql_of(node.right)})"
        case Unary() | Postfix():
            return (
                f"({sql_of(node.operand)} {node.op})" if "IS" in node.op else f"not ({sql_of(node.operand)})"
            )
        case In():
            return f"{sql_of(node.operand)} in ({', '.join(map(sql_of, node.values))})"
    raise AssertionError(node)


def bounds_in(column: ArrowColumn, field: Field) -> Any:
    child = column.child(field.name)
    assert child is not None
    return child.bounds


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        (Binary("<", Col(("n",)), Lit(10, "INTEGER")), False),
        (Binary("<=", Col(("n",)), Lit(10, "INTEGER")), True),
        (Binary("<", Col(("n",)), Lit(11, "INTEGER")), True),
        (Binary(">", Col(("n",)), Lit(20, "INTEGER")), False),
        (Binary(">=", Col(("n",)), Lit(20, "INTEGER")), True),
        (Binary("=", Col(("n",)), Lit(9, "INTEGER")), False),
        (Binary("=", Col(("n",)), Lit(15, "INTEGER")), True),
        (Binary("!=", Col(("n",)), Lit(15, "INTEGER")), True),
        (In(Col(("n",)), [Lit(9, "INTEGER"), Lit(21, "INTEGER")]), False),
        (In(Col(("n",)), [Lit(20, "INTEGER"), Lit(9, "INTEGER")]), True),
        (In(Col(("n",)), [Lit(30, "INTEGER"), Lit(12, "INTEGER"), Lit(-1, "INTEGER")]), True),
        (In(Col(("n",)), [Lit(30, "INTEGER"), Lit(12, "BIGINT"), Lit(-1, "INTEGER")]), True),
        (Binary("<", Col(("n",)), Lit(10, "BIGINT")), True),  # not the type that it should have
        (Binary("<", Col(("f",)), Lit(float("nan"), "DOUBLE")), True),  # to DuckDB NaN is the largest
        (Binary(">", Col(("other",)), Lit(20, "INTEGER")), True),
    ],
)
def test_what_bounds_say(condition: Node, fits: bool) -> None:
    assert may_fit(condition, lambda _: (10, 20)) == fits


def test_constants_are_converted_once_for_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[object] = []
    convert = bounds._in_unit

    def noted(type_: Type, literal: object) -> Any:
        converted.append(literal)
        return convert(type_, literal)

    monkeypatch.setattr(bounds, "_in_unit", noted)
    hint = hint_of(In(Col(("n",)), [Lit(n, "INTEGER") for n in range(100)]), FIELDS)
    assert hint is not None
    assert [hint(lambda _, low=low: (low, low + 5)) for low in (-9, -5, 50, 99, 100)] == [
        *(False, True, True, True, False)
    ]
    assert len(converted) == 100


def test_conditions_without_end_are_left_to_duckdb() -> None:
    condition: Node = Binary("<", Col(("n",)), Lit(10, "INTEGER"))
    for _ in range(5_000):
        condition = Binary("OR", condition, Binary("<", Col(("n",)), Lit(10, "INTEGER")))
    assert hint_of(condition, FIELDS) is None


@pytest.mark.parametrize(
    ("rows", "lone"),
    [([7], {"a"}), ([7, 8], {"a", "b"}), ([7, 7], set()), ([7, 7, 8], {"b"}), ([7, 3], set()), ([], set())],
)
def test_scans_are_told_by_their_rows(rows: list[int], lone: set[str]) -> None:
    scans = ", ".join(
        f'{{"name": "PYTHON_ARROW_SCAN", "children": [], "extra_info": {{"Estimated Cardinality": "{n}"}}}}'
        for n in rows
    )
    plan = f'[{{"name": "JOIN", "children": [{scans}], "extra_info": {{}}}}]'
    assert scanned_once(plan, {7: "a", 8: "b"}) == lone
    assert scanned_once("", {7: "a"}) == scanned_once("[{}]", {7: "a"}) == frozenset()


@pytest.fixture
def days(tmp_path: Path) -> Iterator[streamhouse.Log]:
    """Ten large blocks, one for each day."""
    with streamhouse.Log(tmp_path, cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("visits", schema={"day": "DATE", "n": "INTEGER", "who": "VARCHAR"})
        log.create_topic("people", schema={"who": "VARCHAR", "n": "INTEGER"})
        with log.producer() as producer:
            for day in range(10):
                count = 20_000
                frame = pl.DataFrame(
                    {
                        "day": [dt.date(2024, 5, 1 + day)] * count,
                        "n": range(day * count, day * count + count),
                        "who": [f"user-{number % 997}" for number in range(count)],
                    }
                )
                producer.send_many("visits", frame).result()
            producer.send_many("people", [{"who": f"user-{n}", "n": n} for n in range(997)]).result()
        yield log


@pytest.mark.parametrize(
    ("query", "answer", "read"),
    [
        ("select count(*) from visits where day = '2024-05-03'", 20_000, 1),
        ("select count(*) from visits where day > '2024-05-08'", 40_000, 2),
        ("select count(*) from visits where n in (3, 150000) and day < '2024-05-04'", 1, 1),
        ("select count(value) from visits where n = 150000", 1, 1),
        ("select sum(n) from visits where n < 0", None, 0),
        ("select count(*) from visits v join people p using (who) where v.n < 10", 10, 1),
        ("select count(*) from visits v join people p using (who) where v.n < 10 and p.n > 5", 4, 1),
        (
            "select count(*) from visits v left join people p on v.who = p.who and p.n > 5 where v.n < 10",
            10,
            1,
        ),
        ("select count(*) from raw.visits where n = 150000", 1, 1),
        # Two scans, of which one wants what the other does not:
        ("select count(*) from visits a join visits b using (n) where a.n < 10", 10, 20),
        (
            "with v as (from visits) select count(*) from v where n = (select max(n) from v where n < 9)",
            1,
            10,
        ),
        (
            "select (select count(*) from visits where n < 5) + (select max(n) from visits where n < 1)",
            5,
            20,
        ),
    ],
)
def test_blocks_that_cannot_hold_anything_are_not_read(
    days: streamhouse.Log, query: str, answer: int | None, read: int
) -> None:
    result = days.sql(query)
    assert result.fetchall() == [(answer,)]
    scans = [scan for scan in result.stats.scans if scan.topic == "visits"]
    assert sum(scan.blocks_read for scan in scans) == read
    assert sum(scan.blocks_ruled_out for scan in scans) == 10 * len(scans) - read
    if read < 10:
        assert "ruled out" in result.explain()
    assert list(result) == result.fetchall()  # each pass leaves them out anew


@pytest.mark.parametrize(
    "query",
    [
        "select v.n from {t} v left join (select distinct n from {t} where n >= 190000) l on l.n = v.n",
        "select v.n from {t} v left join (select n, max(day) from {t} where n < 9 group by n) l on l.n = v.n",
        "select distinct v.n from {t} v left join (from {t} where n > 190000) l on l.n = v.n",
        "with w as (from {t}) select w.n from w left join (select distinct n from w where n < 9) l using (n)",
        *(
            f"select v.n from (from {{t}} where n > 190000) v {join} union all select n from {{t}}"
            for join in (
                "join (select 1 as n limit 0) e on v.n = e.n",
                "semi join (select 1 as n limit 0) e on v.n = e.n",
                "asof join (select 1 as n limit 0) e on v.n >= e.n",
                "cross join (select 1 as n limit 0) e",
                "where n in (select 1 limit 0)",
            )
        ),
        "(select n from {t} where n > 190000 intersect select 1 where false) union all select n from {t}",
    ],
)
def test_the_filter_of_a_scan_that_duckdb_leaves_out_rules_nothing_out(
    days: streamhouse.Log, query: str
) -> None:
    days.sql("create table plain as select day, n from visits")
    summed = f"select count(*), sum(n) from ({query})"
    result = days.sql(summed.format(t="visits"))
    assert result.fetchall() == days.sql(summed.format(t="plain")).fetchall()
    (scan,) = result.stats.scans
    assert (scan.blocks_read, scan.blocks_ruled_out) == (10, 0)


def test_each_run_has_only_its_own_conditions(tmp_path: Path) -> None:
    """What ``now()`` was in an earlier run rules nothing out in a later one."""
    count = 5_000
    with streamhouse.Log(tmp_path, cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("jobs", schema={"due": "TIMESTAMPTZ", "pad": "VARCHAR"})
        now = dt.datetime.now(dt.UTC)
        with log.producer() as producer:
            for due in (now - dt.timedelta(hours=1), now + dt.timedelta(seconds=1)):
                rows = [{"due": due, "pad": PADS[16 * n :][:16]} for n in range(count)]
                producer.send_many("jobs", rows).result()
        query = "select count(pad) from jobs where due < now()"
        result = log.sql(query)
        result.fetchall()
        while log.sql(query).fetchall() == [(count,)]:
            time.sleep(0.1)
        assert result.fetchall() == list(result.df().itertuples(index=False, name=None)) == [(2 * count,)]
        assert len(result.stats.scans[-1].conditions) == 1


def test_a_changed_schema_is_taken_into_account(days: streamhouse.Log) -> None:
    wider = {"day": "TIMESTAMP", "n": "DECIMAL(18,3)", "who": "VARCHAR", "site": "VARCHAR"}
    days.alter_topic("visits", schema=wider)
    for where, count, read in (
        ("day = '2024-05-03'", 20_000, 1),
        ("n >= 199999.5", 0, 0),
        ("n >= 199999.0", 1, 1),
        ("site = 'x'", 0, 10),
        ("site is null", 200_000, 10),
    ):
        result = days.sql(f"select count(*) from visits where {where}")
        assert result.fetchall() == [(count,)], where
        assert result.stats.blocks_read == read, where


def test_a_condition_with_parameters(days: streamhouse.Log) -> None:
    query = "select count(*) from visits where day = $day and n % 2 = $odd"
    for day, count in ((dt.date(2024, 5, 3), 10_000), (dt.date(2030, 1, 1), 0)):
        result = days.sql(query, day=day, odd=1)
        assert result.fetchall() == [(count,)]
        assert result.stats.blocks_read == (1 if count else 0)


# --- odd values ----------------------------------------------------------------------------------------

ODD = {"v": "DOUBLE", "w": "FLOAT", "d": "DECIMAL(10,2)", "s": "VARCHAR", "t": "TIMESTAMPTZ", "i": "INTEGER"}
PADS = random.Random(1).randbytes(8 * 20_000).hex()  # hardly compresses: small blocks are read whole
CONSTANTS = {
    "v": ("'nan'::double", "0.0", "-0.0", "'inf'::double", "'-inf'::double", "1.5", "250.0", "1e300"),
    "w": ("'nan'::float", "0::float", "-0.0::float", "'inf'::float", "1.5::float"),
    "d": ("2.5", "2.50::decimal(10,2)", "99", "-1"),
    "s": ("'é3'", "'é31'", "'z'", "''"),
    "t": ("'2024-01-03'::timestamptz", "'2024-01-03 00:00:05+01'::timestamptz"),
    "i": ("10", "33", "1e10", "2.5"),
}
FLOATS = [math.nan, -0.0, 0.0, math.inf, -math.inf, 1.5, None]


def odd_block(number: int) -> list[dict[str, object]]:
    """Many of a kind, with nulls, infinities and what is no number in every other block."""
    start = dt.datetime(2024, 1, 1 + number, tzinfo=dt.UTC)
    rows: list[dict[str, object]] = []
    for n in range(20_000):
        value = FLOATS[n % 7] if number % 2 else float(number * 100 + n % 50)
        cents = Decimal(number * 100 + n % 100) / 100
        at = start + dt.timedelta(seconds=n % 90)
        row = {
            "v": value,
            "w": value,
            "d": cents,
            "s": f"é{number}{n % 30}",
            "t": at,
            "i": number * 10 + n % 7,
        }
        rows.append({**row, "pad": PADS[16 * n : 16 * n + 16]})
    return rows


def test_odd_values_compare_as_in_a_table(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path, cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("odd", schema={**ODD, "pad": "VARCHAR"})
        with log.producer() as producer:
            for number in range(4):
                producer.send_many("odd", odd_block(number)).result()
        log.sql("create table plain as select v, w, d, s, t, i from odd")
        ruled_out = 0
        for column, constants in CONSTANTS.items():
            for constant in constants:
                conditions = [f"{column} {op} {constant}" for op in ("=", "!=", "<", ">=")]
                conditions.append(f"{column} is distinct from {constant}")
                conditions.append(f"{column} in ({constant}, {constant}) or not ({column} > {constant})")
                for condition in conditions:
                    query = f"select count(*), count(v), min(i), max(i) from {{}} where {condition}"
                    result = log.sql(query.format("odd"))
                    assert result.fetchall() == log.sql(query.format("plain")).fetchall(), condition
                    ruled_out += result.stats.scans[0].blocks_ruled_out
        assert ruled_out > 50


def test_fields_that_are_called_like_columns(tmp_path: Path) -> None:
    before = {"timestamp": "INTEGER", "value": "VARCHAR", "Offset": "BIGINT", "value_value": "FLOAT"}
    before["pad"] = "VARCHAR"
    after = {**before, "timestamp": "BIGINT", "Offset": "DECIMAL(20,1)", "value_value": "DOUBLE"}
    count = 20_000
    with streamhouse.Log(tmp_path, cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("t", schema=before)
        with log.producer() as producer:
            rows = [
                {
                    "timestamp": n,
                    "value": f"v{n}",
                    "Offset": n,
                    "value_value": 0.1,
                    "pad": PADS[16 * n :][:16],
                }
                for n in range(count)
            ]
            producer.send_many("t", rows).result()
            log.alter_topic("t", schema={**after, "topic": "JSON"})
            rows = [
                {"timestamp": 2**40 + n, "Offset": n, "topic": [n], "pad": PADS[16 * n :][:16]}
                for n in range(count)
            ]
            producer.send_many("t", rows).result()
        names = [row[0] for row in log.sql("describe t").fetchall()]
        fields = ["value_timestamp", "value_value", "value_Offset", "value_value_value", "pad", "value_topic"]
        assert names[7:] == fields
        query = 'select count(*), sum("value_Offset"), min(offset), min(value_topic) from t where '
        for condition, answer, read in (
            ("value_timestamp between 5 and 7", (3, Decimal("18.0"), 5, None), 1),
            ("value_timestamp > 1099511627776 and value_timestamp < 1099511627780", (3, 6, 20_001, "[1]"), 1),
            ("value_value = 'v7'", (1, 7, 7, None), 2),  # nothing is known of a block of nulls
            ("value_value_value = 0.1::float", (20_000, 199_990_000, 0, None), 2),
            ("offset = 20003", (1, 3, 20_003, "[3]"), 1),
        ):
            result = log.sql(query + condition)
            assert result.fetchall() == [answer], condition
            assert result.stats.blocks_read == read, condition
