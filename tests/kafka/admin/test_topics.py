"""Topics administered by Kafka's clients."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.config import TopicSettings
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from tests.kafka.admin.clients import code, new_admin, outcomes
from tests.kafka.wire import ask

CREATE, DELETE, GROW, DIRS = (
    api.key
    for api in (apis.CREATE_TOPICS, apis.DELETE_TOPICS, apis.CREATE_PARTITIONS, apis.DESCRIBE_LOG_DIRS)
)


@pytest.fixture
def admin(gateway: Gateway) -> AdminClient:
    return new_admin(gateway)


def new_topic(name: str, partitions: int = 1, replicas: int = 1, **fields: object) -> dict[str, object]:
    return {
        "name": name,
        "num_partitions": partitions,
        "replication_factor": replicas,
        "assignments": (),
        "configs": (),
        **fields,
    }


def assigned(*brokers: tuple[int, ...], first: int = 0) -> list[dict[str, object]]:
    return [{"partition_index": first + n, "broker_ids": ids} for n, ids in enumerate(brokers)]


# --- create --------------------------------------------------------------------------------------------


def test_topics_are_made_as_they_are_asked_for(log: streamhouse.Log, admin: AdminClient) -> None:
    made = outcomes(
        admin.create_topics(
            [
                NewTopic("plain", 3, 2, config={"retention.ms": "60000", "segment.bytes": "1000000"}),
                NewTopic("assigned", 2, replica_assignment=[[1, 2, 3], [2, 3, 1]]),
                NewTopic("default"),
            ]
        )
    )
    assert made == {"plain": None, "assigned": None, "default": None}
    counts = {name: len(topic.partitions) for name, topic in log.topics.items()}
    assert counts == {"plain": 3, "assigned": 2, "default": 1}
    assert log.topic("plain").settings == TopicSettings(
        retention_ms=60_000, kafka_configs=(("segment.bytes", "1000000"),)
    )
    described = outcomes(admin.describe_topics(TopicCollection(["plain"])))["plain"]
    assert [len(partition.replicas) for partition in described.partitions] == [1, 1, 1]


def test_each_topic_gets_its_own_answer(log: streamhouse.Log, admin: AdminClient) -> None:
    log.create_topic("old", partitions=4)
    made = outcomes(
        admin.create_topics(
            [
                NewTopic("old", 1),
                NewTopic("no/name", 1),
                NewTopic("..", 1),
                NewTopic("x" * 250, 1),
                NewTopic("config", 1, config={"retention.day": "1"}),
                NewTopic("value", 1, config={"retention.ms": "soon"}),
                NewTopic("good", 2),
            ]
        )
    )
    assert {name: code(outcome) for name, outcome in made.items()} == {
        "old": KafkaError.TOPIC_ALREADY_EXISTS,
        "no/name": KafkaError.TOPIC_EXCEPTION,
        "..": KafkaError.TOPIC_EXCEPTION,
        "x" * 250: KafkaError.TOPIC_EXCEPTION,
        "config": KafkaError.INVALID_CONFIG,
        "value": KafkaError.INVALID_CONFIG,
        "good": KafkaError.NO_ERROR,
    }
    assert "did you mean 'retention.ms'" in made["config"].str()
    assert "'soon'" in made["value"].str()
    assert {name: len(topic.partitions) for name, topic in log.topics.items()} == {"old": 4, "good": 2}


def test_nothing_is_made_when_it_is_only_to_be_checked(log: streamhouse.Log, admin: AdminClient) -> None:
    log.create_topic("old")
    wanted = [NewTopic("new", 3), NewTopic("old", 3), NewTopic("bad", 3, config={"flush.ms": "-5"})]
    made = outcomes(admin.create_topics(wanted, validate_only=True))
    assert [code(made[name]) for name in ("new", "old", "bad")] == [
        KafkaError.NO_ERROR,
        KafkaError.TOPIC_ALREADY_EXISTS,
        KafkaError.INVALID_CONFIG,
    ]
    assert list(log.topics) == ["old"]


def test_names_that_kafka_would_confuse_are_two_topics(log: streamhouse.Log, admin: AdminClient) -> None:
    made = outcomes(admin.create_topics([NewTopic("a.b", 1), NewTopic("a_b", 2)]))
    assert made == {"a.b": None, "a_b": None}
    assert [len(log.topic(name).partitions) for name in ("a.b", "a_b")] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"replication_factor": 0}, ErrorCode.invalid_replication_factor),
        ({"replication_factor": -2}, ErrorCode.invalid_replication_factor),
        ({"num_partitions": 0}, ErrorCode.invalid_partitions),
        ({"num_partitions": -2}, ErrorCode.invalid_partitions),
        ({"num_partitions": 100_001}, ErrorCode.invalid_partitions),
        ({"assignments": assigned((1,))}, ErrorCode.invalid_request),
        ({"num_partitions": -1, "assignments": assigned((1,))}, ErrorCode.invalid_request),
        ({"configs": [{"name": "segment.ms", "value": None}]}, ErrorCode.invalid_config),
        ({"replication_factor": 32_767}, ErrorCode.none),
        ({"num_partitions": -1, "replication_factor": -1}, ErrorCode.none),
        (
            {"num_partitions": -1, "replication_factor": -1, "assignments": assigned((1,), ())},
            ErrorCode.invalid_replica_assignment,
        ),
        (
            {"num_partitions": -1, "replication_factor": -1, "assignments": assigned((1,), first=1)},
            ErrorCode.invalid_replica_assignment,
        ),
        (
            {
                "num_partitions": -1,
                "replication_factor": -1,
                "assignments": [*assigned((1,)), *assigned((1,))],
            },
            ErrorCode.invalid_replica_assignment,
        ),
    ],
)
def test_what_no_client_of_today_sends(
    log: streamhouse.Log, gateway: Gateway, fields: dict[str, object], error: ErrorCode
) -> None:
    response = ask(gateway, CREATE, 5, topics=[{**new_topic("t"), **fields}], timeout=0)
    (made,) = response.topics
    assert (made.error_code, bool(made.error_message)) == (error, error is not ErrorCode.none)
    assert ("t" in log.topics) == (error is ErrorCode.none)


@pytest.mark.parametrize("version", range(apis.CREATE_TOPICS.first, apis.CREATE_TOPICS.last + 1))
def test_every_version_of_creation(log: streamhouse.Log, gateway: Gateway, version: int) -> None:
    configs = [{"name": "cleanup.policy", "value": "compact"}]
    topics = [new_topic("t", 2, 3, configs=configs), new_topic("u"), new_topic("twice"), new_topic("twice")]
    response = ask(gateway, CREATE, version, topics=topics, timeout=1000)
    made, other, twice = response.topics
    assert (made.name, made.error_code, other.error_code) == ("t", ErrorCode.none, ErrorCode.none)
    assert (twice.name, twice.error_code) == ("twice", ErrorCode.invalid_request)
    assert log.topic("t").settings.cleanup_policy == "compact"
    if version >= 5:
        assert (made.num_partitions, made.replication_factor, made.topic_config_error_code) == (2, 1, 0)
        entries = {entry.name: (entry.value, entry.config_source) for entry in made.configs}
        assert entries["cleanup.policy"] == ("compact", 1)
        assert entries["segment.ms"] == ("604800000", 5)
    if version >= 7:
        metadata = ask(
            gateway,
            apis.METADATA.key,
            12,
            topics=[{"name": "t", "topic_id": None}],
            include_topic_authorized_operations=False,
        )
        assert made.topic_id == metadata.topics[0].topic_id


# --- delete --------------------------------------------------------------------------------------------


def test_topics_are_deleted(log: streamhouse.Log, admin: AdminClient) -> None:
    for name in ("a", "b", "c"):
        log.create_topic(name)
    gone = outcomes(admin.delete_topics(["a", "b", "none"]))
    assert {name: code(outcome) for name, outcome in gone.items()} == {
        "a": KafkaError.NO_ERROR,
        "b": KafkaError.NO_ERROR,
        "none": KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
    assert list(log.topics) == ["c"]


def test_topics_are_deleted_by_id(log: streamhouse.Log, gateway: Gateway) -> None:
    ids = {}
    for name in ("a", "b"):
        made = ask(gateway, CREATE, 7, topics=[new_topic(name)], timeout=0)
        ids[name] = made.topics[0].topic_id
    stranger = uuid.uuid4()
    doomed = [
        {"name": None, "topic_id": ids["a"]},
        {"name": "b", "topic_id": ids["b"]},
        {"name": None, "topic_id": stranger},
        {"name": None, "topic_id": None},
    ]
    response = ask(gateway, DELETE, 6, topics=doomed, timeout=0)
    assert [(each.name, each.topic_id, each.error_code) for each in response.responses] == [
        ("a", ids["a"], ErrorCode.none),
        ("b", ids["b"], ErrorCode.invalid_request),
        (None, stranger, ErrorCode.unknown_topic_id),
        (None, None, ErrorCode.invalid_request),
    ]
    assert list(log.topics) == ["b"]
    log.delete_topic("b")
    log.create_topic("b")  # another one
    response = ask(gateway, DELETE, 6, topics=[{"name": None, "topic_id": ids["b"]}], timeout=0)
    assert response.responses[0].error_code is ErrorCode.unknown_topic_id
    assert list(log.topics) == ["b"]


@pytest.mark.parametrize("version", range(apis.DELETE_TOPICS.first, apis.DELETE_TOPICS.last + 1))
def test_every_version_of_deletion(log: streamhouse.Log, gateway: Gateway, version: int) -> None:
    for name in ("a", "b"):
        log.create_topic(name)
    names = ["a", "b", "b"]
    if version >= 6:
        response = ask(
            gateway, DELETE, version, topics=[{"name": n, "topic_id": None} for n in names], timeout=0
        )
    else:
        response = ask(gateway, DELETE, version, topic_names=names, timeout=0)
    answers = {each.name: each.error_code for each in response.responses}
    assert answers == {"a": ErrorCode.none, "b": ErrorCode.invalid_request}
    assert list(log.topics) == ["b"]


# --- partitions ----------------------------------------------------------------------------------------


def test_partitions_are_added(log: streamhouse.Log, admin: AdminClient) -> None:
    for name in ("a", "b", "c", "d"):
        log.create_topic(name, partitions=2)
    grown = outcomes(
        admin.create_partitions(
            [
                NewPartitions("a", 5),
                NewPartitions("b", 2),
                NewPartitions("c", 1),
                NewPartitions("d", 4, replica_assignment=[[1], [7, 8]]),
                NewPartitions("none", 4),
            ]
        )
    )
    assert {name: code(outcome) for name, outcome in grown.items()} == {
        "a": KafkaError.NO_ERROR,
        "b": KafkaError.INVALID_PARTITIONS,
        "c": KafkaError.INVALID_PARTITIONS,
        "d": KafkaError.NO_ERROR,
        "none": KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
    assert "2 partitions" in grown["c"].str()
    assert [len(log.topic(name).partitions) for name in "abcd"] == [5, 2, 2, 4]
    checked = outcomes(admin.create_partitions([NewPartitions("a", 9)], validate_only=True))
    assert code(checked["a"]) == KafkaError.NO_ERROR
    assert len(log.topic("a").partitions) == 5


@pytest.mark.parametrize("version", range(apis.CREATE_PARTITIONS.first, apis.CREATE_PARTITIONS.last + 1))
def test_every_version_of_growth(log: streamhouse.Log, gateway: Gateway, version: int) -> None:
    for name in ("a", "b", "c"):
        log.create_topic(name)
    topics = [
        {"name": "a", "count": 2, "assignments": None},
        {"name": "b", "count": 3, "assignments": [{"broker_ids": (1,)}]},
        {"name": "b", "count": 4, "assignments": None},
        {"name": "c", "count": 3, "assignments": [{"broker_ids": (1,)}]},
    ]
    response = ask(gateway, GROW, version, topics=topics, timeout=0, validate_only=False)
    assert {each.name: each.error_code for each in response.results} == {
        "a": ErrorCode.none,
        "b": ErrorCode.invalid_request,
        "c": ErrorCode.invalid_replica_assignment,
    }
    assert [len(log.topic(name).partitions) for name in "abc"] == [2, 1, 1]


# --- sizes ---------------------------------------------------------------------------------------------


@pytest.fixture
def pair(log: streamhouse.Log, gateway: Gateway) -> Iterator[list[Gateway]]:
    with streamhouse.kafka.serve(log, port=0) as other:
        yield [gateway, other]


@pytest.mark.parametrize("version", range(apis.DESCRIBE_LOG_DIRS.first, apis.DESCRIBE_LOG_DIRS.last + 1))
def test_sizes_add_up_over_all_gateways(log: streamhouse.Log, pair: list[Gateway], version: int) -> None:
    topic = log.create_topic("a", partitions=8)
    log.create_topic("empty")
    with log.producer() as producer:
        producer.send_many("a", [b"x" * 100] * 1000, keys=[b"%d" % n for n in range(1000)]).result()
    sizes: dict[tuple[str, int], int] = {}
    for gateway in pair:
        response = ask(gateway, DIRS, version, topics=None)
        (folder,) = response.results
        assert (folder.log_dir, folder.error_code) == (log.url, ErrorCode.none)
        for each in folder.topics:
            for partition in each.partitions:
                assert (each.name, partition.partition_index) not in sizes
                sizes[each.name, partition.partition_index] = partition.partition_size
    assert sizes.pop(("empty", 0)) == 0
    assert sizes == {("a", partition.number): partition.stored_bytes for partition in topic.partitions}
    assert min(sizes.values()) > 0
    some = [{"topic": "a", "partitions": (1, 99)}, {"topic": "none", "partitions": (0,)}]
    found = [ask(gateway, DIRS, version, topics=some).results[0] for gateway in pair]
    parts = [part.partition_index for folder in found for each in folder.topics for part in each.partitions]
    assert parts == [1]
