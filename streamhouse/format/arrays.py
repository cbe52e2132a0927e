"""Typed columns: Arrow arrays of numbers, text, lists and structs, as plain buffers.

The values of a typed topic are one struct array per block, of which each field is a column of its own. What
compaction and reading need is done here on the buffers, for any type by the layout it has: cutting a window
out, joining several, picking some records. None of it loops over records in Python.

Null slots of a struct are null in each of its fields too, so a field can be read without its struct.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain, compress
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from streamhouse.format.columns import ArrowColumn, Bound, binary_column, longest
from streamhouse.format.integers import (
    OFFSET_BYTES,
    bitmap,
    bitmap_bytes,
    differences,
    int32s,
    last_offset,
    raised,
    unpack_bitmap,
)
from streamhouse.format.lists import binary_list

Layout: TypeAlias = Literal["bits", "fixed", "binary", "list", "struct"]


class UnknownTypeError(ValueError):
    """A type of a later version."""


def layout_of(type_: str) -> tuple[Layout, int]:
    """How values of a type lie in buffers, and bytes of each where all have the same.

    Raises:
        UnknownTypeError: No type of this version.
    """
    found = _LAYOUTS.get(type_) or _LAYOUTS.get(type_.split(":", 1)[0] + ":")
    if found is None:
        raise UnknownTypeError(f"a column has the unknown type {type_!r}")
    return found


def same_shape(one: ArrowColumn, other: ArrowColumn) -> bool:
    """Whether two columns can be joined: the same names and types all the way down."""
    return (
        one.name == other.name
        and one.type == other.type
        and len(one.children) == len(other.children)
        and all(map(same_shape, one.children, other.children))
    )


def cut_array(column: ArrowColumn, start: int, stop: int) -> ArrowColumn:
    """The entries ``start`` to ``stop``, without bounds."""
    layout, width = layout_of(column.type)
    count = stop - start
    validity = _cut_validity(column.validity, start, stop)
    buffers: tuple[bytes, ...] = ()
    children: tuple[ArrowColumn, ...] = ()
    if layout == "bits":
        buffers = (bitmap(unpack_bitmap(column.buffers[0], start, stop)),)
    elif layout == "fixed":
        buffers = (column.buffers[0][start * width : stop * width],)
    elif layout == "struct":
        children = tuple([cut_array(child, start, stop) for child in column.children])
    else:
        window = column.buffers[0][start * OFFSET_BYTES : (stop + 1) * OFFSET_BYTES]
        ends = int32s(window)
        first, last = ends[0], ends[-1]
        offsets = raised(window, -first, OFFSET_BYTES)
        if layout == "binary":
            buffers = (offsets, column.buffers[1][first:last])
        else:
            buffers = (offsets,)
            children = tuple([cut_array(child, first, last) for child in column.children])
    return ArrowColumn(column.name, column.type, count, validity, buffers, children)


def join_arrays(columns: Sequence[ArrowColumn]) -> ArrowColumn:
    """One column out of several of the same shape."""
    first = columns[0]
    if len(columns) == 1:
        return first
    layout, _ = layout_of(first.type)
    validity = None
    if any(column.validity is not None for column in columns):
        validity = bitmap(b"".join([_flags(column) for column in columns]))
    buffers: tuple[bytes, ...] = ()
    if layout == "bits":
        bits = [unpack_bitmap(column.buffers[0], 0, column.count) for column in columns]
        buffers = (bitmap(b"".join(bits)),)
    elif layout == "fixed":
        buffers = (b"".join([column.buffers[0] for column in columns]),)
    elif layout != "struct":
        buffers = (join_offsets([column.buffers[0] for column in columns]),)
    if layout == "binary":
        buffers += (b"".join([column.buffers[1] for column in columns]),)
    inner = zip(*[column.children for column in columns], strict=True)
    return ArrowColumn(
        first.name,
        first.type,
        sum([column.count for column in columns]),
        validity,
        buffers,
        tuple(map(join_arrays, inner)),
        _join_bounds(columns),
    )


def pick_array(column: ArrowColumn, flags: bytes) -> ArrowColumn:
    """The entries whose flag is 1, of one byte each; the bounds stay what they are."""
    layout, width = layout_of(column.type)
    validity = None
    if column.validity is not None:
        valid = bytes(compress(unpack_bitmap(column.validity, 0, column.count), flags))
        validity = bitmap(valid) if 0 in valid else None
    buffers: tuple[bytes, ...] = ()
    children: tuple[ArrowColumn, ...] = ()
    if layout == "bits":
        buffers = (bitmap(bytes(compress(unpack_bitmap(column.buffers[0], 0, column.count), flags))),)
    elif layout == "fixed":
        buffers = (_pick_fixed(column.buffers[0], width, flags),)
    elif layout == "binary":
        entries = binary_list(column.entries(), 0, column.count)
        picked = binary_column(list(compress(entries, flags)))
        buffers = (picked.offsets, picked.data)
    elif layout == "struct":
        children = tuple([pick_array(child, flags) for child in column.children])
    else:
        lengths = differences(column.buffers[0])
        kept = list(compress(lengths, flags))
        buffers = (array("i", accumulate(kept, initial=0)).tobytes(),)
        inner = b"".join([_ONE_FLAG[flag] * length for flag, length in zip(flags, lengths, strict=True)])
        children = tuple([pick_array(child, inner) for child in column.children])
    return ArrowColumn(column.name, column.type, flags.count(1), validity, buffers, children, column.bounds)


def null_array(name: str, type_: str, count: int, children: Sequence[ArrowColumn] = ()) -> ArrowColumn:
    """A column of nulls only; a list's child has no entries, a struct's as many as it has."""
    layout, width = layout_of(type_)
    buffers: tuple[bytes, ...] = ()
    if layout == "bits":
        buffers = (bytes(bitmap_bytes(count)),)
    elif layout == "fixed":
        buffers = (bytes(width * count),)
    elif layout == "binary":
        buffers = (bytes(OFFSET_BYTES * (count + 1)), b"")
    elif layout == "list":
        buffers = (bytes(OFFSET_BYTES * (count + 1)),)
    return ArrowColumn(name, type_, count, bytes(bitmap_bytes(count)) or None, buffers, tuple(children))


def join_offsets(buffers: Sequence[bytes]) -> bytes:
    """Offsets of blobs that are put one after the other."""
    shifts = accumulate(map(last_offset, buffers), initial=0)
    moved = [raised(buffer, by, OFFSET_BYTES) for buffer, by in zip(buffers, shifts, strict=False)]
    return b"".join([moved[0], *[each[OFFSET_BYTES:] for each in moved[1:]]])


def lengths_max(column: ArrowColumn) -> int:
    """An upper bound of the bytes that one entry takes."""
    layout, width = layout_of(column.type)
    if layout in {"bits", "fixed"}:
        return max(1, width)
    if layout == "struct":
        return sum(map(lengths_max, column.children))
    most = longest(differences(column.buffers[0]))
    return most if layout == "binary" else most * sum(map(lengths_max, column.children))


def _pick_fixed(buffer: bytes, width: int, flags: bytes) -> bytes:
    code = _CODES.get(width)
    if code is None:
        items = map(itemgetter(0), struct.iter_unpack(f"{width}s", buffer))
        return b"".join(compress(items, flags))
    return array(code, compress(memoryview(buffer).cast(code), flags)).tobytes()


def _cut_validity(validity: bytes | None, start: int, stop: int) -> bytes | None:
    if validity is None:
        return None
    flags = unpack_bitmap(validity, start, stop)
    return bitmap(flags) if 0 in flags else None


def _flags(column: ArrowColumn) -> bytes:
    if column.validity is None:
        return b"\1" * column.count
    return unpack_bitmap(column.validity, 0, column.count)


def _join_bounds(columns: Sequence[ArrowColumn]) -> tuple[Bound, Bound] | None:
    known: list[Any] = [column.bounds for column in columns if not _all_null(column)]
    if not known or None in known:
        return None
    values = list(chain.from_iterable(known))
    return min(values), max(values)


def _all_null(column: ArrowColumn) -> bool:
    return column.validity is not None and not any(column.validity)


_LAYOUTS: Final[dict[str, tuple[Layout, int]]] = {
    "b": ("bits", 0),
    "c": ("fixed", 1),
    "C": ("fixed", 1),
    "s": ("fixed", 2),
    "S": ("fixed", 2),
    "i": ("fixed", 4),
    "I": ("fixed", 4),
    "l": ("fixed", 8),
    "L": ("fixed", 8),
    "f": ("fixed", 4),
    "g": ("fixed", 8),
    "d:": ("fixed", 16),
    "tdD": ("fixed", 4),
    "ttu": ("fixed", 8),
    "tss:": ("fixed", 8),
    "tsm:": ("fixed", 8),
    "tsu:": ("fixed", 8),
    "w:16": ("fixed", 16),
    "u": ("binary", 0),
    "z": ("binary", 0),
    "+l": ("list", 0),
    "+m": ("list", 0),
    "+s": ("struct", 0),
}
_CODES: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ONE_FLAG: Final = (b"\0", b"\1")
