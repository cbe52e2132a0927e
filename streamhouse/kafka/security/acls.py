"""Decisions by ACLs, as Kafka's StandardAuthorizer makes them.

An ACL speaks of a resource if its pattern means it, whoever the ACL is about. Of those that are about the
principal, ``DENY`` wins over ``ALLOW``, and no word means no; where none at all speaks of the resource, a
setting decides. An ``ALLOW`` of some operations includes that of describing; a ``DENY`` does not. Super users
may do everything.

Two differences, both in what Kafka never meant: the pattern ``*`` also means resources whose names begin with
``*``, and addresses are compared as addresses, however they are written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from streamhouse.kafka.security.bindings import (
    ANYBODY,
    ANYTHING,
    OPERATIONS,
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
)

_IMPLIED_BY: Final = {
    Operation.DESCRIBE: frozenset({Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}),
    Operation.DESCRIBE_CONFIGS: frozenset({Operation.ALTER_CONFIGS}),
}
_NOTHING_ELSE: Final[frozenset[Operation]] = frozenset()
_DECISIONS_MAX: Final = 10_000
_REMEMBERED_CHARS_MAX: Final = 255  # what clients ask for may be long, and is no real name then
_ANY_RESOURCE: Final = "hardcode"  # the name that Kafka tries when it wants to know of any

_Question: TypeAlias = tuple[str, str, Operation, ResourceType, str | None]
Rules: TypeAlias = dict[str, list[AclBinding]]
"""The ACLs with one pattern, by principal."""


class AclIndex:
    """ACLs, arranged for decisions. Does not change.

    Args:
        bindings: The ACLs.
        super_users: Principals that may do everything.
        allowed_by_default: Whether what no ACL speaks of is allowed.
    """

    def __init__(
        self, bindings: Iterable[AclBinding], super_users: frozenset[str], allowed_by_default: bool
    ) -> None:
        self.bindings = tuple(sorted(bindings))
        self._super_users = super_users
        self._allowed_by_default = allowed_by_default
        self._literals: dict[tuple[ResourceType, str], Rules] = {}
        self._prefixes: dict[tuple[ResourceType, str], Rules] = {}
        for binding in self.bindings:
            place = self._prefixes if binding.pattern_type is PatternType.PREFIXED else self._literals
            rules = place.setdefault((binding.resource_type, binding.name), {})
            rules.setdefault(binding.principal, []).append(binding)
        self._prefix_chars = {
            kind: sorted({len(name) for other, name in self._prefixes if other is kind})
            for kind in OPERATIONS
        }
        self._decisions: dict[_Question, bool] = {}

    def allows(self, principal: str, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether a principal may do something from somewhere.

        Args:
            principal: Who, such as ``User:alice``.
            host: The address that it comes from.
            operation: What; a certain one.
            kind: To what.
            name: The name of that.
        """
        key = (principal, host, operation, kind, name)
        decision = self._decisions.get(key)
        return self._remember(key, self._decide(*key)) if decision is None else decision

    def allows_any(self, principal: str, host: str, operation: Operation, kind: ResourceType) -> bool:
        """Whether a principal may do something to any resource of a type, be there one or not.

        Kafka's ``authorizeByResourceType``. Implied operations do not count.
        """
        key = (principal, host, operation, kind, None)
        decision = self._decisions.get(key)
        return self._remember(key, self._decide_any(*key[:4])) if decision is None else decision

    def operations(self, principal: str, host: str, kind: ResourceType, name: str) -> int:
        """What a principal may do to a resource: a bit per operation."""
        return sum(
            1 << operation
            for operation in OPERATIONS[kind]
            if self.allows(principal, host, operation, kind, name)
        )

    def matching(self, wanted: AclFilter) -> list[AclBinding]:
        """The ACLs that a filter means, in order."""
        return [binding for binding in self.bindings if wanted.matches(binding)]

    # --- one decision ------------------------------------------------------------------------------

    def _remember(self, key: _Question, decision: bool) -> bool:
        if len(key[-1] or "") <= _REMEMBERED_CHARS_MAX:
            if len(self._decisions) >= _DECISIONS_MAX:
                self._decisions.clear()
            self._decisions[key] = decision
        return decision

    def _decide_any(self, principal: str, host: str, operation: Operation, kind: ResourceType) -> bool:
        if self._decide(principal, host, operation, kind, _ANY_RESOURCE):
            return True
        allowed: list[AclBinding] = []
        denied: set[tuple[PatternType, str]] = set()
        for binding in self._of(principal, host, kind):
            if binding.operation not in {operation, Operation.ALL}:
                continue
            if binding.permission is Permission.ALLOW:
                allowed.append(binding)
            else:
                denied.add((binding.pattern_type, binding.name))
        if (PatternType.LITERAL, ANYTHING) in denied:
            return False
        return any(not _is_covered(binding, denied) for binding in allowed)

    def _decide(self, principal: str, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        if principal in self._super_users:
            return True
        address = canonical(host)
        implied_by = _IMPLIED_BY.get(operation, _NOTHING_ELSE)
        spoken_of = allowed = False
        for rules in self._speaking_of(kind, name):
            spoken_of = True
            for binding in _about(rules, principal, address):
                direct = binding.operation in {operation, Operation.ALL}
                if binding.permission is Permission.DENY:
                    if direct:
                        return False
                elif direct or binding.operation in implied_by:
                    allowed = True
        return allowed or (not spoken_of and self._allowed_by_default)

    def _speaking_of(self, kind: ResourceType, name: str) -> Iterator[Rules]:
        """The rules for all patterns that mean a resource."""
        for literal in {name, ANYTHING}:
            rules = self._literals.get((kind, literal))
            if rules is not None:
                yield rules
        for chars in self._prefix_chars[kind]:
            if chars > len(name):
                return
            rules = self._prefixes.get((kind, name[:chars]))
            if rules is not None:
                yield rules

    def _of(self, principal: str, host: str, kind: ResourceType) -> Iterator[AclBinding]:
        """All ACLs about a principal and a type."""
        address = canonical(host)
        for place in (self._literals, self._prefixes):
            for (other, _), rules in place.items():
                if other is kind:
                    yield from _about(rules, principal, address)


def _about(rules: Rules, principal: str, address: str) -> Iterator[AclBinding]:
    for who in {principal, ANYBODY}:
        for binding in rules.get(who, ()):
            if binding.host == ANYTHING or canonical(binding.host) == address:
                yield binding


def _is_covered(binding: AclBinding, denied: set[tuple[PatternType, str]]) -> bool:
    """Whether what an ACL allows is denied altogether, by another one."""
    name = binding.name
    if binding.pattern_type is PatternType.LITERAL and name == ANYTHING:
        return False
    if binding.pattern_type is PatternType.LITERAL and (PatternType.LITERAL, name) in denied:
        return True
    return any((PatternType.PREFIXED, name[:chars]) in denied for chars in range(1, len(name) + 1))


def canonical(host: str) -> str:
    """An address as it is compared: there are several ways to write one of IPv6."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(inner or address)
