"""Columns of pandas that hold Python objects, each of which may be of another type.

DuckDB finds one type for such a column and makes of the values what it can: of a dict among texts what Python
prints, of a decimal among floats a float. So they are checked like those of dicts, one by one. What is text
or bytes all over, which pandas before version 3 has as objects, is left to DuckDB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidRecordError
from streamhouse.format.columns import ArrowColumn
from streamhouse.schema.model import Field, Schema
from streamhouse.schema.pandasvalues import plain_values
from streamhouse.schema.rows import row_decoder
from streamhouse.schema.shred import shred

_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "varchar": (str,),
    "blob": (bytes, bytearray, memoryview),
}
_KEYS: Final = (str, bytes, bytearray, memoryview)


def is_pandas(frame: Any) -> bool:
    """Whether it is a DataFrame of pandas, told without importing that."""
    kind = type(frame)
    return kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"


def without_objects(
    schema: Schema, frame: Any, key: str | None, timestamp: str | None
) -> tuple[Any, dict[str, ArrowColumn]]:
    """What DuckDB may read of a DataFrame of pandas, and the other fields.

    Args:
        schema: Of the topic.
        frame: The DataFrame.
        key: The column of keys, if there is one.
        timestamp: Likewise of timestamps.

    Raises:
        InvalidRecordError: A value is not of the type of its field, or no key.
    """
    if not frame.columns.is_unique:
        return frame, {}
    objects = {name: frame[name] for name, kind in frame.dtypes.items() if str(kind) == "object"}
    fields = [field for field in schema.fields if field.name in objects]
    for field in fields:
        if field.type.kind in _PLAIN:
            _check_types(f"field {field.name}", field.type.sql, objects[field.name], _PLAIN[field.type.kind])
    if key in objects:
        _check_types(f"keys={key!r}", "text or bytes", objects[key], _KEYS)
    checked = [field for field in fields if field.type.kind not in _PLAIN]
    if not checked:
        return frame, {}
    columns = _columns(checked, [_values(objects[field.name]) for field in checked])
    rest = frame.drop(columns=[name for name in columns if name not in (key, timestamp)])
    if not len(rest.columns):
        rest = frame.iloc[:, :1].notna()  # as many rows, without the objects
    return rest, columns


def _check_types(what: str, wanted: str, column: Any, types: tuple[type, ...]) -> None:
    for kind in set(map(type, column.dropna())):
        if not issubclass(kind, types):
            raise InvalidRecordError(f"{what}: the column has a {kind.__qualname__}, which is no {wanted}")


def _values(column: Any) -> Sequence[Any]:
    """The objects, None for whatever pandas has for that."""
    nulls = column.isna()
    values: list[Any] = column.tolist()
    return (
        [None if null else value for value, null in zip(values, nulls, strict=True)] if any(nulls) else values
    )


def _columns(fields: Sequence[Field], values: Sequence[Sequence[Any]]) -> dict[str, ArrowColumn]:
    schema = Schema(tuple(fields))
    decoder = row_decoder(schema)
    names = [field.name for field in fields]
    try:
        packed = list(map(decoder.pack, _rows(fields, values)))
    except InvalidRecordError:
        for index, row in enumerate(zip(*values, strict=True)):
            try:
                decoder.pack(*_rows(fields, [[value] for value in row]))
            except InvalidRecordError as error:
                raise InvalidRecordError(f"values[{index}]: {error}") from None
        raise
    struct = shred(schema, decoder.unpack(packed))
    return dict(zip(names, struct.children, strict=True))


def _rows(fields: Sequence[Field], values: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    names = [field.name for field in fields]
    columns = [_plain(field, column) for field, column in zip(fields, values, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(field: Field, values: Sequence[Any]) -> list[Any]:
    try:
        return plain_values(field.type, values)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRecordError(f"field {field.name}: the value cannot be stored: {error}") from None
