"""Requests decoded and responses encoded, with kio's messages.

kio has a tree of frozen dataclasses for each version of each message. Requests are used as they come: a field
has the same name in all versions that have it. Responses are written by handlers as plain mappings that have
the fields of all versions, and :func:`encode_response` makes of them what the version at hand has.
"""

from __future__ import annotations

import datetime as dt
import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final, TypeAlias, get_args, get_origin

import msgspec
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer

from streamhouse.kafka.protocol.apis import APIS, Api
from streamhouse.kafka.protocol.primitives import MalformedRequestError, Reader
from streamhouse.kafka.protocol.requests import request_reader

Fields: TypeAlias = Mapping[str, Any]
"""A response, or a part of one: values by name. Times are in milliseconds."""

_FRONT: Final = struct.Struct(">hhih")  # key, version, correlation id, length of the client id
_CORRELATION: Final = struct.Struct(">i")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_TAGS_MAX: Final = 64


class Header(msgspec.Struct, frozen=True):
    """What stands in front of every request.

    Attributes:
        key: Which kind of request.
        version: Which version of it.
        correlation: Returned with the response.
        client_id: What the client calls itself.
        size: Bytes of the header.
    """

    key: int
    version: int
    correlation: int
    client_id: str | None
    size: int

    @property
    def api(self) -> Api | None:
        """The kind of request; ``None``: it is not served, not in that version at least."""
        api = APIS.get(self.key)
        return api if api is not None and api.first <= self.version <= api.last else None


def decode_header(frame: memoryview) -> Header:
    """What stands in front of a request.

    Raises:
        MalformedRequestError: It cannot be a request.
    """
    try:
        key, version, correlation, length = _FRONT.unpack_from(frame)
        end = _FRONT.size + max(0, length)
        if end > len(frame) or length < -1:
            raise MalformedRequestError(f"a client id of {length} bytes in a request of {len(frame)}")
        client_id = None if length < 0 else str(frame[_FRONT.size : end], "utf-8")
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedRequestError(f"the header cannot be read: {error}") from None
    header = Header(key, version, correlation, client_id, end)
    if header.api is None or not _is_flexible(header.key, version):
        return header
    return msgspec.structs.replace(header, size=_skip_tags(frame, end))


def decode_request(header: Header, frame: memoryview) -> Any:
    """The body of a request, as kio's dataclass of its version.

    Raises:
        MalformedRequestError: It is not what its header says.
    """
    read, flexible = request_reader(header.key, header.version)
    try:
        return read(Reader(frame, header.size, flexible=flexible))
    except MalformedRequestError as error:
        raise MalformedRequestError(f"{APIS[header.key].name} {header.version}: {error}") from None


def encode_response(header: Header, values: Fields, version: int | None = None) -> bytes:
    """A whole response, its size in front.

    Args:
        header: Of the request.
        values: The fields; those that the version does not have are left out.
        version: Of the response, when that is not the request's.

    Raises:
        TypeError: A field is missing, or is in no version.
    """
    shape = _response_shape(header.key, header.version if version is None else version)
    out = io.BytesIO()
    out.write(bytes(4))
    out.write(_CORRELATION.pack(header.correlation))
    if shape.tagged_header:
        out.write(b"\0")
    shape.write(out, shape.make(values))
    data = out.getbuffer()
    _CORRELATION.pack_into(data, 0, len(data) - 4)
    del data
    return out.getvalue()


def response_front(header: Header, body_bytes: int, *, flexible: bool) -> bytes:
    """Size and header of a response whose body was encoded elsewhere."""
    front = _CORRELATION.pack(header.correlation) + (b"\0" if flexible else b"")
    return _CORRELATION.pack(len(front) + body_bytes) + front


def error_fields(header: Header, code: ErrorCode, message: str | None = None) -> Fields | None:
    """A response that says nothing but that; ``None``: this kind of response cannot say it as a whole."""
    cls = load_response_schema(header.key, header.version)
    by_name = {field.name: field for field in fields(cls)}
    if "error_code" not in by_name:
        return None
    values: dict[str, Any] = {"error_code": code, "error_message": message}
    for name, field in by_name.items():
        if name not in values and field.default is MISSING:
            values[name] = _empty(field)
    return {name: value for name, value in values.items() if name in by_name}


class _Shape(msgspec.Struct, frozen=True):
    make: Callable[[Fields], Any]
    write: Callable[[io.BytesIO, Any], None]
    tagged_header: bool


