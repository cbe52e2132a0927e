"""Produce: records of clients, into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.kafka.access import Access
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.declined import DeclinedError
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.protocol.produce import (
    PartResult,
    ProducePart,
    ProduceRequest,
    decode_produce,
    encode_produce,
)
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.memory import Held, Memory
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.throttling import Throttle
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions
from streamhouse.kafka.writing import OpenedTransaction, Ready, RecordSink


class ProduceHandler:
    """Stores what producers send.

    Args:
        parts: The gateway's.
        topics: Topics by name.
        sink: Where records go.
        transactions: Those of producers.
        access: Who may write what.
        metrics: Counts records.
        throttle: Knows quotas.
        memory: What requests may take.
    """

    def __init__(
        self,
        parts: Parts,
        topics: TopicDirectory,
        sink: RecordSink,
        transactions: Transactions,
        access: Access,
        metrics: Metrics,
        throttle: Throttle,
        memory: Memory,
    ) -> None:
        self._parts = parts
        self._topics = topics
        self._sink = sink
        self._transactions = transactions
        self._access = access
        self._metrics = metrics
        self._throttle = throttle
        self._memory = memory

    async def produce(self, request: Request) -> Sequence[bytes]:
        """Store records; answered when they are durable, or not at all for ``acks=0``."""
        body = decode_produce(request.header, request.frame)
        with self._memory.more(len(request.frame)) as held:
            results = await self._store(request, body, held)
        wait_ms = self._throttle.produced(request.peer, sum(len(part.records or b"") for part in body.parts))
        if body.acks == 0:
            return ()
        return encode_produce(request.header, results, wait_ms)

    async def _store(self, request: Request, body: ProduceRequest, held: Held) -> list[PartResult]:
        turn = request.peer.produces.take()
        try:
            ready = await asyncio.gather(*[self._prepare(request, body, part, held) for part in body.parts])
            opened = await self._opened(body, ready)
            await turn.come()
            answers = [self._propose(each, opened) for each in ready]
        finally:
            turn.pass_on()
        if any(isinstance(each, Ready) for each in ready) and self._parts.commits.urged_by_waiters:
            self._parts.commits.urge()
        return await self._results(body, ready, answers)

    async def _prepare(
        self, request: Request, body: ProduceRequest, part: ProducePart, held: Held
    ) -> Ready | PartResult:
        """Records that can be proposed, or why they cannot."""
        try:
            info = await self._find(request, body, part)
            ready = await self._fitting(request, body, part, info)
        except DeclinedError as declined:
            return PartResult(
                part, declined.error, message=declined.message, bad_records=declined.bad_records
            )
        held.grow(ready.stored_bytes)
        return ready

    async def _fitting(
        self, request: Request, body: ProduceRequest, part: ProducePart, info: TopicInfo
    ) -> Ready:
        """Records that are decoded and checked; again, if they do not fit a schema that was altered since."""
        transactional = body.transactional_id is not None
        try:
            return await self._sink.prepare(request.peer, part, info, transactional=transactional)
        except DeclinedError as declined:
            newer = await self._topics.newer(info) if declined.bad_records else None
            if newer is None:
                raise
            return await self._sink.prepare(request.peer, part, newer, transactional=transactional)

    async def _find(self, request: Request, body: ProduceRequest, part: ProducePart) -> TopicInfo:
        name = body.transactional_id
        if name is not None and not self._access.transactional_id(request.peer, Operation.WRITE, name):
            raise DeclinedError(ErrorCode.transactional_id_authorization_failed, f"not allowed: {name}")
        if not self._access.topic(request.peer, Operation.WRITE, part.topic):
            raise DeclinedError(ErrorCode.topic_authorization_failed, f"not allowed: {part.topic}")
        info = await self._topics.find(part.topic)
        if info is None or not 0 <= part.partition < info.partitions:
            raise DeclinedError(
                ErrorCode.unknown_topic_or_partition, f"no partition {part.partition} of topic {part.topic!r}"
            )
        return info

    async def _opened(
        self, body: ProduceRequest, ready: Sequence[Ready | PartResult]
    ) -> OpenedTransaction | ErrorCode | None:
        """The transaction that the records belong to, if any; or why they cannot."""
        if body.transactional_id is None:
            return None
        producers = {
            (each.batch.producer_id, each.batch.producer_epoch) for each in ready if isinstance(each, Ready)
        }
        if len(producers) != 1:
            return ErrorCode.invalid_request if producers else None
        return await self._transactions.opened(body.transactional_id, *producers.pop())

    def _propose(
        self, ready: Ready | PartResult, opened: OpenedTransaction | ErrorCode | None
    ) -> asyncio.Future[Any] | PartResult:
        if isinstance(ready, PartResult):
            return ready
        if isinstance(opened, ErrorCode):
            return PartResult(ready.part, opened)
        self._metrics.records_in += ready.count
        self._metrics.bytes_in += ready.batch.size
        return self._sink.propose(ready, opened)

    async def _results(
        self,
        body: ProduceRequest,
        ready: Sequence[Ready | PartResult],
        answers: Sequence[asyncio.Future[Any] | PartResult],
    ) -> list[PartResult]:
        waiting = [answer for answer in answers if isinstance(answer, asyncio.Future)]
        if waiting:
            await asyncio.wait(waiting, timeout=max(0, body.timeout_ms) / 1000 if body.acks else None)
        results = []
        for each, answer in zip(ready, answers, strict=True):
            if isinstance(answer, PartResult):
                results.append(answer)
            elif not answer.done():
                answer.cancel()
                message = "not durable in time; the outcome is unknown, the records may still appear"
                results.append(PartResult(each.part, ErrorCode.request_timed_out, message=message))
            else:
                assert isinstance(each, Ready)
                results.append(await self._sink.result(each, answer))
        return results
