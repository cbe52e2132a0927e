"""Quotas of clients: who is limited to how much (KIP-55, KIP-124). No I/O, and no clock.

A quota is set for an entity: a user, a client id, or both together, each by name or as the default for those
that have none of their own. For a request the most specific entity that has the quota in question decides,
and says who shares it: all clients of the user, all clients of that id, or those that are both.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from streamhouse.errors import InvalidInputError

USER: Final = "user"
CLIENT_ID: Final = "client-id"

PRODUCER_BYTE_RATE: Final = "producer_byte_rate"
CONSUMER_BYTE_RATE: Final = "consumer_byte_rate"
REQUEST_PERCENTAGE: Final = "request_percentage"
KEYS: Final = (PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE, REQUEST_PERCENTAGE)

NAME_CHARS_MAX: Final = 1000

_WHOLE: Final = frozenset({PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE})
_RATE_MAX: Final = 2**63

Entity: TypeAlias = tuple[tuple[str, str | None], ...]
"""Kinds, in order, each with a name; ``None``: the default."""

Quotas: TypeAlias = Mapping[Entity, Mapping[str, float]]
"""All that are set, by entity and key."""


class Limit(msgspec.Struct, frozen=True):
    """What holds for a client.

    Attributes:
        value: How much; bytes a second, or per cent of a thread.
        user: It is shared by the clients of this user; empty: of whatever user.
        client_id: ... and of this id; empty: of whatever id.
    """

    value: float
    user: str
    client_id: str


class _By(enum.Enum):
    NAME = 0
    DEFAULT = 1
    NEITHER = 2


# How the user and the client id stand in an entity, the most specific first (KIP-55).
_ORDER: Final = (
    (_By.NAME, _By.NAME),
    (_By.NAME, _By.DEFAULT),
    (_By.NAME, _By.NEITHER),
    (_By.DEFAULT, _By.NAME),
    (_By.DEFAULT, _By.DEFAULT),
    (_By.DEFAULT, _By.NEITHER),
    (_By.NEITHER, _By.NAME),
    (_By.NEITHER, _By.DEFAULT),
)
_NONE_SET: Final[Mapping[str, float]] = {}


def limit_of(quotas: Quotas, key: str, user: str, client_id: str) -> Limit | None:
    """The quota that holds for a client; ``None``: it is not limited.

    Args:
        quotas: Those that are set.
        key: Which one.
        user: The name of its user, without ``User:``.
        client_id: What it calls itself; may be empty.
    """
    for by_user, by_client in _ORDER:
        client_part = _part(CLIENT_ID, by_client, client_id)
        user_part = _part(USER, by_user, user)
        if client_part is None or user_part is None:
            continue
        value = quotas.get(client_part + user_part, _NONE_SET).get(key)
        if value is not None:
            return Limit(value, user if user_part else "", client_id if client_part else "")
    return None


def _part(kind: str, by: _By, name: str) -> Entity | None:
    """What an entity has to have of a kind; ``None``: it cannot, for a client without a name."""
    if by is _By.NEITHER:
        return ()
    if not name:
        return None
    return ((kind, name if by is _By.NAME else None),)


# --- administration --------------------------------------------------------------------------------------


def entity_of(parts: Iterable[tuple[str, str | None]]) -> Entity:
    """An entity, from the parts that a request names.

    Raises:
        InvalidInputError: There is no such entity; the message is Kafka's, where it has one.
    """
    entity = tuple(sorted(parts, key=lambda part: part[0]))
    if not entity:
        raise InvalidInputError("Invalid empty client quota entity")
    kinds = [kind for kind, _ in entity]
    for kind, name in entity:
        if kinds.count(kind) > 1:
            raise InvalidInputError(f"Invalid client quota entity, duplicate entity entry {kind}")
        if kind not in {USER, CLIENT_ID}:
            raise InvalidInputError(f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise InvalidInputError(f"Empty {kind} not supported")
        if name is not None and len(name) > NAME_CHARS_MAX:
            raise InvalidInputError(f"A {kind} of {len(name)} characters; {NAME_CHARS_MAX} are the most")
    return entity


def check_changes(changes: Iterable[tuple[str, float | None]]) -> dict[str, float | None]:
    """The changes to an entity's quotas that a request names, by key; ``None``: the quota goes.

    Raises:
        InvalidInputError: There is no such quota, or it cannot have that value.
    """
    checked: dict[str, float | None] = {}
    for key, value in changes:
        if key in checked:
            raise InvalidInputError(f"Duplicate quota key {key}")
        if value is not None:
            _check_value(key, value)
        checked[key] = value
    return checked


def _check_value(key: str, value: float) -> None:
    if key not in KEYS:
        raise InvalidInputError(f"Invalid configuration key {key}")
    if not value > 0 or math.isinf(value):
        raise InvalidInputError(f"Quota {key} must be greater than 0")
    if key in _WHOLE:
        if value >= _RATE_MAX:
            raise InvalidInputError(f"Proposed value for {key} is too large for a LONG.")
        if value < 1 or value % 1.0 > 1e-6:
            raise InvalidInputError(f"{key} cannot be a fractional value.")


class EntityFilter(msgspec.Struct, frozen=True):
    """Which entities are meant.

    Attributes:
        named: Kinds with the names that they have to have; ``None``: the default.
        any_name: Kinds that they have to have, whatever the name.
        strict: Whether they must have no other kinds.
    """

    named: Mapping[str, str | None]
    any_name: frozenset[str]
    strict: bool

    def matches(self, entity: Entity) -> bool:
        """Whether an entity is meant."""
        parts = dict(entity)
        if self.strict and len(parts) != len(self.named) + len(self.any_name):
            return False
        return self.any_name <= parts.keys() and self.named.items() <= parts.items()


EXACT: Final = 0
DEFAULT: Final = 1
SPECIFIED: Final = 2


def filter_of(components: Iterable[tuple[str, int, str | None]], *, strict: bool) -> EntityFilter:
    """A filter, from the components that a request names: kind, how to match, and the name to match.

    Raises:
        InvalidInputError: It makes no sense; the message is Kafka's.
    """
    named: dict[str, str | None] = {}
    any_name: set[str] = set()
    for kind, how, name in components:
        if not kind:
            raise InvalidInputError("Invalid empty entity type.")
        if kind in named or kind in any_name:
            raise InvalidInputError(f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in {USER, CLIENT_ID}:
            raise InvalidInputError(f"Unsupported entity type {kind}")
        if how not in _HOW:
            raise InvalidInputError(f"Unknown match type {how}")
        if how == EXACT and name is None:
            raise InvalidInputError("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        if how != EXACT and name is not None:
            raise InvalidInputError(f"Request specified {_HOW[how]}, but also specified a match string.")
        if how == SPECIFIED:
            any_name.add(kind)
        else:
            named[kind] = name
    return EntityFilter(named, frozenset(any_name), strict)


_HOW: Final = {EXACT: "MATCH_TYPE_EXACT", DEFAULT: "MATCH_TYPE_DEFAULT", SPECIFIED: "MATCH_TYPE_SPECIFIED"}
