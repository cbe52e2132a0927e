"""Values of configs, as clients send them."""

from __future__ import annotations

import pytest

from streamhouse.errors import InvalidSettingError
from streamhouse.kafka.configs.brokers import broker_configs
from streamhouse.kafka.configs.kinds import ConfigType, Source, find_config
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS
from streamhouse.kafka.settings import GatewaySettings


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("preallocate", " TRUE ", "true"),
        ("preallocate", "False", "false"),
        ("segment.bytes", " 0014", "14"),
        ("segment.ms", "+5", "5"),
        ("retention.ms", "-1", "-1"),
        ("retention.ms", "9223372036854775807", "9223372036854775807"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("min.cleanable.dirty.ratio", "5e-1", "0.5"),
        ("cleanup.policy", " compact , delete,,compact ", "compact,delete"),
        ("cleanup.policy", "delete,compact", "delete,compact"),
        ("leader.replication.throttled.replicas", "", ""),
        ("leader.replication.throttled.replicas", "0:1, 1:2", "0:1,1:2"),
        ("leader.replication.throttled.replicas", "*", "*"),
        ("message.format.version", "2.8-IV1", "2.8-IV1"),
        ("compression.type", "zstd", "zstd"),
    ],
)
def test_good_values_have_one_form(name: str, sent: str, kept: str) -> None:
    config = TOPIC_CONFIGS[name]
    assert config.checked(sent) == kept
    assert config.checked(kept) == kept


@pytest.mark.parametrize(
    ("name", "sent", "said"),
    [
        ("preallocate", "yes", "true or false"),
        ("segment.bytes", "13", "from 14 to 2147483647"),
        ("segment.bytes", "2147483648", "from 14 to 2147483647"),
        ("segment.bytes", "", "a number of type INT"),
        ("segment.bytes", "1_000", "a number of type INT"),
        ("segment.bytes", "٣٣٣", "a number of type INT"),
        ("segment.bytes", "1e3", "a number of type INT"),
        ("segment.bytes", "9" * 5_000, "a number of type INT"),
        ("retention.ms", "-2", "from -1 to 9223372036854775807"),
        ("retention.ms", "7 days", "a number of type LONG"),
        ("min.cleanable.dirty.ratio", "1.5", "from 0 to 1"),
        ("min.cleanable.dirty.ratio", "nan", "a number of type DOUBLE"),
        ("cleanup.policy", "compact,delet", "did you mean 'delete'"),
        ("cleanup.policy", " , ", "at least one of"),
        ("compression.type", "GZIP", "one of producer, uncompressed, gzip"),
        ("message.timestamp.type", "AppendTime", "did you mean 'LogAppendTime'"),
        ("message.format.version", "new", "looks like"),
        ("leader.replication.throttled.replicas", "1-2", "looks like"),
        ("leader.replication.throttled.replicas", "1:2," * 10_000, "40,000 characters"),
    ],
)
def test_bad_values_are_named(name: str, sent: str, said: str) -> None:
    with pytest.raises(InvalidSettingError, match=name) as caught:
        TOPIC_CONFIGS[name].checked(sent)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_unknown_names_have_the_nearest() -> None:
    with pytest.raises(InvalidSettingError, match=r"retention\.hours.*did you mean 'retention\.ms'"):
        find_config(TOPIC_CONFIGS, "retention.hours")


def test_every_default_is_a_value_of_its_config() -> None:
    for config in TOPIC_CONFIGS.values():
        if config.name != "max.message.bytes":  # that of the gateway
            assert config.checked(config.default) == config.default


def test_the_configs_of_a_gateway_are_its_settings() -> None:
    settings = GatewaySettings(
        batch_bytes_max=5_000,
        super_users=("User:a", "User:b"),
        sasl_mechanisms=("PLAIN",),
        idle_seconds_max=0.5,
    )
    configs = {config.name: config for config in broker_configs(settings, 7, "memory://", "a:9")}
    assert list(configs) == sorted(configs)
    shown = {name: (config.value, config.source, config.type) for name, config in configs.items()}
    assert shown["message.max.bytes"] == ("5000", Source.STATIC_BROKER, ConfigType.INT)
    assert shown["super.users"] == ("User:a;User:b", Source.STATIC_BROKER, ConfigType.STRING)
    assert shown["sasl.enabled.mechanisms"] == ("PLAIN", Source.STATIC_BROKER, ConfigType.LIST)
    assert shown["connections.max.idle.ms"] == ("500", Source.STATIC_BROKER, ConfigType.LONG)
    assert shown["auto.create.topics.enable"] == ("true", Source.DEFAULT, ConfigType.BOOLEAN)
    assert shown["node.id"] == shown["broker.id"] == ("7", Source.STATIC_BROKER, ConfigType.INT)
    assert shown["advertised.listeners"] == ("CLIENT://a:9", Source.STATIC_BROKER, ConfigType.STRING)
    assert shown["log.retention.ms"] == ("-1", Source.DEFAULT, ConfigType.LONG)
    assert all(config.text for config in configs.values())
    assert "secret" not in str(broker_configs(GatewaySettings(plain_users={"u": "secret"}), 1, "", ""))
