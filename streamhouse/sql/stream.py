"""An iterator of Arrow arrays as a C stream, pulled from whichever thread wants the next.

nanoarrow makes a stream of arrays that are all there already, pyarrow one of a generator; we have a
generator and no pyarrow. So the four functions of the `C stream interface
<https://arrow.apache.org/docs/format/CStreamInterface.html>`_ are written here, with ctypes, which takes
the interpreter's lock when native threads call.

The functions are made once and never freed. What a stream needs is kept in a table under a number that
the C struct carries as its private data, until the consumer releases the stream.

They are for DuckDB, which releases streams when no Python exception is on its way. Python runs no function
while one is, so other consumers (pyarrow after an error) would abort the process.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

from nanoarrow.c_array_stream import allocate_c_array_stream

_POINTER: Final = ctypes.sizeof(ctypes.c_void_p)
_ARRAY_BYTES: Final = 5 * 8 + 5 * _POINTER
_ARRAY_RELEASE: Final = 5 * 8 + 3 * _POINTER
_SCHEMA_BYTES: Final = 3 * _POINTER + 2 * 8 + 4 * _POINTER
_SCHEMA_RELEASE: Final = 3 * _POINTER + 2 * 8 + 2 * _POINTER


class Stream(ctypes.Structure):
    """The C struct."""

    _fields_ = (
        ("get_schema", ctypes.c_void_p),
        ("get_next", ctypes.c_void_p),
        ("get_last_error", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


class _Source:
    """What a stream reads from."""

    def __init__(
        self,
        schema: Any,
        arrays: Iterator[Any],
        failed: Callable[[BaseException], None],
        released: Callable[[], None] | None,
    ) -> None:
        self.schema = schema
        self.arrays = arrays
        self.failed = failed
        self.released = released
        self.message = ctypes.create_string_buffer(b"")


def array_stream(
    schema: Any,
    arrays: Iterator[Any],
    failed: Callable[[BaseException], None],
    released: Callable[[], None] | None = None,
) -> Any:
    """A stream as an Arrow PyCapsule.

    Args:
        schema: A nanoarrow schema of a struct.
        arrays: nanoarrow arrays of that schema. The iterator is closed when the stream is released.
        failed: Told of an exception of the iterator; the consumer sees only its text.
        released: Told when the stream is released.
    """
    holder = allocate_c_array_stream()
    number = next(_numbers)
    _sources[number] = _Source(schema, arrays, failed, released)
    struct = Stream.from_address(holder._addr())
    for name, function in _FUNCTIONS.items():
        setattr(struct, name, ctypes.cast(function, ctypes.c_void_p))
    struct.private_data = number
    return holder.__arrow_c_stream__()


_numbers: Final = itertools.count(1)
_sources: Final[dict[int, _Source]] = {}


def _get_schema(stream: int, out: int) -> int:
    try:
        capsule = _source(stream).schema.__arrow_c_schema__()
        _move(pointer_of(capsule, b"arrow_schema"), out, _SCHEMA_BYTES, _SCHEMA_RELEASE)
    except BaseException as error:  # noqa: BLE001 - C is waiting for an answer
        return _note(stream, error)
    return 0


def _get_next(stream: int, out: int) -> int:
    try:
        array = next(_source(stream).arrays, None)
        if array is None:
            ctypes.memset(out, 0, _ARRAY_BYTES)
        else:
            _move(array._addr(), out, _ARRAY_BYTES, _ARRAY_RELEASE)
    except BaseException as error:  # noqa: BLE001 - C is waiting for an answer
        return _note(stream, error)
    return 0


def _get_last_error(stream: int) -> int:
    return ctypes.addressof(_source(stream).message)


def _release(stream: int) -> None:
    struct = Stream.from_address(stream)
    source = _sources.pop(struct.private_data or 0, None)
    struct.release = None
    close = getattr(source and source.arrays, "close", None)
    if close is not None:
        close()
    if source is not None and source.released is not None:
        source.released()


def _source(stream: int) -> _Source:
    return _sources[Stream.from_address(stream).private_data or 0]


def _note(stream: int, error: BaseException) -> int:
    source = _source(stream)
    source.message = ctypes.create_string_buffer(f"{type(error).__name__}: {error}".encode())
    source.failed(error)
    return errno.EIO


def _move(source: int, target: int, size: int, release: int) -> None:
    """Hand a C struct over: the copy is the owner now, so what it was copied from is marked released."""
    ctypes.memmove(target, source, size)
    ctypes.memset(source + release, 0, _POINTER)


pointer_of: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
"""The address of the struct in a PyCapsule of that name."""

_FILL: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_FUNCTIONS: Final[dict[str, Any]] = {
    "get_schema": _FILL(_get_schema),
    "get_next": _FILL(_get_next),
    "get_last_error": ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(_get_last_error),
    "release": ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_release),
}
