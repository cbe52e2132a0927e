"""Which relations a text may mean, by DuckDB's own tokens.

A log may have ten thousand topics, a query names two. The text is cut into tokens, and every one that
could be the name of a relation is looked up. That finds too much rather than too little (a column called
like a topic, say), which costs a registration and changes nothing.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any, Final

import msgspec

SPACES: Final = frozenset(
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u205f\u2060\u3000\ufeff"
)
"""What DuckDB's parser takes for a space, and its tokens for part of a name."""
_AS_BLANKS: Final = {ord(space): " " * len(space.encode()) for space in SPACES}
_BLANKS: Final = string.whitespace + "".join(sorted(SPACES))
_QUOTES: Final = frozenset("\"'`")
_NAMES: Final = ("identifier", "keyword", "string_const")


class Mentions(msgspec.Struct, frozen=True):
    """Names in a text.

    Attributes:
        names: In order of appearance, unquoted.
        qualified: Pairs of names with a dot between them.
        words: All unquoted words, in lower case.
    """

    names: tuple[str, ...]
    qualified: tuple[tuple[str, str], ...]
    words: frozenset[str]

    def of_schema(self, schema: str) -> list[str]:
        """The names that stand after a schema's name and a dot."""
        return [name for first, name in self.qualified if first.lower() == schema]


def find_mentions(text: str) -> Mentions:
    """The names in a text; none of those in a text that is no SQL are of any use."""
    pieces = [(word, kind in _NAMES) for word, kind in words(text)]
    names = [word for word, is_name in pieces if is_name]
    qualified = [
        (unquoted(first), unquoted(last))
        for (first, is_name), (dot, _), (last, is_last) in zip(pieces, pieces[1:], pieces[2:], strict=False)
        if dot == "." and is_name and is_last
    ]
    return Mentions(
        tuple(dict.fromkeys(map(unquoted, names))),
        tuple(qualified),
        frozenset(name.lower() for name in names if name[0] not in _QUOTES),
    )


def without_end(text: str) -> str:
    """The text without what may stand behind a statement: semicolons and comments."""
    pieces = list(tokens(text))
    while pieces and (pieces[-1][1] == "comment" or pieces[-1][0].strip(_BLANKS) in {"", ";"}):
        pieces.pop()
    return "".join([piece for piece, _ in pieces])


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """The tokens of a text, each with what is between it and the next one, and its kind in DuckDB's words."""
    import duckdb

    encoded = text.encode(errors="replace")  # positions count bytes
    found: list[tuple[int, Any]] = duckdb.tokenize(encoded.decode().translate(_AS_BLANKS))
    if not found:
        return
    begins = [0, *(position for position, _ in found[1:])]
    for (_, kind), begin, end in zip(found, begins, [*begins[1:], len(encoded)], strict=True):
        yield encoded[begin:end].decode(errors="replace"), kind.name


def words(text: str) -> Iterator[tuple[str, str]]:
    """The tokens that are no comments, each alone, and its kind."""
    for token, kind in tokens(text):
        word = token.strip(_BLANKS)
        if word and kind != "comment":
            yield word, kind


def unquoted(name: str) -> str:
    """A name without its quotes, if it has any."""
    quote = name[:1]
    if quote in _QUOTES and len(name) > 1:
        return name[1:-1].replace(quote * 2, quote)
    return name
