"""The fields of a typed topic as columns of its relation.

They stand beside those that every topic has. A field whose name one of these has already is called
``value_<name>``, such as ``value_timestamp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamhouse.format.blockheader import FIELD
from streamhouse.schema.model import Field, Schema

_PREFIX: Final = "value_"


def columns_of(schema: Schema | None, taken: tuple[str, ...]) -> Mapping[str, Field]:
    """The fields by the names that they have in SQL, in order.

    Args:
        schema: Of a typed topic; ``None``: there are none.
        taken: Names that columns have already.
    """
    shown: dict[str, Field] = {}
    used = set(taken)
    for field in () if schema is None else schema.fields:
        name = field.name
        while name.casefold() in used:
            name = _PREFIX + name
        used.add(name.casefold())
        shown[name] = field
    return shown


def stored_name(field: Field) -> str:
    """What blocks call a field."""
    return FIELD + field.name
