"""Taking what a query mentions out of the state, all of it as of the same commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from streamhouse.commits.state import State
from streamhouse.sql import tables
from streamhouse.sql.mentions import Mentions
from streamhouse.sql.snapshot import TopicView, same_name, view_of
from streamhouse.sql.tables import Row, Surroundings


class Capture(msgspec.Struct, frozen=True):
    """The relations of a query as of one commit.

    Attributes:
        commit: Its number.
        topics: By name.
        tables: Rows of the tables in the schema ``streamhouse``.
        ambiguous: Names that could mean several topics, since DuckDB knows no upper and lower case.
    """

    commit: int
    topics: Mapping[str, TopicView]
    tables: Mapping[str, Iterable[Row]]
    ambiguous: Mapping[str, list[str]]

    def only(self, windows: Mapping[str, Mapping[int, range]]) -> Capture:
        """The same with some topics cut down to some offsets."""
        topics = {
            name: topic.only(windows[name]) if name in windows else topic
            for name, topic in self.topics.items()
        }
        return msgspec.structs.replace(self, topics=topics)


class Names:
    """Finds topics by name without upper and lower case; made anew when topics came or went."""

    def __init__(self) -> None:
        self._key = (-1, -1)
        self._folded: dict[str, list[str]] = {}

    def find(self, state: State, name: str) -> list[str]:
        """The topics that DuckDB may mean by a name; the caller holds the lock."""
        key = (state.next_topic_id, len(state.topics))
        if key != self._key:
            folded: dict[str, list[str]] = {}
            for topic in state.topic_ids:
                folded.setdefault(topic.casefold(), []).append(topic)
            self._key, self._folded = key, folded
        return self._folded.get(name.casefold(), [])


def capture(
    state: State,
    lock: AbstractContextManager[Any],
    mentions: Mentions,
    names: Names,
    surroundings: Surroundings,
    allowed: frozenset[str] | None,
    session: int | None = None,
) -> Capture:
    """Copy what is mentioned.

    Args:
        state: The state.
        lock: Held while it is looked at.
        mentions: Names in the query; those that are no topics do not matter.
        names: The look-up that belongs to the state.
        surroundings: What tables show beside it.
        allowed: The only topics that may be seen, and no tables then; everything by default.
        session: Whose queries may be seen; those of all by default.
    """
    wanted = [name.lower() for name in mentions.of_schema(tables.SCHEMA)] if allowed is None else []
    with lock:
        found, ambiguous = _resolve(state, names, mentions.names, allowed)
        topics = {name: view_of(state, state.topics[state.topic_ids[name]]) for name in found}
        rows: dict[str, Iterable[Row]] = {
            name: make(state) for name, make in tables.OF_STATE.items() if name in wanted
        }
        if any(name in wanted for name in ("topics", *tables.OF_TOPICS)):
            views = [view_of(state, state.topics[id_]) for _, id_ in sorted(state.topic_ids.items())]
            rows["topics"] = list(tables.rows_of_topics(views, state))
            rows.update((name, make(views)) for name, make in tables.OF_TOPICS.items() if name in wanted)
        commit = state.seq
    rows.update(_of_process(wanted, surroundings, commit, session))
    return Capture(commit, topics, {name: rows[name] for name in wanted if name in rows}, ambiguous)


def _resolve(
    state: State, names: Names, mentioned: Iterable[str], allowed: frozenset[str] | None
) -> tuple[list[str], dict[str, list[str]]]:
    found: dict[str, None] = {}
    ambiguous: dict[str, list[str]] = {}
    for name in mentioned:
        topics = names.find(state, name)
        if allowed is not None:
            topics = [topic for topic in topics if topic in allowed]
        exact = [name] if name in topics else topics
        clash = same_name(name, found)
        if len(exact) > 1 or (exact and clash and exact[0] not in clash):
            for each in (name, *clash):
                found.pop(each, None)  # DuckDB would take the one for the other
                ambiguous[each] = topics
        elif exact:
            found[exact[0]] = None
    return list(found), ambiguous


def _of_process(
    wanted: list[str], surroundings: Surroundings, commit: int, session: int | None
) -> Iterator[tuple[str, Iterable[Row]]]:
    if "settings" in wanted:
        yield "settings", tables.rows_of_settings(surroundings.settings)
    if "requests" in wanted:
        yield "requests", tables.rows_of_requests(surroundings.stats())
    if "commits" in wanted:
        seen = [(seq, entry) for seq, entry in surroundings.commits() if seq <= commit]
        yield "commits", tables.rows_of_commits(seen)
    if "queries" in wanted:
        yield "queries", surroundings.queries(session)
