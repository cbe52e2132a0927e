"""What a prompt offers while one writes: topics, their columns, tables about the log, words of SQL.

DuckDB's own completion is an extension that has to be downloaded, and it would not know topics, which are
made known to DuckDB only when a query names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from streamhouse.sql.database import quoted
from streamhouse.sql.tables import SCHEMA, TABLES

_WORD: Final = re.compile(r'(?:(?P<table>[\w-]+|"[^"]+")\.)?(?P<word>"[^"]*|[\w]*)$')
_ALIAS: Final = re.compile(
    r'\b(?:from|join)\s+(?:(?P<schema>\w+)\.)?(?P<name>"[^"]+"|[\w-]+)(?:\s+(?:as\s+)?(?P<alias>\w+))?',
    re.IGNORECASE,
)
_BEFORE_RELATIONS: Final = frozenset(
    ("from", "join", "describe", "summarize", "table", "copy", "\\d", ".columns")
)
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")
_WORD_CHARS_MIN: Final = 2  # of SQL's words, which are many


class SqlCompleter(Completer):
    """Completes SQL.

    Args:
        topics: Names of the topics, as they are now.
        columns: Names of a relation's columns; none if there is no such relation.
        words: Words of SQL and functions; asked for once.
    """

    def __init__(
        self,
        topics: Callable[[], Iterable[str]],
        columns: Callable[[str, str], Sequence[str]],
        words: Callable[[], Iterable[str]],
    ) -> None:
        self._topics = topics
        self._columns = columns
        self._words = words
        self._known_words: Sequence[str] | None = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002
        """What may stand at the cursor, the likeliest first."""
        before = document.text_before_cursor
        found = _WORD.search(before)
        assert found is not None  # it matches nothing at all, too
        word = found["word"]
        offered = self._offered(document.text, before[: found.start()], found["table"], word)
        seen = set()
        for name, kind in offered:
            if name not in seen and _fits(name, word):
                seen.add(name)
                yield Completion(name, -len(word), display_meta=kind)

    def _offered(self, text: str, before: str, table: str | None, word: str) -> Iterator[tuple[str, str]]:
        relations = _relations_in(text)
        if table is not None:
            yield from self._after_dot(table, relations)
            return
        if _last_word(before) in _BEFORE_RELATIONS:
            yield from self._relations()
            return
        for schema, name in dict.fromkeys(relations.values()):
            for column in self._columns(schema, name):
                yield _written(column), f"column of {name}"
        if word:
            yield from self._relations()
        if len(word) >= _WORD_CHARS_MIN:
            if self._known_words is None:
                self._known_words = sorted(self._words())
            for each in self._known_words:
                yield each.upper() if word.isupper() else each, ""

    def _relations(self) -> Iterator[tuple[str, str]]:
        for topic in self._topics():
            yield _written(topic), "topic"
        yield f"{SCHEMA}.", "tables about the log"
        yield "raw.", "topics with keys and values as bytes"

    def _after_dot(self, table: str, relations: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, str]]:
        name = table.strip('"')
        if name.lower() == SCHEMA:
            yield from ((each, "table") for each in TABLES)
        elif name.lower() == "raw":
            yield from ((_written(topic), "topic") for topic in self._topics())
        else:
            schema, relation = relations.get(name.lower(), ("", name))
            yield from ((_written(column), "") for column in self._columns(schema, relation))


def _relations_in(text: str) -> dict[str, tuple[str, str]]:
    """The relations that a text names, by the names that stand for them in it."""
    found: dict[str, tuple[str, str]] = {}
    for match in _ALIAS.finditer(text):
        place = (match["schema"] or "", match["name"].strip('"'))
        found[place[1].lower()] = place
        if match["alias"]:
            found[match["alias"].lower()] = place
    return found


def _last_word(text: str) -> str:
    words = text.lower().split()
    return words[-1] if words else ""


def _fits(name: str, word: str) -> bool:
    bare = word.lstrip('"').lower()
    return name.lstrip('"').lower().startswith(bare) and name.lower() != word.lower()


def _written(name: str) -> str:
    """A name as it has to be written."""
    return name if _PLAIN.fullmatch(name) else quoted(name)


def columns_of_log(log: Any, schema: str, name: str) -> Sequence[str]:
    """The columns of a relation of a log; none if there is no such relation."""
    try:
        relation = f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
        columns: list[str] = log.sql(f"select * from {relation} limit 0").columns  # noqa: S608
    except Exception:  # noqa: BLE001 - what is being written need not make sense yet
        return []
    return columns


def words_of_duckdb(log: Any) -> list[str]:
    """Keywords, and functions that have a name one can write."""
    query = """
        select keyword_name from duckdb_keywords()
        union select function_name from duckdb_functions() where function_name ~ '^[a-z][a-z0-9_]*$'
    """
    return [word for (word,) in log.sql(query).fetchall()]
