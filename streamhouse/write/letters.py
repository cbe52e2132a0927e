"""Records that do not fit the schema of their topic, on their way to the dead-letter topic.

The value is stored as it was sent, as bytes or as JSON, under the same key, with the same headers and two
more: ``error`` says why it is there, and ``topic`` where it should have gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from operator import add, not_
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streamhouse.errors import InvalidRecordError
from streamhouse.records import Headers
from streamhouse.schema.rows import RowDecoder
from streamhouse.write.destination import Destination, Topics
from streamhouse.write.encoder import Rows
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
        stored: The values that fit, as they wait for their block.
        destination: The topic that the others go to; ``None``: there are none.
        letters: Their values.
        notes: More headers for each of these, which say why.
    """

    fitting: Sequence[bool]
    stored: list[bytes | None]
    destination: Destination | None
    letters: list[bytes]
    notes: list[Headers]

    def kept(self, rows: Rows, decoder: RowDecoder | None) -> Rows:
        """The rows that fit.

        Args:
            rows: Keys, times and headers of all.
            decoder: That of the topic.
        """
        return Rows(
            self.stored,
            None if rows.keys is None else self._keep(rows.keys),
            rows.timestamps if isinstance(rows.timestamps, int) else self._keep(rows.timestamps),
            None if rows.headers is None else self._keep(rows.headers),
            decoder=decoder,
        )

    def dropped(self, rows: Rows) -> Rows:
        """The others.

        Args:
            rows: Keys, times and headers of all.
        """
        own = repeat(()) if rows.headers is None else self._drop(rows.headers)
        return Rows(
            self.letters,
            None if rows.keys is None else self._drop(rows.keys),
            rows.timestamps if isinstance(rows.timestamps, int) else self._drop(rows.timestamps),
            list(map(add, own, self.notes)),
        )

    def _keep(self, items: Sequence[T]) -> list[T]:
        return list(compress(items, self.fitting))

    def _drop(self, items: Sequence[T]) -> list[T]:
        return list(compress(items, map(not_, self.fitting)))


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
        noted = (*headers_tuple(headers), *_notes(destination, error))
        return Routed(letter, _letter(value, error), noted, dead=True)


def sort_out(
    serializers: Serializers, destination: Destination, values: Sequence[Any], topics: Topics
) -> Sorted | None:
    """Which of many records fit; ``None``: the topic has no dead-letter topic, so all of them have to.

    Raises:
        InvalidRecordError: A value cannot even be stored as a dead letter; the message has its position.
        TopicNotFoundError: The dead-letter topic was deleted.
    """
    if destination.topic.settings.dead_letter is None or destination.decoder is None:
        return None
    fitting: list[bool] = []
    stored: list[bytes | None] = []
    letters: list[bytes] = []
    notes: list[Headers] = []
    for index, value in enumerate(values):
        try:
            stored.append(serializers.stored(value, destination.decoder))
            fitting.append(True)
        except InvalidRecordError as error:
            letters.append(_letter(value, error, f"values[{index}]: "))
            notes.append(_notes(destination, error))
            fitting.append(False)
    letter_destination = _letter_destination(destination, topics) if letters else None
    if letters and letter_destination is None:
        return None
    return Sorted(fitting, stored, letter_destination, letters, notes)


def _letter_destination(destination: Destination, topics: Topics) -> Destination | None:
    """The dead-letter topic of a typed topic; ``None``: there is none, or it became a typed one since."""
    name = destination.topic.settings.dead_letter
    if name is None or destination.decoder is None:
        return None
    found = topics.destination(name)
    return found if found.decoder is None else None


def _notes(destination: Destination, error: InvalidRecordError) -> Headers:
    return ("error", str(error).encode()), ("topic", destination.topic.name.encode())


def _letter(value: Any, error: InvalidRecordError, which: str = "") -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return _to_json(value)
    except Exception:  # noqa: BLE001 - then not even that; the reason is the first one
        raise InvalidRecordError(f"{which}{error}") from None
