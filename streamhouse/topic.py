"""Topics and partitions as objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from streamhouse.catalog.catalog import Catalog, PartitionInfo, TopicInfo
from streamhouse.errors import TopicNotFoundError


class Partition:
    """One partition of a topic. Figures are read from the log when they are asked for.

    Attributes:
        topic: Name of the topic.
        number: Number of the partition, from 0.
    """

    def __init__(self, catalog: Catalog, info: TopicInfo, number: int) -> None:
        self._catalog = catalog
        self._info = info
        self.topic = info.name
        self.number = number

    def __repr__(self) -> str:
        return f"Partition({self.topic!r}, {self.number})"

    @property
    def log_start(self) -> int:
        """Offset of the oldest record."""
        return self.info().log_start

    @property
    def high_watermark(self) -> int:
        """Offset that the next record will get."""
        return self.info().high_watermark

    @property
    def stored_bytes(self) -> int:
        """Bytes that its records take in the store."""
        return self.info().stored_bytes

    @property
    def raw_bytes(self) -> int:
        """Bytes of keys, values and headers before compression."""
        return self.info().raw_bytes

    def info(self) -> PartitionInfo:
        """All figures of one moment.

        Raises:
            TopicNotFoundError: The topic was deleted.
        """
        self._catalog.refresh()
        return self._catalog.partition(self._info.id, self.number)


class Topic:
    """One topic.

    Attributes:
        name: Its name.
        id: A number that no other topic has or will have, also not one of the same name.
        created: When it was made, by its maker's clock.
        partitions: Its partitions, by number.
    """

    def __init__(self, catalog: Catalog, info: TopicInfo) -> None:
        self.name = info.name
        self.id = info.id
        self.created = dt.datetime.fromtimestamp(info.created_ms / 1000, tz=dt.UTC)
        self.partitions: Sequence[Partition] = _Partitions(catalog, info)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, partitions={len(self.partitions)})"


class _Partitions(Sequence[Partition]):
    """Partitions made when they are looked at: a topic may have 100,000."""

    def __init__(self, catalog: Catalog, info: TopicInfo) -> None:
        self._catalog = catalog
        self._info = info

    def __len__(self) -> int:
        return self._info.partitions

    def __getitem__(self, index: int | slice) -> Partition | list[Partition]:  # type: ignore[override]
        numbers = range(self._info.partitions)[index]
        if isinstance(numbers, range):
            return [Partition(self._catalog, self._info, number) for number in numbers]
        return Partition(self._catalog, self._info, numbers)

    def __repr__(self) -> str:
        return f"<{len(self)} partitions of {self._info.name!r}>"


class Topics(Mapping[str, Topic]):
    """The topics of a log by name, as they are at the moment of asking."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __getitem__(self, name: str) -> Topic:
        self._catalog.refresh()
        return Topic(self._catalog, self._catalog.topic(name))

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except TopicNotFoundError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        self._catalog.refresh()
        return iter([topic.name for topic in self._catalog.topics()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<topics {', '.join(self) or '(none)'}>"
