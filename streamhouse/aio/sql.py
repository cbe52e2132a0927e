"""Queries and their results for asyncio."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from streamhouse.aio.threads import run
from streamhouse.sql.parameters import parameters_of

if TYPE_CHECKING:
    from streamhouse.sql import result as _result
    from streamhouse.sql import session as _session
    from streamhouse.sql.stats import QueryStats

T = TypeVar("T")

_ROWS_AT_ONCE = 2048


class Result:
    """Like :class:`streamhouse.sql.result.Result`; rows come with ``async for``.

    A query whose rows somebody waits for is interrupted when the waiting is cancelled.
    """

    def __init__(self, result: _result.Result, threads: ThreadPoolExecutor) -> None:
        self._result = result
        self._threads = threads

    @property
    def blocking(self) -> _result.Result:
        """The result behind this one, for libraries that take it as an Arrow stream."""
        return self._result

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._result.columns

    @property
    def types(self) -> list[str]:
        """DuckDB types of the columns, as SQL names."""
        return self._result.types

    @property
    def commit(self) -> int:
        """Number of the commit that the query sees."""
        return self._result.commit

    @property
    def stats(self) -> QueryStats:
        """What the last pass over the result has read so far."""
        return self._result.stats

    async def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        rows = await self._do(iter, self._result)
        try:
            while some := await self._do(_take, rows):
                for row in some:
                    yield row
        finally:  # also when nobody wants the rest
            await run(self._threads, getattr(rows, "close", _nothing))

    async def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; ``None`` after the last one."""
        return await self._do(self._result.fetchone)

    async def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows, fewer than ``size`` only at the end."""
        return await self._do(self._result.fetchmany, size)

    async def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return await self._do(self._result.fetchall)

    async def fetchnumpy(self) -> dict[str, Any]:
        """All rows as a NumPy array per column."""
        return await self._do(self._result.fetchnumpy)

    async def df(self) -> Any:
        """All rows as a pandas DataFrame."""
        return await self._do(self._result.df)

    async def pl(self) -> Any:
        """All rows as a Polars DataFrame."""
        return await self._do(self._result.pl)

    async def arrow(self) -> Any:
        """All rows as a PyArrow table."""
        return await self._do(self._result.arrow)

    async def show(self, max_rows: int | None = None, max_width: int | None = None) -> None:
        """Print the first rows as a table."""
        await self._do(self._result.show, max_rows, max_width)

    async def explain(self) -> str:
        """Run the query; DuckDB's plan with its times, and what was read of each topic."""
        return await self._do(self._result.explain)

    async def close(self) -> None:
        """Give back what is open."""
        await self._do(self._result.close)

    def __repr__(self) -> str:
        return f"<aio.Result: {', '.join(self._result.columns)}>"

    async def _do(self, call: Callable[..., T], *args: Any) -> T:
        running = asyncio.ensure_future(run(self._threads, call, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._result.interrupt()
            await asyncio.gather(running, return_exceptions=True)
            raise


class SqlSession:
    """Like :class:`streamhouse.sql.session.SqlSession`; made by :meth:`Log.sql_session`."""

    def __init__(self, session: _session.SqlSession, threads: ThreadPoolExecutor) -> None:
        self._session = session
        self._threads = threads

    def __repr__(self) -> str:
        return f"aio.{self._session!r}"

    def sql(
        self, query: str, /, *values: Any, as_of: int | dt.datetime | None = None, **parameters: Any
    ) -> Awaitable[Result]:
        """Run a query; see :meth:`Log.sql`."""
        given = parameters_of(values, parameters)
        return begun(self._threads, lambda: self._session.run(query, given, as_of, None))

    async def close(self) -> None:
        """Give the memory back."""
        await run(self._threads, self._session.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def begun(threads: ThreadPoolExecutor, call: Callable[[], _result.Result]) -> Result:
    """A query that is asked on one of the threads."""
    return Result(await run(threads, call), threads)


def _nothing() -> None:
    """What there is to close of rows that are all there."""


def _take(rows: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row for _, row in zip(range(_ROWS_AT_ONCE), rows, strict=False)]
