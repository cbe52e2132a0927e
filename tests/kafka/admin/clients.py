"""What tests of administration ask of confluent-kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource

from streamhouse.kafka import Gateway


def new_admin(gateway: Gateway, **settings: Any) -> AdminClient:
    return AdminClient({"bootstrap.servers": gateway.bootstrap, "log_level": 0, **settings})


def outcomes(futures: Mapping[Any, Any]) -> dict[str, Any]:
    """What became of each: a result, or the error."""
    found = {}
    for name, future in futures.items():
        try:
            found[str(getattr(name, "name", name))] = future.result(20)
        except KafkaException as error:
            found[str(getattr(name, "name", name))] = error.args[0]
    return found


def code(outcome: Any) -> int:
    return outcome.code() if isinstance(outcome, KafkaError) else KafkaError.NO_ERROR


def topic_configs(admin: AdminClient, topic: str) -> dict[str, ConfigEntry]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found: dict[str, ConfigEntry] = admin.describe_configs([resource])[resource].result(20)
    return found
