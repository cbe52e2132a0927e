"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords: where partitions begin and end."""

from __future__ import annotations

from typing import Any, Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import StreamhouseError
from streamhouse.kafka.access import Access
from streamhouse.kafka.handlers.metadata import LEADER_EPOCH
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode, code_of
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.read.positions import first_since, newest

_LATEST: Final = -1
_EARLIEST: Final = -2
_LARGEST_TIME: Final = -3
_EARLIEST_LOCAL: Final = -4
_NO_EPOCH: Final = -1
_ALL: Final = -1


class OffsetHandlers:
    """Answers about offsets.

    Args:
        parts: The gateway's.
        topics: Topics by name.
        access: Who may see and remove what.
    """

    def __init__(self, parts: Parts, topics: TopicDirectory, access: Access) -> None:
        self._parts = parts
        self._topics = topics
        self._access = access

    # --- ListOffsets -------------------------------------------------------------------------------

    async def list_offsets(self, request: Request) -> Fields:
        """The first offset, the next one, or that of a time: as they are now, whoever writes."""
        body = request.body()
        await self._parts.refresh()
        infos = await self._topics.find_all([topic.name for topic in body.topics])
        return {
            "throttle_time": 0,
            "topics": [
                {
                    "name": topic.name,
                    "partitions": [
                        await self._listed(request, infos[topic.name], topic.name, part)
                        for part in topic.partitions
                    ],
                }
                for topic in body.topics
            ],
        }

    async def _listed(self, request: Request, info: TopicInfo | None, topic: str, part: Any) -> Fields:
        fields: dict[str, Any] = {
            "partition_index": part.partition_index,
            "error_code": self._refuse(request, info, topic, part),
            "timestamp": -1,
            "offset": -1,
            "leader_epoch": LEADER_EPOCH,
        }
        if info is None or fields["error_code"] is not ErrorCode.none:
            return fields
        try:
            fields["timestamp"], fields["offset"] = await self._offset(
                info, part.partition_index, part.timestamp
            )
        except StreamhouseError as error:
            fields["error_code"] = code_of(error)
        return fields

    async def _offset(self, info: TopicInfo, partition: int, timestamp: int) -> tuple[int, int]:
        catalog = self._parts.catalog
        if timestamp == _LATEST:
            return -1, catalog.high_watermark(info.id, partition)
        if timestamp in {_EARLIEST, _EARLIEST_LOCAL}:
            return -1, catalog.log_start(info.id, partition)
        if timestamp == _LARGEST_TIME:
            found = await self._parts.aside(newest, catalog, self._parts.reader, info, partition)
            return (-1, -1) if found is None else found
        if timestamp < 0:
            return -1, -1
        found = await self._parts.aside(first_since, catalog, self._parts.reader, info, partition, timestamp)
        return (-1, -1) if found is None else found

    # --- OffsetForLeaderEpoch ----------------------------------------------------------------------

    async def for_leader_epoch(self, request: Request) -> Fields:
        """Where an epoch ended: there is one, and it ends where the log does.

        Clients that move from gateway to gateway go back to there: it must not be an older end.
        """
        body = request.body()
        await self._parts.refresh()
        infos = await self._topics.find_all([topic.topic for topic in body.topics])
        return {
            "throttle_time": 0,
            "topics": [
                {
                    "topic": topic.topic,
                    "partitions": [
                        self._epoch_end(request, infos[topic.topic], topic.topic, part)
                        for part in topic.partitions
                    ],
                }
                for topic in body.topics
            ],
        }

    def _epoch_end(self, request: Request, info: TopicInfo | None, topic: str, part: Any) -> Fields:
        fields: dict[str, Any] = {
            "partition": part.partition,
            "error_code": self._refuse(request, info, topic, part),
            "leader_epoch": _NO_EPOCH,
            "end_offset": -1,
        }
        if info is None or fields["error_code"] is not ErrorCode.none or part.leader_epoch != LEADER_EPOCH:
            return fields
        end = self._parts.catalog.high_watermark(info.id, part.partition)
        return fields | {"leader_epoch": LEADER_EPOCH, "end_offset": end}

    def _refuse(self, request: Request, info: TopicInfo | None, topic: str, part: Any) -> ErrorCode:
        number = part.partition_index if hasattr(part, "partition_index") else part.partition
        if not self._access.topic(request.peer, Operation.DESCRIBE, topic):
            return ErrorCode.topic_authorization_failed
        if info is None or not 0 <= number < info.partitions:
            return ErrorCode.unknown_topic_or_partition
        if getattr(part, "current_leader_epoch", _NO_EPOCH) > LEADER_EPOCH:
            return ErrorCode.unknown_leader_epoch
        return ErrorCode.none

    # --- DeleteRecords -----------------------------------------------------------------------------

    async def delete_records(self, request: Request) -> Fields:
        """Remove what lies before an offset (KIP-107)."""
        body = request.body()
        infos = await self._topics.find_all([topic.name for topic in body.topics])
        return {
            "throttle_time": 0,
            "topics": [
                {
                    "name": topic.name,
                    "partitions": [
                        await self._trimmed(request, infos[topic.name], topic.name, part)
                        for part in topic.partitions
                    ],
                }
                for topic in body.topics
            ],
        }

    async def _trimmed(self, request: Request, info: TopicInfo | None, topic: str, part: Any) -> Fields:
        number = part.partition_index
        fields: dict[str, Any] = {"partition_index": number, "low_watermark": -1}
        if not self._access.topic(request.peer, Operation.DELETE, topic):
            return fields | {"error_code": ErrorCode.topic_authorization_failed}
        if info is None or not 0 <= number < info.partitions:
            return fields | {"error_code": ErrorCode.unknown_topic_or_partition}
        if info.settings.cleanup_policy == "compact":
            return fields | {"error_code": ErrorCode.policy_violation}
        await self._parts.refresh()
        high = self._parts.catalog.high_watermark(info.id, number)
        before = high if part.offset == _ALL else part.offset
        if not 0 <= before <= high:
            return fields | {"error_code": ErrorCode.offset_out_of_range}
        try:
            starts = await self._parts.aside(self._parts.catalog.delete_records, info, {number: before})
        except StreamhouseError as error:
            return fields | {"error_code": code_of(error)}
        return fields | {"error_code": ErrorCode.none, "low_watermark": starts[number]}
