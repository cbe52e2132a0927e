"""Texts that DuckDB's parser would take seconds and gigabytes for are not given to it."""

from __future__ import annotations

import pytest

import streamhouse
from streamhouse.errors import QueryRefusedError
from streamhouse.sql.shapes import check_shape

NESTED = "with a as ("


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (NESTED * 8, "does not close a bracket"),
        (NESTED * 7 + "select 1 x y z" + ") select 1" * 7, "up to 4 within each other"),
        ("with recursive a as materialized (" * 5 + "select 1" + ") select 1" * 5, "up to 4 within"),
        ("with a as/**/(--\n" * 5 + "select 1" + ") select 1" * 5, "up to 4 within"),
        ("with\u00a0a\u2003as\u3000(\ufeff" * 5 + "select 1" + ") select 1" * 5, "up to 4 within"),
        ("with z as (select 1), a as (" * 5 + "select 1" + ") select 1" * 5, "up to 4 within"),
        (NESTED * 4 + "select 1" + ",a" * 500 + ") select 1" * 4, "less text in inner ones"),
        (NESTED * 2 + "select 1" + ",a" * 5000 + ") select 1" * 2, "less text in inner ones"),
        ("describe select 1 union (" * 20 + "select 1 x y z" + ")" * 20, "DESCRIBE and the like up to 9"),
        ("(summarize select 1 union " * 20 + "select 1" + ")" * 20, "DESCRIBE and the like up to 9"),
        ("with a as (desc select 1 union (" * 4 + "select 1" + ")) from a" * 4, "up to 4 within"),
        ("select " + "(" * 6000, "up to 100 brackets"),
        ("select " + "([" * 51 + "])" * 51, "up to 100 brackets"),
        ("from " + "(a join " * 1500, "up to 100 brackets"),
        ("from " + "(" * 200 + "range(1)" + ")" * 200, "up to 100 brackets"),
        ("select (1", r"does not close a bracket that it opens with \("),
        ("select 1)", r"closes a bracket with \) that was not opened"),
        ("select [1)", r"closes a bracket with \) that was not opened"),
        ("select 1 " + "+" * 4000, "up to 50 characters of operators"),
        ("select 1 " + "+/**/" * 51 + "1", "up to 50 characters of operators"),
        ("select a" + ".a" * 60, "names of up to 50 parts"),
        ("select '" + "x" * 40_000 + "'", "40,009 bytes, and a restricted session takes up to 32,768"),
        ("select\u00a0$$(with$$", "write usual spaces"),
        ("select\ufeffe'\\''", "write usual spaces"),
        ("from query(repeat('with a as (', 9))", "does not run query"),
        ("""from system.main."QUERY" /**/ ('select 1')""", "does not run query"),
        ("from `query`('select 1')", "does not run query"),
        ("select json_serialize_sql('select 1')", "does not run json_serialize_sql"),
        ("select 'select 1'.json_serialize_plan()", "does not run json_serialize_plan"),
        ("from json_execute_serialized_sql('')", "does not run json_execute_serialized_sql"),
        ("select json_transform('1', '\"' || repeat('(', 9) || '\"')", "have to be written out"),
        ("select from_json('1', $types)", "have to be written out"),
        ("select from_json('1', e'\"int\"')", "have to be written out"),
        ("select from_json('1', '{\"a\": \"w\\u0069th\"}')", "have to be written out"),
        (f"""select from_json('1', '{{"a": "int); {NESTED * 8}"}}')""", "that was not opened"),
        (f"""select '1'.from_json('["'', {NESTED * 5}1{")" * 5}"]')""", "up to 4 within"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(QueryRefusedError, match=why):
        check_shape(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "select '((', \"((\", $$((, $x$(($x$, e'\\'((', -- ((\n 1 /* (( */",
        NESTED * 4 + "select 1 as x" + ") from a" * 4,
        "with " + ", ".join(f"a{n} as (select {n} as x)" for n in range(200)) + " from a0",
        "select " + "(" * 99 + "1" + ")" * 99,
        "select 1 " + "+ 1" * 1000,
        "select " + "- " * 50 + "1",
        "describe select 1 union (" * 9 + "select 1" + ")" * 9,
        "select (select x from a order by x desc limit (select 1)) from a order by f(a) desc, (g(b)) desc",
        "select a.b.c.d, e.f" + ".abs()" * 100,
        "select * from t where x in (" + "1, " * 8000 + "1)",
        "select query, query = 'x' from streamhouse.queries where query in ('a')",
        """select from_json(value, '{"a": "DECIMAL(18, 3)", "b": ["STRUCT(x INT)"]}') from t""",
        "select\u00a0'ä\u00a0'",
    ],
)
def test_taken(text: str) -> None:
    check_shape(text)


def test_restricted_sessions_look_before_they_parse(shop: streamhouse.Log) -> None:
    refused = NESTED * 5 + "select 1 x" + ") select 1" * 5
    with shop.sql_session(restricted=True) as session:
        with pytest.raises(QueryRefusedError, match="up to 4 within each other"):
            session.sql(refused)
        taken = """select from_json('{"a": 1}', '{"a": "INT"}').a"""
        assert session.sql(taken).fetchall() == [(1,)]
        assert session.sql("select 'a'; -- (").fetchall() == [("a",)]
    assert shop.sql(refused).fetchall() == [(1,)]


def test_a_list_of_many_topics_is_not_what_a_stranger_wrote(shop: streamhouse.Log) -> None:
    for n in range(3):
        shop.create_topic(f"{n}{'x' * 200}")
    with shop.sql_session(restricted=True) as session:
        assert len(session.sql("show tables").fetchall()) == len(shop.sql("show tables").fetchall())
