"""Cursors of DuckDB on which topics are registered, kept for the next query over the same ones.

Registering a topic takes DuckDB about as long as answering a small query, since it makes a view. What is
registered is therefore a :class:`~streamhouse.sql.sources.Slot`, into which each query puts the topic as it
sees it. Only a query that leaves nothing else behind on its cursor gives it back, and only once it is over.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.schema.model import Schema
from streamhouse.sql.sources import Slot, TopicSource, register

Kinds: TypeAlias = tuple[tuple[str, Schema | None, bool], ...]
"""Of each topic its name, its schema, and whether it is condensed: what DuckDB knows of a slot."""

_IDLE_MAX: Final = 4


class TopicCursor(msgspec.Struct, frozen=True):
    """A cursor and what is registered on it.

    Attributes:
        cursor: DuckDB's.
        kinds: Of the topics that may be registered when another query gets it; ``None``: none will.
        slots: What is registered, by name.
    """

    cursor: Any
    kinds: Kinds | None
    slots: dict[str, Slot] = msgspec.field(default_factory=dict)

    def place(self, name: str, source: TopicSource) -> None:
        """Let statements read a topic under a name."""
        slot = self.slots.get(name)
        if slot is not None:
            slot.source = source
        else:
            slot = self.slots[name] = Slot(source)
            register(self.cursor, name, slot)


class IdleCursors:
    """Cursors that nobody uses. Takes no lock: they come back whenever Python frees a result."""

    def __init__(self) -> None:
        self._idle: deque[TopicCursor] = deque(maxlen=_IDLE_MAX)  # the one idle for longest is dropped

    def take(self, kinds: Kinds) -> TopicCursor | None:
        """One with these topics, if there is one."""
        with suppress(IndexError):  # another thread took the last one
            for _ in range(len(self._idle)):
                each = self._idle.pop()
                if each.kinds == kinds:
                    return each
                self._idle.appendleft(each)
        return None

    def put(self, cursor: TopicCursor) -> None:
        """Keep one; what its slots held is let go."""
        for slot in cursor.slots.values():
            slot.source = None
        self._idle.append(cursor)

    def clear(self) -> None:
        """Let go of all of them."""
        self._idle.clear()
