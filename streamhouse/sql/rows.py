"""Rows of Python values as an Arrow stream, for the tables of the schema ``streamhouse``."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final

import nanoarrow as na
from nanoarrow.c_array_stream import CArrayStream

from streamhouse.format.columns import binary_column
from streamhouse.format.integers import bitmap
from streamhouse.read.arrow import INT64, TEXT, TIME, array_of, binary_array
from streamhouse.sql.tables import Row
from streamhouse.sql.times import shown_time

_FLOAT: Final = na.c_schema(na.float64())
_TEXTS: Final = na.c_schema(na.list_(TEXT))


class RowTable:
    """A table that DuckDB can scan any number of times.

    Args:
        columns: Names and kinds: ``int``, ``float``, ``time`` (milliseconds), ``text``, ``texts``.
        rows: Read when the table is first scanned.
    """

    def __init__(self, columns: Mapping[str, str], rows: Iterable[Row]) -> None:
        self._columns = columns
        self._rows = rows
        self._array: Any = None
        self._schema = na.c_schema(na.struct({name: _KINDS[kind][0] for name, kind in columns.items()}))

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        if self._array is None:
            self._array = self._build()
        return CArrayStream.from_c_arrays([self._array], self._schema, move=False).__arrow_c_stream__(
            requested_schema
        )

    def _build(self) -> Any:
        rows = list(self._rows)
        columns: Sequence[Sequence[Any]] = (
            list(zip(*rows, strict=True)) if rows else [()] * len(self._columns)
        )
        children = [
            _KINDS[kind][1](values) for kind, values in zip(self._columns.values(), columns, strict=True)
        ]
        return array_of(self._schema, len(rows), [None], children=children)


def _numbers(kind: Any, code: str) -> Callable[[Sequence[Any]], Any]:
    def build(values: Sequence[Any]) -> Any:
        validity = bitmap(bytes(value is not None for value in values))
        return array_of(kind, len(values), [validity, array(code, (v or 0 for v in values)).tobytes()])

    return build


def _times(values: Sequence[Any]) -> Any:
    return _numbers(TIME, "q")([None if value is None else shown_time(value) for value in values])


def _texts(values: Sequence[Any]) -> Any:
    column = binary_column([None if value is None else value.encode() for value in values])
    return binary_array(TEXT, column, len(values))


def _text_lists(values: Sequence[Any]) -> Any:
    offsets = array("i", accumulate(map(len, values), initial=0)).tobytes()
    return array_of(_TEXTS, len(values), [None, offsets], children=[_texts(list(chain(*values)))])


_KINDS: Final[Mapping[str, tuple[Any, Callable[[Sequence[Any]], Any]]]] = {
    "int": (INT64, _numbers(INT64, "q")),
    "float": (_FLOAT, _numbers(_FLOAT, "d")),
    "time": (TIME, _times),
    "text": (TEXT, _texts),
    "texts": (_TEXTS, _text_lists),
}
