"""Records that were sent one by one and are not encoded yet: one open batch per topic.

``Producer.send`` adds to it without a lock, since taking one costs as much as all the rest it does.
It leans on three things that are atomic in Python: appending to a list, copying one, and
reading an attribute. The sender appends a tuple, then looks at :attr:`Batch.flag`. Whoever seals the
batch sets the flag, then copies the list. If the append came first, the copy has the record. If it
came second, the sender finds the flag set and hands the record in anew. The position is right if the
tuple lies where it was expected; if another thread was faster, the slow path looks where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from streamhouse.records import Headers
from streamhouse.write.destination import Destination
from streamhouse.write.encoder import Begun, Rows
from streamhouse.write.shipment import Shipment

if TYPE_CHECKING:
    from streamhouse.write.outbox import Outbox

OPEN: Final = 0
STALE: Final = 1  # the timestamp is some milliseconds old: the next sender asks the clock
SEALED: Final = 2

RECORD_OVERHEAD_BYTES: Final = 64  # what a pending record takes in memory beside its own bytes

Pair: TypeAlias = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, "Extras"]
"""Key and value, and what else there is; in one piece, so that Ctrl-C cannot come in between."""

_ASKED_WORTH_A_TABLE: Final = 4
_GONE: Final[list[Pair]] = cast("list[Pair]", ())  # a late append fails, and goes the slow way


class Extras:
    """What few records have: headers, a partition of the sender's choice, a timestamp of its own."""

    __slots__ = ("headers", "partition", "timestamp")

    def __init__(self, headers: Headers, partition: int | None, timestamp: int | None) -> None:
        self.headers = headers
        self.partition = partition
        self.timestamp = timestamp


class Batch(Shipment):
    """Records for one topic, waiting for company.

    Attributes:
        outbox: Whose it is.
        destination: Where it goes.
        records: Keys and values, in order.
        flag: ``OPEN``, ``STALE`` or ``SEALED``; written under the outbox's lock only.
        left: Bytes, overhead included, that may be added before memory must be asked for.
        deadline: When it is to be sealed, on the monotonic clock.
        count: Number of records, once sealed.
        rows: The records as lists, from sealing until they are encoded.
        begun: Its blocks, while they are being compressed.
    """

    __slots__ = (
        "_asked",
        "_extras",
        "_offsets",
        "_parts",
        "_runs",
        "_special",
        "begun",
        "count",
        "deadline",
        "destination",
        "flag",
        "left",
        "outbox",
        "records",
        "rows",
        "stamps",
    )

    def __init__(self, outbox: Outbox, destination: Destination, deadline: float) -> None:
        super().__init__(destination.topic)
        self.outbox = outbox
        self.destination = destination
        self.records: list[Pair] = []
        self.flag = OPEN
        self.left = 0
        self.deadline = deadline
        self.count = 0
        self.rows: Rows | None = None
        self.begun: Begun | None = None
        self.stamps: Sequence[int] | int = 0
        self._runs: list[tuple[int, int]] = []
        self._special = False
        self._extras: dict[int, Extras] = {}
        self._parts: Sequence[int] = b""
        self._offsets: list[int] | None = None
        self._asked = 0

    def check_waiting(self) -> None:
        self.outbox.check_waiting()

    def hurry(self) -> None:
        self.outbox.hurry(self)

    # --- while it is open: under the outbox's lock -------------------------------------------------

    @property
    def raw_bytes(self) -> int:
        """Bytes of keys, values and headers, without overhead."""
        return self.size - self.left - RECORD_OVERHEAD_BYTES * (self.count or len(self.records))

    def reserve(self, size: int) -> None:
        """Let in so many bytes more, overhead included; they were taken from the memory."""
        self.size += size
        self.left += size

    def set_clock(self, index: int, time_ms: int) -> None:
        """Records from ``index`` on were sent at that time; it never runs back within a batch."""
        if not self._runs:
            self._runs.append((0, time_ms))
        elif time_ms > self._runs[-1][1]:
            self._runs.append((max(index, self._runs[-1][0]), time_ms))

    def add(self, pair: Pair, size: int) -> int:
        """Add a record; its position."""
        self.left -= size
        self._special |= len(pair) > 2
        self.records.append(pair)
        return self.position(self.records, pair)

    @staticmethod
    def position(records: list[Pair], pair: Pair) -> int:
        """Where a record lies that was just appended, perhaps with others after it."""
        index = len(records) - 1
        while records[index] is not pair:
            index -= 1
        return index

    def seal(self) -> None:
        """Take no more records. May be called again, and must be when Ctrl-C cut it short."""
        if self.rows is not None or self.records is _GONE:
            return
        self.flag = SEALED
        records = self.records[:]  # after the flag, see above
        self.count = len(records)
        if self._special:
            self._extras = {i: record[2] for i, record in enumerate(records) if len(record) == 3}
        appended = self.destination.append_time
        self.stamps = self._expand_runs() if appended is None else appended
        headers: list[Headers] | None = None
        for index, extras in self._extras.items():
            if extras.headers:
                headers = headers or [()] * self.count
                headers[index] = extras.headers
        keys = list(map(itemgetter(0), records))
        values = list(map(itemgetter(1), records))
        # Usually the first tells; comparing every key with None would cost as much as copying them.
        keyless = not keys or (keys[0] is None and keys.count(None) == len(keys))
        decoder = self.destination.decoder
        self.rows = Rows(values, None if keyless else keys, self.stamps, headers, decoder=decoder)

    def drop_rows(self) -> None:
        """They are encoded: whoever keeps a delivery should not keep the data."""
        self.records = _GONE
        self.rows = None
        self.begun = None
        self._extras = {}

    def _expand_runs(self) -> Sequence[int] | int:
        own = {i: e.timestamp for i, e in self._extras.items() if e.timestamp is not None}
        if len(self._runs) == 1 and not own:
            return self._runs[0][1]
        stamps: list[int] = []
        ends = [index for index, _ in self._runs[1:]] + [self.count]
        for (start, time_ms), end in zip(self._runs, ends, strict=True):
            stamps.extend([time_ms] * (min(end, self.count) - start))
        for index, timestamp in own.items():
            stamps[index] = timestamp
        return stamps

    # --- once it is sealed -------------------------------------------------------------------------

    def place(self, rows: Rows) -> Sequence[int]:
        """The partition of each record: the one its sender chose, or the one its key leads to."""
        if self._parts:
            return self._parts  # cut short by Ctrl-C after this
        parts = self.destination.assign(rows)
        chosen = {i: e.partition for i, e in self._extras.items() if e.partition is not None}
        if chosen:
            parts = list(parts)
            for index, partition in chosen.items():
                parts[index] = partition
        self._parts = parts
        return parts

    def partition_of(self, index: int) -> int:
        """Partition of the record at that position."""
        return self._parts[index]

    def offset_of(self, index: int) -> int:
        """Offset of the record at that position, once settled well; -1 when the log forgot it."""
        if self._offsets is None:
            partition = self._parts[index]
            self._asked += 1
            if self._asked <= _ASKED_WORTH_A_TABLE:
                base = self.bases[partition]
                return base if base < 0 else base + self._parts[:index].count(partition)
            counters = {p: count(b, 1 if b >= 0 else 0) for p, b in self.bases.items()}
            self._offsets = list(map(next, map(counters.__getitem__, self._parts)))
        return self._offsets[index]

    def timestamp_of(self, index: int) -> int:
        """Timestamp of the record at that position."""
        return self.stamps if isinstance(self.stamps, int) else self.stamps[index]
