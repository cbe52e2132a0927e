"""Configs administered by Kafka's clients, and what they bring about."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
)
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.config import TopicSettings
from streamhouse.kafka import Gateway
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS
from streamhouse.kafka.protocol import apis
from tests.kafka.admin.clients import code, new_admin, outcomes, topic_configs
from tests.kafka.clients.confluent import new_consumer, new_producer, read, send, take
from tests.kafka.clients.samples import CODECS, NOW_MS, SAMPLES, Sample, stored
from tests.kafka.wire import ask

DESCRIBE, ALTER, CHANGE = (
    api.key for api in (apis.DESCRIBE_CONFIGS, apis.ALTER_CONFIGS, apis.INCREMENTAL_ALTER_CONFIGS)
)
TOPIC, BROKER = ConfigResource.Type.TOPIC, ConfigResource.Type.BROKER


@pytest.fixture
def admin(gateway: Gateway) -> AdminClient:
    return new_admin(gateway)


def change(name: str, operation: AlterConfigOpType, value: str | None = None) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=operation)


def topic(name: str, *changes: ConfigEntry, **values: str) -> ConfigResource:
    return ConfigResource(TOPIC, name, set_config=values or None, incremental_configs=list(changes) or None)


# --- describe ------------------------------------------------------------------------------------------


def test_all_configs_of_a_topic_are_described(log: streamhouse.Log, admin: AdminClient) -> None:
    log.create_topic("t", retention_ms=7)
    found = topic_configs(admin, "t")
    assert set(found) == set(TOPIC_CONFIGS)
    own = found["retention.ms"]
    assert (own.value, own.source, own.is_default, own.is_read_only, own.is_sensitive) == (
        "7",
        ConfigSource.DYNAMIC_TOPIC_CONFIG.value,
        False,
        False,
        False,
    )
    assert [(each.name, each.value) for each in own.synonyms.values()] == [
        ("retention.ms", "7"),
        ("log.retention.ms", "-1"),
    ]
    usual = found["cleanup.policy"]
    assert (usual.value, usual.source, usual.is_default) == (
        "delete",
        ConfigSource.DEFAULT_CONFIG.value,
        True,
    )
    assert found["max.message.bytes"].value == str(16 << 20)


def test_configs_of_gateways_are_described_by_each_of_them(log: streamhouse.Log, gateway: Gateway) -> None:
    with streamhouse.kafka.serve(log, port=0, default_partitions=6) as other:
        admin = new_admin(other)
        resources = [ConfigResource(BROKER, str(each.node_id)) for each in (gateway, other)]
        found = [next(iter(admin.describe_configs([each]).values())).result(20) for each in resources]
        assert [each["num.partitions"].value for each in found] == ["1", "6"]
        assert [each["node.id"].value for each in found] == [str(gateway.node_id), str(other.node_id)]
        assert all(entry.is_read_only for entry in found[1].values())
        resource = {"resource_type": 4, "resource_name": str(other.node_id), "configuration_keys": None}
        (result,) = ask(gateway, DESCRIBE, 4, resources=[resource]).results
        assert result.error_code is ErrorCode.invalid_request


@pytest.mark.parametrize("version", range(apis.DESCRIBE_CONFIGS.first, apis.DESCRIBE_CONFIGS.last + 1))
def test_every_version_of_description(log: streamhouse.Log, gateway: Gateway, version: int) -> None:
    log.create_topic("t", cleanup_policy="compact")
    extra: dict[str, Any] = {"include_synonyms": True}
    if version >= 3:
        extra["include_documentation"] = True
    wanted = [
        {"resource_type": 2, "resource_name": "t", "configuration_keys": ("cleanup.policy", "x", "flush.ms")},
        {"resource_type": 2, "resource_name": "none", "configuration_keys": None},
        {"resource_type": 2, "resource_name": "no/name", "configuration_keys": None},
        {"resource_type": 4, "resource_name": "", "configuration_keys": None},
        {"resource_type": 8, "resource_name": "1", "configuration_keys": None},
    ]  # fmt: skip
    response = ask(gateway, DESCRIBE, version, resources=wanted, **extra)
    assert [each.error_code for each in response.results] == [
        ErrorCode.none,
        ErrorCode.unknown_topic_or_partition,
        ErrorCode.invalid_topic_exception,
        ErrorCode.none,
        ErrorCode.invalid_request,
    ]
    policy, segment = response.results[0].configs
    assert (policy.name, policy.value, policy.config_source) == ("cleanup.policy", "compact", 1)
    assert [(each.name, each.value, each.source) for each in policy.synonyms] == [
        ("cleanup.policy", "compact", 1),
        ("log.cleanup.policy", "delete", 5),
    ]
    if version >= 3:
        assert (policy.config_type, segment.config_type) == (7, 5)
        assert "No effect" in segment.documentation
    assert response.results[3].configs == ()


# --- change --------------------------------------------------------------------------------------------


def test_configs_are_changed_one_by_one(log: streamhouse.Log, admin: AdminClient) -> None:
    log.create_topic("t", retention_bytes=5, delete_retention_ms=6)
    operations = AlterConfigOpType
    altered = outcomes(
        admin.incremental_alter_configs(
            [
                topic(
                    "t",
                    change("retention.ms", operations.SET, "1000"),
                    change("retention.bytes", operations.DELETE),
                    change("cleanup.policy", operations.APPEND, "compact"),
                    change("segment.ms", operations.SET, "5000"),
                    change("message.timestamp.type", operations.SET, "LogAppendTime"),
                )
            ]
        )
    )
    assert altered == {"t": None}
    assert log.topic("t").settings == TopicSettings(
        cleanup_policy="compact,delete",
        retention_ms=1000,
        delete_retention_ms=6,
        timestamp_type="append",
        kafka_configs=(("cleanup.policy", "delete,compact"), ("segment.ms", "5000")),
    )
    outcomes(
        admin.incremental_alter_configs([topic("t", change("cleanup.policy", operations.SUBTRACT, "delete"))])
    )
    assert log.topic("t").settings.cleanup_policy == "compact"
    assert topic_configs(admin, "t")["segment.ms"].value == "5000"


def test_what_cannot_be_changed_changes_nothing(log: streamhouse.Log, admin: AdminClient) -> None:
    for name in ("a", "b", "c", "good"):
        log.create_topic(name)
    operations = AlterConfigOpType
    good = change("retention.ms", operations.SET, "9")
    answers = outcomes(
        admin.incremental_alter_configs(
            [
                topic("a", good, change("retention.day", operations.SET, "1")),
                topic("b", good, change("segment.ms", operations.APPEND, "1")),
                topic("c", good, change("compression.type", operations.SET, "zip")),
                topic("none", good),
                topic("good", good),
            ]
        )
    )
    assert {name: code(answer) for name, answer in answers.items()} == {
        "a": KafkaError.INVALID_CONFIG,
        "b": KafkaError.INVALID_CONFIG,
        "c": KafkaError.INVALID_CONFIG,
        "none": KafkaError.UNKNOWN_TOPIC_OR_PART,
        "good": KafkaError.NO_ERROR,
    }
    assert "retention.day" in answers["a"].str()
    assert "did you mean" in answers["a"].str()
    assert {name: each.settings.retention_ms for name, each in log.topics.items()} == {
        "a": None, "b": None, "c": None, "good": 9,
    }  # fmt: skip
    checked = outcomes(
        admin.incremental_alter_configs(
            [topic("a", good), topic("b", change("retention.ms", operations.SET, "-3"))], validate_only=True
        )
    )
    assert [code(checked[name]) for name in "ab"] == [KafkaError.NO_ERROR, KafkaError.INVALID_CONFIG]
    assert log.topic("a").settings == TopicSettings()


def test_the_older_way_sets_all_of_them(log: streamhouse.Log, admin: AdminClient) -> None:
    log.create_topic("letters")
    log.create_topic("t", schema={"n": "INTEGER"}, dead_letter="letters", retention_ms=5, retention_bytes=6)
    with pytest.deprecated_call():
        futures = admin.alter_configs([topic("t", **{"retention.ms": "7", "segment.ms": "8"})])
    assert outcomes(futures) == {"t": None}
    settings = log.topic("t").settings
    assert (settings.retention_ms, settings.retention_bytes) == (7, None)
    assert (len(settings.schemas), settings.dead_letter) == (1, "letters")  # no business of Kafka's
    with pytest.deprecated_call():
        futures = admin.alter_configs([topic("t", **{"flush.ms": "7"})])
    assert outcomes(futures) == {"t": None}
    assert topic_configs(admin, "t")["segment.ms"].is_default


@pytest.mark.parametrize(("key", "version"), [(ALTER, 0), (ALTER, 1), (ALTER, 2), (CHANGE, 0), (CHANGE, 1)])
def test_every_version_of_change(log: streamhouse.Log, gateway: Gateway, key: int, version: int) -> None:
    for name in ("a", "b", "c", "d", "e"):
        log.create_topic(name)

    def entry(name: str, value: str | None, operation: int = 0) -> dict[str, object]:
        what = {} if key == ALTER else {"config_operation": operation}
        return {"name": name, "value": value, **what}

    def resource(name: str, *entries: dict[str, object], kind: int = 2) -> dict[str, object]:
        return {"resource_type": kind, "resource_name": name, "configs": entries}

    resources = [
        resource("a", entry("retention.ms", "5")),
        resource("b", entry("retention.ms", "5"), entry("retention.ms", "6")),
        resource("c", entry("retention.ms", "5")),
        resource("c", entry("retention.ms", "6")),
        resource("d", entry("retention.ms", None)),
        resource("e", entry("retention.ms", "5", 4 if key == CHANGE else 0), entry("no.such", "1")),
        resource(str(gateway.node_id), entry("num.partitions", "5"), kind=4),
        resource("g", entry("num.partitions", "5"), kind=32),
    ]
    response = ask(gateway, key, version, resources=resources, validate_only=False)
    bad = ErrorCode.invalid_request
    assert [each.error_code for each in response.responses] == [
        ErrorCode.none, bad, bad, bad, bad, bad if key == CHANGE else ErrorCode.invalid_config, bad, bad,
    ]  # fmt: skip
    assert {name: each.settings.retention_ms for name, each in log.topics.items()} == {
        "a": 5, "b": None, "c": None, "d": None, "e": None,
    }  # fmt: skip


def test_changes_by_way_of_two_gateways_at_once_are_all_there(tmp_path: Path) -> None:
    names = [
        "segment.ms",
        "segment.bytes",
        "flush.ms",
        "retention.ms",
        "retention.bytes",
        "segment.jitter.ms",
    ]
    with streamhouse.Log(tmp_path) as one, streamhouse.Log(tmp_path) as other:
        one.create_topic("t")
        with streamhouse.kafka.serve(one, port=0) as first, streamhouse.kafka.serve(other, port=0) as second:

            def alter(gateway: Gateway, name: str) -> ErrorCode:
                entry = {"name": name, "config_operation": 0, "value": "5000"}
                resource = {"resource_type": 2, "resource_name": "t", "configs": [entry]}
                (response,) = ask(gateway, CHANGE, 1, resources=[resource], validate_only=False).responses
                assert isinstance(response.error_code, ErrorCode)
                return response.error_code

            with ThreadPoolExecutor(len(names)) as threads:
                assert set(threads.map(alter, [first, second] * 3, names)) == {ErrorCode.none}
            for gateway in (first, second):
                found = topic_configs(new_admin(gateway), "t")
                assert {name: found[name].value for name in names} == dict.fromkeys(names, "5000")


# --- what they bring about -----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_batches_for_consumers_are_compressed(
    log: streamhouse.Log, gateway: Gateway, admin: AdminClient, codec: str
) -> None:
    log.create_topic("t")
    text = [Sample(b"key", b"the same over and over again " * 20)] * 400
    send(new_producer(gateway.bootstrap), "t", [*SAMPLES, *text])
    before = gateway.metrics.bytes_out
    assert read(gateway.bootstrap, "t", len(SAMPLES) + len(text)) == [*SAMPLES, *text]
    plain = gateway.metrics.bytes_out - before
    setting = change("compression.type", AlterConfigOpType.SET, codec)
    assert outcomes(admin.incremental_alter_configs([topic("t", setting)])) == {"t": None}
    before = gateway.metrics.bytes_out
    assert read(gateway.bootstrap, "t", len(SAMPLES) + len(text)) == [*SAMPLES, *text]
    assert gateway.metrics.bytes_out - before < plain / 2
    assert stored(log, "t") == [*SAMPLES, *text]


def test_batches_that_are_too_large_for_their_topic_are_refused(
    log: streamhouse.Log, gateway: Gateway, admin: AdminClient
) -> None:
    for name in ("small", "usual"):
        log.create_topic(name)
    setting = change("max.message.bytes", AlterConfigOpType.SET, "2000")
    assert outcomes(admin.incremental_alter_configs([topic("small", setting)])) == {"small": None}
    producer = new_producer(gateway.bootstrap, **{"message.max.bytes": 10_000_000})
    with pytest.raises(KafkaException) as caught:
        send(producer, "small", [Sample(b"k", b"x" * 2_000)])
    assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    send(producer, "small", [Sample(b"k", b"x" * 1_500)])
    send(producer, "usual", [Sample(b"k", b"x" * 2_000_000)])
    assert [len(record.value or b"") for name in ("small", "usual") for record in log.read(name)] == [
        1_500,
        2_000_000,
    ]
    with streamhouse.kafka.serve(log, port=0, batch_bytes_max=5_000) as strict:
        large = change("max.message.bytes", AlterConfigOpType.SET, "50000")
        assert outcomes(new_admin(strict).incremental_alter_configs([topic("small", large)])) == {
            "small": None
        }
        send(new_producer(strict.bootstrap), "small", [Sample(b"k", b"x" * 20_000)])
        with pytest.raises(KafkaException):
            send(new_producer(strict.bootstrap), "usual", [Sample(b"k", b"x" * 20_000)])


def test_records_get_the_time_at_which_they_are_stored(
    log: streamhouse.Log, gateway: Gateway, admin: AdminClient
) -> None:
    log.create_topic("t")
    producer = new_producer(gateway.bootstrap)
    send(producer, "t", [Sample(b"k", b"sent")])
    setting = change("message.timestamp.type", AlterConfigOpType.SET, "LogAppendTime")
    assert outcomes(admin.incremental_alter_configs([topic("t", setting)])) == {"t": None}
    began = log._inside.runtime.time_ms()
    told: list[int] = []
    producer.produce("t", b"stored", timestamp=5, on_delivery=lambda _, m: told.append(m.timestamp()[1]))
    assert producer.flush(20) == 0
    with log.producer() as native:
        native.send("t", b"native", timestamp=6).result()
    with new_consumer(gateway.bootstrap) as consumer:
        consumer.assign([TopicPartition("t", 0, 0)])
        times = [message.timestamp()[1] for message in take(consumer, 3)]
    assert times[0] == NOW_MS
    assert told == times[1:2]
    assert began <= times[1] <= times[2] <= log._inside.runtime.time_ms()
