"""Lets people write ``offset`` without quotes, though the word is reserved in SQL.

It is the name of a column of every topic. Where an operand has to come (after ``select``, a comma, an
opening parenthesis, a comparison), the clause ``offset 10`` cannot stand, so the word means the column there
and is put in quotes. This is tried only on a text that DuckDB could not parse: none that it can is changed.
"""

from __future__ import annotations

from typing import Final

from streamhouse.sql.mentions import tokens

_WORD: Final = "offset"
_BEFORE_OPERANDS: Final = frozenset(
    (
        *("select", "distinct", "where", "having", "qualify", "on", "by", "and", "or", "not", "between"),
        *("when", "then", "else", "case", "like", "ilike", "as", "exclude", "returning", "using"),
        *(",", "(", "[", "=", "==", "<", ">", "<=", ">=", "<>", "!=", "+", "-", "/", "//", "||", "::", ":"),
    )
)


def quote_offset(text: str) -> str:
    """The text with ``offset`` in quotes wherever it is a column."""
    changed = []
    before = ""
    for token, kind in tokens(text):
        word = token.strip()
        if word.lower() == _WORD and before in _BEFORE_OPERANDS:
            token = token.replace(word, f'"{word}"')  # noqa: PLW2901
        changed.append(token)
        if kind != "comment":
            before = word.lower()
    return "".join(changed)
