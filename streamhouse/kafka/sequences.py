"""Numbers that idempotent producers give their records (KIP-98), and what those are told that leave some out.

The log takes records of such a producer only if they go on where its last ones in the partition ended. A
batch that does not is refused in one of two ways. Either an earlier one has failed, and this one was on its
way already: ``OUT_OF_ORDER_SEQUENCE_NUMBER``, upon which clients send both again. Or the log knows of no
earlier one, because the topic was made anew since, or the producer was forgotten: ``UNKNOWN_PRODUCER_ID``,
upon which clients begin with new numbers. The wrong one of the two ends librdkafka's producers for good.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, TypeAlias

from streamhouse.commits.verdicts import Code
from streamhouse.errors import SequenceError
from streamhouse.kafka.batches.parse import Batch
from streamhouse.kafka.events import Place
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode

_NUMBERS: Final = 1 << 31  # they begin anew after that many
_FAILED_MAX: Final = 10_000

_Origin: TypeAlias = tuple[int, int, Place]
"""A producer, its epoch, and where it writes to."""


class Sequences:
    """Those of one gateway. On its loop only.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._failed: dict[_Origin, None] = {}  # where batches failed, for a reason of their own

    def first(self, batch: Batch, place: Place) -> int:
        """The number of the first record among its producer's, of which 31 bits were sent."""
        with self._parts.commits.lock:
            batches = self._remembered(batch, place)
            expected = batches[-1][0] + batches[-1][1] if batches else 0
        ahead = (batch.base_sequence - expected) % _NUMBERS
        if ahead >= _NUMBERS // 2:
            ahead -= _NUMBERS
        return max(0, int(expected + ahead))

    def watch(self, batch: Batch, place: Place, answer: asyncio.Future[Any]) -> None:
        """Note what becomes of a batch that was proposed. Before anybody waits for the answer."""
        origin = (batch.producer_id, batch.producer_epoch, place)
        answer.add_done_callback(partial(self._note, origin))

    def gap(self, batch: Batch, place: Place) -> ErrorCode:
        """Why a batch does not go on where the last one ended."""
        with self._parts.commits.lock:
            known = bool(self._remembered(batch, place))
        failed = (batch.producer_id, batch.producer_epoch, place) in self._failed
        return ErrorCode.out_of_order_sequence_number if known or failed else ErrorCode.unknown_producer_id

    def _remembered(self, batch: Batch, place: Place) -> list[tuple[int, int, int]] | None:
        """The last batches of a producer in a partition; whoever asks holds the lock."""
        producer = self._parts.commits.state.producers.get(batch.producer_id)
        if producer is None or producer.epoch != batch.producer_epoch:
            return None
        return producer.batches.get(place)

    def _note(self, origin: _Origin, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or _is_gap(answer):
            return
        self._failed.pop(origin, None)
        if not _is_stored(answer):
            if len(self._failed) >= _FAILED_MAX:
                del self._failed[next(iter(self._failed))]
            self._failed[origin] = None


def _is_gap(answer: asyncio.Future[Any]) -> bool:
    """Whether records were refused only because of those before them."""
    error = answer.exception()
    if error is not None:
        return isinstance(error, SequenceError)
    said = answer.result()
    return not isinstance(said, list) and said.code is Code.OUT_OF_SEQUENCE


def _is_stored(answer: asyncio.Future[Any]) -> bool:
    if answer.exception() is not None:
        return False
    said = answer.result()
    return isinstance(said, list) or said.code in {Code.ACCEPTED, Code.DUPLICATE}
