"""CreateTopics, DeleteTopics, CreatePartitions and DescribeLogDirs.

The time that a client gives for these is not looked at: some give none and mean that they do not mind. What
is answered is durable.

Kafka refuses a name that differs from another one only in ``.`` and ``_``, since its metrics confuse the two.
Here nothing does, native programs may have made both, and so both can be had.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.verdicts import Code
from streamhouse.config import TopicSettings
from streamhouse.errors import StreamhouseError, TopicNotFoundError
from streamhouse.format.operations import AlterTopic, CreateTopic, DeleteTopic
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.configs.show import topic_entries
from streamhouse.kafka.configs.values import with_values
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.declined import UNAUTHORIZED, DeclinedError, said_of
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.protocol.primitives import NO_UUID
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.topic import check_partition_count, check_topic_name

_BY_DEFAULT: Final = -1
_REPLICAS: Final = 1  # whatever was asked for: what is durable is the store's affair
_UNKNOWN_BYTES: Final = -1

_Answer: TypeAlias = Callable[..., Awaitable[Fields]]
_Said: TypeAlias = Callable[[str, ErrorCode, str], Fields]


class _Doomed(NamedTuple):
    """A topic to be deleted, by its name or by its id."""

    name: str | None
    topic_id: uuid.UUID | None


class TopicHandlers:
    """Makes, grows, measures and deletes topics.

    Args:
        parts: The gateway's.
        topics: Topics by name and id.
        brokers: The gateways.
        access: Who may do that.
    """

    def __init__(self, parts: Parts, topics: TopicDirectory, brokers: Brokers, access: Access) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._access = access

    # --- CreateTopics ------------------------------------------------------------------------------

    async def create(self, request: Request) -> Fields:
        """New topics; each gets its answer."""
        body = request.body()
        return {"throttle_time": 0, "topics": await self._each(request, body, self._created, _made)}

    async def _each(self, request: Request, body: Any, answer: _Answer, said: _Said) -> list[Fields]:
        """An answer for each topic of a request; those that are in it twice are refused."""
        twice = _repeated(topic.name for topic in body.topics)
        await self._topics.find_all({topic.name for topic in body.topics})
        results = await asyncio.gather(
            *(
                answer(request, topic, validate_only=body.validate_only)
                for topic in body.topics
                if topic.name not in twice
            )
        )
        return [*results, *(said(name, ErrorCode.invalid_request, _TWICE) for name in twice)]

    async def _created(self, request: Request, asked: Any, *, validate_only: bool) -> Fields:
        try:
            count, settings = self._checked(request, asked)
            topic_id = NO_UUID
            if not validate_only:
                verdict = await self._parts.propose(CreateTopic(asked.name, count, settings))
                if verdict.code is Code.TOPIC_EXISTS:
                    raise DeclinedError(ErrorCode.topic_already_exists, _exists(asked.name))
                topic_id = self._topics.id_of_number(verdict.values[0])
        except (DeclinedError, StreamhouseError) as failure:
            return _made(asked.name, *said_of(failure))
        fields = _made(asked.name, ErrorCode.none, None) | {"topic_id": topic_id}
        if not self._access.topic(request.peer, Operation.DESCRIBE_CONFIGS, asked.name):
            return fields | {"topic_config_error_code": ErrorCode.topic_authorization_failed.value}
        return fields | {
            "num_partitions": count,
            "replication_factor": _REPLICAS,
            "configs": [
                {
                    "name": entry.name,
                    "value": entry.value,
                    "read_only": False,
                    "config_source": entry.source.value,
                    "is_sensitive": False,
                }
                for entry in topic_entries(settings, self._parts.settings)
            ],
        }

    def _checked(self, request: Request, asked: Any) -> tuple[int, TopicSettings]:
        """How many partitions a new topic gets, and its settings."""
        if not self._access.creates_topic(request.peer, asked.name):
            raise DeclinedError(ErrorCode.topic_authorization_failed, UNAUTHORIZED)
        check_topic_name(asked.name)
        if self._topics.present(asked.name) is not None:
            raise DeclinedError(ErrorCode.topic_already_exists, _exists(asked.name))
        missing = [config.name for config in asked.configs if config.value is None]
        if missing:
            raise DeclinedError(ErrorCode.invalid_config, f"no value for config {', '.join(missing)}")
        settings = with_values(TopicSettings(), {config.name: config.value for config in asked.configs})
        return self._partition_count(asked), settings

    def _partition_count(self, asked: Any) -> int:
        if asked.assignments:
            if asked.replication_factor != _BY_DEFAULT or asked.num_partitions != _BY_DEFAULT:
                raise DeclinedError(
                    ErrorCode.invalid_request,
                    "where partitions are assigned, numbers of partitions and replicas are to be -1",
                )
            numbers = [assigned.partition_index for assigned in asked.assignments]
            if sorted(numbers) != list(range(len(numbers))):
                raise DeclinedError(
                    ErrorCode.invalid_replica_assignment,
                    f"partitions {sorted(numbers)} are assigned: they are to be numbered from 0, each once",
                )
            _check_assigned(asked.assignments)
            check_partition_count(len(numbers))
            return len(numbers)
        if asked.replication_factor < _BY_DEFAULT or not asked.replication_factor:
            raise DeclinedError(
                ErrorCode.invalid_replication_factor,
                f"a replication factor is 1 or more, or -1 for the default, not {asked.replication_factor}",
            )
        count: int = asked.num_partitions
        if count == _BY_DEFAULT:
            return self._parts.settings.default_partitions
        check_partition_count(count)
        return count

    # --- DeleteTopics ------------------------------------------------------------------------------

    async def delete(self, request: Request) -> Fields:
        """Remove topics, by name or by id."""
        body = request.body()
        if hasattr(body, "topics"):
            doomed = [_Doomed(topic.name, topic.topic_id) for topic in body.topics]
        else:
            doomed = [_Doomed(name, None) for name in body.topic_names]
        await self._topics.find_all({each.name for each in doomed if each.name is not None})
        if any(each.topic_id is not None and self._topics.by_id(each.topic_id) is None for each in doomed):
            await self._topics.look_again()
        counts = Counter(doomed)
        results = await asyncio.gather(
            *(self._deleted(request, each, count) for each, count in counts.items())
        )
        return {"throttle_time": 0, "responses": results}

    async def _deleted(self, request: Request, doomed: _Doomed, count: int) -> Fields:
        fields: dict[str, Any] = {
            "name": doomed.name,
            "topic_id": doomed.topic_id or NO_UUID,
            "error_code": ErrorCode.none,
            "error_message": None,
        }
        try:
            info = self._doomed(request, doomed, count)
            await self._parts.propose(DeleteTopic(info.id))
        except (DeclinedError, StreamhouseError) as failure:
            error, message = said_of(failure)
            return fields | {"error_code": error, "error_message": message}
        return fields | {"name": info.name, "topic_id": self._topics.id_of(info)}

    def _doomed(self, request: Request, doomed: _Doomed, count: int) -> TopicInfo:
        name, topic_id = doomed
        if (name is None) == (topic_id is None):
            raise DeclinedError(ErrorCode.invalid_request, "a topic is named, or its id given, not both")
        if count > 1:
            raise DeclinedError(ErrorCode.invalid_request, _TWICE)
        if name is None:
            info = None if topic_id is None else self._topics.by_id(topic_id)
            if info is None:
                raise DeclinedError(ErrorCode.unknown_topic_id)
            name = info.name
        else:
            info = self._topics.present(name)
        deletes = self._access.topic(request.peer, Operation.DELETE, name)
        if not deletes and not (info is None and self._access.topic(request.peer, Operation.DESCRIBE, name)):
            raise DeclinedError(ErrorCode.topic_authorization_failed, UNAUTHORIZED)
        if info is None:
            raise DeclinedError(ErrorCode.unknown_topic_or_partition)
        return info

    # --- CreatePartitions --------------------------------------------------------------------------

    async def create_partitions(self, request: Request) -> Fields:
        """More partitions for topics."""
        body = request.body()
        return {"throttle_time": 0, "results": await self._each(request, body, self._grown, _result)}

    async def _grown(self, request: Request, asked: Any, *, validate_only: bool) -> Fields:
        try:
            info = self._growing(request, asked)
            if not validate_only:
                verdict = await self._parts.propose(AlterTopic(info.id, asked.count, None))
                if verdict.code is Code.FEWER_PARTITIONS:  # somebody else was faster
                    info = self._growing(request, asked)
        except (DeclinedError, StreamhouseError) as failure:
            return _result(asked.name, *said_of(failure))
        return _result(asked.name, ErrorCode.none, None)

    def _growing(self, request: Request, asked: Any) -> TopicInfo:
        """The topic, if it can grow."""
        if not self._access.topic(request.peer, Operation.ALTER, asked.name):
            raise DeclinedError(ErrorCode.topic_authorization_failed, UNAUTHORIZED)
        info = self._topics.present(asked.name)
        if info is None:
            raise DeclinedError(ErrorCode.unknown_topic_or_partition)
        if asked.count <= info.partitions:
            raise DeclinedError(
                ErrorCode.invalid_partitions,
                f"topic {info.name!r} has {info.partitions} partitions, {asked.count} are no more; partitions"
                " can be added, but not taken away",
            )
        check_partition_count(asked.count)
        if asked.assignments is not None:
            more = asked.count - info.partitions
            if len(asked.assignments) != more:
                raise DeclinedError(
                    ErrorCode.invalid_replica_assignment,
                    f"{more} partitions are added, and {len(asked.assignments)} assigned",
                )
            _check_assigned(asked.assignments)
        return info

    # --- DescribeLogDirs ---------------------------------------------------------------------------

    async def describe_log_dirs(self, request: Request) -> Fields:
        """How much partitions hold: each gateway speaks of those that it leads, as brokers do."""
        body = request.body()
        fields: dict[str, Any] = {"throttle_time": 0, "error_code": ErrorCode.none, "results": ()}
        if not self._access.cluster(request.peer, Operation.DESCRIBE):
            return fields | {"error_code": ErrorCode.cluster_authorization_failed}
        await self._parts.refresh()
        if body.topics is None:
            wanted = [(info, range(info.partitions)) for info in self._topics.all()]
        else:
            found = [(self._topics.present(topic.topic), topic.partitions) for topic in body.topics]
            wanted = [(info, numbers) for info, numbers in found if info is not None]
        log_dir = {
            "error_code": ErrorCode.none,
            "log_dir": self._parts.log.url,
            "topics": [self._sizes(info, numbers) for info, numbers in wanted],
            "total_bytes": _UNKNOWN_BYTES,
            "usable_bytes": _UNKNOWN_BYTES,
        }
        return fields | {"results": [log_dir]}

    def _sizes(self, info: TopicInfo, numbers: Sequence[int]) -> Fields:
        own = self._brokers.own.node_id
        sizes: list[dict[str, Any]] = []
        with suppress(TopicNotFoundError):  # it was deleted meanwhile
            sizes.extend(
                {
                    "partition_index": number,
                    "partition_size": self._parts.catalog.partition(info.id, number).stored_bytes,
                    "offset_lag": 0,
                    "is_future_key": False,
                }
                for number in numbers
                if 0 <= number < info.partitions and self._brokers.leader(info.id, number) == own
            )
        return {"name": info.name, "partitions": sizes}


_TWICE: Final = "the topic is in the request more than once"


def _exists(name: str) -> str:
    return f"topic {name!r} is there already"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _check_assigned(assignments: Iterable[Any]) -> None:
    """To which brokers does not matter: any of them serves any partition."""
    if not all(assigned.broker_ids for assigned in assignments):
        raise DeclinedError(ErrorCode.invalid_replica_assignment, "a partition is assigned to no broker")


def _made(name: str, error: ErrorCode, message: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "topic_id": NO_UUID,
        "error_code": error,
        "error_message": message,
        "topic_config_error_code": ErrorCode.none.value,
        "num_partitions": -1,
        "replication_factor": -1,
        "configs": (),
    }


def _result(name: str, error: ErrorCode, message: str | None) -> Fields:
    return {"name": name, "error_code": error, "error_message": message}
