r"""Keys and values as text: UTF-8 as it is, other bytes escaped as DuckDB shows a BLOB.

A topic may hold JSON for a year and one binary record in between. A column of type BLOB would make
``value->>'user'`` impossible, one of type VARCHAR must not hold anything but UTF-8. So the column is
text, a value that is not UTF-8 appears as ``\xDE\xAD``, and whoever wants the bytes asks for ``raw``.

Almost always a whole block is ASCII or UTF-8 and nothing is copied. Of a block that is ASCII the writer has
noted it. Otherwise the check is made on the blob: it is sound text if it is UTF-8 as a whole and no value
begins in the middle of a character.
"""

from __future__ import annotations

from typing import Final

from streamhouse.format.columns import BinaryColumn, HeaderColumns, binary_column
from streamhouse.format.integers import OFFSET_BYTES, int32s
from streamhouse.format.lists import binary_list

_SHOWN_AS_IT_IS: Final = frozenset(range(32, 127)) - set(b"\\'\"")
_ESCAPES: Final = {code: chr(code) if code in _SHOWN_AS_IT_IS else f"\\x{code:02X}" for code in range(256)}
_CHARACTER_STARTS: Final = bytes(code for code in range(256) if code & 0xC0 != 0x80)


def text_column(column: BinaryColumn, start: int, stop: int) -> tuple[BinaryColumn, int]:
    """Entries of a column as UTF-8: a column, and where in it the entry ``start`` is now."""
    if column.text:
        return column, start
    offsets = int32s(column.offsets)
    first, last = offsets[start], offsets[stop]
    data = column.data if last - first == len(column.data) else column.data[first:last]
    if data.isascii() or _is_text(data, offsets, start, stop):
        return column, start
    values = binary_list(column, start, stop)
    return binary_column([None if value is None else shown(value) for value in values]), 0


def text_headers(headers: HeaderColumns) -> HeaderColumns:
    """Headers whose values are UTF-8; their names always are."""
    count = len(headers.values.offsets) // OFFSET_BYTES - 1
    values, _ = text_column(headers.values, 0, count)
    return HeaderColumns(headers.offsets, headers.names, values)


def shown(value: bytes) -> bytes:
    """A value as UTF-8: itself, or escaped."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").translate(_ESCAPES).encode()
    return value


def _is_text(data: bytes, offsets: memoryview, start: int, stop: int) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    first = offsets[start]
    begins = [offset - first for offset in offsets[start:stop]]
    within = bytes(map(data.__getitem__, (begin for begin in begins if begin < len(data))))
    return not within.translate(None, delete=_CHARACTER_STARTS)
