"""A topic condensed to two rows per partition, for queries that ask for extremes; see ``extremes.py``."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import nanoarrow as na

from streamhouse.commits.state import BlockRef
from streamhouse.format.columns import Columns
from streamhouse.format.integers import stride_offsets
from streamhouse.read.arrow import INT32, INT64, TEXT, TIME, array_of
from streamhouse.sql.ends import Ends, ends_of
from streamhouse.sql.extremes import RECORDS
from streamhouse.sql.plan import whole_block
from streamhouse.sql.predicates import restrict
from streamhouse.sql.scan import Workers
from streamhouse.sql.snapshot import PartitionView, TopicView
from streamhouse.sql.stats import ScanNotes
from streamhouse.sql.times import shown_time

CONDENSED: Final = ("topic", "partition", "offset", "timestamp", RECORDS)
"""The columns of a condensed topic."""

_TYPES: Final = dict(zip(CONDENSED, (TEXT, INT32, INT64, TIME, INT64), strict=True))
_ROWS: Final = 2


class CondensedScan:
    """One pass over a condensed topic; see :class:`~streamhouse.sql.scan.TopicScan`."""

    def __init__(
        self,
        workers: Workers,
        topic: TopicView,
        columns: Sequence[str],
        conditions: Sequence[Any],
        *,
        notes: ScanNotes,
    ) -> None:
        self._workers = workers
        self._topic = topic
        self._columns = columns
        self._conditions = conditions
        self._notes = notes
        self._looked_at = 0
        self.schema = na.c_schema(na.struct({name: _TYPES[name] for name in columns}))

    def arrays(self) -> Iterator[Any]:
        """The Arrow arrays, one per partition that has records."""
        wanted = frozenset(self._columns)
        restriction_of = restrict(self._conditions, self._topic.name)
        for partition in self._topic.partitions:
            if restriction_of(partition.number).impossible:
                continue
            self._looked_at = 0
            ends = ends_of(partition, wanted, partial(self._read, partition))
            self._notes.known(partition.block_count - self._looked_at)
            if ends is not None:
                yield self._rows(partition.number, ends)

    def _rows(self, partition: int, ends: Ends) -> Any:
        name = self._topic.name.encode()
        columns = {
            "topic": [None, stride_offsets(len(name), _ROWS), name * _ROWS],
            "partition": [None, array("i", [partition] * _ROWS).tobytes()],
            "offset": [None, array("q", ends.offsets).tobytes()],
            "timestamp": [None, array("q", map(shown_time, ends.times)).tobytes()],
            RECORDS: [None, array("q", [ends.records, 0]).tobytes()],
        }
        children = [array_of(_TYPES[column], _ROWS, columns[column]) for column in self._columns]
        return array_of(self.schema, _ROWS, [None], children=children)

    def _read(self, partition: PartitionView, ref: BlockRef, stored: frozenset[str]) -> Columns:
        self._looked_at += 1
        scan = whole_block(partition.number, ref, stored)
        block = self._workers.reader.cached(ref)
        if block is not None:
            self._notes.cached(scan)
            return block
        self._notes.read(scan, scan.ref.length)
        return self._workers.reader.fetch(ref, f"partition {partition.number} of {self._topic.name!r}")
