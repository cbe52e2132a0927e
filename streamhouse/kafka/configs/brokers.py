"""The configs of a gateway, under the names that Kafka has for them.

They are the settings it was started with; nothing changes them while it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from streamhouse.kafka.configs.kinds import Config, ConfigType, Source
from streamhouse.kafka.configs.topics import BATCH_BYTES, TOPIC_CONFIGS
from streamhouse.kafka.settings import GatewaySettings

_NEW: Final = GatewaySettings()


class BrokerConfig(msgspec.Struct, frozen=True):
    """One config of a gateway.

    Attributes:
        name: Its name.
        type: What kind of value it has.
        value: The value in force.
        default: That of gateways that are not told anything.
        text: What it does, for people.
        source: Where the value comes from.
    """

    name: str
    type: ConfigType
    value: str
    default: str
    text: str
    source: Source


class _Setting(msgspec.Struct, frozen=True):
    """A config that is a setting of gateways."""

    name: str
    type: ConfigType
    setting: str
    text: str
    show: Callable[[Any], str] = str


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _listed(values: tuple[str, ...]) -> str:
    return ",".join(values)


def _semicolons(values: tuple[str, ...]) -> str:
    return ";".join(values)


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _rack(value: str | None) -> str:
    return value or ""


_SETTINGS: Final = (
    _Setting(
        "allow.everyone.if.no.acl.found",
        ConfigType.BOOLEAN,
        "allow_everyone_without_acl",
        "Whether what no ACL speaks of is allowed.",
        _flag,
    ),
    _Setting(
        "auto.create.topics.enable",
        ConfigType.BOOLEAN,
        "auto_create_topics",
        "Whether a topic is made when a client asks for one that is not there.",
        _flag,
    ),
    _Setting("broker.rack", ConfigType.STRING, "rack", "Where the gateway is.", _rack),
    _Setting(
        "connections.max.idle.ms",
        ConfigType.LONG,
        "idle_seconds_max",
        "A connection without requests for so long is closed.",
        _milliseconds,
    ),
    _Setting(
        "connections.max.reauth.ms",
        ConfigType.LONG,
        "reauthentication_ms",
        "After so long clients have to say again who they are. 0: never.",
    ),
    _Setting("fetch.max.bytes", ConfigType.INT, "fetch_bytes_max", "Most that one fetch is answered with."),
    _Setting(
        "group.consumer.heartbeat.interval.ms",
        ConfigType.INT,
        "consumer_heartbeat_interval_ms",
        "How often members of groups of the newer protocol are to show that they live.",
    ),
    _Setting(
        "group.consumer.session.timeout.ms",
        ConfigType.INT,
        "consumer_session_timeout_ms",
        "After so long without a sign of life such a member is out.",
    ),
    _Setting(
        "group.initial.rebalance.delay.ms",
        ConfigType.INT,
        "group_initial_rebalance_delay_ms",
        "How long the first member of a group of the older protocol waits for others.",
    ),
    _Setting(
        "group.max.session.timeout.ms",
        ConfigType.INT,
        "group_session_timeout_max_ms",
        "Longest session that a member may ask for.",
    ),
    _Setting("group.max.size", ConfigType.INT, "group_members_max", "Most members of one group."),
    _Setting(
        "group.min.session.timeout.ms",
        ConfigType.INT,
        "group_session_timeout_min_ms",
        "Shortest session that a member may ask for.",
    ),
    _Setting("max.connections", ConfigType.INT, "connections_max", "Most connections at the same time."),
    _Setting(
        "max.connections.per.ip",
        ConfigType.INT,
        "connections_per_host_max",
        "Most connections from one address.",
    ),
    _Setting("message.max.bytes", ConfigType.INT, "batch_bytes_max", TOPIC_CONFIGS[BATCH_BYTES].text),
    _Setting(
        "num.partitions",
        ConfigType.INT,
        "default_partitions",
        "Partitions of a topic for which nobody says how many.",
    ),
    _Setting(
        "queued.max.request.bytes",
        ConfigType.LONG,
        "request_memory_bytes_max",
        "Memory for requests that are being worked on.",
    ),
    _Setting(
        "sasl.enabled.mechanisms",
        ConfigType.LIST,
        "sasl_mechanisms",
        "How clients may say who they are; empty: they need not.",
        _listed,
    ),
    _Setting("socket.request.max.bytes", ConfigType.INT, "request_bytes_max", "Largest request."),
    _Setting("super.users", ConfigType.STRING, "super_users", "Users that may do everything.", _semicolons),
    _Setting(
        "transaction.max.timeout.ms",
        ConfigType.INT,
        "transaction_timeout_max_ms",
        "Longest time-out that a producer may ask for its transactions.",
    ),
)


def broker_configs(settings: GatewaySettings, node_id: int, url: str, address: str) -> list[BrokerConfig]:
    """All configs of a gateway, by name.

    Args:
        settings: Those of the gateway.
        node_id: Its number.
        url: Where the log is.
        address: Host and port that clients are told.
    """
    found = {
        config.broker: BrokerConfig(
            config.broker, config.type, config.default, config.default, config.text, Source.DEFAULT
        )
        for config in TOPIC_CONFIGS.values()
        if config.broker is not None
    }
    for each in _SETTINGS:
        value, default = (each.show(getattr(from_, each.setting)) for from_ in (settings, _NEW))
        source = Source.DEFAULT if value == default else Source.STATIC_BROKER
        found[each.name] = BrokerConfig(each.name, each.type, value, default, each.text, source)
    given = (
        ("advertised.listeners", ConfigType.STRING, f"CLIENT://{address}", "What clients are told to use."),
        ("broker.id", ConfigType.INT, str(node_id), "The number of the gateway."),
        ("log.dirs", ConfigType.STRING, url, "Where the log is."),
        ("node.id", ConfigType.INT, str(node_id), "The number of the gateway."),
    )
    for name, kind, value, text in given:
        found[name] = BrokerConfig(name, kind, value, "", text, Source.STATIC_BROKER)
    fixed = (
        ("default.replication.factor", ConfigType.INT, "1", "The store keeps what is acknowledged."),
        ("delete.topic.enable", ConfigType.BOOLEAN, "true", "Topics can be deleted."),
    )
    for name, kind, value, text in fixed:
        found[name] = BrokerConfig(name, kind, value, value, text, Source.DEFAULT)
    return [found[name] for name in sorted(found)]


def topic_default(config: Config, settings: GatewaySettings) -> tuple[str, Source]:
    """The value of a topic's config that is not set, and where it comes from."""
    if config.name != BATCH_BYTES:
        return config.default, Source.DEFAULT
    changed = settings.batch_bytes_max != _NEW.batch_bytes_max
    return str(settings.batch_bytes_max), Source.STATIC_BROKER if changed else Source.DEFAULT
