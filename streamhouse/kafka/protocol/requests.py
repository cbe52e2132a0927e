"""Requests decoded as kio's dataclasses, but not by kio.

kio's own decoder is native code that believes what a request says of itself: it asks for the memory of an
array of four billion entries, and the process is aborted when there is none. A frame of thirty bytes would
end a gateway. Here every count is compared with the bytes that are left before anything is made of it.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, Final, TypeAlias, get_args, get_origin

from kio.index import load_request_schema

from streamhouse.kafka.protocol.primitives import NO_UUID, MalformedRequestError, Reader

Read: TypeAlias = Callable[[Reader], Any]

_FLOAT: Final = struct.Struct(">d")
_INT64: Final = struct.Struct(">q")
_LONGEST_MS: Final = 10**15  # what a timedelta can hold, and longer than anybody waits
_THERE: Final = 1  # in front of a structure that could be null (KIP-893)


@cache
def request_reader(key: int, version: int) -> tuple[Read, bool]:
    """What reads the body of a kind of request, and whether it is of a flexible version."""
    cls = load_request_schema(key, version)
    return structure_reader(cls), bool(cls.__flexible__)


def structure_reader(cls: Any) -> Read:
    """What reads one of kio's dataclasses."""
    readers = [(field.name, _field_reader(field)) for field in fields(cls)]

    def read(reader: Reader) -> Any:
        values = {name: read_field(reader) for name, read_field in readers}
        reader.tags()
        return cls(**values)

    return read


def _field_reader(field: Any) -> Read:
    if "tag" in field.metadata:
        raise TypeError(f"{field.name} is a tagged field; requests with such are read by hand")
    inner, many, optional = _shape(field.type)
    kind = field.metadata.get("kafka_type")
    if many:
        item = structure_reader(inner) if kind is None else _required(kind)
        return _array(item, optional=optional)
    if kind is None:
        return _nullable(structure_reader(inner)) if optional else structure_reader(inner)
    return _OPTIONAL[kind] if optional else _required(kind)


def _shape(kind: Any) -> tuple[Any, bool, bool]:
    """The type behind ``| None`` and ``tuple[..., ...]``; whether there are many; whether it may be null."""
    options = get_args(kind)
    optional = type(None) in options and get_origin(kind) is not tuple
    if optional:
        kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is tuple:
        return get_args(kind)[0], True, optional
    return kind, False, optional


def _array(item: Read, *, optional: bool) -> Read:
    def read(reader: Reader) -> Any:
        found = reader.array(item)
        if found is None and not optional:
            raise MalformedRequestError("an array that cannot be null is")
        return None if found is None else tuple(found)

    return read


def _nullable(structure: Read) -> Read:
    return lambda reader: structure(reader) if reader.int8() == _THERE else None


def _required(kind: str) -> Read:
    optional = _OPTIONAL.get(kind)
    if optional is None or kind == "uuid":
        return _PLAIN[kind]

    def read(reader: Reader) -> Any:
        value = optional(reader)
        if value is None:
            raise MalformedRequestError("a value that cannot be null is")
        return value

    return read


def _uuid(reader: Reader) -> Any:
    value = reader.uuid()
    return None if value == NO_UUID else value


def _bytes(reader: Reader) -> bytes | None:
    found = reader.bytes()
    return None if found is None else bytes(found)


def _milliseconds(value: int) -> dt.timedelta:
    return dt.timedelta(milliseconds=max(-_LONGEST_MS, min(value, _LONGEST_MS)))


_PLAIN: Final[dict[str, Read]] = {
    "bool": lambda reader: reader.int8() != 0,
    "float64": lambda reader: _FLOAT.unpack(_INT64.pack(reader.int64()))[0],
    "int8": Reader.int8,
    "int16": Reader.int16,
    "int32": Reader.int32,
    "int64": Reader.int64,
    "timedelta_i32": lambda reader: _milliseconds(reader.int32()),
    "timedelta_i64": lambda reader: _milliseconds(reader.int64()),
    "uuid": _uuid,
}
_OPTIONAL: Final[dict[str, Read]] = {"string": Reader.string, "bytes": _bytes, "uuid": _uuid}
