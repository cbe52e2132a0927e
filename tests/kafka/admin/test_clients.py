"""Administration by kafka-python and aiokafka, which do some things another way than librdkafka."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import AsyncIterator, Iterator

import aiokafka.admin
import pytest
import pytest_asyncio

import streamhouse
from streamhouse.kafka import Gateway

with warnings.catch_warnings():  # kafka-python reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.admin
    import kafka.errors


@pytest.fixture
def python_admin(gateway: Gateway) -> Iterator[kafka.admin.KafkaAdminClient]:
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=gateway.bootstrap)
    yield admin
    admin.close()


@pytest_asyncio.fixture
async def async_admin(gateway: Gateway) -> AsyncIterator[aiokafka.admin.AIOKafkaAdminClient]:
    admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=gateway.bootstrap)
    await admin.start()
    yield admin
    await admin.close()


def test_topics_of_kafka_python(log: streamhouse.Log, python_admin: kafka.admin.KafkaAdminClient) -> None:
    made = python_admin.create_topics(
        {
            "a": {"num_partitions": 3, "replication_factor": 3, "configs": {"retention.ms": "9"}},
            "b": {"assignments": {0: [1], 1: [1, 2]}},
            "c": {},
        },
        wait_for_metadata=True,
    )
    assert [(each["name"], each["error_code"], each["num_partitions"]) for each in made["topics"]] == [
        ("a", 0, 3),
        ("b", 0, 2),
        ("c", 0, 1),
    ]
    assert made["topics"][0]["configs"]["retention.ms"]["value"] == "9"
    assert made["topics"][0]["configs"]["retention.ms"]["config_source"] == "DYNAMIC_TOPIC_CONFIG"
    assert sorted(python_admin.list_topics()) == ["a", "b", "c"]
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        python_admin.create_topics(["a"])
    checked = python_admin.create_topics(["d"], validate_only=True)
    assert checked["topics"][0]["error_code"] == 0
    python_admin.create_partitions({"a": 5, "b": {"count": 3, "assignments": [[1]]}})
    with pytest.raises(kafka.errors.InvalidPartitionsError):
        python_admin.create_partitions({"a": 4})
    assert {name: len(topic.partitions) for name, topic in log.topics.items()} == {"a": 5, "b": 3, "c": 1}
    python_admin.delete_topics(["b", uuid.UUID(str(made["topics"][2]["topic_id"]))])
    with pytest.raises(kafka.errors.UnknownTopicOrPartitionError):
        python_admin.delete_topics(["b"])
    assert list(log.topics) == ["a"]


@pytest.mark.parametrize("incremental", [True, False])
def test_configs_of_kafka_python(
    log: streamhouse.Log, python_admin: kafka.admin.KafkaAdminClient, incremental: bool
) -> None:
    log.create_topic("t", retention_bytes=5)

    def resource(**configs: object) -> kafka.admin.ConfigResource:
        return kafka.admin.ConfigResource(
            "TOPIC", "t", {name.replace("_", "."): v for name, v in configs.items()}
        )

    answer = python_admin.alter_configs(
        [resource(retention_ms="7", segment_bytes="1000", retention_bytes="-1")], incremental=incremental
    )
    assert answer == {"topic": {"t": "OK"}}
    settings = log.topic("t").settings
    assert (settings.retention_ms, settings.retention_bytes) == (7, None)
    found = python_admin.describe_configs([kafka.admin.ConfigResource("TOPIC", "t")])["topic"]["t"]
    assert {name: config["value"] for name, config in found.items()} == {
        "retention.ms": "7",
        "retention.bytes": "-1",
        "segment.bytes": "1000",
    }
    everything = python_admin.describe_configs(
        [kafka.admin.ConfigResource("TOPIC", "t")], include_synonyms=True, config_filter="all"
    )["topic"]["t"]
    assert len(everything) > 30
    assert everything["cleanup.policy"]["config_type"] == "LIST"
    with pytest.raises(ValueError, match="Unrecognized"):
        python_admin.alter_configs([resource(retention_day="1")], incremental=incremental)
    answer = python_admin.alter_configs(
        [resource(retention_day="1")], incremental=incremental, raise_on_unknown=False
    )
    assert "did you mean" in answer["topic"]["t"]
    python_admin.reset_configs(
        [kafka.admin.ConfigResource("TOPIC", "t", ["retention.ms"])], incremental=incremental
    )
    assert log.topic("t").settings.retention_ms is None
    assert dict(log.topic("t").settings.kafka_configs)["segment.bytes"] == "1000"


def test_the_gateway_of_kafka_python(
    log: streamhouse.Log, gateway: Gateway, python_admin: kafka.admin.KafkaAdminClient
) -> None:
    resource = kafka.admin.ConfigResource("BROKER", str(gateway.node_id))
    found = python_admin.describe_configs([resource], config_filter="all")["broker"][str(gateway.node_id)]
    assert found["num.partitions"]["value"] == "1"
    log.create_topic("t", partitions=2)
    with log.producer() as producer:
        producer.send("t", b"x" * 1_000, partition=1).result()
    (broker,) = python_admin.describe_log_dirs()
    (folder,) = broker["log_dirs"]
    assert folder["log_dir"] == log.url
    (topic,) = folder["topics"]
    sizes = {part["partition_index"]: part["partition_size"] for part in topic["partitions"]}
    assert sizes == {0: 0, 1: log.topic("t").partitions[1].stored_bytes}
    (broker,) = python_admin.describe_log_dirs({"t": [1]})
    assert len(broker["log_dirs"][0]["topics"][0]["partitions"]) == 1


async def test_topics_of_aiokafka(
    log: streamhouse.Log, async_admin: aiokafka.admin.AIOKafkaAdminClient
) -> None:
    made = await async_admin.create_topics(
        [
            aiokafka.admin.NewTopic("a", 3, 1, topic_configs={"cleanup.policy": "compact"}),
            aiokafka.admin.NewTopic("b", -1, -1, replica_assignments={0: [1], 1: [1]}),
            aiokafka.admin.NewTopic("a/b", 1, 1),
        ]
    )
    assert [(name, code) for name, code, _ in made.topic_errors] == [("a", 0), ("b", 0), ("a/b", 17)]
    assert log.topic("a").settings.cleanup_policy == "compact"
    await async_admin.create_partitions({"a": aiokafka.admin.NewPartitions(4)})
    assert {name: len(topic.partitions) for name, topic in log.topics.items()} == {"a": 4, "b": 2}
    gone = await async_admin.delete_topics(["b", "none"])
    assert sorted(gone.topic_error_codes) == [("b", 0), ("none", 3)]
    assert await async_admin.list_topics() == ["a"]


async def test_configs_of_aiokafka(
    log: streamhouse.Log, gateway: Gateway, async_admin: aiokafka.admin.AIOKafkaAdminClient
) -> None:
    log.create_topic("t", retention_bytes=5)
    kinds = aiokafka.admin.config_resource.ConfigResourceType
    resource = aiokafka.admin.config_resource.ConfigResource
    await async_admin.alter_configs([resource(kinds.TOPIC, "t", {"retention.ms": "7", "segment.ms": "8"})])
    settings = log.topic("t").settings
    assert (settings.retention_ms, settings.retention_bytes) == (7, None)  # all others are taken back
    wanted = [resource(kinds.TOPIC, "t"), resource(kinds.BROKER, str(gateway.node_id))]
    broker, topic = await async_admin.describe_configs(wanted)
    found = {name: value for name, value, *_ in topic.resources[0][4]}
    assert (found["retention.ms"], found["segment.ms"], found["retention.bytes"]) == ("7", "8", "-1")
    assert {name: value for name, value, *_ in broker.resources[0][4]}["node.id"] == str(gateway.node_id)
