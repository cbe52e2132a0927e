"""What idempotent producers are told whose records do not go on where the last ones ended."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaException

import streamhouse
from streamhouse.commits.state import ProducerState, State
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import SequenceError, StoreUnavailableError
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.sequences import Sequences
from tests.kafka.clients import confluent
from tests.kafka.durable.asking import NO_ERROR, produce, take_over

PLACE = (1, 0)
BATCH: Any = SimpleNamespace(producer_id=7, producer_epoch=0, base_sequence=5)
STORED = [3]
GAP = SequenceError("earlier ones are missing")
FAILED = StoreUnavailableError("the store is away")


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def sequences(state: State) -> Sequences:
    parts: Any = SimpleNamespace(commits=SimpleNamespace(lock=threading.Lock(), state=state))
    return Sequences(parts)


def answered(sequences: Sequences, *answers: Any) -> ErrorCode:
    """What a batch is told that leaves records out, after others were answered so."""

    async def answer() -> ErrorCode:
        for said in answers:
            future = asyncio.get_running_loop().create_future()
            sequences.watch(BATCH, PLACE, future)
            if isinstance(said, BaseException):
                future.set_exception(said)
            else:
                future.set_result(said)
            await asyncio.wait([future])
        return sequences.gap(BATCH, PLACE)

    return asyncio.run(answer())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], ErrorCode.unknown_producer_id),
        ([GAP], ErrorCode.unknown_producer_id),  # those on their way with it
        ([Verdict(Code.OUT_OF_SEQUENCE)], ErrorCode.unknown_producer_id),
        ([FAILED], ErrorCode.out_of_order_sequence_number),  # it will come again
        ([FAILED, GAP], ErrorCode.out_of_order_sequence_number),
        ([Verdict(Code.STALE)], ErrorCode.out_of_order_sequence_number),
        ([FAILED, STORED], ErrorCode.unknown_producer_id),  # and was forgotten since
        ([Verdict(Code.STALE), Verdict(Code.DUPLICATE)], ErrorCode.unknown_producer_id),
    ],
)
def test_where_the_log_knows_nothing_of_a_producer(
    sequences: Sequences, state: State, answers: list[Any], expected: ErrorCode
) -> None:
    state.producers[7] = ProducerState(0)
    state.producers[7].batches[2, 0] = [(0, 1, 0)]  # somewhere else
    assert answered(sequences, *answers) is expected


def test_where_it_knows_something(sequences: Sequences, state: State) -> None:
    state.producers[7] = ProducerState(0)
    state.producers[7].batches[PLACE] = [(0, 1, 0)]
    assert answered(sequences) is ErrorCode.out_of_order_sequence_number


def test_a_topic_that_was_made_anew(log: streamhouse.Log, gateway: Gateway) -> None:
    """Clients begin with new numbers when they are told that nobody knows them."""
    log.create_topic("t")
    log.create_topic("other")
    taken = take_over(gateway, None)
    me = taken.producer_id, taken.producer_epoch
    assert produce(gateway, "t", [b"a", b"b"], me, 0) == (NO_ERROR, 0)
    assert produce(gateway, "other", [b"a"], me, 0) == (NO_ERROR, 0)
    log.delete_topic("t")
    log.create_topic("t")
    assert produce(gateway, "t", [b"c"], me, 2)[0] is ErrorCode.unknown_producer_id
    assert produce(gateway, "other", [b"c"], me, 2)[0] is ErrorCode.out_of_order_sequence_number
    assert produce(gateway, "t", [b"c"], (me[0], me[1] + 1), 0) == (NO_ERROR, 0)


def test_librdkafka_goes_on_in_a_topic_that_was_made_anew(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    producer = confluent.new_producer(gateway.bootstrap, **{"enable.idempotence": True})
    for number in range(6):
        if number == 3:
            log.delete_topic("t")
            log.create_topic("t")
        producer.produce("t", str(number).encode(), partition=0)
        assert producer.flush(30) == 0
    assert [record.value for record in log.read("t")] == [b"3", b"4", b"5"]


def test_a_transaction_in_a_topic_that_was_made_anew_is_aborted_and_the_next_one_is_not(
    log: streamhouse.Log, gateway: Gateway
) -> None:
    log.create_topic("t")
    producer = confluent.new_producer(gateway.bootstrap, **{"transactional.id": "tx"})
    producer.init_transactions(30)

    def commit(value: bytes) -> None:
        producer.begin_transaction()
        producer.produce("t", value, partition=0)
        producer.commit_transaction(30)

    commit(b"before")
    log.delete_topic("t")
    log.create_topic("t")
    with pytest.raises(KafkaException) as failed:
        commit(b"refused")
    assert failed.value.args[0].txn_requires_abort()
    producer.abort_transaction(30)
    commit(b"after")
    assert [record.value for record in log.read("t")] == [b"after"]
