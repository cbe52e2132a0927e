"""Single requests, and what matters of their answers."""

from __future__ import annotations

from typing import Any

from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.batches.naive import batch, body_of
from tests.kafka.wire import ask

NO_ERROR = ErrorCode.none
TRANSACTIONAL = 0x10


def create(gateway: Gateway, topic: str, partitions: int = 1) -> None:
    topics = (
        {
            "name": topic,
            "num_partitions": partitions,
            "replication_factor": 1,
            "assignments": (),
            "configs": (),
        },
    )
    answer = ask(gateway, 19, 4, topics=topics, timeout=10_000, validate_only=False)
    assert answer.topics[0].error_code is NO_ERROR


def nodes(gateway: Gateway) -> set[int]:
    return {broker.node_id for broker in ask(gateway, 3, 1, topics=()).brokers}


def take_over(gateway: Gateway, name: str | None, timeout: int = 60_000) -> Any:
    """A producer's identity and epoch."""
    return ask(
        gateway,
        22,
        4,
        transactional_id=name,
        transaction_timeout=timeout,
        producer_id=-1,
        producer_epoch=-1,
    )


def produce(
    gateway: Gateway,
    topic: str,
    values: list[bytes],
    producer: tuple[int, int] = (-1, -1),
    sequence: int = -1,
    transactional_id: str | None = None,
) -> tuple[ErrorCode, int]:
    """Send a batch to the first partition: the error, and the offset it got."""
    body = body_of([(0, None, value, ()) for value in values])
    data = batch(
        body,
        len(values),
        producer_id=producer[0],
        epoch=producer[1],
        sequence=sequence,
        attributes=0 if transactional_id is None else TRANSACTIONAL,
    )
    parts = ({"index": 0, "records": data},)
    answer = ask(
        gateway,
        0,
        7,
        transactional_id=transactional_id,
        acks=-1,
        timeout=10_000,
        topic_data=({"name": topic, "partition_data": parts},),
    )
    part = answer.responses[0].partition_responses[0]
    return part.error_code, part.base_offset


def commit(
    gateway: Gateway, group: str, topic: str, offset: int, member: str = "", generation: int = -1
) -> ErrorCode:
    """Commit an offset of the first partition."""
    part = {
        "partition_index": 0,
        "committed_offset": offset,
        "committed_leader_epoch": -1,
        "committed_metadata": "",
    }
    answer = ask(
        gateway,
        8,
        7,
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member,
        group_instance_id=None,
        topics=({"name": topic, "partitions": (part,)},),
    )
    error: ErrorCode = answer.topics[0].partitions[0].error_code
    return error


def committed(gateway: Gateway, group: str, topic: str) -> int:
    """The committed offset of the first partition."""
    answer = ask(gateway, 9, 5, group_id=group, topics=({"name": topic, "partition_indexes": (0,)},))
    offset: int = answer.topics[0].partitions[0].committed_offset
    return offset


def end_of(gateway: Gateway, topic: str) -> int:
    """Where the first partition ends."""
    return offset_of(gateway, topic, -1)


def offset_of(gateway: Gateway, topic: str, timestamp: int) -> int:
    """The offset of a time in the first partition; -2: the first, -1: the end, -3: the largest time."""
    part = {"partition_index": 0, "timestamp": timestamp}
    answer = ask(gateway, 2, 1, replica_id=-1, topics=({"name": topic, "partitions": (part,)},))
    offset: int = answer.topics[0].partitions[0].offset
    return offset


def end_transaction(gateway: Gateway, name: str, producer: tuple[int, int], *, commit: bool) -> ErrorCode:
    answer = ask(
        gateway,
        26,
        2,
        transactional_id=name,
        producer_id=producer[0],
        producer_epoch=producer[1],
        committed=commit,
    )
    error: ErrorCode = answer.error_code
    return error


def join(
    gateway: Gateway, group: str, member: str = "", instance: str | None = None, session: int = 10_000
) -> Any:
    """Join a classic group that deals out by range."""
    return ask(
        gateway,
        11,
        5,
        group_id=group,
        session_timeout=session,
        rebalance_timeout=session,
        member_id=member,
        group_instance_id=instance,
        protocol_type="consumer",
        protocols=({"name": "range", "metadata": b"\0\0\0\0\0\0\0\0\0\0"},),
    )


def sync(gateway: Gateway, group: str, member: str, generation: int, assignment: bytes | None = None) -> Any:
    assignments = () if assignment is None else ({"member_id": member, "assignment": assignment},)
    return ask(
        gateway,
        14,
        3,
        group_id=group,
        generation_id=generation,
        member_id=member,
        group_instance_id=None,
        assignments=assignments,
    )


def beat(gateway: Gateway, group: str, member: str, generation: int) -> ErrorCode:
    answer = ask(
        gateway,
        12,
        3,
        group_id=group,
        generation_id=generation,
        member_id=member,
        group_instance_id=None,
    )
    error: ErrorCode = answer.error_code
    return error


def consumer_beat(
    gateway: Gateway,
    group: str,
    member: str,
    epoch: int,
    topics: tuple[str, ...] | None = None,
    owned: Any = None,
    instance: str | None = None,
) -> Any:
    """A heartbeat of the newer protocol; what is not said is as it was, and with topics it is a full one."""
    return ask(
        gateway,
        68,
        1,
        group_id=group,
        member_id=member,
        member_epoch=epoch,
        instance_id=instance,
        rack_id=None,
        rebalance_timeout=-1 if topics is None else 10_000,
        subscribed_topic_names=topics,
        subscribed_topic_regex=None,
        server_assignor=None,
        topic_partitions=owned,
    )
