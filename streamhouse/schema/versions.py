"""The versions of a topic's schema, as its settings keep them."""

from __future__ import annotations

import msgspec

from streamhouse.config import TopicSettings
from streamhouse.errors import IncompatibleSchemaError
from streamhouse.schema.evolution import check_evolution
from streamhouse.schema.model import Schema, load


def schema_of(settings: TopicSettings) -> Schema | None:
    """The present schema; ``None``: values are bytes.

    Raises:
        UnsupportedFormatError: A newer StreamHouse wrote it.
    """
    return load(settings.schemas[-1]) if settings.schemas else None


def evolved(name: str, settings: TopicSettings, schema: Schema) -> TopicSettings:
    """The settings of a topic with another schema.

    Args:
        name: Of the topic, for messages.
        settings: The present ones.
        schema: The new one.

    Raises:
        IncompatibleSchemaError: Stored records could not be read through it.
    """
    present = schema_of(settings)
    if present is None:
        raise IncompatibleSchemaError(
            f"topic {name!r} was made without a schema, and what it holds may be anything; make another topic"
            " with schema= and copy the records"
        )
    if present == schema:
        return settings
    check_evolution(present, schema)
    return msgspec.structs.replace(settings, schemas=(*settings.schemas, schema.text))
