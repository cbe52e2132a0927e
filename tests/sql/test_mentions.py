"""Names and ends of texts, by DuckDB's tokens."""

from __future__ import annotations

import unicodedata

import duckdb
import pytest

from streamhouse.sql.mentions import SPACES, find_mentions, tokens, without_end

_BLANK = ("Cc", "Cf", "Zl", "Zp", "Zs")


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


@pytest.mark.parametrize("space", sorted(SPACES))
def test_any_space_is_one(space: str) -> None:
    text = f"{space}with{space}a{space}as (delete{space}from{space}`t`{space}) from{space}'x{space}y'{space}"
    mentions = find_mentions(text)
    assert mentions.names == ("with", "a", "as", "delete", "from", "t", f"x{space}y")
    assert mentions.words == {"with", "a", "as", "delete", "from"}


def test_spaces_are_what_duckdb_takes_for_them() -> None:
    blank = [each for each in map(chr, range(0x80, 0x10000)) if unicodedata.category(each) in _BLANK]
    assert {character for character in blank if _is_space(character)} == SPACES


def _is_space(character: str) -> bool:
    try:
        return duckdb.extract_statements(f"select{character}1") != []
    except duckdb.ParserException:
        return False


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
