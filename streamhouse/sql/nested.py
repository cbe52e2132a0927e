"""A result as a relation of another query: DuckDB runs the one while it runs the other.

While DuckDB waits for the stream of the inner query, it does not look whether the outer one is to stop, and
of an exception there it passes on only the text. So the outer one knows whom to end, and is told what was
raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Pass(Protocol):
    """One run of an inner query."""

    @property
    def failure(self) -> BaseException | None: ...

    def interrupt(self) -> None: ...


class Outer(Protocol):
    """The run of a query that reads results."""

    def fail(self, error: BaseException) -> None: ...

    def opened(self, inner: Pass) -> None: ...


class Nestable:
    """What is a query, and may be a relation of another one."""

    def __arrow_c_schema__(self) -> object:
        raise NotImplementedError

    def open_stream(self, opened: Callable[[Pass], None]) -> object:
        """Run the query; an Arrow stream of its rows.

        Args:
            opened: Told of the run before it begins.
        """
        raise NotImplementedError


class Nested:
    """What DuckDB is given for a result.

    Args:
        inner: The result.
        outer: Who reads it.
    """

    def __init__(self, inner: Nestable, outer: Outer) -> None:
        self._inner = inner
        self._outer = outer

    def __arrow_c_schema__(self) -> object:
        with self._told():
            return self._inner.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        with self._told():
            return self._inner.open_stream(self._outer.opened)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._outer.fail(error)
            raise
