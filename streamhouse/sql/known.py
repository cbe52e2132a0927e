"""What was found out about queries, for who asks the same ones again.

Before a query runs, its columns are looked up, and it may be looked at from other sides (``extremes.py``,
``scans.py``). For a small query that is as much work as running it. All of it follows from the text, from the
columns of the topics in it, and from what the session has: tables, views, macros, settings. So it is kept
until a statement runs that may change those. Nothing is kept of queries with parameters, whose types count,
of those that may read files, which others can change, and of pivots, whose columns come out of the data.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.sql.cursors import Kinds
from streamhouse.sql.mentions import Mentions
from streamhouse.sql.query import Query

Key: TypeAlias = tuple[str, Kinds]

_KEPT_MAX: Final = 256
_TEXT_CHARS_MAX: Final = 10_000
_PATH: Final = re.compile(r"""(['"])[^'"]*[./\\:*?][^'"]*\1""")
_CHANGING_WORD: Final = re.compile(r"(read|parquet|query|sniff)_.*|.*_scan|glob|query|pivot.*")


class Known(msgspec.Struct, frozen=True):
    """A query.

    Attributes:
        columns: Names of the columns of its result.
        types: DuckDB types of these.
        text: What is run in its place.
        condensed: Whether that needs no record of its topic.
        lone: Sources that it scans just once.
    """

    columns: list[str]
    types: list[Any]
    text: str
    condensed: bool
    lone: frozenset[str]

    def applied_to(self, query: Query) -> Query:
        """The query as it is run."""
        statements = query.statements if self.text == query.text else ()
        return msgspec.structs.replace(
            query, text=self.text, statements=statements, condensed=self.condensed, lone=self.lone
        )


class KnownQueries:
    """Those of a session. Safe to call from any thread.

    Attributes:
        changes: How often they were forgotten.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Known] = OrderedDict()

    def find(self, key: Key | None) -> Known | None:
        """What is known of a query."""
        if key is None:
            return None
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
            return known

    def keep(self, key: Key, known: Known, changes: int) -> None:
        """Keep what was found out since ``changes`` was read, unless something has changed meanwhile."""
        with self._lock:
            if changes == self.changes:
                self._kept[key] = known
                if len(self._kept) > _KEPT_MAX:
                    self._kept.popitem(last=False)

    def forget(self) -> None:
        """Something may have changed that queries can mean."""
        with self._lock:
            self.changes += 1
            self._kept.clear()


def key_of(query: Query, mentions: Mentions) -> Key | None:
    """By what a query is known; ``None``: what it means may change though no statement of ours changes it."""
    kinds = query.kinds
    if kinds is None or query.values is not None or len(query.text) > _TEXT_CHARS_MAX:
        return None
    if _PATH.search(query.text) or any(map(_CHANGING_WORD.fullmatch, mentions.words)):
        return None
    return query.text, kinds
