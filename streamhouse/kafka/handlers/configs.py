"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs (KIP-133, KIP-226, KIP-339).

Configs of topics can be read and changed; those of gateways are the settings that they were started with, and
can be read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.config import TopicSettings
from streamhouse.errors import StreamhouseError
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.configs.brokers import broker_configs
from streamhouse.kafka.configs.show import Entry, broker_entries, topic_entries
from streamhouse.kafka.configs.values import Alteration, Change, altered, with_only
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.declined import UNAUTHORIZED, DeclinedError, said_of
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.topic import check_topic_name

_CHANGES: Final = frozenset(Change)


class _Kind(IntEnum):
    """Whose configs; the numbers are Kafka's."""

    TOPIC = 2
    BROKER = 4


class ConfigHandlers:
    """Shows and changes configs.

    Args:
        parts: The gateway's.
        topics: Topics by name.
        brokers: The gateways.
        access: Who may do that.
    """

    def __init__(self, parts: Parts, topics: TopicDirectory, brokers: Brokers, access: Access) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._access = access

    # --- DescribeConfigs ---------------------------------------------------------------------------

    async def describe(self, request: Request) -> Fields:
        """The configs of topics and of this gateway."""
        body = request.body()
        await self._parts.refresh()  # somebody may have changed them by way of another gateway
        documented = getattr(body, "include_documentation", False)
        return {
            "throttle_time": 0,
            "results": [
                self._described(request, asked, synonyms=body.include_synonyms, documented=documented)
                for asked in body.resources
            ],
        }

    def _described(self, request: Request, asked: Any, *, synonyms: bool, documented: bool) -> Fields:
        fields: dict[str, Any] = {
            "error_code": ErrorCode.none,
            "error_message": None,
            "resource_type": asked.resource_type,
            "resource_name": asked.resource_name,
            "configs": (),
        }
        try:
            entries = self._entries(request, asked)
        except (DeclinedError, StreamhouseError) as failure:
            error, message = said_of(failure)
            return fields | {"error_code": error, "error_message": message}
        wanted = frozenset(asked.configuration_keys or ())
        return fields | {
            "configs": [
                _shown(entry, synonyms=synonyms, documented=documented)
                for entry in entries
                if not wanted or entry.name in wanted
            ]
        }

    def _entries(self, request: Request, asked: Any) -> list[Entry]:
        if asked.resource_type == _Kind.TOPIC:
            if not self._access.topic(request.peer, Operation.DESCRIBE_CONFIGS, asked.resource_name):
                raise DeclinedError(ErrorCode.topic_authorization_failed, UNAUTHORIZED)
            return topic_entries(self._topic(asked.resource_name).settings, self._parts.settings)
        if asked.resource_type != _Kind.BROKER:
            raise _unsupported(asked.resource_type)
        if not self._access.cluster(request.peer, Operation.DESCRIBE_CONFIGS):
            raise DeclinedError(ErrorCode.cluster_authorization_failed, UNAUTHORIZED)
        if not asked.resource_name:
            return []  # what would hold for all of them: nothing does
        self._check_broker(asked.resource_name)
        own = self._brokers.own
        address = f"{own.host}:{own.port}"
        found = broker_configs(self._parts.settings, own.node_id, self._parts.log.url, address)
        return broker_entries(found)

    # --- AlterConfigs, IncrementalAlterConfigs -----------------------------------------------------

    async def alter(self, request: Request) -> Fields:
        """All configs of topics anew: those that are not named go back to their default."""

        def change_of(asked: Any) -> Callable[[TopicSettings], TopicSettings]:
            _check_values(config.name for config in asked.configs if config.value is None)
            values = {config.name: config.value for config in asked.configs}
            return lambda settings: with_only(settings, values)

        return await self._alter(request, change_of)

    async def alter_incrementally(self, request: Request) -> Fields:
        """Some configs of topics, the others stay."""

        def change_of(asked: Any) -> Callable[[TopicSettings], TopicSettings]:
            unknown = {config.config_operation for config in asked.configs} - _CHANGES
            if unknown:
                raise DeclinedError(ErrorCode.invalid_request, f"there is no operation {min(unknown)}")
            alterations = [
                Alteration(config.name, Change(config.config_operation), config.value)
                for config in asked.configs
            ]
            _check_values(
                each.name for each in alterations if each.value is None and each.change is not Change.DELETE
            )
            return lambda settings: altered(settings, alterations)

        return await self._alter(request, change_of)

    async def _alter(
        self, request: Request, change_of: Callable[[Any], Callable[[TopicSettings], TopicSettings]]
    ) -> Fields:
        body = request.body()
        counts = Counter((asked.resource_type, asked.resource_name) for asked in body.resources)
        await self._topics.find_all(
            {asked.resource_name for asked in body.resources if asked.resource_type == _Kind.TOPIC}
        )

        async def answer(asked: Any) -> Fields:
            error: tuple[ErrorCode, str | None] = (ErrorCode.none, None)
            try:
                if counts[asked.resource_type, asked.resource_name] > 1:
                    raise DeclinedError(
                        ErrorCode.invalid_request, "the resource is in the request more than once"
                    )
                info = self._altering(request, asked)
                await self._change(info, change_of(asked), validate_only=body.validate_only)
            except (DeclinedError, StreamhouseError) as failure:
                error = said_of(failure)
            return {
                "error_code": error[0],
                "error_message": error[1],
                "resource_type": asked.resource_type,
                "resource_name": asked.resource_name,
            }

        responses: Sequence[Fields] = await asyncio.gather(*map(answer, body.resources))
        return {"throttle_time": 0, "responses": responses}

    def _altering(self, request: Request, asked: Any) -> TopicInfo:
        """The topic whose configs are to be changed."""
        names = Counter(config.name for config in asked.configs)
        if any(count > 1 for count in names.values()):
            twice = [name for name, count in names.items() if count > 1]
            raise DeclinedError(ErrorCode.invalid_request, f"config {', '.join(twice)} is there twice")
        if asked.resource_type == _Kind.TOPIC:
            if not self._access.topic(request.peer, Operation.ALTER_CONFIGS, asked.resource_name):
                raise DeclinedError(ErrorCode.topic_authorization_failed, UNAUTHORIZED)
            return self._topic(asked.resource_name)
        if asked.resource_type != _Kind.BROKER:
            raise _unsupported(asked.resource_type)
        if not self._access.cluster(request.peer, Operation.ALTER_CONFIGS):
            raise DeclinedError(ErrorCode.cluster_authorization_failed, UNAUTHORIZED)
        if asked.resource_name:
            self._check_broker(asked.resource_name)
        raise DeclinedError(
            ErrorCode.invalid_request,
            "configs of a gateway are the settings that it was started with; they cannot be changed",
        )

    async def _change(
        self, info: TopicInfo, change: Callable[[TopicSettings], TopicSettings], *, validate_only: bool
    ) -> None:
        present = self._parts.catalog.current(info).settings
        if change(present) == present or validate_only:
            return
        await self._parts.aside(self._parts.catalog.alter_topic, info, None, change)

    # --- helpers -----------------------------------------------------------------------------------

    def _topic(self, name: str) -> TopicInfo:
        check_topic_name(name)
        info = self._topics.present(name)
        if info is None:
            raise DeclinedError(ErrorCode.unknown_topic_or_partition)
        return info

    def _check_broker(self, name: str) -> None:
        own = self._brokers.own.node_id
        if name != str(own):
            raise DeclinedError(
                ErrorCode.invalid_request, f"this is broker {own}; ask broker {name} itself about it"
            )


def _check_values(missing: Iterable[str]) -> None:
    names = ", ".join(missing)
    if names:
        raise DeclinedError(ErrorCode.invalid_request, f"no value for config {names}")


def _unsupported(kind: int) -> DeclinedError:
    return DeclinedError(
        ErrorCode.invalid_request, f"only topics and brokers have configs here, not resources of type {kind}"
    )


def _shown(entry: Entry, *, synonyms: bool, documented: bool) -> Fields:
    return {
        "name": entry.name,
        "value": entry.value,
        "read_only": entry.read_only,
        "config_source": entry.source.value,
        "is_sensitive": False,
        "synonyms": [
            {"name": each.name, "value": each.value, "source": each.source.value} for each in entry.synonyms
        ]
        if synonyms
        else (),
        "config_type": entry.type.value,
        "documentation": entry.text if documented else None,
    }
