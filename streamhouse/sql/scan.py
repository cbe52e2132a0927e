"""Reading the blocks of one scan: planned lazily, decoded ahead by a few threads, handed out in order.

Decompression and checksums release the interpreter's lock, so blocks are decoded beside DuckDB's own
work. No more than a few pieces (a block, or what one request reads) are ahead of the consumer, which bounds
the memory of a scan whatever its size. A scan of a handful of blocks goes through the cache that consumers
use: asked again, it reads nothing. A longer one would push everything else out, so it takes what is there
and leaves the rest.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from itertools import chain, groupby, islice
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from streamhouse.errors import LOG_CLOSED, ClosedError
from streamhouse.format.columns import Columns
from streamhouse.format.partial import BlockIndex
from streamhouse.read.reader import BlockReader
from streamhouse.schema.conform import conform_bounds
from streamhouse.schema.model import Field
from streamhouse.sql.arrays import Wrapper
from streamhouse.sql.bounds import Bounds, Hint
from streamhouse.sql.interrupts import waited
from streamhouse.sql.plan import BlockScan, plan
from streamhouse.sql.snapshot import TopicView
from streamhouse.sql.stats import ScanNotes

_CACHED_BLOCKS_MAX: Final = 8
_UNREAD_AT_ONCE: Final = 1_000
_PARTS_AT_ONCE: Final = 4  # a column of a block is read in less time than another thread takes to wake up
_PIECES_PER_REQUEST: Final = 3  # so that none of the connections waits for the consumer
_DECODED_PER_STORED: Final = 4  # usual for JSON


class Workers:
    """The threads that read and decode, and how far they may run ahead.

    Who submits holds no lock that another one needs, as he would with an executor. The garbage collector may
    run there, and free a query that was not read to its end, which waits until its scans have stopped.

    Args:
        reader: Reads blocks.
        threads: How many.
        request_bytes: As much is asked for at once where blocks lie one behind the other; 0 where there is no
            network between.

    Attributes:
        parts_at_once: Blocks of which one thread reads some columns.
        pieces_at_first: Pieces that are ahead of a consumer who may need no more than the first.
        pieces_ahead: Pieces that are ahead of one who goes on, at most.
        bytes_ahead: Stored bytes of them.
        decoded_ahead: Bytes of them that are decoded, about. There may be hundreds of times as many as are
            stored: what is fetched in addition is decoded when it is its turn.
    """

    def __init__(self, reader: BlockReader, threads: int, request_bytes: int) -> None:
        self.reader = reader
        self.request_bytes = request_bytes
        self.pieces_at_first = self.pieces_ahead = threads + 2
        self.bytes_ahead = math.inf
        self.parts_at_once = _PARTS_AT_ONCE
        if request_bytes:
            self.pieces_ahead = _PIECES_PER_REQUEST * threads + 2
            self.bytes_ahead = self.pieces_at_first * request_bytes
            self.parts_at_once = 1
        self.decoded_ahead = _DECODED_PER_STORED * self.bytes_ahead
        self._closed = False
        self._threads_max = threads
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        weakref.finalize(self, self._jobs.put, None).atexit = False

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        """Run something on one of the threads, which the first calls start.

        Raises:
            ClosedError: The log was closed.
        """
        future: Future[Any] = Future()
        if not self._closed:
            self._jobs.put((future, partial(function, *args)))
            self._start_one()
        if self._closed:  # perhaps meanwhile
            future.cancel()
            raise ClosedError(LOG_CLOSED)
        return future

    def close(self) -> None:
        """End the threads. What they have not begun is cancelled."""
        self._closed = True
        with suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job[0].cancel()
        self._jobs.put(None)
        for thread in tuple(self._threads):
            thread.join()

    def _start_one(self) -> None:
        """Start another thread, if there may be more, and unless somebody is at it."""
        if len(self._threads) < self._threads_max and self._starting.acquire(blocking=False):
            try:
                if len(self._threads) < self._threads_max:
                    self._threads.append(_started(self._jobs))
            finally:
                self._starting.release()


_Job: TypeAlias = tuple[Future[Any], Callable[[], Any]]


def _started(jobs: SimpleQueue[_Job | None]) -> threading.Thread:
    thread = threading.Thread(target=_work, args=(jobs,), name="streamhouse-sql", daemon=True)
    thread.start()
    return thread


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while _has_done(jobs.get()):
        pass
    jobs.put(None)  # for the next thread


def _has_done(job: _Job | None) -> bool:
    """Do something, unless that is the end."""
    if job is None:
        return False
    future, make = job
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(make())
        except BaseException as error:  # noqa: BLE001 - raised where the result is waited for
            future.set_exception(error)
            del future, job  # a circle: the error knows this frame
    return True


class TopicScan:
    """One pass over a topic.

    Args:
        workers: Who reads and decodes.
        topic: The topic as of a commit.
        columns: What the query wants.
        conditions: Filters that were taken from DuckDB.
        hints: Of filters that DuckDB applies itself, on fields of a typed topic; see ``bounds.py``.
        raw: Keys and values as BLOB instead of text.
        notes: Where to write down what was read.
        stopped: Whether nobody needs more, which is asked while an answer of the network is waited for.
    """

    def __init__(
        self,
        workers: Workers,
        topic: TopicView,
        columns: Sequence[str],
        conditions: Sequence[Any],
        *,
        hints: Sequence[Hint] = (),
        raw: bool,
        notes: ScanNotes,
        stopped: Callable[[], bool],
    ) -> None:
        self._workers = workers
        self._topic = topic
        self._columns = columns
        self._conditions = conditions
        self._hints = hints
        self._notes = notes
        self._stopped = stopped
        self._partly = topic.schema is not None and "value" not in columns  # reads parts of blocks
        self._wrapper = Wrapper(topic.name, columns, topic.schema, raw=raw)
        self.schema = self._wrapper.schema
        self._lock = threading.Lock()
        self._decoded_bytes = 0  # ahead of the consumer

    def arrays(self) -> Iterator[Any]:
        """The Arrow arrays, partition by partition in order of offset."""
        planned = plan(self._topic, self._columns, self._conditions)
        head = list(islice(planned, _CACHED_BLOCKS_MAX + 1))
        keep = len(head) <= _CACHED_BLOCKS_MAX
        if len(head) == 1 and head[0].stored and not self._workers.request_bytes:
            yield from self._read(head, keep)
            return
        coming: deque[_Piece] = deque()
        ahead = self._workers.pieces_at_first
        try:
            for piece in self._pieces(chain(head, planned), keep):
                coming.append(piece)
                while len(coming) > ahead or sum(each.size for each in coming) > self._workers.bytes_ahead:
                    yield from self._first_of(coming)
                    ahead = min(ahead + 1, self._workers.pieces_ahead)
            while coming:
                yield from self._first_of(coming)
        finally:
            for each in coming:
                each.drop()

    def _first_of(self, coming: deque[_Piece]) -> Iterable[Any]:
        """The arrays of the first piece; while another thread is at it, a later one is made here.

        Unless there is a network between: who waits for an answer himself asks for nothing further meanwhile.
        """
        first = coming.popleft()
        if not self._workers.request_bytes:
            first.help()
            if not first.ready:
                any(piece.help() for piece in coming)
        return first.arrays(self._stopped)

    def _pieces(self, scans: Iterator[BlockScan], keep: bool) -> Iterator[_Piece]:
        """Blocks on their way, and runs of those that need not be read."""
        for stored, group in groupby(scans, lambda scan: bool(scan.stored)):
            if stored:
                for run in self._runs(group, keep):
                    read = partial(self._read, run, keep)
                    size = sum(scan.ref.length for scan in run)
                    yield _Piece(read, self._workers.submit(read), size)
            else:
                while some := list(islice(group, _UNREAD_AT_ONCE)):
                    yield _Piece.made(self._wrapper.unread(map(self._unread, some)))

    def _runs(self, scans: Iterator[BlockScan], keep: bool) -> Iterator[list[BlockScan]]:
        """Blocks of which the same is wanted, as many as are worth a thread."""
        if not self._partly:
            yield from _runs(scans, 0 if keep or self._hints else self._workers.request_bytes)
            return
        while run := list(islice(scans, self._workers.parts_at_once)):
            yield run

    def _unread(self, scan: BlockScan) -> BlockScan:
        self._notes.unread(scan)
        return scan

    def _read(self, run: Sequence[BlockScan], keep: bool) -> Iterable[Any]:
        """The arrays of blocks, which are fetched together if all of each is wanted and none is at hand."""
        if len(run) > 1 and not self._partly and not any(map(self._is_cached, run)):
            return self._read_together(run)
        blocks = [(scan, self._block(scan, keep)) for scan in run]
        return [
            array for scan, block in blocks if block is not None for array in self._wrapper.read(scan, block)
        ]

    def _read_together(self, run: Sequence[BlockScan]) -> Iterator[Any]:
        """The arrays of blocks that lie together: fetched now, and decoded as far as there is room."""
        for scan in run:
            self._notes.read(scan, scan.ref.length)
        refs = [scan.ref for scan in run]
        fetched = self._workers.reader.fetch_run(refs, self._source(run[0]), run[0].stored)
        blocks = zip(run, fetched, strict=True)
        decoded: deque[tuple[int, list[Any]]] = deque()
        for scan, block in blocks:
            decoded.append((block.nbytes, list(self._wrapper.read(scan, block))))
            if self._counted(block.nbytes) >= self._workers.decoded_ahead:
                break
        return self._in_turn(decoded, blocks)

    def _in_turn(
        self, decoded: deque[tuple[int, list[Any]]], blocks: Iterator[tuple[BlockScan, Columns]]
    ) -> Iterator[Any]:
        while decoded:
            size, arrays = decoded.popleft()
            self._counted(-size)
            yield from arrays
        for scan, block in blocks:
            yield from self._wrapper.read(scan, block)

    def _counted(self, size: int) -> int:
        with self._lock:
            self._decoded_bytes += size
            return self._decoded_bytes

    def _is_cached(self, scan: BlockScan) -> bool:
        return self._workers.reader.cached(scan.ref) is not None

    def _source(self, scan: BlockScan) -> str:
        return f"partition {scan.partition} of {self._topic.name!r}"

    def _block(self, scan: BlockScan, keep: bool) -> Columns | None:
        """The columns that are wanted of a block; ``None`` if nothing in it fits."""
        reader = self._workers.reader
        block = reader.cached(scan.ref)
        if block is not None:
            self._notes.cached(scan)
            return block
        source = self._source(scan)
        if self._hints and not self._may_fit(scan, source):
            self._notes.ruled_out(scan)
            return None
        if self._partly:
            block, size = reader.fetch_fields(scan.ref, source, scan.stored)
            self._notes.read(scan, size)
            return block
        self._notes.read(scan, scan.ref.length)
        if keep:
            return reader.fetch(scan.ref, source)
        return reader.fetch_part(scan.ref, source, scan.stored)

    def _may_fit(self, scan: BlockScan, source: str) -> bool:
        index, size = self._workers.reader.look(scan.ref, source)
        self._notes.looked(scan, size)
        return index is None or all(hint(partial(_bounds, index)) for hint in self._hints)


def _runs(scans: Iterable[BlockScan], bytes_max: int) -> Iterator[list[BlockScan]]:
    """Blocks of a partition, together where they lie one behind the other."""
    run: list[BlockScan] = []
    size = 0
    for scan in scans:
        ref = scan.ref
        if run:
            last = run[-1]
            follows = (ref.object_name, ref.position) == (
                last.ref.object_name,
                last.ref.position + last.ref.length,
            )
            alike = (scan.partition, scan.stored) == (last.partition, last.stored)
            if not (follows and alike and size + ref.length <= bytes_max):
                yield run
                run, size = [], 0
        run.append(scan)
        size += ref.length
    if run:
        yield run


def _bounds(index: BlockIndex, field: Field) -> Bounds:
    header = index.field(field.name)
    return None if header is None else conform_bounds(field.type, header.type, header.bounds)


class _Piece:
    """Arrays that one of the workers makes, or who waits for them, whoever comes first.

    It may take a thread a millisecond to wake up, which is what a block takes to decode. So a thread that
    needs arrays does not wait for one that has not begun.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], future: Future[Iterable[Any]], size: int) -> None:
        self.size = size
        self._make = make
        self._future = future

    @classmethod
    def made(cls, arrays: Iterable[Any]) -> _Piece:
        """Arrays for which nothing is read."""
        future: Future[Iterable[Any]] = Future()
        future.set_result(arrays)
        return cls(lambda: arrays, future, 0)

    @property
    def ready(self) -> bool:
        """Whether nobody has to wait for it."""
        return self._future.done()

    def help(self) -> bool:
        """Make the arrays here, unless that is under way or done; whether they were."""
        if not self._future.cancel():
            return False
        self._future = Future()
        try:
            self._future.set_result(self._make())
        except Exception as error:  # noqa: BLE001 - raised when their turn comes, if it does
            self._future.set_exception(error)
        return True

    def arrays(self, stopped: Callable[[], bool]) -> Iterable[Any]:
        """The arrays, when they are made.

        Args:
            stopped: Whether nobody needs them any more.

        Raises:
            ClosedError: They never will be: the log was closed.
            InterruptedError: Nobody does.
        """
        try:
            return waited(self._future, stopped)
        except CancelledError:
            raise ClosedError(LOG_CLOSED) from None

    def drop(self) -> None:
        """Nobody wants them any more."""
        self._future.cancel()
