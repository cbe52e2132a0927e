"""A live view of the tail of a topic."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from streamhouse.errors import ClosedError, StreamhouseError
from streamhouse.markup import moment
from streamhouse.read.batch import RecordBatch

if TYPE_CHECKING:
    from streamhouse.consumer import Consumer

_HERE: Final = Path(__file__).parent
_TEXT_MAX: Final = 200  # characters of a key or value
_SECONDS_SHOWN: Final = 60
_RECORDS_AT_ONCE: Final = 100_000

Row = list[Any]
"""Partition, offset, time, key and value of a record, as texts and numbers."""


class LiveTopic(anywidget.AnyWidget):
    """The newest records of a topic, and how many come a second. It follows until it is closed, or the log.

    Args:
        topic: Its name.
        consumer: Reads it, and is closed with the view.
        rows: How many records to show.
        refresh_seconds: How often the picture changes at most.
    """

    _esm = _HERE / "live.js"
    _css = _HERE / "live.css"

    topic = traitlets.Unicode().tag(sync=True)
    state = traitlets.Enum(["live", "paused", "closed", "failed"], "live").tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    rows: traitlets.List[Row] = traitlets.List().tag(sync=True)
    rates: traitlets.List[int] = traitlets.List().tag(sync=True)
    seen = traitlets.Int().tag(sync=True)
    lag = traitlets.Int().tag(sync=True)
    paused = traitlets.Bool().tag(sync=True)

    def __init__(
        self, topic: str, consumer: Consumer[Any, Any], *, rows: int, refresh_seconds: float
    ) -> None:
        super().__init__(topic=topic, rates=[0] * _SECONDS_SHOWN)
        self._newest: deque[Row] = deque(maxlen=rows)
        self._refresh = refresh_seconds
        self._halt = threading.Event()
        self._consumer = consumer
        self._thread = threading.Thread(target=self._run, name="streamhouse-live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow no more, and remove the view. Closing twice is fine."""
        self._halt.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        super().close()

    def _run(self) -> None:
        state, problem = "closed", ""
        try:
            self._follow()
        except ClosedError:
            pass  # with the log
        except StreamhouseError as error:
            state, problem = "failed", str(error)
        finally:
            self._consumer.close()
        if not self._halt.is_set():
            self.set_trait("problem", problem)
            self.set_trait("state", state)

    def _follow(self) -> None:
        seen = 0
        began = time.monotonic()
        seconds: deque[int] = deque([0] * _SECONDS_SHOWN, maxlen=_SECONDS_SHOWN)
        second = 0
        while not self._halt.wait(self._refresh):
            if self.paused:
                self._consumer.position(self.topic, 0)  # raises if the log was closed
                self.set_trait("state", "paused")
                continue
            batches, count = self._poll()
            self._newest.extend(_newest_rows(batches, self._newest.maxlen or 0))
            now = int(time.monotonic() - began)
            seconds.extend([0] * min(now - second, _SECONDS_SHOWN))
            second = now
            seconds[-1] += count
            seen += count
            with self.hold_sync():
                self.set_trait("state", "live")
                self.set_trait("rates", list(seconds))
                self.set_trait("lag", self._consumer.lag())
                if count:
                    self.set_trait("seen", seen)
                    self.set_trait("rows", list(self._newest))

    def _poll(self) -> tuple[list[RecordBatch], int]:
        """What has come since, within bounds, and how many records that are."""
        batches: list[RecordBatch] = []
        count = 0
        while count < _RECORDS_AT_ONCE and (some := self._consumer.poll_batches(timeout=0)):
            batches += some
            count += sum(map(len, some))
        return batches, count


def _newest_rows(batches: Sequence[RecordBatch], most: int) -> list[Row]:
    """The newest records of some partitions, by time."""
    last = [batch[-most:] for batch in batches]
    found = [record for batch in last for record in zip(*_columns(batch), strict=True)]
    found.sort(key=itemgetter(0))
    return [
        [partition, offset, moment(timestamp), _text(key), _text(value)]
        for timestamp, partition, offset, key, value in found[-most:]
    ]


def _columns(batch: RecordBatch) -> tuple[Sequence[Any], ...]:
    partitions = [batch.partition] * len(batch)
    return batch.timestamps, partitions, batch.offsets, batch.keys("bytes"), batch.values("bytes")


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    text = data[: 4 * _TEXT_MAX].decode("utf-8", "backslashreplace")
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"
