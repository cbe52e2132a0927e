"""What ACLs mean for real clients: what they may not do, what they do not get to see, and who says so."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import aiokafka.errors
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    NewTopic,
    ResourcePatternType,
)
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from tests.kafka.admin.clients import code, outcomes
from tests.kafka.clients import confluent, kafka_python
from tests.kafka.clients.samples import Sample, store, stored, until
from tests.kafka.secured.acls import (
    ALL,
    ANN,
    BOB,
    CLUSTER,
    CREATE,
    DESCRIBE,
    GROUP,
    PRODUCER,
    READ,
    TOPIC,
    TOPICS,
    WRITE,
    acl,
    allow,
    new_admin,
    serve_topics,
)
from tests.kafka.secured.logins import log_in, sample
from tests.kafka.wire import Wire

with warnings.catch_warnings():  # it reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.admin
    import kafka.errors


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    with serve_topics(log) as gateway:
        yield gateway


# --- records -----------------------------------------------------------------------------------------------


def producing_fails(gateway: Gateway, topic: str = "orders", **settings: Any) -> int:
    """Kafka's code for what librdkafka is told when it sends."""
    producer = confluent.new_producer(gateway.bootstrap, **BOB.confluent, **settings)
    with pytest.raises(KafkaException) as refused:
        confluent.send(producer, topic, [sample(b"bob's")])
    found: int = refused.value.args[0].code()
    return found


def test_producing_needs_the_right_to_write(log: streamhouse.Log, gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "orders", READ))
    assert producing_fails(gateway) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert producing_fails(gateway, "secret") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    with kafka_python.new_producer(gateway.bootstrap, enable_idempotence=False, **BOB.python) as producer:
        future = producer.send("orders", b"bob's", partition=0)
        with pytest.raises(kafka.errors.TopicAuthorizationFailedError):
            future.get(20)

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=gateway.bootstrap, **BOB.python)
        await producer.start()
        try:
            await producer.send_and_wait("orders", b"bob's", partition=0)
        finally:
            await producer.stop()

    with pytest.raises(aiokafka.errors.TopicAuthorizationFailedError):
        asyncio.run(send())
    assert stored(log, "orders") == stored(log, "secret") == []
    allow(gateway, acl(TOPIC, "orders", WRITE))
    asyncio.run(send())
    with kafka_python.new_producer(gateway.bootstrap, **BOB.python) as producer:
        kafka_python.send(producer, "orders", [sample(b"v")])
    confluent.send(confluent.new_producer(gateway.bootstrap, **BOB.confluent), "orders", [sample(b"v")])
    assert len(stored(log, "orders")) == 3
    assert producing_fails(gateway, "secret") == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_numbering_what_one_writes_needs_a_right_to_write_anything(gateway: Gateway) -> None:
    """KIP-679."""
    allow(gateway, acl(TOPIC, "orders", DESCRIBE))
    errors: list[KafkaError] = []
    settings = {"enable.idempotence": True, "error_cb": errors.append}
    producer = confluent.new_producer(gateway.bootstrap, **BOB.confluent, **settings)
    producer.produce("orders", b"v", partition=0)
    with pytest.raises(KafkaException) as refused:
        until(lambda: producer.poll(0.05))
    assert refused.value.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    producer.purge()
    producer.flush(5)
    allow(gateway, acl(TOPIC, "orders", WRITE))
    producer = confluent.new_producer(gateway.bootstrap, **BOB.confluent, **{"enable.idempotence": True})
    confluent.send(producer, "orders", [sample(b"v")])


def test_reading_needs_the_rights_to_read(log: streamhouse.Log, gateway: Gateway) -> None:
    store(log, "orders", [sample(b"a"), sample(b"b")])
    allow(gateway, acl(TOPIC, "orders", DESCRIBE), acl(GROUP, "nobody", DESCRIBE))
    with pytest.raises(KafkaException) as refused:
        confluent.read(gateway.bootstrap, "orders", 1, **BOB.confluent)
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(gateway, acl(TOPIC, "orders", READ))
    assert confluent.read(gateway.bootstrap, "orders", 2, **BOB.confluent) == [sample(b"a"), sample(b"b")]


