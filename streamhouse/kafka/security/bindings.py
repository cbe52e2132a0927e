"""ACLs and filters for them: Kafka's vocabulary, with its numbers.

A binding says that a principal may, or may not, do an operation to the resources that a pattern means, from a
host.
"""

from __future__ import annotations

import enum
from typing import Final, TypeVar

import msgspec

from streamhouse.errors import InvalidInputError

ANYTHING: Final = "*"
"""As the name of a literal pattern, or as a host."""
ANYBODY: Final = "User:*"
CLUSTER_NAME: Final = "kafka-cluster"
TEXT_CHARS_MAX: Final = 1000  # groups, topics and users have shorter names


class ResourceType(enum.IntEnum):
    """What an ACL is about."""

    UNKNOWN = 0
    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(enum.IntEnum):
    """How the name of a pattern means resources."""

    UNKNOWN = 0
    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Operation(enum.IntEnum):
    """What may be done."""

    UNKNOWN = 0
    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14


class Permission(enum.IntEnum):
    """Whether it may be done."""

    UNKNOWN = 0
    ANY = 1
    DENY = 2
    ALLOW = 3


_K = TypeVar("_K", ResourceType, PatternType, Operation, Permission)


def known(kind: type[_K], number: int) -> _K:
    """What a number in a request means; ``UNKNOWN`` for those of a later Kafka."""
    try:
        return kind(number)
    except ValueError:
        return kind(0)


OPERATIONS: Final[dict[ResourceType, tuple[Operation, ...]]] = {
    ResourceType.TOPIC: (
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (
        Operation.READ,
        Operation.DELETE,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.CLUSTER: (
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
    ResourceType.TRANSACTIONAL_ID: (Operation.WRITE, Operation.DESCRIBE),
    ResourceType.DELEGATION_TOKEN: (Operation.DESCRIBE,),
    ResourceType.USER: (Operation.CREATE_TOKENS, Operation.DESCRIBE_TOKENS),
}
"""What can be done to a resource."""

CLUSTER_OPERATIONS: Final = sum(1 << operation for operation in OPERATIONS[ResourceType.CLUSTER])
assert CLUSTER_OPERATIONS == 0x1FA0  # clients compare with that


class AclBinding(msgspec.Struct, array_like=True, frozen=True, order=True):
    """One ACL. Stored in the log: new fields go to the end and have a default.

    Attributes:
        resource_type: What it is about.
        name: The name of the pattern.
        pattern_type: How that means resources.
        principal: Who, such as ``User:alice``; ``User:*``: everybody.
        host: From where, an address; ``*``: from anywhere.
        operation: What.
        permission: Whether.
    """

    resource_type: ResourceType
    name: str
    pattern_type: PatternType
    principal: str
    host: str
    operation: Operation
    permission: Permission


class AclFilter(msgspec.Struct, frozen=True):
    """Which ACLs are meant. ``ANY``, and ``None`` where there is text, mean all.

    Attributes:
        resource_type: As in the binding.
        name: As in the binding; with ``MATCH`` the name of a resource, which means all ACLs that concern it.
        pattern_type: As in the binding, or ``MATCH``.
        principal: As in the binding.
        host: As in the binding.
        operation: As in the binding.
        permission: As in the binding.
    """

    resource_type: ResourceType = ResourceType.ANY
    name: str | None = None
    pattern_type: PatternType = PatternType.ANY
    principal: str | None = None
    host: str | None = None
    operation: Operation = Operation.ANY
    permission: Permission = Permission.ANY

    def matches(self, binding: AclBinding) -> bool:
        """Whether an ACL is meant."""
        return (
            self.resource_type in {ResourceType.ANY, binding.resource_type}
            and self._matches_pattern(binding)
            and self.principal in {None, binding.principal}
            and self.host in {None, binding.host}
            and self.operation in {Operation.ANY, binding.operation}
            and self.permission in {Permission.ANY, binding.permission}
        )

    def _matches_pattern(self, binding: AclBinding) -> bool:
        wanted = self.pattern_type
        if wanted not in {PatternType.ANY, PatternType.MATCH, binding.pattern_type}:
            return False
        if self.name is None or self.name == binding.name:
            return True
        return wanted is PatternType.MATCH and concerns(binding.pattern_type, binding.name, self.name)


def concerns(pattern_type: PatternType, pattern: str, name: str) -> bool:
    """Whether a pattern means the resource of a name."""
    if pattern_type is PatternType.PREFIXED:
        return name.startswith(pattern)
    return pattern in {name, ANYTHING}


def check_binding(binding: AclBinding) -> None:
    """Refuse an ACL that makes no sense.

    Raises:
        InvalidInputError: The message is Kafka's, where it has one.
    """
    for what, value, possible in (
        ("resourceType", binding.resource_type, binding.resource_type in OPERATIONS),
        ("patternType", binding.pattern_type, binding.pattern_type > PatternType.MATCH),
        ("operation", binding.operation, binding.operation > Operation.ANY),
        ("permissionType", binding.permission, binding.permission > Permission.ANY),
    ):
        if not possible:
            raise InvalidInputError(f"Invalid {what} {value.name}")
    if not binding.name:
        raise InvalidInputError("Invalid empty resource name")
    if binding.resource_type is ResourceType.CLUSTER and binding.name != CLUSTER_NAME:
        raise InvalidInputError(f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}")
    if ":" not in binding.principal:
        raise InvalidInputError(
            f"Could not parse principal from `{binding.principal}` (no colon is present separating the"
            " principal type from the principal name)"
        )
    for text in (binding.name, binding.principal, binding.host):
        if len(text) > TEXT_CHARS_MAX:
            raise InvalidInputError(
                f"a name of {len(text)} characters in an ACL; {TEXT_CHARS_MAX} are the most"
            )


def check_filter(wanted: AclFilter) -> None:
    """Refuse a filter that nobody understands.

    Raises:
        InvalidInputError: The message is Kafka's.
    """
    if wanted.resource_type is ResourceType.UNKNOWN or wanted.pattern_type is PatternType.UNKNOWN:
        raise InvalidInputError("Unknown patternFilter.")
    if wanted.operation is Operation.UNKNOWN or wanted.permission is Permission.UNKNOWN:
        raise InvalidInputError("Unknown entryFilter.")
