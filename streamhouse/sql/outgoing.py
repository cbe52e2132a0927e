"""Arrow streams on their way out of a result: one that is all there, and one of which we hear how it fails.

What hands on rows while they are made is DuckDB's own stream, and a consumer that meets an error in it tells
nobody. But it asks the stream for the text of the error, and this is the one of its functions in whose place
we put ours. The one that gives the next array stays DuckDB's: while Python runs in a call from C, it
handles Ctrl-C there, where it can be raised to nobody. And so does the one that releases: consumers call it
while an exception is on its way, which a call of Python from C would lose; see ``stream.py``.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Final, Protocol

from nanoarrow.c_array_stream import CArrayStream, c_array_stream

from streamhouse.sql.stream import Stream, pointer_of

_OUT_OF_MEMORY: Final = "Out of Memory Error"


class Listener(Protocol):
    """Who hears of errors."""

    def tell(self, error: str | None) -> None: ...


def schema_of(relation: Any) -> Any:
    """The Arrow schema of a relation of DuckDB, of which nothing is read for that.

    Raises:
        duckdb.Error: DuckDB refuses the query.
    """
    schema = c_array_stream(relation.limit(0)).get_schema()
    # As a query of its own it gives names that differ, which the stream does not.
    columns = zip(schema.children, relation.columns, strict=True)
    return schema.modify(children=[child.modify(name=name) for child, name in columns])


def collected(relation: Any) -> CArrayStream:
    """All that a relation of DuckDB gives, in memory and read to its end: its cursor is free again.

    Raises:
        duckdb.Error: The query fails.
    """
    import duckdb

    stream = c_array_stream(relation)
    try:
        schema = stream.get_schema()
        return CArrayStream.from_c_arrays(list(stream), schema, move=True, validate=False)
    except RuntimeError as error:
        text = getattr(error, "message", None)  # of the stream
        if text is None:
            raise
        kind = duckdb.OutOfMemoryException if text.startswith(_OUT_OF_MEMORY) else duckdb.Error
        raise kind(text) from None


def watched(capsule: Any, listener: Listener) -> Any:
    """A stream whose error is told to a listener too, if that is still there; consumers notice nothing."""
    struct = Stream.from_address(pointer_of(capsule, b"arrow_array_stream"))
    _listeners[struct.private_data] = listener
    struct.get_last_error = ctypes.cast(_telling(struct.get_last_error), ctypes.c_void_p)
    return capsule


_listeners: Final[weakref.WeakValueDictionary[int, Listener]] = weakref.WeakValueDictionary()
"""By what a stream has as its private data, which stays the same wherever consumers move the struct."""

_LAST_ERROR: Final = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_tellers: Final[dict[int, Any]] = {}
"""Made once for DuckDB's function, and never freed: nobody knows when the last stream has gone."""


def _telling(address: int) -> Any:
    teller = _tellers.get(address)
    if teller is None:
        original = _LAST_ERROR(address)

        def last_error(stream: int) -> int | None:
            text: int | None = original(stream)
            listener = _listeners.get(Stream.from_address(stream).private_data)
            if listener is not None and text:
                listener.tell(ctypes.string_at(text).decode(errors="replace"))
            return text

        teller = _tellers[address] = _LAST_ERROR(last_error)
    return teller
