"""Schemas out of Python classes, as msgspec understands their annotations."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

from msgspec import inspect

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema.annotations import CLASSES, LISTS
from streamhouse.schema.model import Field, Schema, Type, checked

SqlType = Callable[[str, str], Type]
"""The type that DuckDB understands by a text: path of the field, text."""

_DECIMAL: Final = Type("decimal", 38, 9)  # what BigQuery calls NUMERIC


def schema_of_class(cls: type, sql_type: SqlType) -> Schema:
    """The schema of a msgspec Struct, a dataclass or a TypedDict.

    A field with a default, or one that may be ``None``, is optional. ``Annotated[..., msgspec.Meta(extra=
    {"type": "DECIMAL(18,2)"})]`` says the type in DuckDB's words. Other constraints, and which members an
    enum or a ``Literal`` has, are no part of the schema.

    Raises:
        InvalidSchemaError: A field has a type that cannot be stored.
    """
    try:
        info = inspect.type_info(cls)
    except (TypeError, NameError) as error:
        raise InvalidSchemaError(f"{cls.__qualname__} cannot be a schema: {error}") from None
    return checked(_Reader(sql_type).fields("", info, ()))


class _Reader:
    def __init__(self, sql_type: SqlType) -> None:
        self._sql_type = sql_type

    def fields(self, path: str, info: Any, above: tuple[type, ...]) -> list[Field]:
        """The fields of a class."""
        if info.cls in above:
            raise InvalidSchemaError(
                f"field {path}: {info.cls.__qualname__} within itself has no end; use Any"
            )
        if getattr(info, "array_like", False):
            raise InvalidSchemaError(f"{info.cls.__qualname__} is array_like, so its values have no names")
        above = (*above, info.cls)
        fields = [
            self._field(path, field.encode_name, field.type, required=field.required, above=above)
            for field in info.fields
        ]
        if getattr(info, "tag_field", None):
            fields.append(Field(info.tag_field, Type("bigint" if type(info.tag) is int else "varchar"), True))
        return fields

    def _field(self, path: str, name: str, info: Any, *, required: bool, above: tuple[type, ...]) -> Field:
        path = f"{path}.{name}" if path else name
        optional = not required
        wanted = None
        while isinstance(info, inspect.Metadata):
            wanted = wanted or (info.extra or {}).get("type")
            info = info.type
        if isinstance(info, inspect.UnionType):
            inner = [each for each in info.types if not isinstance(each, inspect.NoneType)]
            optional |= len(inner) < len(info.types)
            info = _one_of(path, inner)
            if optional and isinstance(info, inspect.RawType):  # which msgspec only ever takes null for
                raise InvalidSchemaError(f"field {path}: use msgspec.Raw alone, which has null as well")
            while isinstance(info, inspect.Metadata):
                wanted = wanted or (info.extra or {}).get("type")
                info = info.type
        if isinstance(info, inspect.AnyType | inspect.RawType):
            optional = True
        if wanted is not None:
            if not isinstance(wanted, str):
                raise InvalidSchemaError(f"field {path}: a type is text such as 'BIGINT', not {wanted!r}")
            return Field(name, self._sql_type(path, wanted), optional)
        return Field(name, self._type(path, info, above), optional)

    def _type(self, path: str, info: Any, above: tuple[type, ...]) -> Type:
        plain = _PLAIN.get(type(info))
        if plain is not None:
            return plain
        if isinstance(info, inspect.DateTimeType):
            return Type("timestamp" if info.tz is False else "timestamptz")
        if isinstance(info, inspect.TimeType) and info.tz is not True:
            return Type("time")
        if isinstance(info, inspect.EnumType):
            return _literals(path, [member.value for member in info.cls])
        if isinstance(info, inspect.LiteralType):
            return _literals(path, info.values)
        if isinstance(info, LISTS):
            item = self._field(path, "item", info.item_type, required=True, above=above)
            return Type("list", fields=(item,))
        if isinstance(info, inspect.DictType):
            key = self._field(path, "key", info.key_type, required=True, above=above)
            value = self._field(path, "value", info.value_type, required=True, above=above)
            return Type("map", fields=(key, value))
        if isinstance(info, CLASSES):
            return Type("struct", fields=tuple(self.fields(path, info, above)))
        raise InvalidSchemaError(
            f"field {path}: {type(info).__name__} cannot be stored; use Any to store it as JSON"
        )


def _one_of(path: str, inner: list[Any]) -> Any:
    kinds = {type(each) for each in inner}
    if len(inner) == 1:
        return inner[0]
    if kinds == {inspect.IntType, inspect.FloatType}:
        return inspect.FloatType()
    raise InvalidSchemaError(f"field {path} has several types; use Any to store it as JSON")


def _literals(path: str, values: Any) -> Type:
    kinds = {type(value.value if isinstance(value, enum.Enum) else value) for value in values}
    if kinds == {str}:
        return Type("varchar")
    if kinds == {int}:
        return Type("bigint")
    raise InvalidSchemaError(f"field {path}: its values are neither all text nor all integers")


_PLAIN: Final[dict[type, Type]] = {
    inspect.BoolType: Type("boolean"),
    inspect.IntType: Type("bigint"),
    inspect.FloatType: Type("double"),
    inspect.StrType: Type("varchar"),
    inspect.BytesType: Type("blob"),
    inspect.DateType: Type("date"),
    inspect.UUIDType: Type("uuid"),
    inspect.DecimalType: _DECIMAL,
    inspect.AnyType: Type("json"),
    inspect.RawType: Type("json"),
}
