"""ConsumerGroupHeartbeat and ConsumerGroupDescribe: groups whose partitions the log deals out (KIP-848)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from streamhouse.commits.groups import GroupState
from streamhouse.commits.state import State
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.consumer import ConsumerGroups
from streamhouse.kafka.groups.consumer_messages import Beat, News, Place
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation, ResourceType
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory

_LEAVES_FOR_A_WHILE: Final = -2
_NOT_ASKED_FOR: Final = -(1 << 31)
_SECOND: Final = dt.timedelta(seconds=1)
_OWN_NAMES_FROM: Final = 1  # before, the gateway gives members their names
_NAME_BYTES: Final = 16
_HIDDEN: Final = "its members have topics that the client is not authorized to describe"
_CONSUMER: Final = 1  # a member of this protocol, as against a classic one


class ConsumerGroupHandlers:
    """Answers members of the newer protocol.

    Args:
        parts: The gateway's.
        topics: Topics by id.
        brokers: Who coordinates which group.
        groups: The members.
        access: Who may read what.
    """

    def __init__(
        self,
        parts: Parts,
        topics: TopicDirectory,
        brokers: Brokers,
        groups: ConsumerGroups,
        access: Access,
    ) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._groups = groups
        self._access = access

    async def heartbeat(self, request: Request) -> Fields:
        """News from a member, and news for it."""
        body = request.body()
        member = body.member_id
        news = self._refuse(request, body)
        if news is None and not member:
            member = self._parts.runtime.random_bytes(_NAME_BYTES).hex()
        if news is None:
            news = await self._exchange(request, body, member)
        return {
            "throttle_time": 0,
            "error_code": news.error,
            "error_message": news.message,
            "member_id": member or None,
            "member_epoch": news.epoch,
            "heartbeat_interval": self._parts.settings.consumer_heartbeat_interval_ms,
            "assignment": None
            if news.assignment is None
            else {"topic_partitions": self._by_topic(news.assignment)},
        }

    def _refuse(self, request: Request, body: Any) -> News | None:
        if not self._access.group(request.peer, Operation.READ, body.group_id):
            return News(ErrorCode.group_authorization_failed)
        if not body.group_id:
            return News(ErrorCode.invalid_request, "the group has no name")
        if not self._brokers.coordinates_group(body.group_id):
            return News(ErrorCode.not_coordinator)
        if not body.member_id and (request.version >= _OWN_NAMES_FROM or body.member_epoch != 0):
            return News(ErrorCode.invalid_request, "the member has no name")
        if body.member_epoch < _LEAVES_FOR_A_WHILE:
            return News(ErrorCode.invalid_request, f"there is no epoch {body.member_epoch}")
        unseen = [
            name
            for name in body.subscribed_topic_names or ()
            if not self._access.topic(request.peer, Operation.DESCRIBE, name)
        ]
        if unseen:
            return News(ErrorCode.topic_authorization_failed, f"not allowed: {', '.join(unseen)}")
        return None

    async def _exchange(self, request: Request, body: Any, member: str) -> News:
        rebalance = body.rebalance_timeout / _SECOND
        beat = Beat(
            group=body.group_id,
            member=member,
            epoch=body.member_epoch,
            instance=body.instance_id or "",
            rebalance_seconds=rebalance if rebalance > 0 else None,
            topics=None if body.subscribed_topic_names is None else tuple(body.subscribed_topic_names),
            pattern=getattr(body, "subscribed_topic_regex", None),
            may_see=partial(self._access.topic, request.peer, Operation.DESCRIBE),
            assignor=body.server_assignor or "",
            owned=None if body.topic_partitions is None else frozenset(self._places(body.topic_partitions)),
            client_id=request.peer.client_id or "",
            host=request.peer.host,
        )
        return await (self._groups.leave(beat) if beat.epoch < 0 else self._groups.heartbeat(beat))

    def _places(self, topics: Iterable[Any]) -> Iterable[Place]:
        for topic in topics:
            number = self._topics.number_of(topic.topic_id)
            if number is not None:
                yield from ((number, partition) for partition in topic.partitions)

    def _by_topic(self, places: Sequence[Place], state: State | None = None) -> list[dict[str, Any]]:
        topics: dict[int, list[int]] = {}
        for topic, partition in places:
            topics.setdefault(topic, []).append(partition)
        found: list[dict[str, Any]] = []
        for topic, partitions in topics.items():
            fields: dict[str, Any] = {
                "topic_id": self._topics.id_of_number(topic),
                "partitions": partitions,
            }
            if state is not None:
                fields["topic_name"] = state.topics[topic].name if topic in state.topics else ""
            found.append(fields)
        return found

    # --- looking -----------------------------------------------------------------------------------

    async def describe(self, request: Request) -> Fields:
        """Groups with their members."""
        body = request.body()
        await self._topics.look_again()
        return {
            "throttle_time": 0,
            "groups": [
                self._described(request, name, operations=body.include_authorized_operations)
                for name in body.group_ids
            ],
        }

    def _described(self, request: Request, name: str, *, operations: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "error_code": ErrorCode.none,
            "error_message": None,
            "group_id": name,
            "group_state": "",
            "group_epoch": 0,
            "assignment_epoch": 0,
            "assignor_name": "",
            "members": [],
            "authorized_operations": _NOT_ASKED_FOR,
        }
        if not self._access.group(request.peer, Operation.DESCRIBE, name):
            return fields | {"error_code": ErrorCode.group_authorization_failed}
        if operations:
            fields["authorized_operations"] = self._access.operations(request.peer, ResourceType.GROUP, name)
        with self._parts.commits.lock:
            state = self._parts.commits.state
            group = state.groups.get(name)
            if group is None or group.has_classic_members or not (group.members or group.assignor):
                # For clients to ask for it as a classic one then.
                message = f"there is no consumer group {name}"
                return fields | {"error_code": ErrorCode.group_id_not_found, "error_message": message}
            found = {
                "group_state": state_name(group),
                "group_epoch": group.generation,
                "assignment_epoch": group.generation,
                "assignor_name": group.assignor,
                "members": [self._member(state, group, name, id_) for id_ in group.members],
            }
            topics = _topics_of(state, group)
        # Without the lock, for looking rights up takes it.
        if not all(self._access.topic(request.peer, Operation.DESCRIBE, topic) for topic in topics):
            return fields | {"error_code": ErrorCode.topic_authorization_failed, "error_message": _HIDDEN}
        return fields | found

    def _member(self, state: State, group: GroupState, name: str, id_: str) -> dict[str, Any]:
        member = group.members[id_]
        client = self._groups.member(name, id_)
        target = sorted(place for place, owner in group.target.items() if owner == id_)
        return {
            "member_id": id_,
            "instance_id": member.instance or None,
            "rack_id": None,
            "member_epoch": group.generation if client is None else client.epoch,
            "client_id": "streamhouse" if client is None else client.client_id,
            "client_host": "" if client is None else client.host,
            "subscribed_topic_names": [state.topics[t].name for t in member.topics if t in state.topics],
            "subscribed_topic_regex": client.pattern.text if client and client.pattern else None,
            "assignment": {"topic_partitions": self._by_topic(group.owned(id_), state)},
            "target_assignment": {"topic_partitions": self._by_topic(target, state)},
            "member_type": _CONSUMER,
        }


def _topics_of(state: State, group: GroupState) -> list[str]:
    """All topics that members have or want."""
    topics = {topic for member in group.members.values() for topic in member.topics}
    topics.update(topic for topic, _ in group.target)
    return [state.topics[topic].name for topic in topics if topic in state.topics]


def state_name(group: GroupState) -> str:
    """How Kafka calls the state of a group whose partitions the log deals out."""
    if not group.members:
        return "Empty"
    return "Stable" if group.settled else "Reconciling"
