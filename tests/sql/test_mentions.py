"""Names and ends of texts, by DuckDB's tokens."""

from __future__ import annotations

import pytest

from streamhouse.sql.mentions import find_mentions, tokens, without_end


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_has_no_tokens(text: str) -> None:
    assert list(tokens(text)) == []
    assert find_mentions(text).names == ()
    assert without_end(text) == ""


@pytest.mark.parametrize("text", ["select 'ä', \"ö\" from t", "select 1 -- ü", "from\u00a0t"])
def test_tokens_are_the_text(text: str) -> None:
    assert "".join(token for token, _ in tokens(text)) == text


def test_what_is_no_unicode_has_tokens_all_the_same() -> None:
    assert [kind for _, kind in tokens("select '\udcff'")] == ["keyword", "string_const"]


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000"])
def test_any_space_is_one(space: str) -> None:
    mentions = find_mentions(f"select a{space} {space} from t{space}")
    assert {"a", "t"} <= {name.strip() for name in mentions.names}


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("select 1", "select 1"),
        ("select 1 ; ", "select 1 "),
        ("select 1; -- c", "select 1"),
        ("select 1 -- x\n;;/* y */ ;\u00a0", "select 1 "),
        ("-- c\nselect ';'", "-- c\nselect ';'"),
        ("select 1; select 2; --", "select 1; select 2"),
        ("; /* nothing */ ;", ""),
    ],
)
def test_a_text_without_its_end(text: str, rest: str) -> None:
    assert without_end(text) == rest
