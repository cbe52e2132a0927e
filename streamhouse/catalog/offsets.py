"""What callers say of groups: names, and the offsets that shall be committed for partitions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from streamhouse import limits
from streamhouse.catalog.catalog import Catalog
from streamhouse.errors import InvalidInputError, OffsetOutOfRangeError
from streamhouse.records import OffsetAndMetadata, is_unicode, whole_number


def check_group_name(name: object) -> None:
    """Refuse what is no name of a group.

    Raises:
        InvalidInputError: It is not text of 1 to 255 characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= limits.GROUP_NAME_CHARS_MAX:
        raise InvalidInputError(
            f"a group is named by 1 to {limits.GROUP_NAME_CHARS_MAX} characters of text, not {name!r}"
        )
    check_encodable("group", name)


def check_metadata(metadata: object) -> None:
    """Refuse what cannot be noted with an offset.

    Raises:
        InvalidInputError: It is no text, or too long.
    """
    if not isinstance(metadata, str):
        raise InvalidInputError(f"metadata must be text, not {metadata!r}")
    check_encodable("metadata", metadata)
    size = len(metadata.encode())
    if size > limits.OFFSET_METADATA_BYTES_MAX:
        raise InvalidInputError(
            f"metadata may have {limits.OFFSET_METADATA_BYTES_MAX} bytes, not {size:,}; keep it elsewhere"
        )


def check_encodable(name: str, value: str) -> None:
    """Refuse text that UTF-8 has no bytes for.

    Raises:
        InvalidInputError: There is half a surrogate pair in it.
    """
    if not is_unicode(value):
        raise InvalidInputError(f"{name} {value!r} is no valid text (half a surrogate pair)")


def checked_place(place: object) -> tuple[str, int]:
    """Topic and number of a partition.

    Raises:
        InvalidInputError: It is no pair of these.
    """
    match place:
        case (str() as topic, number):
            with suppress(TypeError):
                return topic, whole_number(number)
    raise InvalidInputError(f"a partition is a pair of topic and number, not {place!r}")


def checked_offset(place: object, wanted: object, metadata: str) -> tuple[int, str]:
    """The next offset wanted of a partition, and what to note with it.

    Args:
        place: The partition, for messages.
        wanted: An offset, or a pair of it and a text.
        metadata: What to note where nothing is said.

    Raises:
        InvalidInputError: It is neither.
    """
    offset: Any = wanted
    note: Any = metadata
    match wanted:
        case OffsetAndMetadata():
            offset, note = wanted.offset, wanted.metadata
        case (first, second):
            offset, note = first, second
    try:
        number = whole_number(offset)
    except TypeError:
        number = -1
    if number < 0:
        raise InvalidInputError(
            f"the offset of {place!r} must be a whole number from 0 on, perhaps in a pair with metadata,"
            f" not {wanted!r}"
        )
    check_metadata(note)
    return number, note


def check_end(catalog: Catalog, topic: str, topic_id: int, partition: int, offset: int) -> None:
    """Refuse an offset that lies behind the end of a partition, after a look at the log.

    Raises:
        OffsetOutOfRangeError: It does.
        PartitionNotFoundError: There is no such partition.
    """
    end = catalog.high_watermark(topic_id, partition)
    if offset > end:
        catalog.refresh()
        end = catalog.high_watermark(topic_id, partition)
    if offset > end:
        raise OffsetOutOfRangeError(
            f"partition {partition} of {topic!r} ends at offset {end}; {offset} cannot be committed"
        )
