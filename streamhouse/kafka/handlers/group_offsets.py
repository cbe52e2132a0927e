"""OffsetCommit, OffsetFetch, OffsetDelete and TxnOffsetCommit: how far groups have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from streamhouse import limits
from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.committers import Committers
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode, coordinator_code_of
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions

_NO_EPOCH: Final = -1
_NOTHING: Final = -1  # as a committed offset
_MANY_GROUPS_FROM: Final = 8
_FORGET: Final = -1


class _Wanted(NamedTuple):
    """An offset that a client wants to have noted."""

    topic: str
    partition: int
    offset: int
    metadata: str


class GroupOffsetHandlers:
    """Answers about committed offsets.

    Args:
        parts: The gateway's.
        topics: Topics by name.
        brokers: Who coordinates which group.
        committers: Who may commit for a group.
        transactions: What producers have open.
        access: Who may read what.
    """

    def __init__(
        self,
        parts: Parts,
        topics: TopicDirectory,
        brokers: Brokers,
        committers: Committers,
        transactions: Transactions,
        access: Access,
    ) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._committers = committers
        self._transactions = transactions
        self._access = access

    # --- committing --------------------------------------------------------------------------------

    async def commit(self, request: Request) -> Fields:
        """Note how far a group has come."""
        body = request.body()
        wanted = _wanted(body)
        errors = await self._errors(request, body.group_id, wanted)
        good = [each for each, error in zip(wanted, errors, strict=True) if error is ErrorCode.none]
        if good:
            said = await self._commit(body, good)
            errors = [said if error is ErrorCode.none else error for error in errors]
        return {"throttle_time": 0, "topics": _answers(wanted, errors)}

    async def _commit(self, body: Any, wanted: Sequence[_Wanted]) -> ErrorCode:
        operation = await self._committers.operation(
            body.group_id,
            body.member_id,
            getattr(body, "group_instance_id", None) or "",
            _generation(body),
            self._entries(wanted),
        )
        if isinstance(operation, ErrorCode):
            return operation
        try:
            verdict = await self._parts.propose(operation)
        except StreamhouseError as error:
            return coordinator_code_of(error)
        return self._committers.said(verdict.code)

    async def commit_in_transaction(self, request: Request) -> Fields:
        """Let a group's offsets move with a transaction (KIP-447)."""
        body = request.body()
        wanted = _wanted(body)
        errors = await self._errors(request, body.group_id, wanted)
        if not self._access.transactional_id(request.peer, Operation.WRITE, body.transactional_id):
            errors = [ErrorCode.transactional_id_authorization_failed] * len(wanted)
        good = [each for each, error in zip(wanted, errors, strict=True) if error is ErrorCode.none]
        if good:
            said = await self._add_to_transaction(body, good)
            errors = [said if error is ErrorCode.none else error for error in errors]
        return {"throttle_time": 0, "topics": _answers(wanted, errors)}

    async def _add_to_transaction(self, body: Any, wanted: Sequence[_Wanted]) -> ErrorCode:
        member, generation = getattr(body, "member_id", ""), getattr(body, "generation_id", _NO_EPOCH)
        instance = getattr(body, "group_instance_id", None) or ""
        operation = await self._committers.operation(
            body.group_id, member, instance, generation, self._entries(wanted), transactional=True
        )
        if isinstance(operation, ErrorCode):
            return operation
        try:
            return await self._transactions.add_offsets(
                body.transactional_id, body.producer_id, body.producer_epoch, operation
            )
        except StreamhouseError as error:
            return coordinator_code_of(error)

    async def _errors(self, request: Request, group: str, wanted: Sequence[_Wanted]) -> list[ErrorCode]:
        """What is wrong with each offset."""
        if not self._access.group(request.peer, Operation.READ, group):
            return [ErrorCode.group_authorization_failed] * len(wanted)
        if not 0 < len(group) <= limits.GROUP_NAME_CHARS_MAX:
            return [ErrorCode.invalid_group_id] * len(wanted)
        if not self._brokers.coordinates_group(group):
            return [ErrorCode.not_coordinator] * len(wanted)
        infos = await self._topics.find_all({each.topic for each in wanted})
        return [self._error(request, each, infos[each.topic]) for each in wanted]

    def _error(self, request: Request, wanted: _Wanted, info: TopicInfo | None) -> ErrorCode:
        if not self._access.topic(request.peer, Operation.READ, wanted.topic):
            return ErrorCode.topic_authorization_failed
        if info is None or not 0 <= wanted.partition < info.partitions:
            return ErrorCode.unknown_topic_or_partition
        if len(wanted.metadata.encode()) > limits.OFFSET_METADATA_BYTES_MAX:
            return ErrorCode.offset_metadata_too_large
        return ErrorCode.none if wanted.offset >= 0 else ErrorCode.invalid_commit_offset_size

    def _entries(self, wanted: Sequence[_Wanted]) -> tuple[OffsetEntry, ...]:
        entries = []
        for each in wanted:
            info = self._topics.present(each.topic)
            if info is not None:
                entries.append(OffsetEntry(info.id, each.partition, each.offset, each.metadata))
        return tuple(entries)

    # --- looking -----------------------------------------------------------------------------------

    async def fetch(self, request: Request) -> Fields:
        """What groups have committed."""
        body = request.body()
        await self._parts.refresh()  # to an end that is not older than the request: who asks begins there
        stable = getattr(body, "require_stable", False)
        if request.version >= _MANY_GROUPS_FROM:
            groups = [
                {
                    "group_id": each.group_id,
                    **self._fetched(request, each.group_id, each.topics, stable=stable),
                }
                for each in body.groups
            ]
            return {"throttle_time": 0, "groups": groups}
        return {
            "throttle_time": 0,
            **self._fetched(request, body.group_id, body.topics, stable=stable),
        }

    def _fetched(self, request: Request, name: str, topics: Any, *, stable: bool) -> dict[str, Any]:
        error = ErrorCode.none
        if not self._access.group(request.peer, Operation.DESCRIBE, name):
            error = ErrorCode.group_authorization_failed
        elif not self._brokers.coordinates_group(name):
            error = ErrorCode.not_coordinator
        with self._parts.commits.lock:
            state = self._parts.commits.state
            group = state.groups.get(name)
            offsets = {} if group is None else group.offsets.copy()
            pending = {
                place
                for transaction in state.transactions.values()
                for place in transaction.offsets.get(name, ())
            }
            names = {id_: topic.name for id_, topic in state.topics.items()}
            ids = dict(state.topic_ids)
        if topics is None:
            asked: dict[str, list[int]] = {}
            for topic, partition in sorted(offsets):
                asked.setdefault(names[topic], []).append(partition)
        else:
            asked = {topic.name: list(topic.partition_indexes) for topic in topics}
        if error is not ErrorCode.none:
            return {"topics": _no_offsets({} if topics is None else asked, error), "error_code": error}
        found = []
        for topic_name, partitions in asked.items():
            if not self._access.topic(request.peer, Operation.DESCRIBE, topic_name):
                if topics is not None:
                    found += _no_offsets({topic_name: partitions}, ErrorCode.topic_authorization_failed)
                continue
            places = [(ids.get(topic_name, -1), partition) for partition in partitions]
            found.append(
                {
                    "name": topic_name,
                    "partitions": [
                        _unstable(place[1])
                        if stable and place in pending
                        else _committed(place[1], offsets.get(place))
                        for place in places
                    ],
                }
            )
        return {"topics": found, "error_code": ErrorCode.none}

    # --- forgetting --------------------------------------------------------------------------------

    async def delete(self, request: Request) -> Fields:
        """Forget what a group has committed (KIP-496). What somebody subscribes to stays."""
        body = request.body()
        name = body.group_id
        error = await self._refuse_delete(request, name)
        infos = await self._topics.find_all([topic.name for topic in body.topics])
        results: list[tuple[_Wanted, ErrorCode]] = []
        for topic in body.topics:
            info = infos[topic.name]
            for part in topic.partitions:
                wanted = _Wanted(topic.name, part.partition_index, _FORGET, "")
                if not self._access.topic(request.peer, Operation.READ, topic.name):
                    wrong = ErrorCode.topic_authorization_failed
                elif info is None or not 0 <= part.partition_index < info.partitions:
                    wrong = ErrorCode.unknown_topic_or_partition
                elif self._committers.subscribes(name, info):
                    wrong = ErrorCode.group_subscribed_to_topic
                else:
                    wrong = ErrorCode.none
                results.append((wanted, wrong))
        good = [wanted for wanted, wrong in results if wrong is ErrorCode.none]
        if error is ErrorCode.none and good:
            error = await self._forget(name, good)
        return {
            "throttle_time": 0,
            "error_code": error,
            "topics": []
            if error is not ErrorCode.none
            else _answers([wanted for wanted, _ in results], [wrong for _, wrong in results]),
        }

    async def _refuse_delete(self, request: Request, name: str) -> ErrorCode:
        if not self._access.group(request.peer, Operation.DELETE, name):
            return ErrorCode.group_authorization_failed
        if not self._brokers.coordinates_group(name):
            return ErrorCode.not_coordinator
        await self._topics.look_again()
        with self._parts.commits.lock:
            known = name in self._parts.commits.state.groups
        return ErrorCode.none if known else ErrorCode.group_id_not_found

    async def _forget(self, name: str, wanted: Sequence[_Wanted]) -> ErrorCode:
        operation = await self._committers.administration(name, self._entries(wanted))
        if isinstance(operation, ErrorCode):
            return operation
        try:
            verdict = await self._parts.propose(operation)
        except StreamhouseError as error:
            return coordinator_code_of(error)
        return ErrorCode.none if verdict.code is Code.ACCEPTED else ErrorCode.non_empty_group


