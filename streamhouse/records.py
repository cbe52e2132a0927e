"""The values that travel between users and the log: records, positions, acknowledgements."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")

Header: TypeAlias = tuple[str, bytes | None]
Headers: TypeAlias = tuple[Header, ...]

Position: TypeAlias = Literal["earliest", "latest"] | int | dt.datetime
"""Where to start or stop reading: an offset, a point in time, or an end of the log."""

Positions: TypeAlias = Position | Mapping[int, Position]
"""One position for all partitions, or one per partition number."""


class TopicPartition(NamedTuple):
    """A partition, named."""

    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    """How far a group has come in a partition.

    Attributes:
        offset: The next offset that it wants.
        metadata: What the committer noted with it.
        timestamp: When it was committed, milliseconds since 1970 by the committer's clock; 0 in what is
            yet to be committed.
    """

    offset: int
    metadata: str = ""
    timestamp: int = 0


class RecordMetadata(NamedTuple):
    """Where a record was stored.

    Attributes:
        topic: Name of the topic.
        partition: Number of the partition.
        offset: Offset in the partition.
        timestamp: Milliseconds since 1970, UTC.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int


class Record(msgspec.Struct, Generic[K, V], frozen=True, gc=False):
    """One record as it was read.

    Attributes:
        topic: Name of the topic.
        partition: Number of the partition.
        offset: Offset in the partition.
        timestamp: Milliseconds since 1970, UTC.
        key: What the key deserialiser made of the stored bytes; ``None`` when there is no key.
        value: Likewise; ``None`` is a tombstone, which is not the same as ``b""``.
        headers: Pairs of name and value in the order they were sent, duplicates kept.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: K
    value: V
    headers: Headers = ()

    @property
    def time(self) -> dt.datetime:
        """The timestamp as a ``datetime`` in UTC."""
        return dt.datetime.fromtimestamp(self.timestamp / 1000, tz=dt.UTC)


def whole_number(value: Any) -> int:
    """A whole number as plain ``int``, also one of NumPy or pandas.

    Raises:
        TypeError: It is none; truth values are not meant as numbers.
    """
    if type(value).__name__ in {"bool", "bool_"}:  # NumPy's had the other name, and an index
        raise TypeError("a truth value is no number")
    return operator.index(value)


def is_unicode(text: str) -> bool:
    """Whether it can be encoded: Python's strings may have halves of characters in them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe_position(position: Any) -> str:
    """The position as an error message shows it."""
    return position.isoformat() if isinstance(position, dt.datetime) else repr(position)
