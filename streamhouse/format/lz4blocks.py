"""LZ4 blocks, decompressed into the memory where they stay.

The package ``lz4`` decompresses into memory of its own and copies that into a bytes object, with the
interpreter's lock held. Where several threads decode, that copy is what they wait for. Its extension module
exports the functions of liblz4 that it contains (or is linked to), so large blocks go to
``LZ4_decompress_safe`` itself (`lz4.h <https://github.com/lz4/lz4/blob/dev/lib/lz4.h>`_) by way of ctypes,
which holds no lock: a quarter less work, nearly all of it beside other threads. Where the function cannot be
found, and for blocks for which the calls would cost more than the copy, the package does it.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import lz4.block

from streamhouse.format.columns import Buffer

_DIRECT_BYTES_MIN: Final = 64 << 10
_DIRECT_BYTES_MAX: Final = (1 << 31) - 1  # lengths are C's int


def decompress(stored: Buffer, raw_bytes: int) -> bytes:
    """What was compressed to a block.

    Args:
        stored: The block, without its size in front.
        raw_bytes: How many bytes it gives at most.

    Raises:
        ValueError: It is no such block.
    """
    if _DIRECT_BYTES_MIN <= raw_bytes <= _DIRECT_BYTES_MAX and _decompress_safe is not None:
        return _directly(stored, raw_bytes)
    try:
        return lz4.block.decompress(stored, uncompressed_size=raw_bytes)  # type: ignore[no-any-return]
    except (lz4.block.LZ4BlockError, ValueError, OverflowError) as error:
        raise ValueError(f"LZ4 fails: {error}") from None


class _View(ctypes.Structure):
    """Python's ``Py_buffer``, part of its `stable ABI <https://docs.python.org/3/c-api/buffer.html>`_."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def _directly(stored: Buffer, raw_bytes: int) -> bytes:
    raw: bytes = _new_bytes(None, raw_bytes)  # nobody else knows it yet, so it may be written
    view = _View()
    _get_buffer(stored, ctypes.byref(view), 0)
    try:
        size = _decompress_safe(view.buf, _address(raw), view.len, raw_bytes)
    finally:
        _release_buffer(ctypes.byref(view))
    if size < 0:
        raise ValueError(f"LZ4 fails: corrupt input at byte {-size - 1}")
    return raw if size == raw_bytes else raw[:size]


def _liblz4() -> Any:
    """``LZ4_decompress_safe``, if this package and this Python let us call it."""
    try:
        function = ctypes.CDLL(lz4.block._block.__file__).LZ4_decompress_safe
        _ = ctypes.pythonapi.PyObject_GetBuffer
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    function.restype = ctypes.c_int
    return function


def _python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C API, which is called with the interpreter's lock."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_decompress_safe: Final = _liblz4()
if _decompress_safe is not None:
    _new_bytes = _python("PyBytes_FromStringAndSize", ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)
    _address = _python("PyBytes_AsString", ctypes.c_void_p, ctypes.py_object)
    _get_buffer = _python("PyObject_GetBuffer", ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
    _release_buffer = _python("PyBuffer_Release", None, ctypes.c_void_p)