def group_of(gateway: Gateway, **settings: Any) -> list[Sample]:
    with confluent.new_consumer(gateway.bootstrap, "mailer", **BOB.confluent, **settings) as consumer:
        consumer.subscribe(["orders"])
        messages = confluent.take(consumer, 1)
        consumer.commit(asynchronous=False)
        return [confluent.sample_of(message) for message in messages]


def refused_to_group(gateway: Gateway, **settings: Any) -> int:
    with pytest.raises(KafkaException) as refused:
        group_of(gateway, **settings)
    error: int = refused.value.args[0].code()
    return error


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_need_the_rights_to_read_them_and_their_topics(
    log: streamhouse.Log, gateway: Gateway, protocol: str
) -> None:
    store(log, "orders", [sample(b"a")])
    settings = {"group.protocol": protocol}
    assert refused_to_group(gateway, **settings) == KafkaError.GROUP_AUTHORIZATION_FAILED
    assert dict(log.groups) == {}
    allow(gateway, acl(GROUP, "mail", READ, pattern=ResourcePatternType.PREFIXED))
    assert refused_to_group(gateway, **settings) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(gateway, acl(TOPIC, "orders", READ))
    assert group_of(gateway, **settings) == [sample(b"a")]
    assert list(log.groups) == ["mailer"]
    assert log.groups["mailer"].lag == {("orders", 0): 0}


def test_groups_of_python_need_it_too(log: streamhouse.Log, gateway: Gateway) -> None:
    store(log, "orders", [sample(b"a")])
    allow(gateway, acl(TOPIC, "orders", READ))
    with (
        kafka_python.new_consumer(gateway.bootstrap, "orders", group_id="mailer", **BOB.python) as consumer,
        pytest.raises(kafka.errors.GroupAuthorizationFailedError),
    ):
        kafka_python.take(consumer, 1)

    async def read() -> bytes:
        consumer = AIOKafkaConsumer(
            "orders",
            bootstrap_servers=gateway.bootstrap,
            group_id="mailer",
            auto_offset_reset="earliest",
            **BOB.python,
        )
        try:
            await consumer.start()
            record = await asyncio.wait_for(consumer.getone(), 20)
        finally:
            await consumer.stop()
        value: bytes = record.value
        return value

    with pytest.raises(aiokafka.errors.GroupAuthorizationFailedError):
        asyncio.run(read())
    assert dict(log.groups) == {}
    allow(gateway, acl(GROUP, "mailer", READ))
    assert asyncio.run(read()) == b"a"


def test_transactions_need_the_right_to_their_name(log: streamhouse.Log, gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "orders", WRITE))

    def new_producer() -> Any:
        return confluent.new_producer(gateway.bootstrap, **BOB.confluent, **{"transactional.id": "mover"})

    with pytest.raises(KafkaException) as refused:
        new_producer().init_transactions(10)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    allow(gateway, acl(PRODUCER, "mover", WRITE))
    producer = new_producer()
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("orders", b"good", partition=0)
    producer.commit_transaction(10)
    producer.begin_transaction()
    producer.produce("orders", b"not alone", partition=0)
    producer.produce("secret", b"not allowed", partition=0)
    with pytest.raises(KafkaException):
        producer.commit_transaction(10)
    producer.abort_transaction(10)
    assert [each.value for each in stored(log, "orders")] == [b"good"]
    assert stored(log, "secret") == []


def test_offsets_do_not_move_with_a_transaction_of_somebody_elses_group(
    log: streamhouse.Log, gateway: Gateway
) -> None:
    store(log, "orders", [sample(b"a")])
    allow(gateway, acl(TOPIC, "orders", ALL), acl(PRODUCER, "mover", WRITE), acl(GROUP, "mine", READ))
    producer = confluent.new_producer(gateway.bootstrap, **BOB.confluent, **{"transactional.id": "mover"})
    producer.init_transactions(10)
    for group, error in (("theirs", KafkaError.GROUP_AUTHORIZATION_FAILED), ("mine", None)):
        producer.begin_transaction()
        with confluent.new_consumer(gateway.bootstrap, group, **BOB.confluent) as consumer:
            metadata = consumer.consumer_group_metadata()
        places = [TopicPartition("orders", 0, 1)]
        if error is None:
            producer.send_offsets_to_transaction(places, metadata, 10)
            producer.commit_transaction(10)
        else:
            with pytest.raises(KafkaException) as refused:
                producer.send_offsets_to_transaction(places, metadata, 10)
            assert refused.value.args[0].code() == error
            producer.abort_transaction(10)
    assert list(log.groups) == ["mine"]


