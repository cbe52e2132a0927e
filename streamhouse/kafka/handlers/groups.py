"""ListGroups, DescribeGroups and DeleteGroups: groups as administrators see them.

A group of native members, or of those of the newer protocol, shows here too: most clients know no other way
to ask. What its members subscribe to and have is put as members of classic groups would say it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streamhouse.commits.groups import GroupState
from streamhouse.commits.state import State
from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.operations import DeleteGroup
from streamhouse.groups.classic import CONSUMER, encode_assignment, encode_subscription
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.consumer import ConsumerGroups
from streamhouse.kafka.groups.coordinator import ClassicGroups
from streamhouse.kafka.handlers.consumer_groups import state_name
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode, coordinator_code_of
from streamhouse.kafka.security.bindings import Operation, ResourceType
from streamhouse.kafka.server.server import Request
from streamhouse.records import TopicPartition

_NOT_ASKED_FOR: Final = -(1 << 31)
_DEAD: Final = "Dead"
_EMPTY: Final = "Empty"
_STABLE: Final = "Stable"
_GONE: Final = frozenset({_EMPTY, _DEAD})
_AS_CLASSIC: Final = {"Reconciling": "PreparingRebalance"}


class GroupHandlers:
    """Administers groups.

    Args:
        parts: The gateway's.
        brokers: Who coordinates which group.
        consumers: Members of the newer protocol.
        classic: Groups of the older one.
        access: Who may see and delete what.
    """

    def __init__(
        self,
        parts: Parts,
        brokers: Brokers,
        consumers: ConsumerGroups,
        classic: ClassicGroups,
        access: Access,
    ) -> None:
        self._parts = parts
        self._brokers = brokers
        self._consumers = consumers
        self._classic = classic
        self._access = access

    async def list(self, request: Request) -> Fields:
        """The groups that this gateway coordinates; clients ask all gateways."""
        body = request.body()
        states = {name.lower() for name in getattr(body, "states_filter", None) or ()}
        types = {name.lower() for name in getattr(body, "types_filter", None) or ()}
        await self._parts.refresh()
        everything = self._access.cluster(request.peer, Operation.DESCRIBE)
        with self._parts.commits.lock:
            groups = {
                name: self._listed(name, group) for name, group in self._parts.commits.state.groups.items()
            }
        return {
            "throttle_time": 0,
            "error_code": ErrorCode.none,
            "groups": [
                group
                for name, group in groups.items()
                if self._brokers.coordinates_group(name)
                and (everything or self._access.group(request.peer, Operation.DESCRIBE, name))
                and (not states or group["group_state"].lower() in states)
                and (not types or group["group_type"].lower() in types)
            ],
        }

    def _listed(self, name: str, group: GroupState) -> dict[str, Any]:
        fields = {"group_id": name, "protocol_type": "", "group_state": _EMPTY, "group_type": "Classic"}
        view = self._classic.view(name)
        if group.members or (group.assignor and group.classic is None):
            fields |= {"protocol_type": CONSUMER, "group_state": state_name(group), "group_type": "Consumer"}
        elif view is not None:
            fields |= {"protocol_type": view.protocol_type, "group_state": view.state}
        elif group.classic is not None:
            state = _STABLE if group.has_classic_members else _EMPTY
            fields |= {"protocol_type": group.classic.protocol_type, "group_state": state}
        return fields

    async def describe(self, request: Request) -> Fields:
        """Groups with their members."""
        body = request.body()
        await self._parts.refresh()
        operations = getattr(body, "include_authorized_operations", False)
        return {
            "throttle_time": 0,
            "groups": [
                await self._described(request, name, operations=operations)
                for name in dict.fromkeys(body.groups)
            ],
        }

    async def _described(self, request: Request, name: str, *, operations: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "error_code": ErrorCode.none,
            "group_id": name,
            "group_state": _DEAD,
            "protocol_type": "",
            "protocol_data": "",
            "members": (),
            "authorized_operations": _NOT_ASKED_FOR,
        }
        error = self._refuse(request, Operation.DESCRIBE, name)
        if error is not ErrorCode.none:
            return fields | {"group_state": "", "error_code": error}
        if operations:
            fields["authorized_operations"] = self._access.operations(request.peer, ResourceType.GROUP, name)
        with self._parts.commits.lock:
            state = self._parts.commits.state
            group = state.groups.get(name)
            if group is not None and (group.members or (group.assignor and group.classic is None)):
                return fields | self._dealt_out(state, group, name)
            has_members = group is not None and group.has_classic_members
            if group is not None:
                fields["group_state"] = _EMPTY
        if has_members:
            taken = await self._classic.take(name)
            if isinstance(taken, ErrorCode):
                return fields | {"group_state": "", "error_code": taken}
        view = self._classic.view(name)
        if view is None or view.state == _DEAD:
            return fields
        return fields | {
            "group_state": view.state,
            "protocol_type": view.protocol_type,
            "protocol_data": view.protocol,
            "members": [
                {
                    "member_id": member.id,
                    "group_instance_id": member.instance or None,
                    "client_id": member.client_id,
                    "client_host": member.host,
                    "member_metadata": member.metadata,
                    "member_assignment": member.assignment,
                }
                for member in view.members
            ],
        }

    def _dealt_out(self, state: State, group: GroupState, name: str) -> dict[str, Any]:
        """A group whose partitions the log deals out, as if its members did."""
        named = state_name(group)
        return {
            "group_state": _AS_CLASSIC.get(named, named),
            "protocol_type": CONSUMER,
            "protocol_data": group.assignor if group.members else "",
            "members": [self._member(state, group, name, id_) for id_ in group.members],
        }

    def _member(self, state: State, group: GroupState, name: str, id_: str) -> dict[str, Any]:
        member = group.members[id_]
        client = self._consumers.member(name, id_)
        topics = [state.topics[topic].name for topic in member.topics if topic in state.topics]
        places = _named(state, group.owned(id_))
        return {
            "member_id": id_,
            "group_instance_id": member.instance or None,
            "client_id": "streamhouse" if client is None else client.client_id,
            "client_host": "" if client is None else f"/{client.host}",
            "member_metadata": encode_subscription(topics),
            "member_assignment": encode_assignment(places),
        }

    async def delete(self, request: Request) -> Fields:
        """Forget groups that have no members."""
        body = request.body()
        await self._parts.refresh()
        return {
            "throttle_time": 0,
            "results": [
                {"group_id": name, "error_code": await self._delete(request, name)}
                for name in dict.fromkeys(body.groups_names)
            ],
        }

    async def _delete(self, request: Request, name: str) -> ErrorCode:
        error = self._refuse(request, Operation.DELETE, name)
        if error is not ErrorCode.none:
            return error
        view = self._classic.view(name)
        if view is not None and view.state not in _GONE:
            return ErrorCode.non_empty_group
        try:
            verdict = await self._parts.propose(DeleteGroup(name))
        except StreamhouseError as failure:
            return coordinator_code_of(failure)
        return _OF_DELETE.get(verdict.code, ErrorCode.unknown_server_error)

    def _refuse(self, request: Request, operation: Operation, name: str) -> ErrorCode:
        if not self._access.group(request.peer, operation, name):
            return ErrorCode.group_authorization_failed
        if not name:
            return ErrorCode.invalid_group_id
        if not self._brokers.coordinates_group(name):
            return ErrorCode.not_coordinator
        return ErrorCode.none


def _named(state: State, places: Iterable[tuple[int, int]]) -> list[TopicPartition]:
    return [
        TopicPartition(state.topics[topic].name, partition)
        for topic, partition in places
        if topic in state.topics
    ]


_OF_DELETE: Final = {
    Code.ACCEPTED: ErrorCode.none,
    Code.UNKNOWN_GROUP: ErrorCode.group_id_not_found,
    Code.GROUP_NOT_EMPTY: ErrorCode.non_empty_group,
}
