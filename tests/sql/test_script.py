"""Texts of statements."""

from __future__ import annotations

import duckdb
import pytest

from streamhouse.errors import QueryError
from streamhouse.sql.script import parse, with_topics_shown


def test_statements_and_their_kinds() -> None:
    script = parse(duckdb.connect().extract_statements, "create table t (a int); -- one\nfrom t; -- two", ())
    assert script.kinds == ["CREATE", "SELECT"]
    assert script.text == "create table t (a int); -- one\nfrom t"
    assert len(script.parsed) == 2


@pytest.mark.parametrize("text", ["", ";", " -- nothing", "/* nothing */;"])
def test_no_statement(text: str) -> None:
    with pytest.raises(QueryError, match="the query is empty"):
        parse(duckdb.connect().extract_statements, text, ())


@pytest.mark.parametrize(
    "text",
    [
        "show tables",
        "SHOW /* all */ TABLES",
        "-- all\nshow tables",
        "show",
        "select 1; show tables",
        "show tables; select 1",
        "from (show tables) where name <> 'x'",
        "copy ( show tables\n) to 'x.csv'",
    ],
)
def test_show_tables_has_the_topics(text: str) -> None:
    shown = with_topics_shown(text, ["orders", "it's"])
    assert "['orders', 'it''s']" in shown
    assert "show" not in shown.lower()
    duckdb.connect().extract_statements(shown)


@pytest.mark.parametrize(
    "text",
    [
        "select 'show tables'",
        'select "show" from t',
        "select (show) from t",
        "show all tables",
        "show orders",
        "select show, tables from t",
        "select 1 -- show tables",
    ],
)
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert with_topics_shown(text, ["orders"]) == text


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("from order", "order"),
        ("select * from Group", "Group"),
        ("from 2024orders", "2024orders"),
        ("from my-orders where", "my-orders"),
    ],
)
def test_names_that_lack_their_quotes_are_pointed_out(text: str, topic: str) -> None:
    with pytest.raises(QueryError, match=f'has to be quoted: "{topic}"'):
        parse(duckdb.connect().extract_statements, text, ["users", topic])


def test_a_reserved_name_that_is_not_at_fault_is_not_pointed_out() -> None:
    with pytest.raises(QueryError) as raised:
        parse(duckdb.connect().extract_statements, "select a from t group by a order by )", ["group"])
    assert "quoted" not in str(raised.value)
