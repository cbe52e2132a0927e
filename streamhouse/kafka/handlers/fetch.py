"""Fetch: records for clients, at once or as soon as there are enough.

Every request is answered in full: sessions (KIP-227) save some bytes of requests that the log knows by heart
anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import PartitionNotFoundError, StreamhouseError, TopicNotFoundError
from streamhouse.kafka.access import Access
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.configs.topics import codec_of
from streamhouse.kafka.events import Place
from streamhouse.kafka.handlers.metadata import LEADER_EPOCH
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode, code_of
from streamhouse.kafka.protocol.fetch import (
    FetchPart,
    FetchRequest,
    FetchResult,
    decode_fetch,
    encode_fetch,
)
from streamhouse.kafka.protocol.primitives import NO_UUID
from streamhouse.kafka.reading import RecordSource
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.memory import Memory
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.throttling import Throttle
from streamhouse.kafka.topics import TopicDirectory

_ZSTD_FROM: Final = 10  # older clients cannot read it (KIP-110)
_SLICE_SECONDS: Final = 2.0  # a state that was loaded, rather than folded, is told to nobody


class FetchHandler:
    """Hands records out.

    Args:
        parts: The gateway's.
        topics: Topics by name and id.
        source: Where records come from.
        access: Who may read what.
        metrics: Counts bytes.
        throttle: Knows quotas.
        memory: What responses may take.
    """

    def __init__(
        self,
        parts: Parts,
        topics: TopicDirectory,
        source: RecordSource,
        access: Access,
        metrics: Metrics,
        throttle: Throttle,
        memory: Memory,
    ) -> None:
        self._parts = parts
        self._topics = topics
        self._source = source
        self._access = access
        self._metrics = metrics
        self._throttle = throttle
        self._memory = memory

    async def fetch(self, request: Request) -> Sequence[bytes]:
        """Records of some partitions."""
        body = decode_fetch(request.header, request.frame)
        if body.session:
            return encode_fetch(request.header, (), 0, ErrorCode.fetch_session_id_not_found)
        results = await self._when_enough(request, body)
        size = sum(result.size for result in results)
        self._metrics.bytes_out += size
        return encode_fetch(request.header, results, self._throttle.fetched(request.peer, size))

    async def _when_enough(self, request: Request, body: FetchRequest) -> list[FetchResult]:
        deadline = self._parts.loop.time() + max(0, body.wait_ms) / 1000
        infos = await self._infos(body)
        places = {
            (info.id, part.partition)
            for part, info in zip(body.parts, infos, strict=True)
            if info is not None
        }
        while True:
            with self._parts.events.waiter(places) as news:  # before looking, so that nothing is missed
                room = self._room(request, body)
                results = await self._look(request, body, infos, room)
                if _enough(body, results, room):
                    return results
                left = deadline - self._parts.loop.time()
                if left <= 0:
                    return results
                try:
                    async with asyncio.timeout(min(left, _SLICE_SECONDS)):
                        await news
                except TimeoutError:
                    if left <= _SLICE_SECONDS:
                        return results

    async def _infos(self, body: FetchRequest) -> list[TopicInfo | None]:
        named = await self._topics.find_all({part.topic for part in body.parts if part.topic_id == NO_UUID})
        infos = [
            named[part.topic] if part.topic_id == NO_UUID else self._topics.by_id(part.topic_id)
            for part in body.parts
        ]
        if None in infos and any(part.topic_id != NO_UUID for part in body.parts):
            await self._topics.look_again()
            infos = [
                info if info is not None or part.topic_id == NO_UUID else self._topics.by_id(part.topic_id)
                for part, info in zip(body.parts, infos, strict=True)
            ]
        return infos

    def _room(self, request: Request, body: FetchRequest) -> int:
        """How many bytes may be sent; the first batch may be larger."""
        most = min(self._parts.settings.fetch_bytes_max, self._memory.response_room)
        allowed = self._throttle.fetchable_bytes(request.peer)
        return min(max(0, body.bytes_max), most if allowed is None else min(most, allowed))

    async def _look(
        self, request: Request, body: FetchRequest, infos: Sequence[TopicInfo | None], room: int
    ) -> list[FetchResult]:
        left, results = room, []
        nothing_yet = True
        for part, info in zip(body.parts, infos, strict=True):
            result = await self._part(request, part, info, left, first=nothing_yet)
            left = max(0, left - result.size)
            nothing_yet = nothing_yet and not result.size
            results.append(result)
        return results

    async def _part(
        self, request: Request, part: FetchPart, info: TopicInfo | None, left: int, *, first: bool
    ) -> FetchResult:
        result = FetchResult(part)
        result.error = self._refuse(request, part, info)
        if result.error is not ErrorCode.none or info is None:
            return result
        try:
            low, high = self._ends((info.id, part.partition))
            if part.offset > high:  # another gateway may know more; a client told so begins anew
                await self._parts.refresh()
                low, high = self._ends((info.id, part.partition))
            result.high_watermark, result.log_start = high, low
            if not low <= part.offset <= high:
                result.error = ErrorCode.offset_out_of_range
            elif part.offset < high and (left > 0 or first):
                found = await self._source.read(
                    info,
                    part.partition,
                    part.offset,
                    min(left, max(0, part.bytes_max)),
                    at_least_one=first,
                    codec=_codec(request, info),
                )
                result.records, result.cut = found.batches, found.next_offset < high
            else:
                result.cut = part.offset < high
        except (TopicNotFoundError, PartitionNotFoundError):
            result.error = _unknown(part)
        except StreamhouseError as error:
            result.error = code_of(error)
        return result

    def _ends(self, place: Place) -> tuple[int, int]:
        """The oldest offset, and the one that the next record gets."""
        catalog = self._parts.catalog
        return catalog.log_start(*place), catalog.high_watermark(*place)

    def _refuse(self, request: Request, part: FetchPart, info: TopicInfo | None) -> ErrorCode:
        name = part.topic if info is None else info.name
        if name and not self._access.topic(request.peer, Operation.READ, name):
            return ErrorCode.topic_authorization_failed  # whether it is there or not
        if info is None:
            return _unknown(part)
        if not 0 <= part.partition < info.partitions:
            return ErrorCode.unknown_topic_or_partition
        if part.leader_epoch > LEADER_EPOCH:
            return ErrorCode.unknown_leader_epoch
        return ErrorCode.none


def _enough(body: FetchRequest, results: Sequence[FetchResult], room: int) -> bool:
    """Whether there is nothing to wait for: it is what was asked for, or all that may be sent."""
    if any(result.error is not ErrorCode.none for result in results) or not results:
        return True
    size = sum(result.size for result in results)
    if size >= max(0, body.bytes_min):
        return True
    # Batches are sent whole, so there may be some room, and nothing that fits.
    return size > 0 and (size >= room or _is_used_up(results, room) or all(result.cut for result in results))


def _is_used_up(results: Sequence[FetchResult], room: int) -> bool:
    """Whether something was left out because of those before it, not by its own limit."""
    for result in results:
        if result.cut and room <= max(0, result.part.bytes_max):
            return True
        room -= result.size
    return False


def _codec(request: Request, info: TopicInfo) -> Codec:
    codec = codec_of(info.settings)
    return Codec.NONE if codec is Codec.ZSTD and request.version < _ZSTD_FROM else codec


def _unknown(part: FetchPart) -> ErrorCode:
    return ErrorCode.unknown_topic_or_partition if part.topic_id == NO_UUID else ErrorCode.unknown_topic_id