# --- topics ------------------------------------------------------------------------------------------------


def test_topics_are_made_by_who_may(log: streamhouse.Log, gateway: Gateway) -> None:
    admin = new_admin(gateway, BOB)

    def make(name: str) -> int:
        (made,) = outcomes(admin.create_topics([NewTopic(name)])).values()
        return code(made)

    assert make("mine-1") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(gateway, acl(TOPIC, "mine-", CREATE, pattern=ResourcePatternType.PREFIXED))
    assert make("mine-1") == KafkaError.NO_ERROR
    assert make("theirs") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(gateway, acl(CLUSTER, "kafka-cluster", CREATE))
    assert make("theirs") == KafkaError.NO_ERROR
    (gone,) = outcomes(admin.delete_topics(["theirs"])).values()
    assert code(gone) == KafkaError.TOPIC_AUTHORIZATION_FAILED  # not by who made it
    assert set(log.topics) == TOPICS | {"mine-1", "theirs"}


def test_topics_are_not_made_by_asking_for_them(log: streamhouse.Log, gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "new", WRITE))
    assert producing_fails(gateway, "new") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert "new" not in log.topics
    allow(gateway, acl(TOPIC, "new", CREATE))
    confluent.send(confluent.new_producer(gateway.bootstrap, **BOB.confluent), "new", [sample(b"v")])
    assert [each.value for each in stored(log, "new")] == [b"v"]


# --- what one does not get to know -------------------------------------------------------------------------


def test_fetching_does_not_tell_which_topics_there_are(gateway: Gateway) -> None:
    with Wire(gateway) as wire:
        assert log_in(wire, "bob").error_code == 0
        part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
        names = ("secret", "nowhere")
        response = wire.ask(
            apis.FETCH.key, 4, replica_id=-1, max_wait=0, min_bytes=0, max_bytes=1000, isolation_level=0,
            topics=[{"topic": name, "partitions": [part, {**part, "partition": 7}]} for name in names],
        )  # fmt: skip
        found = {topic.topic: [each.error_code for each in topic.partitions] for topic in response.responses}
    refused = [ErrorCode.topic_authorization_failed] * 2
    assert found == {"secret": refused, "nowhere": refused}


def test_all_topics_are_those_that_one_may_see(gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "orders", READ))
    with Wire(gateway) as wire:
        assert log_in(wire, "bob").error_code == 0
        response = wire.ask(
            apis.DESCRIBE_TOPIC_PARTITIONS.key, 0, topics=[], response_partition_limit=100, cursor=None
        )
        assert [topic.name for topic in response.topics] == ["orders"]
        response = wire.ask(
            apis.DESCRIBE_TOPIC_PARTITIONS.key, 0, topics=[{"name": "secret"}],
            response_partition_limit=100, cursor=None,
        )  # fmt: skip
        (topic,) = response.topics
        assert (topic.error_code, topic.partitions) == (ErrorCode.topic_authorization_failed, ())


def test_topics_in_a_transaction_are_those_that_one_may_see(gateway: Gateway) -> None:
    allow(gateway, acl(PRODUCER, "mover", DESCRIBE), acl(TOPIC, "orders", READ))
    producer = confluent.new_producer(gateway.bootstrap, **ANN.confluent, **{"transactional.id": "mover"})
    producer.init_transactions(10)
    producer.begin_transaction()
    for topic in ("orders", "secret"):
        producer.produce(topic, b"v", partition=0)
    assert producer.flush(10) == 0
    for user, seen in (("ann", {"orders", "secret"}), ("bob", {"orders"})):
        with Wire(gateway) as wire:
            assert log_in(wire, user).error_code == 0
            response = wire.ask(apis.DESCRIBE_TRANSACTIONS.key, 0, transactional_ids=["mover"])
            (described,) = response.transaction_states
            assert {each.topic for each in described.topics} == seen
    producer.abort_transaction(10)
