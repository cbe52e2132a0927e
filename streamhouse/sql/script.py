"""A text of one or several statements, as DuckDB's parser cuts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from streamhouse.errors import ClosedError, QueryError
from streamhouse.sql.database import quoted, translated
from streamhouse.sql.mentions import tokens, without_end
from streamhouse.sql.reserved import quote_offset


class Script(msgspec.Struct, frozen=True):
    """Statements.

    Attributes:
        text: All of them, as DuckDB can parse it, without semicolon and comments behind the last one.
        statements: The kind of each in DuckDB's words, such as ``SELECT``, and its text.
        parsed: Each as DuckDB's parser made it, which spares DuckDB to parse it again.
    """

    text: str
    statements: tuple[tuple[str, str], ...]
    parsed: tuple[Any, ...]

    @property
    def kinds(self) -> list[str]:
        """The kinds, in order."""
        return [kind for kind, _ in self.statements]


def parse(parser: Callable[[str], Sequence[Any]], text: str, topics: Iterable[str]) -> Script:
    """Cut a text into statements.

    Args:
        parser: DuckDB's.
        text: The text.
        topics: Names that may lack their quotes, to be pointed out.

    Raises:
        QueryError: It is no SQL, or there is no statement in it.
    """
    text = without_end(text)
    if not text:
        raise QueryError("the query is empty")
    try:
        statements = parser(text)
    except ClosedError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again when it stays one
        text, statements = _parse_again(parser, text, topics, error)
    if not statements:
        raise QueryError("the query is empty")
    kinds = tuple([(_kind(statement), str(statement.query)) for statement in statements])
    return Script(text, kinds, tuple(statements))


def with_topics_shown(text: str, topics: Iterable[str]) -> str:
    """A text with the topics in what SHOW TABLES answers, which DuckDB does not know.

    Args:
        text: Statements. It may be one of them, or stand in parentheses.
        topics: Their names.
    """
    pieces = list(tokens(text))
    words = [
        (at, token.strip().lower())
        for at, (token, kind) in enumerate(pieces)
        if kind != "comment" and token.strip()
    ]
    kept = [token for token, _ in pieces]
    for begin in range(len(words)):
        end = _end_of_show(words, begin)
        if end is not None:
            first, last = words[begin][0], words[end][0]
            kept[first : last + 1] = [_tables_shown(topics), *[" "] * (last - first)]
    return "".join(kept)


def literal(text: str) -> str:
    """A text as an SQL literal."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _end_of_show(words: Sequence[tuple[int, str]], begin: int) -> int | None:
    """The last word of a SHOW TABLES that begins there; ``None``: none does."""

    def word(at: int) -> str:
        return words[at][1] if 0 <= at < len(words) else ";"

    if word(begin) != "show":
        return None
    end = begin + (word(begin + 1) == "tables")
    around = word(begin - 1) + word(end + 1)
    return end if around == ";;" or (around == "()" and end > begin) else None


def _tables_shown(topics: Iterable[str]) -> str:
    names = ", ".join(map(literal, topics))
    return f"""
        select name from (
            select unnest([{names}]::varchar[]) as name
            union select table_name from duckdb_tables() where schema_name = 'main' and not internal
            union select view_name from duckdb_views() where schema_name = 'main' and not internal
        ) order by name
    """  # noqa: S608 - literals


def _parse_again(
    parser: Callable[[str], Sequence[Any]], text: str, topics: Iterable[str], error: Exception
) -> tuple[str, Any]:
    """Parse with what is most often forgotten put right; raises what was wrong if that is not all."""
    quoted_text = quote_offset(text)
    if quoted_text != text:
        with suppress(Exception):
            return quoted_text, parser(quoted_text)
    raised = translated(error)
    hint = _hint_of_quotes(text, topics, str(raised)) if isinstance(raised, QueryError) else ""
    raise (QueryError(f"{raised}{hint}") if hint else raised) from error


def _hint_of_quotes(text: str, topics: Iterable[str], error: str) -> str:
    """What to say when a topic's name needs quotes and has none."""
    for name in topics:
        plain = name.replace("_", "").isalnum() and not name[0].isdigit()
        reserved = f'at or near "{name.lower()}"' in error.lower()
        if (reserved or not plain) and name in text and quoted(name) not in text:
            return f"\nA name such as {name} has to be quoted: {quoted(name)}"
    return ""


def _kind(statement: Any) -> str:
    try:
        return str(statement.type.name)
    except ValueError:  # one that the Python package has no word for
        return "UNKNOWN"
