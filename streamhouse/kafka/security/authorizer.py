"""The ACLs of a log, and what they allow.

An ACL is an entry ``kafka/acls/<hash of it>``: it is there or it is not. Two gateways that create the same
create one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import InvalidInputError, InvalidSettingError
from streamhouse.kafka.security.acls import AclIndex
from streamhouse.kafka.security.bindings import (
    AclBinding,
    AclFilter,
    Operation,
    ResourceType,
    check_binding,
    check_filter,
)
from streamhouse.kafka.security.entries import FULL_MESSAGE, EntryView, decoded

T = TypeVar("T")

_PREFIX: Final = "kafka/acls/"
_HASH_BYTES: Final = 16


class Created(msgspec.Struct, frozen=True):
    """What became of an ACL that was to be created.

    Attributes:
        error: ``none`` also when it was there already.
        message: What is wrong.
    """

    error: ErrorCode = ErrorCode.none
    message: str | None = None


class Deleted(msgspec.Struct, frozen=True):
    """What became of the ACLs that a filter means.

    Attributes:
        bindings: Those that are gone.
        error: What is wrong with the filter.
        message: The same in words.
    """

    bindings: tuple[AclBinding, ...] = ()
    error: ErrorCode = ErrorCode.none
    message: str | None = None


class Authorizer:
    """Decides by the ACLs of a log. May be used from any thread.

    Args:
        commits: The log.
        super_users: Principals that may do everything, such as ``User:admin``.
        allowed_by_default: Whether what no ACL speaks of is allowed.

    Raises:
        InvalidSettingError: A super user without a type.
    """

    def __init__(self, commits: CommitLog, super_users: Iterable[str], *, allowed_by_default: bool) -> None:
        self._super_users = frozenset(super_users)
        self._allowed_by_default = allowed_by_default
        for principal in self._super_users:
            if ":" not in principal:
                raise InvalidSettingError(
                    f"super user {principal!r} has no type; write 'User:{principal}' if it is a user"
                )
        self._view = EntryView(commits, _PREFIX, self._index)

    # --- deciding ----------------------------------------------------------------------------------

    def allows(self, principal: str, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether a principal may do something; see :meth:`AclIndex.allows`.

        Raises:
            UnsupportedFormatError: There is an ACL that this version does not understand.
        """
        return self._view.now.allows(principal, host, operation, kind, name)

    def allows_any(self, principal: str, host: str, operation: Operation, kind: ResourceType) -> bool:
        """Whether it may do it to any resource of a type; see :meth:`AclIndex.allows_any`."""
        return self._view.now.allows_any(principal, host, operation, kind)

    def operations(self, principal: str, host: str, kind: ResourceType, name: str) -> int:
        """What it may do to a resource: a bit per operation."""
        return self._view.now.operations(principal, host, kind, name)

    # --- administration ----------------------------------------------------------------------------

    def describe(self, wanted: AclFilter) -> list[AclBinding]:
        """The ACLs that a filter means. Waits for the store.

        Raises:
            InvalidInputError: The filter cannot be understood.
            StreamhouseError: The store fails.
        """
        check_filter(wanted)
        self._view.refresh()
        return self._view.now.matching(wanted)

    def create(self, bindings: Sequence[AclBinding]) -> list[Created]:
        """Create ACLs, those that make sense. Waits until they are durable.

        Returns:
            What became of each.

        Raises:
            StreamhouseError: The store fails; some may have been created.
        """
        self._view.refresh()
        refusals = [_refusal(check_binding, binding) for binding in bindings]
        values = {
            _name(binding): _encoded(binding)
            for binding, message in zip(bindings, refusals, strict=True)
            if message is None
        }
        changes = self._view.change(values, lambda name, _: values[name])
        results: list[Created] = []
        for binding, message in zip(bindings, refusals, strict=True):
            if message is not None:
                results.append(Created(ErrorCode.invalid_request, message))
            elif changes[_name(binding)].code is not Code.ACCEPTED:
                results.append(Created(ErrorCode.policy_violation, FULL_MESSAGE))
            else:
                results.append(Created())
        return results

    def delete(self, filters: Sequence[AclFilter]) -> list[Deleted]:
        """Delete the ACLs that filters mean. Waits until that is durable.

        Returns:
            What became of it, per filter. An ACL that several mean is in the answers to all of them.

        Raises:
            StreamhouseError: The store fails; some may have been deleted.
        """
        self._view.refresh()
        index = self._view.now
        refusals = [_refusal(check_filter, wanted) for wanted in filters]
        meant = [
            index.matching(wanted) if message is None else []
            for wanted, message in zip(filters, refusals, strict=True)
        ]
        names = {_name(binding) for bindings in meant for binding in bindings}
        changes = self._view.change(names, lambda _name, _value: None)
        results: list[Deleted] = []
        for bindings, message in zip(meant, refusals, strict=True):
            if message is not None:
                results.append(Deleted((), ErrorCode.invalid_request, message))
            else:  # but for those that somebody else deleted first
                gone = [each for each in bindings if changes[_name(each)].before is not None]
                results.append(Deleted(tuple(gone)))
        return results

    def _index(self, values: Mapping[str, bytes]) -> AclIndex:
        bindings = [decoded(_PREFIX + name, value, AclBinding) for name, value in values.items()]
        return AclIndex(bindings, self._super_users, self._allowed_by_default)


def _refusal(check: Callable[[T], None], value: T) -> str | None:
    """What a check has against a value."""
    try:
        check(value)
    except InvalidInputError as error:
        return str(error)
    return None


def _name(binding: AclBinding) -> str:
    return hashlib.blake2b(_encoded(binding), digest_size=_HASH_BYTES).hexdigest()


def _encoded(binding: AclBinding) -> bytes:
    return msgspec.msgpack.encode(binding)
