"""Metadata, DescribeCluster and DescribeTopicPartitions: topics, partitions, and who serves them."""

from __future__ import annotations

import uuid
from typing import Any, Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import InvalidTopicNameError, StreamhouseError
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode, code_of
from streamhouse.kafka.protocol.primitives import NO_UUID, MalformedRequestError
from streamhouse.kafka.security.bindings import Operation, ResourceType
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.topic import check_topic_name

LEADER_EPOCH: Final = 0  # leaders change without consequences, so the epoch never does
_NOT_ASKED_FOR: Final = -(1 << 31)
_NULL_MEANS_ALL_FROM: Final = 1
_CREATION_FROM: Final = 4
_CLUSTER_OPERATIONS: Final = range(8, 11)
_TOPIC_OPERATIONS_FROM: Final = 8
_IDS_FROM: Final = 12  # there is a place for them before, which may not be used (KAFKA-10774)
_BROKERS: Final = 1
_PARTITIONS_PER_RESPONSE: Final = 2000
# What these hold at Kafka is elsewhere here; tools ask for them, whether they are there or not.
_INTERNAL: Final = frozenset(("__consumer_offsets", "__transaction_state", "__cluster_metadata"))


class MetadataHandlers:
    """Answers about the cluster.

    Args:
        parts: The gateway's.
        topics: Topics by name and id.
        brokers: The gateways.
        access: Who may see what.
    """

    def __init__(self, parts: Parts, topics: TopicDirectory, brokers: Brokers, access: Access) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._access = access

    async def metadata(self, request: Request) -> Fields:
        """Topics, all or some of them by name or id."""
        body = request.body()
        operations = request.version >= _TOPIC_OPERATIONS_FROM and body.include_topic_authorized_operations
        if body.topics is None or (request.version < _NULL_MEANS_ALL_FROM and not body.topics):
            await self._topics.look_again()
            described = [
                self._described(request, info, operations=operations)
                for info in self._topics.all()
                if self._access.topic(request.peer, Operation.DESCRIBE, info.name)
            ]
        else:
            create = request.version < _CREATION_FROM or body.allow_auto_topic_creation
            described = [
                await self._topic(request, asked, create=create, operations=operations)
                for asked in body.topics
            ]
        fields: dict[str, Any] = {
            "throttle_time": 0,
            "brokers": self._broker_fields("node_id"),
            "cluster_id": self._parts.cluster_id,
            "controller_id": self._brokers.nodes[0],
            "topics": described,
            "error_code": ErrorCode.none,
        }
        if request.version in _CLUSTER_OPERATIONS and body.include_cluster_authorized_operations:
            fields["cluster_authorized_operations"] = self._access.operations(
                request.peer, ResourceType.CLUSTER
            )
        return fields

    async def describe_cluster(self, request: Request) -> Fields:
        """The gateways."""
        body = request.body()
        kind = getattr(body, "endpoint_type", _BROKERS)
        error = ErrorCode.none if kind == _BROKERS else ErrorCode.unsupported_endpoint_type
        operations = (
            self._access.operations(request.peer, ResourceType.CLUSTER)
            if body.include_cluster_authorized_operations
            else _NOT_ASKED_FOR
        )
        return {
            "throttle_time": 0,
            "error_code": error,
            "error_message": None if error is ErrorCode.none else "there are no controllers",
            "endpoint_type": kind,
            "cluster_id": self._parts.cluster_id,
            "controller_id": self._brokers.nodes[0],
            "brokers": [] if error else self._broker_fields("broker_id"),
            "cluster_authorized_operations": operations,
        }

    async def describe_topic_partitions(self, request: Request) -> Fields:
        """Topics, some partitions at a time (KIP-966)."""
        body = request.body()
        names = sorted({topic.name for topic in body.topics}) or await self._visible(request)
        first = (body.cursor.topic_name, body.cursor.partition_index) if body.cursor else ("", 0)
        left = min(max(1, body.response_partition_limit), _PARTITIONS_PER_RESPONSE)
        described: list[dict[str, Any]] = []
        next_cursor = None
        for name in names:
            if name < first[0]:
                continue
            fields = await self._topic_by_name(request, name, operations=True)
            begin = first[1] if name == first[0] else 0
            partitions = fields["partitions"]
            fields["partitions"] = partitions[begin : begin + left]
            left -= len(fields["partitions"])
            described.append(fields)
            if begin + len(fields["partitions"]) < len(partitions):
                next_cursor = {
                    "topic_name": name,
                    "partition_index": begin + len(fields["partitions"]),
                }
                break
        return {"throttle_time": 0, "topics": described, "next_cursor": next_cursor}

    async def _visible(self, request: Request) -> list[str]:
        """The names of all topics that the client may know of."""
        await self._topics.look_again()
        names = [info.name for info in self._topics.all()]
        return [name for name in names if self._access.topic(request.peer, Operation.DESCRIBE, name)]

    # --- topics ------------------------------------------------------------------------------------

    async def _topic(self, request: Request, asked: Any, *, create: bool, operations: bool) -> dict[str, Any]:
        topic_id = getattr(asked, "topic_id", None)
        if asked.name is None:
            if request.version < _IDS_FROM:
                raise MalformedRequestError("a topic without a name")
            return await self._topic_by_id(request, topic_id, operations=operations)
        return await self._topic_by_name(request, asked.name, create=create, operations=operations)

    async def _topic_by_id(
        self, request: Request, topic_id: uuid.UUID | None, *, operations: bool
    ) -> dict[str, Any]:
        info = None if topic_id is None else self._topics.by_id(topic_id)
        if info is None and topic_id is not None and await self._topics.look_again():
            info = self._topics.by_id(topic_id)
        if info is None:
            return _missing(None, topic_id or NO_UUID, ErrorCode.unknown_topic_id)
        if not self._access.topic(request.peer, Operation.DESCRIBE, info.name):
            return _missing(None, topic_id or NO_UUID, ErrorCode.topic_authorization_failed)
        return self._described(request, info, operations=operations)

    async def _topic_by_name(
        self, request: Request, name: str, *, operations: bool, create: bool = False
    ) -> dict[str, Any]:
        if not self._access.topic(request.peer, Operation.DESCRIBE, name):
            return _missing(name, NO_UUID, ErrorCode.topic_authorization_failed)
        info = await self._topics.find(name)
        create = create and self._parts.settings.auto_create_topics and name not in _INTERNAL
        if info is None and create:
            if not self._access.creates_topic(request.peer, name):
                return _missing(name, NO_UUID, ErrorCode.topic_authorization_failed)
            try:
                info = await self._create(name)
            except StreamhouseError as error:
                return _missing(name, NO_UUID, code_of(error))
        if info is None:
            return _missing(name, NO_UUID, _why_missing(name))
        return self._described(request, info, operations=operations)

    async def _create(self, name: str) -> TopicInfo | None:
        partitions = self._parts.settings.default_partitions
        try:
            await self._parts.aside(lambda: self._parts.log.create_topic(name, partitions=partitions))
        except StreamhouseError as error:
            if code_of(error) is not ErrorCode.topic_already_exists:
                raise
        return self._topics.present(name)

    def _described(self, request: Request, info: TopicInfo, *, operations: bool) -> dict[str, Any]:
        allowed = (
            self._access.operations(request.peer, ResourceType.TOPIC, info.name)
            if operations
            else _NOT_ASKED_FOR
        )
        return {
            "error_code": ErrorCode.none,
            "name": info.name,
            "topic_id": self._topics.id_of(info),
            "is_internal": False,
            "partitions": [self._partition(info, number) for number in range(info.partitions)],
            "topic_authorized_operations": allowed,
        }

    def _partition(self, info: TopicInfo, number: int) -> dict[str, Any]:
        leader = self._brokers.leader(info.id, number)
        return {
            "error_code": ErrorCode.none,
            "partition_index": number,
            "leader_id": leader,
            "leader_epoch": LEADER_EPOCH,
            "replica_nodes": (leader,),
            "isr_nodes": (leader,),
            "offline_replicas": (),
        }

    def _broker_fields(self, number: str) -> list[dict[str, Any]]:
        return [
            {number: broker.node_id, "host": broker.host, "port": broker.port, "rack": broker.rack or None}
            for broker in self._brokers.all
        ]


def _why_missing(name: str) -> ErrorCode:
    try:
        check_topic_name(name)
    except InvalidTopicNameError as error:
        return code_of(error)
    return ErrorCode.unknown_topic_or_partition


def _missing(name: str | None, topic_id: uuid.UUID, error: ErrorCode) -> dict[str, Any]:
    return {
        "error_code": error,
        "name": name,
        "topic_id": topic_id,
        "is_internal": False,
        "partitions": [],
        "topic_authorized_operations": _NOT_ASKED_FOR,
    }
