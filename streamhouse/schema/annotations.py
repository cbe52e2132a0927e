"""What classes say of their fields, as ``msgspec.inspect`` has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

CLASSES: Final = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
LISTS: Final = (
    inspect.ListType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.VarTupleType,
    inspect.CollectionType,
)
_WITHIN: Final = ("type", "item_type", "value_type")


def types_within(info: Any) -> Iterator[Any]:
    """A type and those that values of it are made of, each class once."""
    pending = [info]
    seen = set()
    while pending:
        each = pending.pop()
        if isinstance(each, CLASSES):
            if each.cls in seen:
                continue
            seen.add(each.cls)
            pending.extend(field.type for field in each.fields)
        else:
            pending.extend(getattr(each, "types", ()))
            pending.extend(getattr(each, "item_types", ()))
            pending.extend(getattr(each, name) for name in _WITHIN if hasattr(each, name))
        yield each


def without_null(info: Any) -> tuple[Any, bool]:
    """A type without the null it allows, and whether it allows null."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        others = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        return (others[0] if len(others) == 1 else info), len(others) < len(info.types)
    return info, isinstance(info, inspect.AnyType | inspect.NoneType)
