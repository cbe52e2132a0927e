"""StreamHouse for asyncio: the same names, to be awaited, on the same engine.

There is no second implementation. Calls that may wait for the store run on a few worker threads of the
log; deliveries are awaited as they are, without a thread. Works on any running loop, also Jupyter's.

Example:
    >>> import asyncio, streamhouse.aio
    >>> async def main():
    ...     async with await streamhouse.aio.open("memory://") as log:
    ...         await log.create_topic("orders", partitions=3)
    ...         async with await log.producer() as producer:
    ...             stored = await (await producer.send("orders", {"amount": 99.99}, key="user-1"))
    ...         return [record.value async for record in log.read("orders")]
    >>> asyncio.run(main())
    [b'{"amount":99.99}']
"""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from threading import Event
from types import TracebackType
from typing import Any, Self, TypeVar

from streamhouse import consumer as _consumer
from streamhouse import log as _log
from streamhouse import producer as _producer
from streamhouse.aio.sql import Result, SqlSession, begun
from streamhouse.aio.threads import run as _run
from streamhouse.aio.topics import Topic
from streamhouse.config import Settings
from streamhouse.errors import InvalidInputError, TransactionError
from streamhouse.groups import admin as _admin
from streamhouse.groups.description import GroupDescription
from streamhouse.groups.offsets import Offset, What
from streamhouse.process import Stop
from streamhouse.producer import BatchDelivery, Delivery, TransactionMetadata
from streamhouse.read.batch import RecordBatch
from streamhouse.read.turns import Handout
from streamhouse.records import OffsetAndMetadata, Position, Positions, Record, TopicPartition
from streamhouse.sql.parameters import parameters_of
from streamhouse.store.metered import StoreStats
from streamhouse.upkeep.report import UpkeepReport

T = TypeVar("T")

_THREADS = 32  # waiting polls and blocked sends hold one each; idle ones cost nothing
_READ_AT_ONCE = 500
_POLL_SECONDS = 0.2  # how long an iteration whose loop has ended may hold a thread


async def open(  # noqa: A001 - as gzip.open and the like
    url: str, *, storage_options: Mapping[str, Any] | None = None, create: bool = True, **settings: Any
) -> Log:
    """Open a log; see :class:`streamhouse.Log` for the arguments and errors."""
    threads = ThreadPoolExecutor(_THREADS, "streamhouse-aio")
    try:
        log = await _run(
            threads,
            partial(_log.Log, url, storage_options=storage_options, create=create, **settings),
        )
    except BaseException:
        threads.shutdown(wait=False)
        raise
    return Log(log, threads)


