"""Blocks that are to be rewritten, straight from the store: not through the cache, which is for readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple

from streamhouse import limits
from streamhouse.commits.state import BlockRef
from streamhouse.errors import CorruptionError
from streamhouse.format.block import decode_block
from streamhouse.format.columns import Columns
from streamhouse.format.integers import int64s
from streamhouse.read.prefetch import BackgroundJobs
from streamhouse.read.reader import matches
from streamhouse.store.base import ObjectStore

_SPAN_BYTES_MAX: Final = 8 * limits.MIB
_AHEAD_BYTES_MAX: Final = 64 * limits.MIB
_LOOK_SECONDS: Final = 0.1


class Source(NamedTuple):
    """A block as it is now."""

    ref: BlockRef
    columns: Columns


def offsets_of(base_offset: int, columns: Columns) -> Sequence[int]:
    """The offset of each record of a block."""
    if columns.deltas is None:
        return range(base_offset, base_offset + columns.count)
    return list(map(base_offset.__add__, int64s(columns.deltas)))


class Sources:
    """Reads blocks, some requests ahead where a request takes long.

    Args:
        store: Where they are.
        requests_max: Under way at once, if the store is remote.
    """

    def __init__(self, store: ObjectStore, requests_max: int) -> None:
        self._store = store
        self._requests_max = requests_max if store.capabilities.remote else 1

    def read(self, refs: Sequence[BlockRef], waiting: Callable[[], object]) -> Iterator[Source]:
        """The blocks in order.

        Args:
            refs: Where they lie.
            waiting: Called now and then while a request takes its time; it may raise to make an end.

        Raises:
            CorruptionError: One is damaged.
            ObjectNotFoundError: An object is gone; somebody else has rewritten it.
            StoreError: The store fails.
        """
        spans = _spans(refs)
        if self._requests_max == 1:
            for span in spans:
                yield from self._fetch(span)
            return
        # Not a pool of the standard library, which keeps the process alive while a request hangs.
        with closing(BackgroundJobs(self._requests_max, 2 * self._requests_max, "upkeep-io")) as jobs:
            ahead: deque[_Coming] = deque()
            for span in spans:
                while ahead and (
                    len(ahead) >= self._requests_max
                    or sum([coming.size for coming in ahead]) + _size(span) > _AHEAD_BYTES_MAX
                ):
                    yield from ahead.popleft().wait(waiting)
                ahead.append(_Coming(jobs, _size(span), partial(self._fetch, span)))
            while ahead:
                yield from ahead.popleft().wait(waiting)

    def _fetch(self, span: list[BlockRef]) -> list[Source]:
        try:
            return self._fetch_once(span)
        except CorruptionError:
            return self._fetch_once(span)  # a byte flipped on the wire is right the second time

    def _fetch_once(self, span: list[BlockRef]) -> list[Source]:
        first, last = span[0].position, span[-1].position + span[-1].length
        name = span[0].object_name
        data = memoryview(self._store.get(name, first, last))
        found = []
        for ref in span:
            where = f"{name} at byte {ref.position}, offsets {ref.base_offset} to {ref.next_offset - 1}"
            begin = ref.position - first
            columns = decode_block(data[begin : begin + ref.length], where)
            if not matches(columns, ref):
                raise CorruptionError(f"{where}: the block holds {columns.count} records, not these")
            found.append(Source(ref, columns))
        return found


class _Coming:
    """What a request in the background will bring."""

    def __init__(self, jobs: BackgroundJobs, size: int, fetch: Callable[[], list[Source]]) -> None:
        self.size = size
        self._fetch = fetch
        self._found: Future[list[Source]] = Future()
        if not jobs.submit(self, self._run):
            self._run()

    def wait(self, waiting: Callable[[], object]) -> list[Source]:
        while True:
            try:
                return self._found.result(_LOOK_SECONDS)
            except TimeoutError:
                if self._found.done():
                    return self._found.result()  # or its own TimeoutError
            waiting()

    def _run(self) -> None:
        try:
            self._found.set_result(self._fetch())
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            self._found.set_exception(error)


def _size(span: Sequence[BlockRef]) -> int:
    return span[-1].position + span[-1].length - span[0].position


def _spans(refs: Sequence[BlockRef]) -> Iterator[list[BlockRef]]:
    """Blocks that one request can fetch: neighbours in one object."""
    span: list[BlockRef] = []
    for ref in refs:
        if span:
            last = span[-1]
            adjacent = ref.object_name == last.object_name and ref.position == last.position + last.length
            if not adjacent or ref.position + ref.length - span[0].position > _SPAN_BYTES_MAX:
                yield span
                span = []
        span.append(ref)
    if span:
        yield span
