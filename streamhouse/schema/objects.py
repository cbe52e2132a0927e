"""Objects of the application's classes as the dicts and plain values that a schema is checked against."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from streamhouse.schema.annotations import types_within


def plain(value: Any) -> Any:
    """An object, or a dict that holds some, in types that a schema knows.

    A Struct has all of its fields, those too that ``omit_defaults`` leaves out of JSON: whoever reads the
    record without the class could not tell what was left out.

    Args:
        value: It may hold members of enums, NumPy's scalars and ``msgspec.Raw``, too.

    Raises:
        TypeError: There is something else in it.
    """
    if _may_omit(value.__class__):
        value = _complete(value)
    return msgspec.to_builtins(value, builtin_types=_BUILTINS, enc_hook=_of_other)


@lru_cache(maxsize=256)
def _may_omit(cls: type) -> bool:
    """Whether there may be Structs in a value whose defaults msgspec leaves out."""
    if issubclass(cls, dict):
        return True
    try:
        info = inspect.type_info(cls)
    except (TypeError, NameError):
        return True
    return any(
        isinstance(each, inspect.StructType) and each.cls.__struct_config__.omit_defaults
        for each in types_within(info)
    )


def _complete(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.array_like:
            return value
        fields = _fields(value, zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
        return fields if config.tag is None else {config.tag_field: config.tag, **fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, [(field.name, field.name) for field in dataclasses.fields(value)])
    if isinstance(value, dict):
        return {key: _complete(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return list(map(_complete, value))
    return value


def _fields(value: Any, names: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found = {}
    for attribute, name in names:
        inner = getattr(value, attribute, msgspec.UNSET)
        if inner is not msgspec.UNSET:
            found[name] = _complete(inner)
    return found


def _of_other(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__qualname__} is no value")


_BUILTINS: Final = (
    bytes,
    bytearray,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    decimal.Decimal,
)
_PLAIN: Final = frozenset((type(None), bool, int, float, str, *_BUILTINS))
