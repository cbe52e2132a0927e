"""Typed values as instances of the application's own classes."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

from streamhouse.schema.annotations import CLASSES, LISTS, without_null

_Change: TypeAlias = Callable[[Any], Any]
"""What is done to a value before msgspec converts it. Dicts are altered in place."""


class Converter:
    """Makes values of a type out of dicts.

    A field that is null, say because the record is older than the field, gets the default of the class if
    the class has one there and does not take ``None``; so do those of classes within it.

    Args:
        wanted: A msgspec Struct, a dataclass, a TypedDict or anything else that msgspec converts to.
    """

    def __init__(self, wanted: Any) -> None:
        self._wanted = wanted
        self._change = _change_of(inspect.type_info(wanted), ())

    def __call__(self, row: dict[str, Any]) -> Any:
        """The value of one record.

        Args:
            row: What it is made of, and not to be used afterwards.

        Raises:
            msgspec.ValidationError: It does not fit the type.
        """
        if self._change is not None:
            row = self._change(row)
        return msgspec.convert(row, self._wanted, builtin_types=_BUILTINS)


def _change_of(info: Any, above: tuple[type, ...]) -> _Change | None:
    """What values of a type need; ``None``: nothing."""
    info, _ = without_null(info)
    if isinstance(info, inspect.RawType):
        return _raw
    if isinstance(info, LISTS):
        item = _change_of(info.item_type, above)
        return None if item is None else partial(_in_list, item)
    if isinstance(info, inspect.DictType):
        entry = _change_of(info.value_type, above)
        return None if entry is None else partial(_in_dict, entry)
    if isinstance(info, CLASSES) and info.cls not in above:
        return _change_of_class(info, (*above, info.cls))
    return None


def _change_of_class(info: Any, above: tuple[type, ...]) -> _Change | None:
    omitted = [
        field.encode_name for field in info.fields if not field.required and not without_null(field.type)[1]
    ]
    if getattr(info, "tag_field", None) is not None:
        omitted.append(info.tag_field)
    changes = {field.encode_name: _change_of(field.type, above) for field in info.fields}
    inner = {name: change for name, change in changes.items() if change is not None}
    return partial(_in_object, omitted, inner) if omitted or inner else None


def _in_object(omitted: list[str], changes: Mapping[str, _Change], value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    for name in omitted:
        if name in value and value[name] is None:
            del value[name]
    for name, change in changes.items():
        if name in value:
            value[name] = change(value[name])
    return value


def _in_list(change: _Change, value: Any) -> Any:
    return list(map(change, value)) if isinstance(value, list) else value


def _in_dict(change: _Change, value: Any) -> Any:
    return {key: change(each) for key, each in value.items()} if isinstance(value, dict) else value


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_to_json(value))


_to_json: Final = msgspec.json.Encoder(decimal_format="number").encode
_BUILTINS: Final = (bytes, dt.datetime, dt.date, dt.time, uuid.UUID, Decimal)
