"""Columns to packed buffers, and the headers that say what those are."""

from __future__ import annotations

from collections.abc import Sequence

from streamhouse.format import codecs
from streamhouse.format.arrays import layout_of
from streamhouse.format.blockheader import (
    BINARY,
    DELTA,
    HEADER_NAME,
    HEADER_VALUE,
    HEADERS,
    KEY,
    TEXT,
    TIMESTAMP,
    VALUE,
    BufferHeader,
    ColumnHeader,
)
from streamhouse.format.checksum import crc32
from streamhouse.format.columns import ArrowColumn, BinaryColumn, Bound, Buffer, Columns
from streamhouse.format.integers import INT64_BYTES, int64s


class Packer:
    """Appends the packed buffers of columns to ``out`` and says what they are."""

    def __init__(self, out: list[Buffer]) -> None:
        self._out = out

    def columns(
        self, columns: Columns, packed_keys: codecs.Packed | None, packed_values: codecs.Packed | None
    ) -> list[ColumnHeader]:
        low, high = columns.timestamp_min, columns.timestamp_max
        stamps = codecs.pack_integers(columns.timestamps, INT64_BYTES, low, high)
        packed = [
            self._column(TIMESTAMP, "tsm:UTC", [(columns.timestamps, stamps)]),
            self._binary(KEY, columns.key, packed_keys),
        ]
        if isinstance(columns.value, ArrowColumn):
            self._typed(VALUE, columns.value, packed)
        else:
            packed.append(self._binary(VALUE, columns.value, packed_values))
        if columns.deltas is not None:
            last = int64s(columns.deltas)[-1]
            deltas = codecs.pack_integers(columns.deltas, INT64_BYTES, 0, last)
            packed.append(self._column(DELTA, "l", [(columns.deltas, deltas)]))
        if columns.headers is not None:
            offsets = columns.headers.offsets
            packed.append(self._column(HEADERS, "+l", [(offsets, codecs.pack_offsets(offsets))]))
            packed.append(self._binary(HEADER_NAME, columns.headers.names, text=True))
            packed.append(self._binary(HEADER_VALUE, columns.headers.values))
        return packed

    def _binary(
        self, name: str, column: BinaryColumn, packed: codecs.Packed | None = None, *, text: bool = False
    ) -> ColumnHeader:
        buffers = [
            _packed(column.validity or b""),
            (column.offsets, codecs.pack_offsets(column.offsets)),
            (column.data, packed or codecs.pack_bytes(column.data)),
        ]
        text = text or column.text or column.data.isascii()
        return self._column(name, TEXT if text else BINARY, buffers)

    def _typed(self, name: str, column: ArrowColumn, into: list[ColumnHeader]) -> None:
        layout, _ = layout_of(column.type)
        buffers = [_packed(column.validity or b"")]
        if layout in {"binary", "list"}:
            offsets, *data = column.buffers
            buffers.append((offsets, codecs.pack_offsets(offsets)))
            buffers.extend(map(_packed, data))
        else:
            buffers.extend(map(_packed, column.buffers))
        into.append(self._column(name, column.type, buffers, len(column.children), column.bounds))
        for child in column.children:
            self._typed(f"{name}.{child.name}", child, into)

    def _column(
        self,
        name: str,
        kind: str,
        buffers: Sequence[tuple[Buffer, codecs.Packed]],
        children: int = 0,
        bounds: tuple[Bound, Bound] | None = None,
    ) -> ColumnHeader:
        headers = []
        checksum = 0
        for raw, (codec, params, stored) in buffers:
            if stored:
                self._out.append(stored)
                checksum = crc32(stored, checksum)
            headers.append(BufferHeader(codec, len(stored), len(raw), params))
        return ColumnHeader(name, kind, headers, checksum, children, bounds)


def _packed(raw: Buffer) -> tuple[Buffer, codecs.Packed]:
    return raw, codecs.pack_bytes(raw)
