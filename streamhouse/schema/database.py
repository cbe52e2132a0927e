"""The DuckDB database in which values are converted: in memory, one per process, empty but while it is used.

Making one takes DuckDB some 20 ms, more than all else that a small frame takes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

_SETTINGS: Final = (
    "set global TimeZone = 'UTC'",
    "set global arrow_lossless_conversion = true",
    "set global produce_arrow_string_view = false",
    "set global arrow_large_buffer_size = false",
    # All of a column of objects, not some: what is found out of its type else depends on which.
    f"set global pandas_analyze_sample = {(1 << 63) - 1}",
)


class DatabaseLostError(Exception):
    """DuckDB failed inside, perhaps on what somebody else converts: do it again, alone."""


@contextmanager
def cursor(*, alone: bool) -> Iterator[Any]:
    """A connection whose temporary tables and registered objects nobody else sees.

    Args:
        alone: With a database of its own, which costs its 20 ms, but gives all of its memory back.

    Raises:
        DatabaseLostError: The database that others use too has ended meanwhile.
    """
    if alone:
        with _connect() as connection:
            yield connection
        return
    connection = _database().cursor()
    try:
        yield connection
    except Exception as error:
        if is_alive(connection):
            raise
        _database.cache_clear()
        raise DatabaseLostError from error
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
def _database() -> Any:
    return _connect()


def _connect() -> Any:
    import duckdb

    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def _after_fork() -> None:
    """In the child: take another one, and never free this, as DuckDB would wait for threads of the parent."""
    if _database.cache_info().currsize:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_database()))
        _database.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