def _wanted(body: Any) -> list[_Wanted]:
    return [
        _Wanted(topic.name, part.partition_index, part.committed_offset, part.committed_metadata or "")
        for topic in body.topics
        for part in topic.partitions
    ]


def _generation(body: Any) -> int:
    """What the versions call the generation that a member is in."""
    for name in ("generation_id_or_member_epoch", "generation_id"):
        if hasattr(body, name):
            return int(getattr(body, name))
    return _NO_EPOCH


def _answers(wanted: Sequence[_Wanted], errors: Sequence[ErrorCode]) -> list[Fields]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for each, error in zip(wanted, errors, strict=True):
        topics.setdefault(each.topic, []).append({"partition_index": each.partition, "error_code": error})
    return [{"name": name, "partitions": parts} for name, parts in topics.items()]


def _committed(partition: int, found: Any) -> dict[str, Any]:
    return {
        "partition_index": partition,
        "committed_offset": _NOTHING if found is None else found.offset,
        "committed_leader_epoch": _NO_EPOCH,
        "metadata": "" if found is None else found.metadata,
        "error_code": ErrorCode.none,
    }


def _unstable(partition: int) -> dict[str, Any]:
    """A transaction that is open moves it: what it will be is not known (KIP-447)."""
    return _committed(partition, None) | {"error_code": ErrorCode.unstable_offset_commit}


def _no_offsets(asked: dict[str, list[int]], error: ErrorCode) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "partitions": [_committed(partition, None) | {"error_code": error} for partition in partitions],
        }
        for name, partitions in asked.items()
    ]


__all__ = ["CommitOffsets", "GroupOffsetHandlers"]
