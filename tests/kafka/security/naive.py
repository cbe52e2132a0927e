"""ACL decisions made as slowly and plainly as possible, from Kafka's documentation, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from streamhouse.kafka.security.bindings import AclBinding, Operation, PatternType, Permission, ResourceType

DESCRIBED = (Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER)


def decide(
    bindings: Sequence[AclBinding],
    super_users: Sequence[str],
    allowed_by_default: bool,
    principal: str,
    host: str,
    operation: Operation,
    kind: ResourceType,
    name: str,
) -> bool:
    """Whether somebody may do something."""
    if principal in super_users:
        return True
    of_resource = [b for b in bindings if b.resource_type == kind and is_meant(b, name)]
    if not of_resource:
        return allowed_by_default
    mine = [b for b in of_resource if b.principal in (principal, "User:*") and b.host in (host, "*")]
    for binding in mine:
        if binding.permission == Permission.DENY and binding.operation in (operation, Operation.ALL):
            return False
    for binding in mine:
        if binding.permission == Permission.ALLOW:
            if binding.operation in (operation, Operation.ALL):
                return True
            if operation == Operation.DESCRIBE and binding.operation in DESCRIBED:
                return True
            if operation == Operation.DESCRIBE_CONFIGS and binding.operation == Operation.ALTER_CONFIGS:
                return True
    return False


def is_meant(binding: AclBinding, name: str) -> bool:
    """Whether an ACL is about the resource of a name."""
    if binding.pattern_type == PatternType.LITERAL:
        return binding.name == "*" or binding.name == name
    if binding.pattern_type == PatternType.PREFIXED:
        return name[: len(binding.name)] == binding.name
    raise AssertionError(binding)
