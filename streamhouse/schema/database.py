"""The DuckDB database in which values are converted: in memory, one per process, empty but while it is used.

Making one takes DuckDB some 20 ms, more than all else that a small frame takes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from streamhouse.runtime import process_id

_SETTINGS: Final = (
    "set global TimeZone = 'UTC'",
    "set global arrow_lossless_conversion = true",
    "set global produce_arrow_string_view = false",
    "set global arrow_large_buffer_size = false",
)


@contextmanager
def cursor(*, alone: bool = False) -> Iterator[Any]:
    """A connection whose temporary tables and registered objects nobody else sees.

    Args:
        alone: With a database of its own, which costs its 20 ms, but gives all of its memory back.
    """
    if alone:
        with _connect() as connection:
            yield connection
        return
    connection = _database(process_id()).cursor()
    try:
        yield connection
    except BaseException:
        if not is_alive(connection):
            _database.cache_clear()
        raise
    finally:
        connection.close()


def is_alive(connection: Any) -> bool:
    """Whether DuckDB still answers; after an error inside of it, no connection to the database does."""
    import duckdb

    try:
        connection.execute("select 1")
    except duckdb.Error:
        return False
    return True


@cache
def _database(_process: int) -> Any:
    connection = _connect()
    # Never freed: in a forked child, DuckDB would wait for threads that only the parent has.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    return connection


def _connect() -> Any:
    import duckdb

    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection
