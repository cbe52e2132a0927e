"""InitProducerId and transactions: who a producer is, and what it does in one piece (KIP-98, KIP-360)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Final

from streamhouse import limits
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.server import Request
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions

_NOBODY: Final = -1
_FENCED_FROM: Final = {22: 4, 24: 2, 25: 2, 26: 2}  # before, clients know another word for it
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_STATES: Final = (
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
)


class ProducerHandlers:
    """Answers producers.

    Args:
        parts: The gateway's.
        topics: Topics by name.
        brokers: Who coordinates which producer.
        transactions: What they have open.
        access: Who may write what.
    """

    def __init__(
        self,
        parts: Parts,
        topics: TopicDirectory,
        brokers: Brokers,
        transactions: Transactions,
        access: Access,
    ) -> None:
        self._parts = parts
        self._topics = topics
        self._brokers = brokers
        self._transactions = transactions
        self._access = access

    # --- identities --------------------------------------------------------------------------------

    async def init_producer_id(self, request: Request) -> Fields:
        """An identity, for idempotence or, with a name, for transactions."""
        body = request.body()
        name = body.transactional_id
        present = (getattr(body, "producer_id", _NOBODY), getattr(body, "producer_epoch", _NOBODY))
        known = None if present[0] < 0 or present[1] < 0 else present
        if name is None:
            if not self._access.idempotent_write(request.peer):
                return _identity(ErrorCode.cluster_authorization_failed)
            return _identity(*self._anonymous(known))
        error = self._refuse(request, name)
        timeout_ms = body.transaction_timeout // _MILLISECOND
        if error is ErrorCode.none and not name:
            error = ErrorCode.invalid_request
        if error is ErrorCode.none and not 0 < timeout_ms <= self._parts.settings.transaction_timeout_max_ms:
            error = ErrorCode.invalid_transaction_timeout
        if error is not ErrorCode.none:
            return _identity(error)
        given = await self._transactions.take_over(name, timeout_ms, known)
        if isinstance(given, ErrorCode):
            return _identity(_word(request, given))
        return _identity(ErrorCode.none, *given)

    def _anonymous(self, known: tuple[int, int] | None) -> tuple[ErrorCode, int, int]:
        if known is not None and known[1] < limits.PRODUCER_EPOCH_MAX:
            return ErrorCode.none, known[0], known[1] + 1
        return ErrorCode.none, self._transactions.fresh_producer(), 0

    # --- transactions ------------------------------------------------------------------------------

    async def add_partitions(self, request: Request) -> Fields:
        """Announce where a transaction will write. There is nothing to be noted: the records say it."""
        body = request.body()
        name = body.v3_and_below_transactional_id
        error = self._refuse(request, name)
        if error is ErrorCode.none:
            error = await self._checked(
                request, name, body.v3_and_below_producer_id, body.v3_and_below_producer_epoch
            )
        infos = await self._topics.find_all([topic.name for topic in body.v3_and_below_topics])
        results: list[tuple[str, int, ErrorCode]] = []
        for topic in body.v3_and_below_topics:
            info = infos[topic.name]
            for number in topic.partitions:
                wrong = error
                if wrong is ErrorCode.none and not self._access.topic(
                    request.peer, Operation.WRITE, topic.name
                ):
                    wrong = ErrorCode.topic_authorization_failed
                if wrong is ErrorCode.none and (info is None or not 0 <= number < info.partitions):
                    wrong = ErrorCode.unknown_topic_or_partition
                results.append((topic.name, number, wrong))
        if error is ErrorCode.none and any(wrong is not ErrorCode.none for _, _, wrong in results):
            results = [  # all or none
                (topic, number, ErrorCode.operation_not_attempted if wrong is ErrorCode.none else wrong)
                for topic, number, wrong in results
            ]
        return {"throttle_time": 0, "results_by_topic_v3_and_below": _by_topic(results)}

    async def add_offsets(self, request: Request) -> Fields:
        """Announce that a transaction will commit offsets of a group."""
        body = request.body()
        error = self._refuse(request, body.transactional_id)
        if error is ErrorCode.none and not self._access.group(request.peer, Operation.READ, body.group_id):
            error = ErrorCode.group_authorization_failed
        if error is ErrorCode.none:
            error = await self._checked(request, body.transactional_id, body.producer_id, body.producer_epoch)
        return {"throttle_time": 0, "error_code": error}

    async def end(self, request: Request) -> Fields:
        """End a transaction."""
        body = request.body()
        error = self._refuse(request, body.transactional_id)
        if error is ErrorCode.none:
            error = await self._transactions.end(
                body.transactional_id, body.producer_id, body.producer_epoch, commit=body.committed
            )
        return {"throttle_time": 0, "error_code": _word(request, error)}

    def _refuse(self, request: Request, transactional_id: str) -> ErrorCode:
        if not self._access.transactional_id(request.peer, Operation.WRITE, transactional_id):
            return ErrorCode.transactional_id_authorization_failed
        if not self._brokers.coordinates_producer(transactional_id):
            return ErrorCode.not_coordinator
        return ErrorCode.none

    async def _checked(self, request: Request, name: str, producer: int, epoch: int) -> ErrorCode:
        return _word(request, await self._transactions.checked(name, producer, epoch))

    # --- looking -----------------------------------------------------------------------------------

    async def list_transactions(self, request: Request) -> Fields:
        """Producers with names, and whether they have a transaction open."""
        body = request.body()
        unknown = [state for state in body.state_filters if state not in _STATES]
        longest_ms = getattr(body, "duration_filter", -1)
        now_ms = self._parts.runtime.time_ms()
        with self._parts.commits.lock:
            state = self._parts.commits.state
            found = [
                (name, named, state.transactions.get(name)) for name, named in state.named_producers.items()
            ]
        states = [
            {
                "transactional_id": name,
                "producer_id": named.identity,
                "transaction_state": "Empty" if opened is None else "Ongoing",
            }
            for name, named, opened in found
            if (not body.producer_id_filters or named.identity in body.producer_id_filters)
            and (longest_ms < 0 or (opened is not None and now_ms - opened.began_ms > longest_ms))
            and self._access.transactional_id(request.peer, Operation.DESCRIBE, name)
        ]
        if body.state_filters:
            states = [each for each in states if each["transaction_state"] in body.state_filters]
        return {
            "throttle_time": 0,
            "error_code": ErrorCode.none,
            "unknown_state_filters": unknown,
            "transaction_states": states,
        }

    async def describe_transactions(self, request: Request) -> Fields:
        """What producers with names have open."""
        body = request.body()
        return {
            "throttle_time": 0,
            "transaction_states": [self._described(request, name) for name in body.transactional_ids],
        }

    def _described(self, request: Request, name: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "error_code": self._refuse_describe(request, name),
            "transactional_id": name,
            "transaction_state": "",
            "transaction_timeout": 0,
            "transaction_start_time": -1,
            "producer_id": _NOBODY,
            "producer_epoch": _NOBODY,
            "topics": [],
        }
        with self._parts.commits.lock:
            state = self._parts.commits.state
            named, opened = state.named_producers.get(name), state.transactions.get(name)
            places = [] if opened is None else list(opened.partitions)
            names = {topic: state.topics[topic].name for topic, _ in places}
        if described["error_code"] is not ErrorCode.none:
            return described
        if named is None:
            return described | {"error_code": ErrorCode.transactional_id_not_found}
        return described | {
            "transaction_state": "Empty" if opened is None else "Ongoing",
            "transaction_timeout": named.timeout_ms,
            "transaction_start_time": -1 if opened is None else opened.began_ms,
            "producer_id": named.identity,
            "producer_epoch": named.epoch,
            "topics": [
                {"topic": text, "partitions": [number for topic, number in places if names[topic] == text]}
                for text in dict.fromkeys(names.values())
                if self._access.topic(request.peer, Operation.DESCRIBE, text)
            ],
        }

    def _refuse_describe(self, request: Request, name: str) -> ErrorCode:
        if not self._access.transactional_id(request.peer, Operation.DESCRIBE, name):
            return ErrorCode.transactional_id_authorization_failed
        return ErrorCode.none if self._brokers.coordinates_producer(name) else ErrorCode.not_coordinator

    async def describe_producers(self, request: Request) -> Fields:
        """Which producers have written to partitions lately."""
        body = request.body()
        return {
            "throttle_time": 0,
            "topics": [
                {
                    "name": topic.name,
                    "partitions": [
                        self._producers(request, topic.name, number) for number in topic.partition_indexes
                    ],
                }
                for topic in body.topics
            ],
        }

    def _producers(self, request: Request, topic: str, number: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "partition_index": number,
            "error_code": ErrorCode.none,
            "active_producers": [],
        }
        if not self._access.topic(request.peer, Operation.READ, topic):
            return fields | {"error_code": ErrorCode.topic_authorization_failed}
        info = self._topics.present(topic)
        if info is None or not 0 <= number < info.partitions:
            return fields | {"error_code": ErrorCode.unknown_topic_or_partition}
        with self._parts.commits.lock:
            active = [
                (identity, producer.epoch, batches[-1])
                for identity, producer in self._parts.commits.state.producers.items()
                if (batches := producer.batches.get((info.id, number)))
            ]
        return fields | {
            "active_producers": [
                {
                    "producer_id": identity,
                    "producer_epoch": epoch,
                    "last_sequence": (last[0] + last[1] - 1) % (1 << 31),
                    "last_timestamp": -1,
                    "coordinator_epoch": _NOBODY,
                    "current_txn_start_offset": -1,
                }
                for identity, epoch, last in active
            ]
        }


def _identity(error: ErrorCode, producer: int = _NOBODY, epoch: int = _NOBODY) -> Fields:
    return {
        "throttle_time": 0,
        "error_code": error,
        "producer_id": producer,
        "producer_epoch": epoch,
    }


def _word(request: Request, error: ErrorCode) -> ErrorCode:
    """The error as the client's version knows it."""
    if error is ErrorCode.producer_fenced and request.version < _FENCED_FROM.get(request.header.key, 0):
        return ErrorCode.invalid_producer_epoch
    return error


def _by_topic(results: Iterable[tuple[str, int, ErrorCode]]) -> Sequence[Fields]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for topic, number, error in results:
        topics.setdefault(topic, []).append({"partition_index": number, "partition_error_code": error})
    return [{"name": topic, "results_by_partition": parts} for topic, parts in topics.items()]
