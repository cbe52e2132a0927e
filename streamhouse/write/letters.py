"""Records that do not fit the schema of their topic, on their way to the dead-letter topic.

The value is stored as it was sent, as bytes or as JSON, under the same key, with the same headers and two
more: ``error`` says why it is there, and ``topic`` where it should have gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streamhouse.errors import InvalidRecordError
from streamhouse.records import Headers
from streamhouse.write.destination import Destination, Topics
from streamhouse.write.fields import headers_tuple
from streamhouse.write.serializers import Serializers

T = TypeVar("T")

_to_json: Final = msgspec.json.Encoder().encode


class Routed(NamedTuple):
    """One record, and where it goes.

    Attributes:
        destination: The topic, or its dead-letter topic.
        value: As it is stored, or waits for its block.
        headers: Those of the record, and why it is a dead letter.
        dead: Whether it is.
    """

    destination: Destination
    value: bytes | None
    headers: Any
    dead: bool


class Sorted(NamedTuple):
    """Many records: which of them fit, and those that do not.

    Attributes:
        fitting: A flag for each.
        destination: The topic that the others go to.
        values: Their values.
        headers: Their headers.
    """

    fitting: Sequence[bool]
    destination: Destination
    values: list[bytes]
    headers: list[Headers]

    def keep(self, items: Sequence[T]) -> list[T]:
        """Of one item per record those of the records that fit."""
        return list(compress(items, self.fitting))

    def drop(self, items: Sequence[T]) -> list[T]:
        """Of one item per record those of the others."""
        return [item for item, fits in zip(items, self.fitting, strict=True) if not fits]


def route(
    serializers: Serializers, destination: Destination, value: Any, headers: Any, topics: Topics
) -> Routed:
    """Where one record goes.

    Raises:
        InvalidRecordError: It cannot be stored, or does not fit and the topic has no dead-letter topic.
        TopicNotFoundError: The dead-letter topic was deleted.
    """
    try:
        return Routed(destination, serializers.stored(value, destination.decoder), headers, dead=False)
    except InvalidRecordError as error:
        letter = _letter_destination(destination, topics)
        if letter is None:
            raise
        return Routed(letter, *_letter(destination, value, headers, error), dead=True)


def sort_out(
    serializers: Serializers, destination: Destination, values: Sequence[Any], headers: Any, topics: Topics
) -> Sorted | None:
    """Which of many records fit; ``None``: all of them, or the topic has no dead-letter topic.

    Raises:
        InvalidRecordError: A value cannot even be stored as a dead letter.
        TopicNotFoundError: The dead-letter topic was deleted.
    """
    if destination.topic.settings.dead_letter is None or destination.decoder is None:
        return None
    fitting: list[bool] = []
    dead: list[bytes] = []
    why: list[Headers] = []
    many = headers is not None and not isinstance(headers, Mapping)
    for index, value in enumerate(values):
        try:
            serializers.stored(value, destination.decoder)
        except InvalidRecordError as error:
            letter, noted = _letter(destination, value, headers[index] if many else headers, error)
            dead.append(letter)
            why.append(noted)
            fitting.append(False)
        else:
            fitting.append(True)
    letter_destination = _letter_destination(destination, topics) if dead else None
    return None if letter_destination is None else Sorted(fitting, letter_destination, dead, why)


def _letter_destination(destination: Destination, topics: Topics) -> Destination | None:
    """The dead-letter topic of a typed topic; ``None``: there is none, or it became a typed one since."""
    name = destination.topic.settings.dead_letter
    if name is None or destination.decoder is None:
        return None
    found = topics.destination(name)
    return found if found.decoder is None else None


def _letter(
    destination: Destination, value: Any, headers: Any, error: InvalidRecordError
) -> tuple[bytes, Headers]:
    noted = (
        *headers_tuple(headers),
        ("error", str(error).encode()),
        ("topic", destination.topic.name.encode()),
    )
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), noted
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass"), noted
    try:
        return _to_json(value), noted
    except Exception:  # noqa: BLE001 - then not even that; the reason is the first one
        raise error from None