class Log:
    """Like :class:`streamhouse.Log`; made by :func:`open`."""

    def __init__(self, log: _log.Log, threads: ThreadPoolExecutor) -> None:
        self._log = log
        self._threads = threads

    def __repr__(self) -> str:
        return f"aio.{self._log!r}"

    @property
    def url(self) -> str:
        """Where the log is, without credentials."""
        return self._log.url

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._log.settings

    async def create_topic(
        self, name: str, *, partitions: int = 1, exist_ok: bool = False, **settings: Any
    ) -> Topic:
        """See :meth:`streamhouse.Log.create_topic`."""
        make = partial(self._log.create_topic, name, partitions=partitions, exist_ok=exist_ok, **settings)
        return Topic(await self._do(make), self._threads)

    async def delete_topic(self, name: str) -> None:
        """See :meth:`streamhouse.Log.delete_topic`."""
        await self._do(self._log.delete_topic, name)

    async def alter_topic(self, name: str, *, partitions: int | None = None, **settings: Any) -> Topic:
        """See :meth:`streamhouse.Log.alter_topic`."""
        alter = partial(self._log.alter_topic, name, partitions=partitions, **settings)
        return Topic(await self._do(alter), self._threads)

    async def topic(self, name: str) -> Topic:
        """See :meth:`streamhouse.Log.topic`."""
        return Topic(await self._do(self._log.topic, name), self._threads)

    async def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        found = await self._do(lambda: dict(self._log.topics))
        return {name: Topic(topic, self._threads) for name, topic in found.items()}

    async def producer(self, **options: Any) -> Producer:
        """See :meth:`streamhouse.Log.producer`."""
        return Producer(await self._do(self._log.producer, **options), self._threads)

    async def consumer(
        self, *topics: str | re.Pattern[str], start: Positions = "earliest", **options: Any
    ) -> Consumer:
        """See :meth:`streamhouse.Log.consumer`.

        ``on_assign``, ``on_revoke`` and ``on_lost`` are plain functions here, too. They run on a worker
        thread while a poll is under way, and commit or seek by way of :attr:`Consumer.blocking`.

        Raises:
            InvalidInputError: A callback is a coroutine function.
        """
        for name in ("on_assign", "on_revoke", "on_lost"):
            if inspect.iscoroutinefunction(options.get(name)):
                raise InvalidInputError(
                    f"{name} must be a plain function: the poll that calls it waits for it, and awaiting"
                    " the consumer in it would wait for that poll"
                )
        made = await self._do(self._log.consumer, *topics, start=start, **options)
        return Consumer(made, self._threads)

    async def groups(self) -> dict[str, Group]:
        """All consumer groups by name; see :attr:`streamhouse.Log.groups`."""
        found = await self._do(lambda: dict(self._log.groups))
        return {name: Group(group, self._threads) for name, group in found.items()}

    async def group(self, name: str) -> Group:
        """One consumer group.

        Raises:
            GroupNotFoundError: There is no such group; the message has the nearest match.
        """
        return Group(await self._do(lambda: self._log.groups[name]), self._threads)

    async def read(
        self,
        topic: str,
        *,
        start: Positions = "earliest",
        until: Position | str = "end",
        partitions: Sequence[int] | None = None,
        **options: Any,
    ) -> AsyncIterator[Record[Any, Any]]:
        """See :meth:`streamhouse.Log.read`."""
        records = await self._do(
            self._log.read, topic, start=start, until=until, partitions=partitions, **options
        )
        chunks = _Chunks(records)
        while chunk := await self._do(chunks.take):
            for record in chunk:
                yield record

    async def process(
        self, consumer: Consumer, producer: Producer, function: Callable[[Any], Any], **options: Any
    ) -> int:
        """See :meth:`streamhouse.Log.process`; the function may also be a coroutine function.

        It is called on a worker thread. A coroutine that it returns, or an asynchronous generator, runs on
        the loop. To stop, cancel, or set the event that was passed as ``stop``: it ends after the
        transaction that is under way.
        """
        stop = _Stop(options.pop("stop", None))
        loop = asyncio.get_running_loop()

        def call(record: Record[Any, Any]) -> Any:
            result = function(record)
            if inspect.isasyncgen(result):
                result = _collect(result)
            if inspect.iscoroutine(result):
                return asyncio.run_coroutine_threadsafe(result, loop).result()
            return result

        running = loop.run_in_executor(
            self._threads,
            partial(self._log.process, consumer._consumer, producer._producer, call, stop=stop, **options),
        )
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(running, return_exceptions=True)
            raise

    def sql(
        self, query: str, /, *values: Any, as_of: int | dt.datetime | None = None, **parameters: Any
    ) -> Awaitable[Result]:
        """See :meth:`streamhouse.Log.sql`; what the result gives is awaited, too."""
        frame = sys._getframe().f_back
        given = parameters_of(values, parameters)
        return begun(self._threads, lambda: self._log._sql_in(query, given, as_of, frame))

    async def sql_session(self, **options: Any) -> SqlSession:
        """See :meth:`streamhouse.Log.sql_session`."""
        return SqlSession(await self._do(self._log.sql_session, **options), self._threads)

    def stats(self) -> StoreStats:
        """See :meth:`streamhouse.Log.stats`."""
        return self._log.stats()

    async def delete_records(
        self, topic: str, before: Mapping[int, int] | dt.datetime | str
    ) -> dict[int, int]:
        """See :meth:`streamhouse.Log.delete_records`."""
        return await self._do(self._log.delete_records, topic, before)

    async def upkeep(self) -> UpkeepReport:
        """See :meth:`streamhouse.Log.upkeep`."""
        return await self._do(self._log.upkeep)

    async def flush(self) -> None:
        """See :meth:`streamhouse.Log.flush`."""
        await self._do(self._log.flush)

    async def close(self, timeout: float | None = None) -> None:
        """See :meth:`streamhouse.Log.close`."""
        await self._do(self._log.close, timeout)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._do(self._log.__exit__, kind, error, traceback)
        self._threads.shutdown(wait=False)

    async def _do(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        return await _run(self._threads, partial(call, *args, **options))


class _Chunks:
    """Some records of an iterator at a time. An error comes after the records before it."""

    def __init__(self, records: Iterator[Record[Any, Any]]) -> None:
        self._records = records
        self._error: Exception | None = None

    def take(self) -> list[Record[Any, Any]]:
        """The next ones; an empty list at the end."""
        if self._error is not None:
            raise self._error
        chunk: list[Record[Any, Any]] = []
        try:
            chunk.extend(islice(self._records, _READ_AT_ONCE))
        except Exception as error:
            if not chunk:
                raise
            self._error = error
        return chunk


async def _collect(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


class _Stop(Event):
    """Set when another one is, too."""

    def __init__(self, other: Stop | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or (self._other is not None and self._other.is_set())


class Producer:
    """Like :class:`streamhouse.Producer`."""

    def __init__(self, producer: _producer.Producer, threads: ThreadPoolExecutor) -> None:
        self._producer = producer
        self._threads = threads

    async def send(self, topic: str, value: Any = None, **options: Any) -> Delivery:
        """Hand over a record; awaits only while the buffer is full.

        The loop stands still for one request to the store with the first record of a topic that this process
        has not heard of, and at most once a second with a record that does not fit its topic: before it is
        refused, the topic is looked up.

        Returns:
            The delivery, itself awaitable: ``await (await producer.send(...))`` is a durable write.
        """
        try:
            return self._producer.send(topic, value, **{**options, "timeout": 0})
        except BufferError:
            if options.get("timeout") == 0:
                raise
            return await _run(self._threads, partial(self._producer.send, topic, value, **options))

    async def send_many(self, topic: str, values: Iterable[Any], **options: Any) -> BatchDelivery:
        """See :meth:`streamhouse.Producer.send_many`."""
        return await _run(self._threads, partial(self._producer.send_many, topic, values, **options))

    def transaction(self, **options: Any) -> Transaction:
        """See :meth:`streamhouse.Producer.transaction`; it begins with ``async with``."""
        return Transaction(partial(self._producer.transaction, **options), self._threads)

    @property
    def transactional_id(self) -> str | None:
        """The name it was given, if any."""
        return self._producer.transactional_id

    @property
    def settled(self) -> bool:
        """Whether the outcome of all its transactions is known."""
        return self._producer.settled

    async def settle(self) -> None:
        """See :meth:`streamhouse.Producer.settle`."""
        await _run(self._threads, self._producer.settle)

    async def flush(self, timeout: float | None = None) -> None:
        """See :meth:`streamhouse.Producer.flush`."""
        await _run(self._threads, partial(self._producer.flush, timeout))

    async def close(self) -> None:
        """See :meth:`streamhouse.Producer.close`."""
        await _run(self._threads, self._producer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Transaction:
    """Like :class:`streamhouse.Transaction`: ``async with producer.transaction() as tx``."""

    def __init__(self, begin: Callable[[], _producer.Transaction], threads: ThreadPoolExecutor) -> None:
        self._begin = begin
        self._begun: _producer.Transaction | None = None
        self._threads = threads

    def __repr__(self) -> str:
        return f"aio.{self._begun!r}" if self._begun else "<Transaction, not begun>"

    @property
    def open(self) -> bool:
        """Whether it can be added to."""
        return self._begun is not None and self._begun.open

    @property
    def result(self) -> TransactionMetadata:
        """See :attr:`streamhouse.Transaction.result`."""
        return self._transaction.result

    async def send(self, topic: str, value: Any = None, **options: Any) -> Delivery:
        """See :meth:`streamhouse.Transaction.send`. The delivery is awaited after the block."""
        try:
            return self._transaction.send(topic, value, **{**options, "timeout": 0})
        except BufferError:
            if options.get("timeout") == 0:
                raise
            return await self._do(self._transaction.send, topic, value, **options)

    async def send_many(self, topic: str, values: Iterable[Any], **options: Any) -> BatchDelivery:
        """See :meth:`streamhouse.Transaction.send_many`."""
        return await self._do(self._transaction.send_many, topic, values, **options)

    async def commit_offsets(self, consumer: Consumer | None = None, **options: Any) -> None:
        """See :meth:`streamhouse.Transaction.commit_offsets`."""
        source = None if consumer is None else consumer._consumer
        await self._do(self._transaction.commit_offsets, source, **options)

    async def commit(self) -> TransactionMetadata:
        """See :meth:`streamhouse.Transaction.commit`."""
        return await self._do(self._transaction.commit)

    async def abort(self) -> None:
        """See :meth:`streamhouse.Transaction.abort`."""
        await self._do(self._transaction.abort)

    async def __aenter__(self) -> Self:
        beginning = self._threads.submit(self._begin)
        try:
            self._begun = await asyncio.wrap_future(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_abort)  # else the producer would have it open for ever
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = self._threads.submit(self._transaction.__exit__, kind, error, traceback)
        try:
            await asyncio.wrap_future(ending)
        except asyncio.CancelledError:
            if ending.cancel():  # no thread has taken it up, nor will one
                self._threads.submit(self._transaction.abort)
            raise

    @property
    def _transaction(self) -> _producer.Transaction:
        if self._begun is None:
            raise TransactionError("the transaction has not begun: async with producer.transaction() as tx")
        return self._begun

    async def _do(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        return await _run(self._threads, partial(call, *args, **options))


def _abort(beginning: Future[_producer.Transaction]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().abort()


class Consumer:
    """Like :class:`streamhouse.Consumer`; ``async for record in consumer`` is endless."""

    def __init__(self, consumer: _consumer.Consumer[Any, Any], threads: ThreadPoolExecutor) -> None:
        consumer._polled_by_loop = True
        self._consumer = consumer
        self._threads = threads
        self._turn = asyncio.Lock()
        self._abandoned: Future[Any] | None = None  # a cancelled poll that may have something to tell

    async def poll(self, timeout: float | None = 1.0, max_records: int = 500) -> list[Record[Any, Any]]:
        """See :meth:`streamhouse.Consumer.poll`.

        A poll that is cancelled loses nothing: what it fetched was not handed out, and comes again. Polls of
        several tasks wait for each other.
        """
        return await self._all_of(partial(self._consumer._offer_records, timeout, max_records))

    async def poll_batches(
        self, timeout: float | None = 1.0, max_records: int | None = None
    ) -> list[RecordBatch]:
        """See :meth:`streamhouse.Consumer.poll_batches`, and :meth:`poll` for being cancelled."""
        return await self._all_of(partial(self._consumer._offer_batches, timeout, max_records))

    async def __aiter__(self) -> AsyncIterator[Record[Any, Any]]:
        while True:
            async with self._turn:
                offered = await self._offered(partial(self._consumer._take_handout, _POLL_SECONDS))
            for handout in offered:
                for record in handout.iterator:  # ends early when the group has changed
                    yield record

    @property
    def blocking(self) -> _consumer.Consumer[Any, Any]:
        """The consumer behind this one, for callbacks: they run inside of a poll, and cannot await."""
        return self._consumer

    @property
    def assignment(self) -> list[TopicPartition]:
        """See :attr:`streamhouse.Consumer.assignment`."""
        return self._consumer.assignment

    @property
    def paused(self) -> list[TopicPartition]:
        """See :attr:`streamhouse.Consumer.paused`."""
        return self._consumer.paused

    @property
    def group(self) -> str | None:
        """See :attr:`streamhouse.Consumer.group`."""
        return self._consumer.group

    @property
    def member_id(self) -> str | None:
        """See :attr:`streamhouse.Consumer.member_id`."""
        return self._consumer.member_id

    @property
    def generation(self) -> int | None:
        """See :attr:`streamhouse.Consumer.generation`."""
        return self._consumer.generation

    async def commit(self, what: What | None = None, *, metadata: str = "") -> None:
        """See :meth:`streamhouse.Consumer.commit`."""
        await self._do(self._consumer.commit, what, metadata=metadata)

    async def commit_async(self, what: What | None = None, *, metadata: str = "") -> asyncio.Future[None]:
        """See :meth:`streamhouse.Consumer.commit_async`; the future can be awaited."""
        return asyncio.wrap_future(await self._do(self._consumer.commit_async, what, metadata=metadata))

    async def committed(self, topic: str, partition: int) -> OffsetAndMetadata | None:
        """See :meth:`streamhouse.Consumer.committed`."""
        return await self._do(self._consumer.committed, topic, partition)

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """See :meth:`streamhouse.Consumer.assign`."""
        self._abandoned = None
        await self._do(self._consumer.assign, partitions)

    async def seek(self, *args: Any, **options: Any) -> None:
        """See :meth:`streamhouse.Consumer.seek`."""
        self._abandoned = None  # what was wrong where it was
        await self._do(self._consumer.seek, *args, **options)

    async def lag(self, *args: Any, **options: Any) -> Any:
        """See :meth:`streamhouse.Consumer.lag`."""
        return await self._do(self._consumer.lag, *args, **options)

    def position(self, *args: Any, **options: Any) -> Any:
        """See :meth:`streamhouse.Consumer.position`."""
        return self._consumer.position(*args, **options)

    def pause(self, *args: Any, **options: Any) -> None:
        """See :meth:`streamhouse.Consumer.pause`."""
        self._consumer.pause(*args, **options)

    def resume(self, *args: Any, **options: Any) -> None:
        """See :meth:`streamhouse.Consumer.resume`."""
        self._consumer.resume(*args, **options)

    async def close(self, timeout: float | None = None, *, finished: bool = True) -> None:
        """See :meth:`streamhouse.Consumer.close`."""
        await self._do(self._consumer.close, timeout, finished=finished)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._do(self._consumer.__exit__, kind, error, traceback)

    async def _all_of(self, offer: Callable[[Event], list[Handout[T]]]) -> list[T]:
        """Take what is offered: from now on it has been handed out."""
        async with self._turn:  # another poll would take it back before it is taken
            while True:
                offered = await self._offered(offer)
                items = [item for handout in offered for item in handout.iterator]
                if items or not offered:
                    return items
                # The group has changed, or a seek came in between, and it was taken back.

    async def _offered(self, offer: Callable[[Event], list[Handout[T]]]) -> list[Handout[T]]:
        """What a thread gets; who is cancelled leaves it there, to be taken back."""
        await self._end_abandoned()
        given_up = Event()
        asked = self._threads.submit(offer, given_up)
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            self._consumer._give_up(given_up)
            if not asked.cancel():
                self._abandoned = asked
            raise

    async def _end_abandoned(self) -> None:
        """Wait for what a cancelled poll still does, and raise what it would have raised."""
        if self._abandoned is not None:
            try:
                await asyncio.wrap_future(self._abandoned)
            except Exception:  # not when cancelled: then it still has to end
                self._abandoned = None
                raise
            self._abandoned = None

    async def _do(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        return await _run(self._threads, partial(call, *args, **options))


class Group:
    """Like :class:`streamhouse.Group`; its figures come with :meth:`describe`."""

    def __init__(self, group: _admin.Group, threads: ThreadPoolExecutor) -> None:
        self._group = group
        self._threads = threads
        self.name = group.name

    def __repr__(self) -> str:
        return f"aio.{self._group!r}"

    async def describe(self) -> GroupDescription:
        """See :meth:`streamhouse.Group.describe`."""
        return await self._do(self._group.describe)

    async def reset(self, to: Position | None = None, **options: Any) -> dict[TopicPartition, int]:
        """See :meth:`streamhouse.Group.reset`."""
        return await self._do(self._group.reset, to, **options)

    async def commit(self, offsets: Mapping[tuple[str, int], Offset], *, metadata: str = "") -> None:
        """See :meth:`streamhouse.Group.commit`."""
        await self._do(self._group.commit, offsets, metadata=metadata)

    async def delete(self) -> None:
        """See :meth:`streamhouse.Group.delete`."""
        await self._do(self._group.delete)

    async def _do(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        return await _run(self._threads, partial(call, *args, **options))
