"""The quotas in a log: an entry ``kafka/quotas/<hash of the entity>`` for each entity that has some."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security.entries import FULL_MESSAGE, EntryView, decoded
from streamhouse.kafka.security.quotas import (
    Entity,
    EntityFilter,
    Limit,
    Quotas,
    check_changes,
    entity_of,
    limit_of,
)

_PREFIX: Final = "kafka/quotas/"
_HASH_BYTES: Final = 16
_LIMITS_MAX: Final = 10_000
_REMEMBERED_CHARS_MAX: Final = 255  # clients may call themselves what they like


class _NotAsked:
    """No client has asked that yet."""


_NOT_ASKED: Final = _NotAsked()


class Alteration(msgspec.Struct, frozen=True):
    """Quotas of an entity that are to change.

    Attributes:
        parts: The entity: kinds with names; ``None``: the default.
        changes: Keys with values; ``None``: the quota goes. Others stay.
    """

    parts: tuple[tuple[str, str | None], ...]
    changes: tuple[tuple[str, float | None], ...]


class Altered(msgspec.Struct, frozen=True):
    """What became of that.

    Attributes:
        error: ``none`` when it was done.
        message: Why not.
    """

    error: ErrorCode = ErrorCode.none
    message: str | None = None


class QuotaStore:
    """The quotas in a log. May be used from any thread.

    Args:
        commits: The log.
    """

    def __init__(self, commits: CommitLog) -> None:
        self._view = EntryView(commits, _PREFIX, _Quotas)

    def limit(self, key: str, user: str, client_id: str) -> Limit | None:
        """The quota that holds for a client; see :func:`~streamhouse.kafka.security.quotas.limit_of`."""
        return self._view.now.limit(key, user, client_id)

    def describe(self, wanted: EntityFilter) -> list[tuple[Entity, Mapping[str, float]]]:
        """The quotas of the entities that a filter means. Waits for the store.

        Raises:
            StreamhouseError: The store fails.
        """
        self._view.refresh()
        return [(entity, held) for entity, held in self._view.now.quotas.items() if wanted.matches(entity)]

    def alter(self, alterations: Sequence[Alteration], *, validate_only: bool = False) -> list[Altered]:
        """Change quotas, each entity's at most once. Waits until that is durable.

        Returns:
            What became of each alteration.

        Raises:
            StreamhouseError: The store fails; some may have been changed.
        """
        wanted: dict[str, tuple[Entity, dict[str, float | None]]] = {}
        results: list[Altered | str] = []  # or under which name to look
        for alteration in alterations:
            try:
                entity, changes = entity_of(alteration.parts), check_changes(alteration.changes)
                name = _name(entity)
                if name in wanted:
                    raise InvalidInputError(f"Ignoring duplicate entity {dict(entity)}")
            except InvalidInputError as error:
                results.append(Altered(ErrorCode.invalid_request, str(error)))
                continue
            wanted[name] = entity, changes
            results.append(Altered() if validate_only else name)
        if validate_only:
            wanted.clear()
        changed = self._view.change(wanted, lambda name, before: _merged(name, before, *wanted[name]))
        return [
            result if isinstance(result, Altered) else _outcome(changed[result].code) for result in results
        ]


class _Held(msgspec.Struct, array_like=True, frozen=True):
    """An entry. Stored in the log: new fields go to the end and have a default."""

    entity: tuple[tuple[str, str | None], ...]
    values: dict[str, float]


class _Quotas:
    """What the entries amount to."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        held = [decoded(_PREFIX + name, value, _Held) for name, value in values.items()]
        self.quotas: Quotas = {each.entity: each.values for each in sorted(held, key=_sort_key)}
        self._limits: dict[tuple[str, str, str], Limit | None] = {}

    def limit(self, key: str, user: str, client_id: str) -> Limit | None:
        """The quota that holds for a client."""
        if not self.quotas:
            return None
        asked = (key, user, client_id)
        known = self._limits.get(asked, _NOT_ASKED)
        if not isinstance(known, _NotAsked):
            return known
        limit = limit_of(self.quotas, *asked)
        if len(client_id) <= _REMEMBERED_CHARS_MAX:
            if len(self._limits) >= _LIMITS_MAX:
                self._limits.clear()
            self._limits[asked] = limit
        return limit


def _sort_key(held: _Held) -> list[tuple[str, bool, str]]:
    return [(kind, name is not None, name or "") for kind, name in held.entity]


def _merged(
    name: str, before: bytes | None, entity: Entity, changes: Mapping[str, float | None]
) -> bytes | None:
    """What an entry is after a change."""
    values = {} if before is None else decoded(_PREFIX + name, before, _Held).values
    after = {key: value for key, value in {**values, **changes}.items() if value is not None}
    return msgspec.msgpack.encode(_Held(entity, dict(sorted(after.items())))) if after else None


def _outcome(code: Code) -> Altered:
    if code is Code.ACCEPTED:
        return Altered()
    return Altered(ErrorCode.policy_violation, FULL_MESSAGE)


def _name(entity: Entity) -> str:
    return hashlib.blake2b(msgspec.msgpack.encode(entity), digest_size=_HASH_BYTES).hexdigest()
