"""A topic as far as producers need to know it: its id, and which partition a record goes to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.errors import (
    InvalidRecordError,
    InvalidTopicNameError,
    PartitionNotFoundError,
    StoreError,
    TopicNotFoundError,
)
from streamhouse.runtime import Runtime
from streamhouse.schema.rows import row_decoder
from streamhouse.schema.versions import schema_of
from streamhouse.write.encoder import Rows
from streamhouse.write.partitioner import Partitioner

_BYTE_VALUES: Final = 1 << 8
_LOOK_SECONDS: Final = 1.0  # a stream of bad records does not cost a request each


class Destination:
    """Where records go.

    Args:
        topic: The topic.
        runtime: Clock and randomness.
        topics: Knows what has become of it.

    Attributes:
        topic: The topic.
        decoder: What checks the values of a typed topic; ``None``: they are bytes.
    """

    def __init__(self, topic: TopicInfo, runtime: Runtime, topics: Destinations) -> None:
        self.topic = topic
        self._topics = topics
        schema = schema_of(topic.settings)
        self.decoder = None if schema is None else row_decoder(schema)
        self._partitioner = Partitioner(topic.partitions)
        self._runtime = runtime

    def check_partition(self, partition: Any) -> None:
        """Refuse a partition that the topic does not have, also after a look at the log.

        Raises:
            InvalidRecordError: It is not even a number.
            PartitionNotFoundError: There is no such partition.
        """
        if isinstance(partition, bool) or not isinstance(partition, int):
            raise InvalidRecordError(f"a partition is a whole number, not {partition!r}")
        if 0 <= partition < self.topic.partitions:
            return
        self._topics.look()
        count = self._topics.current(self.topic).partitions
        if not 0 <= partition < count:
            raise PartitionNotFoundError(
                f"topic {self.topic.name!r} has partitions 0 to {count - 1}, not {partition}"
            )

    def check_keys(self, keys: Sequence[Any] | None) -> None:
        """Look at the log if :meth:`assign` would refuse these: compaction may have been taken off."""
        if self._lacks_keys(keys):
            self._topics.look()

    @property
    def append_time(self) -> int | None:
        """The time that records get which are stored now, in milliseconds; ``None``: they keep their own."""
        return self._runtime.time_ms() if self.topic.settings.timestamp_type == "append" else None

    def stamp(self, rows: Rows) -> None:
        """Give rows the time at which they are stored, if the topic has it so; just before encoding them."""
        time_ms = self.append_time
        if time_ms is not None:
            rows.timestamps = time_ms

    def assign(self, rows: Rows) -> Sequence[int]:
        """The partition of each row by its key; those without a key share a random one.

        Raises:
            InvalidRecordError: There is no key, in a topic that keeps the latest record of each.
        """
        if self._lacks_keys(rows.keys) and self._topics.current(self.topic).settings.compacts:
            raise InvalidRecordError(
                f"topic {self.topic.name!r} is compacted, so each of its records needs a key"
            )
        last = self.topic.partitions - 1
        sticky = min(last, int(self._runtime.uniform(0, self.topic.partitions)))
        if rows.keys is None:
            return repeated(sticky, len(rows))
        return self._partitioner.assign(rows.keys, sticky)

    def _lacks_keys(self, keys: Sequence[Any] | None) -> bool:
        return self.topic.settings.compacts and (keys is None or None in keys)


class Topics(Protocol):
    """Looks topics up for those who make records storable."""

    def destination(self, name: str) -> Destination:
        """See :meth:`Destinations.find`."""

    def newer(self, destination: Destination) -> Destination | None:
        """See :meth:`Destinations.newer`."""


class Destinations:
    """The topics that a producer has met, so that a look at the catalog is not needed for each record."""

    def __init__(self, catalog: Catalog, runtime: Runtime) -> None:
        self._catalog = catalog
        self._runtime = runtime
        self._known: dict[str, Destination] = {}
        self._looking = threading.Lock()
        self._next_look = float("-inf")

    def find(self, name: str) -> Destination:
        """The topic of that name.

        Raises:
            InvalidTopicNameError: It is no name.
            TopicNotFoundError: There is none, also after reading the log to its end.
        """
        if not isinstance(name, str):
            raise InvalidTopicNameError(f"a topic is named by a str, not by {name!r}")
        known = self._known.get(name)
        if known is not None:
            now = self._catalog.current(known.topic)
            if now is known.topic:
                return known
            # Partitions were added, for one.
            known = self._known[name] = Destination(now, self._runtime, self)
            return known
        try:
            topic = self._catalog.topic(name)
        except TopicNotFoundError:
            self._catalog.refresh()
            topic = self._catalog.topic(name)
        return self._known.setdefault(name, Destination(topic, self._runtime, self))

    def newer(self, known: Destination) -> Destination | None:
        """A typed topic as it is by now, after a :meth:`look`; ``None``: as it was known.

        Raises:
            TopicNotFoundError: It was deleted.
        """
        if known.decoder is None:
            return None
        self.look()
        name = known.topic.name
        if self._catalog.topic(name) == known.topic:
            return None
        self.forget(name)
        return self.find(name)

    def forget(self, name: str) -> None:
        """Look it up again the next time: it was deleted, perhaps made anew."""
        self._known.pop(name, None)

    def current(self, topic: TopicInfo) -> TopicInfo:
        """The same topic, as far as the log was read."""
        return self._catalog.current(topic)

    def look(self) -> None:
        """Read the log to its end before something is refused, at most once a second.

        Nobody tells a process that neither commits nor reads of what others do, so what does not fit may be
        meant for a topic that somebody has altered. Without a word when the store fails, as what was known
        counts then, and where nobody may wait.
        """
        if not self._catalog.may_wait:
            return
        with self._looking:  # nobody is told that there is no news while somebody else is fetching it
            if self._runtime.monotonic() >= self._next_look:
                with suppress(StoreError):
                    self._catalog.refresh()
                self._next_look = self._runtime.monotonic() + _LOOK_SECONDS


def repeated(partition: int, count: int) -> Sequence[int]:
    """The same partition for all."""
    return bytes((partition,)) * count if partition < _BYTE_VALUES else [partition] * count
