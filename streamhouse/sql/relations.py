"""What the names in a query mean.

Topics come first, then what the session has (tables, views, macros), then variables of the caller. Every
token that could be the name of a topic, or of a table of the log, is looked up before DuckDB sees the query.
What only a view or a macro mentions, and variables, are looked up when DuckDB has missed them: a variable
called like a column, or like a table of the session, has nothing to do with the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any, NamedTuple

from streamhouse.commits.state import State
from streamhouse.errors import QueryError, TopicNotFoundError, nearest
from streamhouse.sql.capture import Capture, Names
from streamhouse.sql.database import missing_relation, quoted
from streamhouse.sql.mentions import Mentions, find_mentions
from streamhouse.sql.tables import SCHEMA, TABLES


class Moment(NamedTuple):
    """The log as a query sees it.

    Attributes:
        state: Its state.
        lock: Held while that is looked at.
        names: The look-up that belongs to it.
    """

    state: State
    lock: AbstractContextManager[Any]
    names: Names

    @classmethod
    def of(cls, state: State) -> Moment:
        """A state that nobody changes."""
        return cls(state, nullcontext(), Names())

    def topics(self, allowed: frozenset[str] | None) -> list[str]:
        """The topics that may be seen."""
        with self.lock:
            return [name for name in self.state.topic_ids if allowed is None or name in allowed]


class Relations:
    """The relations of one query.

    Args:
        mentions: The names in its text.
        moment: What it sees.
        again: The same moment later, for a query that has begun to run: all that it sees is of one commit.
        take: Copies what is mentioned out of a moment.
        allowed: The only topics that may be seen; all by default.
        frame: Of a caller whose variables are relations too.

    Attributes:
        mentions: The names in the query, and in the views that it reads.
        capture: What they mean in the log.
        objects: Variables that it reads, by name.
    """

    def __init__(
        self,
        mentions: Mentions,
        moment: Moment,
        again: Callable[[int], Moment] | None,
        take: Callable[[Moment, Mentions], Capture],
        allowed: frozenset[str] | None,
        frame: FrameType | None,
    ) -> None:
        self.mentions = mentions
        self.objects: dict[str, Any] = {}
        self._moment = moment
        self._again = again
        self._take = take
        self._allowed = allowed
        self._frame = frame
        self.capture = take(moment, mentions)

    def look_ahead(self, defined: Mapping[str, str]) -> None:
        """Find all that may be missed, for statements in a transaction, which a miss would abort.

        Args:
            defined: What the session has, by name, and how: the text of a view or of a macro.
        """
        folded = {name.casefold(): text for name, text in defined.items()}
        names, qualified = list(self.mentions.names), list(self.mentions.qualified)
        for name in names:  # which grows
            inner = find_mentions(folded.pop(name.casefold(), ""))
            names += [each for each in inner.names if each not in names]
            qualified += inner.qualified
        self.mentions = Mentions(tuple(names), tuple(qualified), self.mentions.words)
        self.capture = self._take(self._moment, self.mentions)
        known = {name.casefold() for name in (*defined, *self.capture.topics, *self.capture.ambiguous)}
        for name in names:
            if name.casefold() not in known and _is_table(value := self._variable(name)):
                self._check_alike(name)
                self.objects[name] = value

    def find(self, error: QueryError) -> None:
        """Find the relation that DuckDB missed.

        Args:
            error: What it said.

        Raises:
            QueryError: That is not what it said; or the name could mean several things, or a variable that
                is no relation.
            TopicNotFoundError: There is no such relation.
        """
        missing = missing_relation(error)
        if missing is None:
            raise error
        schema, _, name = missing.rpartition(":")
        topics = self._moment.topics(self._allowed)
        if self._is_of_log(schema, name, topics):
            pair = ((schema, name),) if schema else ()
            names, qualified, words = self.mentions.names, self.mentions.qualified, self.mentions.words
            self.mentions = Mentions((*names, name), (*qualified, *pair), words)
            moment = self._moment if self._again is None else self._again(self.capture.commit)
            self.capture = self._take(moment, self.mentions)
            return
        value = None if schema or name in self.capture.ambiguous else self._variable(name)
        if not _is_table(value) or name in self.objects:
            raise self._unknown(missing, name, topics, value) from error
        self._check_alike(name)
        self.objects[name] = value

    def _is_of_log(self, schema: str, name: str, topics: Iterable[str]) -> bool:
        """Whether a name is a topic or a table of the log that was not looked up yet."""
        here = schema == SCHEMA or any(name.casefold() == topic.casefold() for topic in topics)
        known = (schema, name) in (*self.mentions.qualified, ("", name)) and name in self.mentions.names
        return here and not known

    def _variable(self, name: str) -> Any:
        frame = self._frame
        return None if frame is None else frame.f_locals.get(name, frame.f_globals.get(name))

    def _check_alike(self, name: str) -> None:
        """Refuse two variables of one name but for upper and lower case, of which DuckDB would take one."""
        alike = [each for each in self.mentions.names if each.casefold() == name.casefold()]
        found = {id(value): each for each in alike if _is_table(value := self._variable(each))}
        if len(found) > 1:
            raise _indistinct("variables", found.values())

    def _unknown(self, missing: str, name: str, topics: list[str], value: Any) -> Exception:
        """What to raise for a relation that is nowhere."""
        written = f"{SCHEMA}.{name}" if (SCHEMA, name) in self.mentions.qualified else missing
        bare = written.rpartition(":")[2]
        if bare in self.capture.ambiguous:
            return _indistinct("topics", self.capture.ambiguous[bare])
        candidates = [*topics, *(f"{SCHEMA}.{table}" for table in TABLES)]
        if bare in candidates:
            return TopicNotFoundError(
                f"no relation {written!r} there; a topic is in no schema: write {quoted(bare)}"
            )
        text = f"no topic, table or variable {bare!r}{nearest(bare, candidates)}"
        if value is None or _is_table(value):
            return TopicNotFoundError(text)
        lazy = ": collect() it first" if hasattr(type(value), "collect") else ""
        return TopicNotFoundError(
            f"{text}; the variable of that name is a {type(value).__qualname__}, neither a DataFrame nor an"
            f" Arrow object{lazy}"
        )


def _indistinct(kind: str, names: Iterable[str]) -> QueryError:
    which = " and ".join(map(quoted, names))
    return QueryError(f"SQL cannot tell the {kind} {which} apart: its names have no upper and lower case")


def _is_table(value: Any) -> bool:
    if isinstance(value, type):
        return False
    kind = type(value)
    return any(hasattr(kind, name) for name in ("__arrow_c_stream__", "__arrow_c_array__"))
