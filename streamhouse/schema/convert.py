"""Typed values as instances of the application's own classes."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

_Defaults: TypeAlias = "dict[str, _Defaults | None]"
"""Fields that cannot be null but have a default (``None``), and those that hold such fields."""


class Converter:
    """Makes values of a type out of dicts.

    A field that is null because the record is older than the field gets the default of the class, if
    the class has one there and does not take ``None``.

    Args:
        wanted: A msgspec Struct, a dataclass, a TypedDict or anything else that msgspec converts to.
    """

    def __init__(self, wanted: Any) -> None:
        self._wanted = wanted
        self._defaults = _defaults_of(inspect.type_info(wanted), ())

    def __call__(self, row: dict[str, Any]) -> Any:
        """The value of one record.

        Raises:
            msgspec.ValidationError: It does not fit the type.
        """
        if self._defaults:
            row = _without_nulls(row, self._defaults)
        return msgspec.convert(row, self._wanted, builtin_types=_BUILTINS)


def _without_nulls(row: dict[str, Any], defaults: _Defaults) -> dict[str, Any]:
    kept = {}
    for name, value in row.items():
        if name not in defaults:
            kept[name] = value
        elif value is not None:
            inner = defaults[name]
            kept[name] = _without_nulls(value, inner) if inner and isinstance(value, dict) else value
        elif defaults[name] is not None:
            kept[name] = value
    return kept


def _defaults_of(info: Any, above: tuple[type, ...]) -> _Defaults:
    while isinstance(info, inspect.Metadata):
        info = info.type
    if not isinstance(info, inspect.StructType | inspect.DataclassType) or info.cls in above:
        return {}
    found: _Defaults = {}
    for field in info.fields:
        inner, nullable = _inner(field.type)
        if not field.required and not nullable:
            found[field.encode_name] = None
        elif deeper := _defaults_of(inner, (*above, info.cls)):
            found[field.encode_name] = deeper
    return found


def _inner(info: Any) -> tuple[Any, bool]:
    """A type without the null it allows, and whether it allows null."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        others = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        return (others[0] if len(others) == 1 else info), len(others) < len(info.types)
    return info, isinstance(info, inspect.AnyType | inspect.NoneType)


_BUILTINS: Final = (bytes, dt.datetime, dt.date, dt.time, uuid.UUID, Decimal)