@cache
def _is_flexible(key: int, version: int) -> bool:
    return bool(load_request_schema(key, version).__flexible__)


@cache
def _response_shape(key: int, version: int) -> _Shape:
    cls = load_response_schema(key, version)
    return _Shape(
        make=maker(cls, _Others(key, ())),
        write=entity_writer(cls),
        tagged_header=bool(cls.__header_schema__.__flexible__),
    )


class _Others(msgspec.Struct, frozen=True):
    """The same part of a response in all versions that are served."""

    key: int
    path: tuple[str, ...]

    def field_names(self) -> frozenset[str]:
        """The fields it has in any of them. Loading them all takes a while."""
        api = APIS[self.key]
        names: set[str] = set()
        for version in range(api.first, api.last + 1):
            parts: list[Any] = [load_response_schema(self.key, version)]
            for step in self.path:
                parts = [
                    _inner(field.type)[0] for part in parts for field in fields(part) if field.name == step
                ]
            names.update(field.name for part in parts for field in fields(part))
        return frozenset(names)

    def below(self, step: str) -> _Others:
        return _Others(self.key, (*self.path, step))


def maker(cls: Any, others: _Others | None = None) -> Callable[[Fields], Any]:
    """What makes an entity of a mapping.

    Args:
        cls: The class of the entity.
        others: Where to look for names that it does not have, but may be given; without, there are none.
    """
    known = frozenset(field.name for field in fields(cls))
    converters = {field.name: _converter(field, others) for field in fields(cls)}

    def make(values: Fields) -> Any:
        nonlocal known
        if not known.issuperset(values):
            known |= frozenset() if others is None else others.field_names()
            if not known.issuperset(values):
                raise TypeError(f"{cls.__qualname__} has no {sorted(set(values) - known)}")
        given = {
            name: value if convert is None else convert(value)
            for name, convert in converters.items()
            if (value := values.get(name, MISSING)) is not MISSING
        }
        return cls(**given)

    return make


def _converter(field: Any, others: _Others | None) -> Callable[[Any], Any] | None:
    kind = field.metadata.get("kafka_type")
    inner, many = _inner(field.type)
    if kind is None:
        make = maker(inner, None if others is None else others.below(field.name))
        if many:
            return lambda values: None if values is None else tuple(map(make, values))
        return lambda value: None if value is None else make(value)
    convert = _CONVERTERS.get(str(kind))
    if many:
        if convert is None:
            return lambda values: None if values is None else tuple(values)
        return lambda values: None if values is None else tuple(map(convert, values))
    return convert


def _inner(kind: Any) -> tuple[Any, bool]:
    """The type behind ``| None`` and ``tuple[..., ...]``, and whether there are many."""
    if get_origin(kind) is tuple:
        return _inner(get_args(kind)[0])[0], True
    options = [option for option in get_args(kind) if option is not type(None)]
    return _inner(options[0]) if options else (kind, False)


def _empty(field: Any) -> Any:
    """What says nothing in a field."""
    if type(None) in get_args(field.type):
        return None
    kind = str(field.metadata.get("kafka_type"))
    return () if get_origin(field.type) is tuple else _EMPTY.get(kind)


def _timedelta(milliseconds: Any) -> Any:
    return dt.timedelta(milliseconds=milliseconds)


def _datetime(milliseconds: Any) -> Any:
    return None if milliseconds is None else _EPOCH + milliseconds * _MILLISECOND


_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "timedelta_i32": _timedelta,
    "timedelta_i64": _timedelta,
    "datetime_i64": _datetime,
    "error_code": ErrorCode,
}
_EMPTY: Final[dict[str, Any]] = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "timedelta_i32", "timedelta_i64"), 0),
    "string": "",
    "bytes": b"",
    "bool": False,
    "error_code": ErrorCode.none,
}


def _skip_tags(frame: memoryview, position: int) -> int:
    """The position after the tagged fields of a header."""
    count, position = _unsigned_varint(frame, position)
    if count > _TAGS_MAX:
        raise MalformedRequestError(f"{count} tagged fields in a header")
    for _ in range(count):
        _, position = _unsigned_varint(frame, position)
        size, position = _unsigned_varint(frame, position)
        position += size
        if position > len(frame):
            raise MalformedRequestError("a tagged field that is longer than its request")
    return position


def _unsigned_varint(frame: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(frame):
            break
        byte = frame[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise MalformedRequestError("a number that does not end")
