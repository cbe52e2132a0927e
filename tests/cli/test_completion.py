"""What the prompt of ``streamctl sql`` offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

import streamhouse
from streamhouse.cli.completion import SqlCompleter, columns_of_log, words_of_duckdb
from streamhouse.cli.prompt import has_words, is_complete

Offered = Callable[[str], list[str]]


@pytest.fixture
def offered() -> Iterator[Offered]:
    """The completions at the place of ``|``."""
    with streamhouse.Log("memory://") as log:
        for name in ("orders", "orders-2024", "users"):
            log.create_topic(name)
        log.create_topic("trades", schema={"amount": "DOUBLE", "Odd name": "VARCHAR"})
        completer = SqlCompleter(
            lambda: list(log.topics), partial(columns_of_log, log), partial(words_of_duckdb, log)
        )

        def at(text: str) -> list[str]:
            before, _, after = text.partition("|")
            document = Document(before + after, len(before))
            return [found.text for found in completer.get_completions(document, CompleteEvent())]

        yield at


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("from |", ["orders", '"orders-2024"', "trades", "users", "streamhouse.", "raw."]),
        ("select 1 from or|", ["orders", '"orders-2024"']),
        ('select 1 from "ord|', ["orders", '"orders-2024"']),
        ("from orders join us|", ["users"]),
        ("FROM OR|", ["orders", '"orders-2024"']),
        ("from streamhouse.cons|", ["consumer_groups", "consumer_offsets"]),
        ("from raw.us|", ["users"]),
        ("select off| from orders", ["offset"]),
        ("select am| from trades", ["amount"]),
        ("select odd| from trades", ['"Odd name"']),
        ('select "od| from trades', ['"Odd name"']),
        ("select t.| from trades t", ["topic", "partition", "offset", "timestamp", "key"]),
        ("select trades.am| from trades", ["amount"]),
        ("select o.val| from orders as o join users u on o.|", ["value"]),
        ("select la| from streamhouse.consumer_offsets", ["lag"]),
        ("describe us|", ["users"]),
        (".columns us|", ["users"]),
    ],
)
def test_topics_and_columns(offered: Offered, text: str, first: list[str]) -> None:
    assert offered(text)[: len(first)] == first


def test_words_of_sql(offered: Offered) -> None:
    assert "select" in offered("sel|")
    assert "SELECT" in offered("SEL|")
    assert "json_extract_string" in offered("select json_ex|")
    assert offered("select x.| from nowhere x") == []
    assert "offset" not in offered("select | from nowhere")
    assert offered("s|") == ["streamhouse."]
    assert "users" not in offered("from users|")  # it stands there already


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("  \n", True),
        ("select 1", False),
        ("select 1;", True),
        ("select ';", False),
        ("select ';'", False),
        ("select ';';", True),
        ("select 1; -- done", True),
        ("select 1 -- done;", False),
        ("-- only a comment", True),
        ("select 1;\nselect 2", False),
        ("select $$;$$", False),
        (".tables", True),
        ("\\d orders", True),
    ],
)
def test_where_a_statement_ends(text: str, complete: bool) -> None:
    assert is_complete(text) == complete


def test_what_is_nothing_to_run() -> None:
    assert not has_words("-- a comment\n;;")
    assert has_words("select 1 -- a comment")
