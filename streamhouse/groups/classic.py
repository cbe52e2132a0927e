"""What members of classic groups say of themselves: the protocol that consumers speak among each other.

Kafka's consumers hand their coordinator bytes that only they look into: what they subscribe to, and what the
one who deals out gives them. The layouts are ``ConsumerProtocolSubscription.json`` and
``ConsumerProtocolAssignment.json``; of these only the parts that all versions have are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from streamhouse.records import TopicPartition

CONSUMER: Final = "consumer"
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_FIRST_VERSION: Final = _INT16.pack(0)
_NO_DATA: Final = _INT32.pack(-1)


def subscribed_topics(subscription: bytes) -> tuple[str, ...]:
    """The topics in a subscription; none in what is no subscription."""
    try:
        return tuple(_Reader(subscription).texts())
    except (struct.error, UnicodeDecodeError, ValueError):
        return ()


def assigned_partitions(assignment: bytes) -> tuple[TopicPartition, ...]:
    """The partitions in an assignment; none in what is no assignment."""
    if not assignment:
        return ()
    reader = _Reader(assignment)
    try:
        return tuple(
            TopicPartition(topic, partition)
            for _ in range(reader.count())
            for topic in (reader.text(),)
            for partition in reader.numbers()
        )
    except (struct.error, UnicodeDecodeError, ValueError):
        return ()


def encode_subscription(topics: Iterable[str]) -> bytes:
    """A subscription, in the first version."""
    names = list(topics)
    return b"".join([_FIRST_VERSION, _INT32.pack(len(names)), *map(_text, names), _NO_DATA])


def encode_assignment(places: Iterable[TopicPartition]) -> bytes:
    """An assignment, in the first version."""
    topics: dict[str, list[int]] = {}
    for topic, partition in places:
        topics.setdefault(topic, []).append(partition)
    pieces = [_FIRST_VERSION, _INT32.pack(len(topics))]
    for topic, partitions in topics.items():
        pieces += [_text(topic), _INT32.pack(len(partitions)), *map(_INT32.pack, partitions)]
    return b"".join([*pieces, _NO_DATA])


def _text(text: str) -> bytes:
    data = text.encode()
    return _INT16.pack(len(data)) + data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = _INT16.size  # after the version

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self.count())]

    def numbers(self) -> list[int]:
        return [self._number(_INT32) for _ in range(self.count())]

    def count(self) -> int:
        count = self._number(_INT32)
        if not 0 <= count <= len(self._data):
            raise ValueError(f"{count} items in {len(self._data)} bytes")
        return count

    def text(self) -> str:
        length = self._number(_INT16)
        start = self._position
        self._position = start + length
        if length < 0 or self._position > len(self._data):
            raise ValueError(f"a text of {length} bytes")
        return self._data[start : self._position].decode()

    def _number(self, kind: struct.Struct) -> int:
        (value,) = kind.unpack_from(self._data, self._position)
        self._position += kind.size
        return int(value)
