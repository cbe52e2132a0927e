"""Objects of the application's classes as the dicts and plain values that a schema is checked against."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect

from streamhouse.schema.annotations import types_within

BUILTINS: Final = (bytes, bytearray, dt.datetime, dt.date, dt.time, uuid.UUID, decimal.Decimal)
"""What stays as it is."""

WITH_TIME_SPANS: Final = (*BUILTINS, dt.timedelta)


def plain(value: Any, builtins: Sequence[type] = BUILTINS) -> Any:
    """An object, or a dict that holds some, in types that a schema knows.

    A Struct has all of its fields, those too that ``omit_defaults`` leaves out of JSON: whoever reads the
    record without the class could not tell what was left out.

    Args:
        value: It may hold members of enums, what NumPy has, and ``msgspec.Raw``, too.
        builtins: What stays as it is. A time span that does so is refused by every schema, else it is text.

    Raises:
        TypeError: There is something else in it.
        ValueError: A time is none that Python has.
        msgspec.DecodeError: A ``msgspec.Raw`` is no JSON.
    """
    classes = _classes_within(value.__class__)
    # Subclasses are not cached: they may come later.
    if classes is None or (classes and any(map(type.__subclasses__, classes))):
        value = complete(value)
    return msgspec.to_builtins(value, builtin_types=builtins, enc_hook=_of_other)


def complete(value: Any) -> Any:
    """A value with dicts of all fields in the place of Structs, and of whatever may hold Structs."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, msgspec.Struct):
        return _of_struct(value)
    if isinstance(value, dict):
        return {key: complete(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return list(map(complete, value))
    if isinstance(value, type):
        return value
    if dataclasses.is_dataclass(value):
        return _fields(value, [(field.name, field.name) for field in dataclasses.fields(value)])
    if hasattr(value, "__attrs_attrs__"):
        names = [field.name for field in value.__attrs_attrs__]
        return _fields(value, [(name, name) for name in names if not name.startswith("_")])
    return value


def of_numpy(value: Any) -> Any:
    """An array of NumPy as lists, a scalar as what Python has for it; of times, only whole microseconds.

    Raises:
        TypeError: It is a time span.
        ValueError: A time lies beyond those of Python.
    """
    if value.dtype.kind == "m":
        raise TypeError(f"a {type(value).__qualname__} of time spans is no value")
    if value.dtype.kind == "M":
        if value.dtype.str.endswith(_FINER):
            value = value.astype("datetime64[us]")
        if int in map(type, value.ravel().tolist()):
            raise ValueError("a time does not lie in the years 1 to 9999")
    made = value.tolist()
    return complete(made) if value.dtype.kind == "O" else made


@lru_cache(maxsize=256)
def _classes_within(cls: type) -> tuple[type, ...] | None:
    """The classes of objects in one of that class; ``None``: nobody can tell, or some leave out defaults."""
    try:
        info = inspect.type_info(cls)
    except (TypeError, NameError):
        return None
    if not isinstance(info, _OBJECTS) or _omits(cls):
        return None
    within = list(chain.from_iterable([types_within(field.type) for field in info.fields]))
    classes = {get_origin(each.cls) or each.cls for each in within if isinstance(each, _OBJECTS)}
    if any(isinstance(each, _UNTOLD) for each in within) or any(map(_omits, classes)):
        return None
    return tuple(classes)


def _omits(cls: type) -> bool:
    return issubclass(cls, msgspec.Struct) and cls.__struct_config__.omit_defaults


def _of_struct(value: msgspec.Struct) -> Any:
    config = value.__struct_config__
    if config.array_like:
        tag = [] if config.tag is None else [config.tag]
        return [*tag, *[complete(getattr(value, name)) for name in value.__struct_fields__]]
    fields = _fields(value, zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    return fields if config.tag is None else {config.tag_field: config.tag, **fields}


def _fields(value: Any, names: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found = {}
    for attribute, name in names:
        inner = getattr(value, attribute, msgspec.UNSET)
        if inner is not msgspec.UNSET:
            found[name] = complete(inner)
    return found


def _of_other(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        return of_numpy(value)
    raise TypeError(f"{type(value).__qualname__} is no value")


_PLAIN: Final = frozenset((type(None), bool, int, float, str, *WITH_TIME_SPANS))
_FINER: Final = ("ns]", "ps]", "fs]", "as]")
_OBJECTS: Final = (inspect.StructType, inspect.DataclassType)
_UNTOLD: Final = (inspect.AnyType, inspect.RawType, inspect.CustomType)
