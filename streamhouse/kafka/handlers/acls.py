"""DescribeAcls, CreateAcls and DeleteAcls (KIP-140)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streamhouse.errors import InvalidInputError
from streamhouse.kafka.access import Access
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.authorizer import Created, Deleted
from streamhouse.kafka.security.bindings import (
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
    known,
)
from streamhouse.kafka.server.server import Request

_DISABLED: Final = "No Authorizer is configured: serve with authorize=True"


class AclHandlers:
    """Administers ACLs.

    Args:
        parts: The gateway's.
        access: Who may do that; and the ACLs.
    """

    def __init__(self, parts: Parts, access: Access) -> None:
        self._parts = parts
        self._access = access

    async def describe(self, request: Request) -> Fields:
        """The ACLs that a filter means."""
        fields: dict[str, Any] = {
            "throttle_time": 0,
            "error_code": ErrorCode.none,
            "error_message": None,
            "resources": (),
        }
        authorizer = self._access.authorizer
        error, message = self._refuse(request, Operation.DESCRIBE)
        if error is not ErrorCode.none or authorizer is None:
            return fields | {"error_code": error, "error_message": message}
        wanted = _filter(request.body())
        try:
            bindings = await self._parts.aside(authorizer.describe, wanted)
        except InvalidInputError as refused:
            return fields | {"error_code": ErrorCode.invalid_request, "error_message": str(refused)}
        return fields | {"resources": _by_resource(bindings)}

    async def create(self, request: Request) -> Fields:
        """New ACLs; each gets its answer."""
        body = request.body()
        bindings = [_binding(creation) for creation in body.creations]
        authorizer = self._access.authorizer
        error, message = self._refuse(request, Operation.ALTER)
        if error is not ErrorCode.none or authorizer is None:
            results = [Created(error, message)] * len(bindings)
        else:
            results = await self._parts.aside(authorizer.create, bindings)
        return {
            "throttle_time": 0,
            "results": [{"error_code": each.error, "error_message": each.message} for each in results],
        }

    async def delete(self, request: Request) -> Fields:
        """Delete what filters mean; each gets its answer."""
        body = request.body()
        filters = [_filter(each) for each in body.filters]
        authorizer = self._access.authorizer
        error, message = self._refuse(request, Operation.ALTER)
        if error is not ErrorCode.none or authorizer is None:
            results = [Deleted((), error, message)] * len(filters)
        else:
            results = await self._parts.aside(authorizer.delete, filters)
        return {"throttle_time": 0, "filter_results": [_deleted(result) for result in results]}

    def _refuse(self, request: Request, operation: Operation) -> tuple[ErrorCode, str | None]:
        if self._access.authorizer is None:
            return ErrorCode.security_disabled, _DISABLED
        if not self._access.cluster(request.peer, operation):
            return ErrorCode.cluster_authorization_failed, None
        return ErrorCode.none, None


def _binding(creation: Any) -> AclBinding:
    return AclBinding(
        known(ResourceType, creation.resource_type),
        creation.resource_name,
        known(PatternType, getattr(creation, "resource_pattern_type", PatternType.LITERAL)),
        creation.principal,
        creation.host,
        known(Operation, creation.operation),
        known(Permission, creation.permission_type),
    )


def _filter(wanted: Any) -> AclFilter:
    return AclFilter(
        known(ResourceType, wanted.resource_type_filter),
        wanted.resource_name_filter,
        known(PatternType, getattr(wanted, "pattern_type_filter", PatternType.LITERAL)),
        wanted.principal_filter,
        wanted.host_filter,
        known(Operation, wanted.operation),
        known(Permission, wanted.permission_type),
    )


def _by_resource(bindings: Iterable[AclBinding]) -> list[dict[str, Any]]:
    resources: dict[tuple[ResourceType, str, PatternType], list[AclBinding]] = {}
    for binding in bindings:
        key = binding.resource_type, binding.name, binding.pattern_type
        resources.setdefault(key, []).append(binding)
    return [
        {
            "resource_type": kind,
            "resource_name": name,
            "pattern_type": pattern,
            "acls": [_entry(binding) for binding in held],
        }
        for (kind, name, pattern), held in resources.items()
    ]


def _entry(binding: AclBinding) -> dict[str, Any]:
    return {
        "principal": binding.principal,
        "host": binding.host,
        "operation": binding.operation,
        "permission_type": binding.permission,
    }


def _deleted(result: Deleted) -> dict[str, Any]:
    return {
        "error_code": result.error,
        "error_message": result.message,
        "matching_acls": [
            {
                "error_code": ErrorCode.none,
                "error_message": None,
                "resource_type": binding.resource_type,
                "resource_name": binding.name,
                "pattern_type": binding.pattern_type,
                **_entry(binding),
            }
            for binding in result.bindings
        ],
    }
