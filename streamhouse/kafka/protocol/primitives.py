"""Reading and writing by hand, for the four messages that carry records.

Everything that is read is checked against what is there, before anything is made of it.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_INT8: Final = struct.Struct(">b")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_INT64: Final = struct.Struct(">q")
_UUID_BYTES: Final = 16
_ITEMS_MAX: Final = 250_000  # more than clients ask for at once, and what takes a second to go through
NO_UUID: Final = uuid.UUID(int=0)


class MalformedRequestError(Exception):
    """A request that no client would send. The connection is of no use any more."""


class Reader:
    """Takes values out of a request, one after the other.

    Args:
        data: The request.
        position: Where to begin.
        flexible: Lengths are varints, and tagged fields follow each structure (KIP-482).
    """

    __slots__ = ("_data", "_end", "_flexible", "_items_left", "position")

    def __init__(self, data: memoryview, position: int, *, flexible: bool) -> None:
        self._data = data
        self._end = len(data)
        self._flexible = flexible
        self._items_left = _ITEMS_MAX
        self.position = position

    def int8(self) -> int:
        return self._number(_INT8)

    def int16(self) -> int:
        return self._number(_INT16)

    def int32(self) -> int:
        return self._number(_INT32)

    def int64(self) -> int:
        return self._number(_INT64)

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(bytes=bytes(self._take(_UUID_BYTES)))

    def string(self) -> str | None:
        length = self._varint() - 1 if self._flexible else self.int16()
        if length < 0:
            return None
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRequestError(f"a text that is no UTF-8: {error}") from None

    def bytes(self) -> memoryview | None:
        """Without a copy."""
        length = self._varint() - 1 if self._flexible else self.int32()
        return None if length < 0 else self._take(length)

    def array(self, item: Callable[[Reader], T]) -> list[T] | None:
        """As many items as there are."""
        count = self._varint() - 1 if self._flexible else self.int32()
        if count < 0:
            return None
        if count > self._end - self.position:
            raise MalformedRequestError(f"an array of {count} items in {self._end - self.position} bytes")
        self._items_left -= count
        if self._items_left < 0:
            raise MalformedRequestError(f"more than {_ITEMS_MAX} items")
        return [item(self) for _ in range(count)]

    def tags(self) -> None:
        """Step over tagged fields."""
        if not self._flexible:
            return
        for _ in range(self._varint()):
            self._varint()
            self._take(self._varint())

    def _number(self, kind: struct.Struct) -> int:
        start = self.position
        self.position = start + kind.size
        if self.position > self._end:
            raise MalformedRequestError(
                f"the request ends after {self._end} bytes, in the middle of a number"
            )
        (value,) = kind.unpack_from(self._data, start)
        return int(value)

    def _take(self, length: int) -> memoryview:
        start = self.position
        if length > self._end - start:
            raise MalformedRequestError(f"{length} bytes are said to follow, {self._end - start} do")
        self.position = start + length
        return self._data[start : self.position]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            if self.position >= self._end:
                break
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedRequestError("a length that does not end")


def unsigned_varint(value: int) -> bytes:
    """Seven bits a byte, lowest first."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: str | None, *, flexible: bool) -> bytes:
    """A text with its length in front."""
    if value is None:
        return b"\0" if flexible else b"\xff\xff"
    data = value.encode()
    return (unsigned_varint(len(data) + 1) if flexible else _INT16.pack(len(data))) + data


def count(items: int, *, flexible: bool) -> bytes:
    """What stands in front of an array, or of bytes."""
    return unsigned_varint(items + 1) if flexible else _INT32.pack(items)


_ONE_BYTE: Final = [bytes((value,)) for value in range(0x80)]
