"""Topics for asyncio."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from streamhouse import topic as _topic
from streamhouse.aio.threads import run
from streamhouse.config import TopicSettings
from streamhouse.schema.model import Schema

if TYPE_CHECKING:
    from streamhouse.sql.export import Export


class Topic:
    """Like :class:`streamhouse.Topic`."""

    def __init__(self, topic: _topic.Topic, threads: ThreadPoolExecutor) -> None:
        self._topic = topic
        self._threads = threads

    def __repr__(self) -> str:
        return f"aio.{self._topic!r}"

    def _repr_html_(self) -> str:
        return self._topic._repr_html_()

    @property
    def blocking(self) -> _topic.Topic:
        """The topic behind this one, for pictures of it in notebooks: ``plot`` and ``live``."""
        return self._topic

    @property
    def name(self) -> str:
        """Its name."""
        return self._topic.name

    @property
    def id(self) -> int:
        """A number that no other topic has or will have."""
        return self._topic.id

    @property
    def created(self) -> dt.datetime:
        """When it was made, by its maker's clock."""
        return self._topic.created

    @property
    def partitions(self) -> Sequence[_topic.Partition]:
        """Its partitions, by number, as they were when this object was made."""
        return self._topic.partitions

    @property
    def settings(self) -> TopicSettings:
        """What it keeps, as of now."""
        return self._topic.settings

    @property
    def schema(self) -> Schema | None:
        """What the values of a typed topic are, as of now; ``None``: they are bytes."""
        return self._topic.schema

    async def infer_schema(self, *, records: int = 10_000) -> Schema:
        """See :meth:`streamhouse.Topic.infer_schema`."""
        return await run(self._threads, self._topic.infer_schema, records=records)

    async def alter(self, **changes: Any) -> Topic:
        """See :meth:`streamhouse.Topic.alter`."""
        return Topic(await run(self._threads, self._topic.alter, **changes), self._threads)

    async def to_parquet(self, url: str | os.PathLike[str], **options: Any) -> Export:
        """See :meth:`streamhouse.Topic.to_parquet`."""
        return await run(self._threads, self._topic.to_parquet, url, **options)
