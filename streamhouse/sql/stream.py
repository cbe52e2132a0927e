"""An iterator of Arrow arrays as a C stream, pulled from whichever thread wants the next.

nanoarrow makes a stream of arrays that are all there already, pyarrow one of a generator; we have a
generator and no pyarrow. So three of the four functions of the `C stream interface
<https://arrow.apache.org/docs/format/CStreamInterface.html>`_ are written here, with ctypes, which takes
the interpreter's lock when native threads call. They are made once and never freed.

The fourth, which releases a stream, must not be Python's: consumers call it while an exception is on its way,
which a call from C would lose, and the process with it. So each stream is one that nanoarrow made, of an
array that nobody is given: its buffer is the object that holds what our functions need. nanoarrow's release
lets go of that, and the finalizer of an object may run at any time.
"""

from __future__ import annotations

import ctypes
import errno
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import nanoarrow as na
from nanoarrow.c_array_stream import CArrayStream

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


class _Source(bytearray):
    """What a stream reads from, as a buffer that an Arrow array can have: of one byte."""

    def __init__(
        self,
        schema: Any,
        arrays: Iterator[Any],
        failed: Callable[[BaseException], None],
        released: Callable[[], None] | None,
    ) -> None:
        super().__init__(1)
        self.schema = schema
        self.arrays = arrays
        self.failed = failed
        self.released = released
        self.message = ctypes.create_string_buffer(b"")

    def __del__(self) -> None:
        try:
            close = getattr(self.arrays, "close", None)
            if close is not None:
                close()
        finally:
            if self.released is not None:
                self.released()


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
    source = _Source(schema, arrays, failed, released)
    array = na.c_array_from_buffers(_BYTE, 1, [None, source], validation_level="none", move=True)
    holder = CArrayStream.from_c_arrays([array], na.c_schema(_BYTE), move=True, validate=False)
    struct = Stream.from_address(holder._addr())
    _sources[struct.private_data] = source
    struct.get_schema, struct.get_next, struct.get_last_error = _FUNCTIONS
    return holder.__arrow_c_stream__()


_BYTE: Final = na.int8()
_sources: Final[weakref.WeakValueDictionary[int, _Source]] = weakref.WeakValueDictionary()
"""By what a stream has as its private data, which stays the same wherever consumers move the struct."""


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


def _source(stream: int) -> _Source:
    return _sources[Stream.from_address(stream).private_data or 0]


def _note(stream: int, error: BaseException) -> int:
    source = _source(stream)
    source.failed(error)
    source.message = ctypes.create_string_buffer(f"{type(error).__name__}: {error}".encode(errors="replace"))
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
_TEXT: Final = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_CALLBACKS: Final = (_FILL(_get_schema), _FILL(_get_next), _TEXT(_get_last_error))
_FUNCTIONS: Final = tuple([ctypes.cast(callback, ctypes.c_void_p) for callback in _CALLBACKS])
