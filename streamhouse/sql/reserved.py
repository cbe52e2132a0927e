"""Lets people write ``offset`` without quotes, though the word is reserved in SQL.

It is the name of a column of every topic. The clause ``offset 10`` cannot stand where an operand has to come
(after ``select``, a comma, an opening parenthesis, a comparison), and an operand has to come after it. So the
word means the column where the one is not so or the other, and is put in quotes. This is tried only on a text
that DuckDB could not parse: none that it can is changed.
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
_AFTER_OPERANDS: Final = frozenset(
    (
        *("from", "where", "group", "having", "window", "qualify", "order", "limit", "using"),
        *("union", "except", "intersect", "and", "or", "is", "in", "not", "between", "like", "ilike"),
        *("when", "then", "else", "end", "as", "asc", "desc", "nulls"),
    )
)
_OPERATORS: Final = frozenset(")]},;:=<>!*/%|&^+-")
"""First characters of those that stand after an operand."""


def quote_offset(text: str) -> str:
    """The text with ``offset`` in quotes wherever it is a column."""
    found = list(tokens(text))
    pieces = [token for token, _ in found]
    places = [place for place, (token, kind) in enumerate(found) if token.strip() and kind != "comment"]
    words = ["", *(pieces[place].strip().lower() for place in places), ""]
    for place, before, word, after in zip(places, words, words[1:], words[2:], strict=False):
        if word == _WORD and _is_column(before, after):
            written = pieces[place].strip()
            pieces[place] = pieces[place].replace(written, f'"{written}"')
    return "".join(pieces)


def _is_column(before: str, after: str) -> bool:
    if before == "$":
        return False  # a parameter of that name
    return before in _BEFORE_OPERANDS or after in _AFTER_OPERANDS or after[:1] in _OPERATORS or not after
