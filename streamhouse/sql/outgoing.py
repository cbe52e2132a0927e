"""Results as Arrow that is all in memory."""

from __future__ import annotations

from typing import Any, Final

from nanoarrow.c_array_stream import CArrayStream, c_array_stream

_OUT_OF_MEMORY: Final = "Out of Memory Error"


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
