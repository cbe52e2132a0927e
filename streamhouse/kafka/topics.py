"""Topics as Kafka's clients know them: by name or by a UUID, with a moment's patience for new ones."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import TopicNotFoundError
from streamhouse.kafka.parts import Parts

_ID_BYTES: Final = 8
_REFRESH_SECONDS: Final = 0.05
_REFUSED_SECONDS: Final = 1.0  # a stream of bad records does not cost a request each


class TopicDirectory:
    """Looks topics up for the handlers; on the loop only.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._prefix = blake2b(parts.commits.log_id.encode(), digest_size=_ID_BYTES).digest()
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def present(self, name: str) -> TopicInfo | None:
        """The topic of that name, as far as the log was read."""
        try:
            return self._parts.catalog.topic(name)
        except TopicNotFoundError:
            return None

    async def find(self, name: str) -> TopicInfo | None:
        """Likewise; where there is none, after reading the log to its end: it may be new."""
        found = self.present(name)
        if found is None and await self.look_again():
            found = self.present(name)
        return found

    async def find_all(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        """Likewise for many."""
        found = {name: self.present(name) for name in names}
        if None in found.values() and await self.look_again():
            found = {name: info or self.present(name) for name, info in found.items()}
        return found

    async def newer(self, info: TopicInfo) -> TopicInfo | None:
        """A typed topic that refuses what was sent, as it is by now; ``None``: as it was known."""
        if not info.settings.schemas:
            return None
        await self.look_again(_REFUSED_SECONDS)
        found = self.present(info.name)
        return None if found == info else found

    def all(self) -> list[TopicInfo]:
        """All of them, by name."""
        return self._parts.catalog.topics()

    def by_id(self, topic_id: uuid.UUID) -> TopicInfo | None:
        """The topic with that id, as far as the log was read."""
        number = self.number_of(topic_id)
        if number is None:
            return None
        with self._parts.commits.lock:
            topic = self._parts.commits.state.topics.get(number)
            name = None if topic is None else topic.name
        return None if name is None else self.present(name)

    def number_of(self, topic_id: uuid.UUID | None) -> int | None:
        """The number behind an id; ``None``: another log's."""
        if topic_id is None or topic_id.bytes[:_ID_BYTES] != self._prefix:
            return None
        return int.from_bytes(topic_id.bytes[_ID_BYTES:], "big")

    def id_of(self, info: TopicInfo) -> uuid.UUID:
        """The id of a topic. One that is made anew under a name has another."""
        return self.id_of_number(info.id)

    def id_of_number(self, number: int) -> uuid.UUID:
        """Likewise, for a number that the log has given."""
        return uuid.UUID(bytes=self._prefix + number.to_bytes(_ID_BYTES, "big"))

    async def look_again(self, pause: float = _REFRESH_SECONDS) -> bool:
        """Read the log to its end, unless that was done a moment ago; whether it was done."""
        if self._looking is not None:
            await asyncio.shield(self._looking)
            return True
        now = self._parts.loop.time()
        if now - self._looked_at < pause:
            return False
        self._looked_at = now
        self._looking = self._parts.loop.create_task(self._parts.refresh())
        try:
            await asyncio.shield(self._looking)
        finally:
            self._looking = None
        return True
