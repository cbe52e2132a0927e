"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup: groups whose members deal out among themselves."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from streamhouse import limits
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.classic_messages import (
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    LeaveAnswer,
    Leaver,
    SyncAnswer,
    SyncRequest,
)
from streamhouse.kafka.groups.coordinator import ClassicGroups
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request

_ID_BYTES: Final = 16
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_NULL_FROM: Final = 7  # before, no protocol is an empty one
_MANY_LEAVE_FROM: Final = 3
_REBALANCE_FROM: Final = 1  # before, rebalances take as long as sessions
_AS_THE_SESSION: Final = -1


class ClassicGroupHandlers:
    """Answers members.

    Args:
        parts: The gateway's.
        brokers: Who coordinates which group.
        groups: Those that this gateway coordinates.
        access: Who may be in which group.
    """

    def __init__(self, parts: Parts, brokers: Brokers, groups: ClassicGroups, access: Access) -> None:
        self._parts = parts
        self._brokers = brokers
        self._groups = groups
        self._access = access

    async def join(self, request: Request) -> Fields:
        """Enter a group, or do so anew; answered when everybody has."""
        body = request.body()
        error = self._refuse(request, body.group_id)
        if error is not ErrorCode.none:
            answer = JoinAnswer(error, body.member_id)
        else:
            answer = await self._groups.join(body.group_id, self._join_request(request, body))
        empty = "" if request.version < _NULL_FROM else None
        return {
            "throttle_time": 0,
            "error_code": answer.error,
            "generation_id": answer.generation,
            "protocol_type": answer.protocol_type,
            "protocol_name": answer.protocol or empty,
            "leader": answer.leader,
            "skip_assignment": answer.skip_assignment,
            "member_id": answer.member,
            "members": [
                {
                    "member_id": member.id,
                    "group_instance_id": member.instance or None,
                    "metadata": member.metadata,
                }
                for member in answer.members
            ],
        }

    def _join_request(self, request: Request, body: Any) -> JoinRequest:
        rebalance = _AS_THE_SESSION
        if request.version >= _REBALANCE_FROM:
            rebalance = body.rebalance_timeout // _MILLISECOND
        return JoinRequest(
            version=request.version,
            member=body.member_id,
            instance=_instance(body),
            client_id=request.peer.client_id or "",
            host=f"/{request.peer.host}",
            session_ms=body.session_timeout // _MILLISECOND,
            rebalance_ms=rebalance,
            protocol_type=body.protocol_type,
            protocols=tuple((protocol.name, protocol.metadata) for protocol in body.protocols),
            reason=getattr(body, "reason", None) or "",
            fresh=self._parts.runtime.random_bytes(_ID_BYTES).hex(),
        )

    async def sync(self, request: Request) -> Fields:
        """Deal out, or wait for what one is given."""
        body = request.body()
        error = self._refuse(request, body.group_id)
        if error is not ErrorCode.none:
            answer = SyncAnswer(error)
        else:
            asked = SyncRequest(
                member=body.member_id,
                instance=_instance(body),
                generation=body.generation_id,
                protocol_type=getattr(body, "protocol_type", None),
                protocol=getattr(body, "protocol_name", None),
                assignments=tuple((each.member_id, each.assignment) for each in body.assignments),
            )
            answer = await self._groups.sync(body.group_id, asked)
        return {
            "throttle_time": 0,
            "error_code": answer.error,
            "protocol_type": answer.protocol_type,
            "protocol_name": answer.protocol,
            "assignment": answer.assignment,
        }

    async def heartbeat(self, request: Request) -> Fields:
        """A member lives."""
        body = request.body()
        error = self._refuse(request, body.group_id)
        if error is not ErrorCode.none:
            answer = HeartbeatAnswer(error)
        else:
            asked = HeartbeatRequest(
                member=body.member_id, instance=_instance(body), generation=body.generation_id
            )
            answer = await self._groups.heartbeat(body.group_id, asked)
        return {"throttle_time": 0, "error_code": answer.error}

    async def leave(self, request: Request) -> Fields:
        """Members go."""
        body = request.body()
        many = request.version >= _MANY_LEAVE_FROM
        error = self._refuse(request, body.group_id)
        if error is not ErrorCode.none:
            answer = LeaveAnswer(error)
        else:
            leavers = [_leaver(each) for each in (body.members if many else (body,))]
            answer = await self._groups.leave(body.group_id, leavers)
        return {
            "throttle_time": 0,
            "error_code": answer.error if many else answer.first_error,
            "members": [
                {
                    "member_id": each.member,
                    "group_instance_id": each.instance or None,
                    "error_code": each.error,
                }
                for each in answer.members
            ],
        }

    def _refuse(self, request: Request, group: str) -> ErrorCode:
        if not self._access.group(request.peer, Operation.READ, group):
            return ErrorCode.group_authorization_failed
        if not 0 < len(group) <= limits.GROUP_NAME_CHARS_MAX:
            return ErrorCode.invalid_group_id
        if not self._brokers.coordinates_group(group):
            return ErrorCode.not_coordinator
        return ErrorCode.none


def _instance(body: Any) -> str:
    return getattr(body, "group_instance_id", None) or ""


def _leaver(each: Any) -> Leaver:
    return Leaver(member=each.member_id, instance=_instance(each), reason=getattr(each, "reason", None) or "")
