"""Users and their quotas: SCRAM credentials (KIP-554), and what clients may send and fetch (KIP-546)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from streamhouse.errors import InvalidInputError
from streamhouse.kafka.access import Access
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.security.credentials import Altered, CredentialStore, Deletion, Upsertion
from streamhouse.kafka.security.quota_store import Alteration, QuotaStore
from streamhouse.kafka.security.quotas import filter_of
from streamhouse.kafka.server.server import Request


class UserHandlers:
    """Administers users and quotas.

    Args:
        parts: The gateway's.
        credentials: Of users.
        quotas: Of users and clients.
        access: Who may do that.
    """

    def __init__(
        self, parts: Parts, credentials: CredentialStore, quotas: QuotaStore, access: Access
    ) -> None:
        self._parts = parts
        self._credentials = credentials
        self._quotas = quotas
        self._access = access

    # --- credentials -------------------------------------------------------------------------------

    async def describe_credentials(self, request: Request) -> Fields:
        """What credentials users have; nothing that is secret."""
        body = request.body()
        fields: dict[str, Any] = {
            "throttle_time": 0,
            "error_code": ErrorCode.none,
            "error_message": None,
            "results": (),
        }
        if not self._access.cluster(request.peer, Operation.DESCRIBE):
            return fields | {"error_code": ErrorCode.cluster_authorization_failed}
        users = [user.name for user in body.users or ()]
        found = await self._parts.aside(self._credentials.describe, users)
        return fields | {
            "results": [
                {
                    "user": each.user,
                    "error_code": each.error,
                    "error_message": each.message,
                    "credential_infos": [
                        {"mechanism": mechanism, "iterations": iterations}
                        for mechanism, iterations in each.credentials
                    ],
                }
                for each in found
            ]
        }

    async def alter_credentials(self, request: Request) -> Fields:
        """Give users credentials, or take them away."""
        body = request.body()
        deletions = [Deletion(each.name, each.mechanism) for each in body.deletions]
        upsertions = [
            Upsertion(each.name, each.mechanism, each.iterations, each.salt, each.salted_password)
            for each in body.upsertions
        ]
        if self._access.cluster(request.peer, Operation.ALTER):
            results = await self._parts.aside(self._credentials.alter, deletions, upsertions)
        else:
            asked: list[Deletion | Upsertion] = [*deletions, *upsertions]
            users = dict.fromkeys(change.user for change in asked)
            results = [Altered(user, ErrorCode.cluster_authorization_failed) for user in users]
        return {
            "throttle_time": 0,
            "results": [
                {"user": each.user, "error_code": each.error, "error_message": each.message}
                for each in results
            ],
        }

    # --- quotas ------------------------------------------------------------------------------------

    async def describe_quotas(self, request: Request) -> Fields:
        """The quotas of the entities that a filter means."""
        body = request.body()
        fields: dict[str, Any] = {
            "throttle_time": 0,
            "error_code": ErrorCode.none,
            "error_message": None,
            "entries": None,
        }
        if not self._access.cluster(request.peer, Operation.DESCRIBE_CONFIGS):
            return fields | {"error_code": ErrorCode.cluster_authorization_failed}
        try:
            wanted = filter_of(
                [(each.entity_type, each.match_type, each.match) for each in body.components],
                strict=body.strict,
            )
        except InvalidInputError as error:
            return fields | {"error_code": ErrorCode.invalid_request, "error_message": str(error)}
        found = await self._parts.aside(self._quotas.describe, wanted)
        return fields | {
            "entries": [
                {
                    "entity": _entity(entity),
                    "values": [{"key": key, "value": value} for key, value in held.items()],
                }
                for entity, held in found
            ]
        }

    async def alter_quotas(self, request: Request) -> Fields:
        """Change quotas; each entity gets its answer."""
        body = request.body()
        alterations = [
            Alteration(
                tuple((part.entity_type, part.entity_name) for part in entry.entity),
                tuple((op.key, None if op.remove else op.value) for op in entry.ops),
            )
            for entry in body.entries
        ]
        if not self._access.cluster(request.peer, Operation.ALTER_CONFIGS):
            refusal = ErrorCode.cluster_authorization_failed
            outcomes: Sequence[tuple[ErrorCode, str | None]] = [(refusal, None)] * len(alterations)
        else:
            alter = partial(self._quotas.alter, validate_only=body.validate_only)
            altered = await self._parts.aside(alter, alterations)
            outcomes = [(each.error, each.message) for each in altered]
        return {
            "throttle_time": 0,
            "entries": [
                {"error_code": error, "error_message": message, "entity": _entity(alteration.parts)}
                for alteration, (error, message) in zip(alterations, outcomes, strict=True)
            ],
        }


def _entity(parts: Iterable[tuple[str, str | None]]) -> list[dict[str, Any]]:
    return [{"entity_type": kind, "entity_name": name} for kind, name in parts]
