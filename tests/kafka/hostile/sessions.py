"""What clients do all day, so that it can be recorded."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AsyncNewTopic
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

with warnings.catch_warnings():  # kafka-python reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def confluent_records(bootstrap: str) -> None:
    """Produce in every codec, then consume in both kinds of groups."""
    for codec in CODECS:
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.type": codec,
                "linger.ms": 20,
                "enable.idempotence": codec in {"none", "lz4"},
            }
        )
        for number in range(60):
            producer.produce("fuzz", b"value %d" % number, b"key", headers=[("h", b"x"), ("n", None)])
        producer.produce("fuzz", None, b"tombstone")
        producer.flush(20)
    for protocol in ("classic", "consumer"):
        consumers = [
            Consumer(
                {
                    "bootstrap.servers": bootstrap,
                    "group.id": f"group-{protocol}",
                    "group.protocol": protocol,
                    "auto.offset.reset": "earliest",
                    "enable.auto.commit": False,
                }
            )
            for _ in range(2)
        ]
        for consumer in consumers:
            consumer.subscribe(["fuzz"])
        for _ in range(6):
            for consumer in consumers:
                consumer.consume(50, timeout=0.3)
        for consumer in consumers:
            if consumer.assignment():
                consumer.commit(asynchronous=False)
                consumer.committed(consumer.assignment(), timeout=10)
            consumer.get_watermark_offsets(TopicPartition("fuzz", 0), timeout=10)
            consumer.offsets_for_times([TopicPartition("fuzz", 0, 1_000)], timeout=10)
            consumer.close()


def confluent_transactions(bootstrap: str) -> None:
    """Commit one, with offsets, and abort one."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "fuzzer"})
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "moved", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["fuzz"])
    consumer.consume(10, timeout=5)
    producer.init_transactions(10)
    for commit in (True, False):
        producer.begin_transaction()
        producer.produce("fuzz-moved", "moved")
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 10
        )
        if commit:
            producer.commit_transaction(10)
        else:
            producer.abort_transaction(10)
    consumer.close()


def confluent_admin(bootstrap: str) -> None:
    """All that its AdminClient can do."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def done(futures: Any) -> None:
        for future in futures.values() if isinstance(futures, dict) else [futures]:
            future.exception(20)

    done(admin.create_topics([NewTopic("fuzz-admin", 2, 1, config={"retention.ms": "100000"})]))
    done(admin.create_partitions([NewPartitions("fuzz-admin", 3)]))
    resource = ConfigResource(ConfigResource.Type.TOPIC, "fuzz-admin")
    done(admin.describe_configs([resource, ConfigResource(ConfigResource.Type.BROKER, "1")]))
    done(
        admin.alter_configs([ConfigResource(ConfigResource.Type.TOPIC, "fuzz-admin", {"retention.ms": "5"})])
    )
    done(admin.list_consumer_groups())
    done(admin.describe_consumer_groups(["group-classic", "group-consumer"]))
    done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("group-classic")]))
    done(
        admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions("group-classic", [TopicPartition("fuzz", 0, 3)])]
        )
    )
    done(admin.list_offsets({TopicPartition("fuzz", 0): OffsetSpec.latest()}))
    done(admin.delete_records([TopicPartition("fuzz-admin", 0, 0)]))
    done(admin.describe_cluster())
    binding = AclBinding(
        ResourceType.TOPIC, "fuzz", ResourcePatternType.LITERAL, "User:a", "*", AclOperation.READ,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    any_binding = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    done(admin.create_acls([binding]))
    done(admin.describe_acls(any_binding))
    done(admin.delete_acls([any_binding]))
    done(
        admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(
                    "a", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4_096), b"pw"
                )
            ]
        )
    )
    done(admin.describe_user_scram_credentials(["a"]))
    done(admin.delete_consumer_groups(["group-classic"]))
    done(admin.delete_topics(["fuzz-admin"]))


def kafka_python_records(bootstrap: str) -> None:
    """The same by kafka-python."""
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, compression_type="gzip")
    for number in range(20):
        producer.send("fuzz", b"%d" % number, key=b"k")
    producer.flush(20)
    producer.close()
    consumer = kafka.KafkaConsumer(
        "fuzz", bootstrap_servers=bootstrap, group_id="kp", auto_offset_reset="earliest"
    )
    for _ in range(3):
        consumer.poll(500)
    consumer.commit()
    consumer.beginning_offsets(list(consumer.assignment()))
    consumer.close()
    admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.list_topics()
    admin.list_groups()
    admin.close()


def aiokafka_records(bootstrap: str) -> None:
    """The same by aiokafka."""
    asyncio.run(_aiokafka(bootstrap))


async def _aiokafka(bootstrap: str) -> None:
    async with (
        aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id="aio", compression_type="lz4"
        ) as producer,
        producer.transaction(),
    ):
        for number in range(20):
            await producer.send_and_wait("fuzz", b"%d" % number)
    async with aiokafka.AIOKafkaConsumer(
        "fuzz", bootstrap_servers=bootstrap, group_id="aio", auto_offset_reset="earliest"
    ) as consumer:
        await consumer.getone()
        await consumer.commit()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([AsyncNewTopic("fuzz-aio", 1, 1)])
    await admin.describe_consumer_groups(["aio"])
    await admin.delete_topics(["fuzz-aio"])
    await admin.close()


ALL = (
    confluent_records,
    confluent_transactions,
    confluent_admin,
    kafka_python_records,
    aiokafka_records,
)
