"""Configs as clients are shown them: value, source, and what the value would be otherwise."""

from __future__ import annotations

from typing import NamedTuple

from streamhouse.config import TopicSettings
from streamhouse.kafka.configs.brokers import BrokerConfig, topic_default
from streamhouse.kafka.configs.kinds import ConfigType, Source
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS
from streamhouse.kafka.configs.values import values_set
from streamhouse.kafka.settings import GatewaySettings


class Synonym(NamedTuple):
    """A place that a value is looked for in."""

    name: str
    value: str
    source: Source


class Entry(NamedTuple):
    """One config.

    Attributes:
        name: Its name.
        value: The value in force.
        source: Where it comes from.
        synonyms: All places that have one, the one in force first.
        type: What kind of value it is.
        text: What it does, for people.
        read_only: Whether it cannot be changed.
    """

    name: str
    value: str
    source: Source
    synonyms: tuple[Synonym, ...]
    type: ConfigType
    text: str
    read_only: bool


def topic_entries(settings: TopicSettings, gateway: GatewaySettings) -> list[Entry]:
    """All configs of a topic, by name.

    Args:
        settings: Of the topic.
        gateway: Of the gateway, which has some defaults.
    """
    given = values_set(settings)
    entries = []
    for name, config in TOPIC_CONFIGS.items():
        default, source = topic_default(config, gateway)
        synonyms = [Synonym(config.broker, default, source)] if config.broker is not None else []
        if name in given:
            synonyms.insert(0, Synonym(name, given[name], Source.TOPIC))
        value, source = (synonyms[0].value, synonyms[0].source) if synonyms else (default, Source.DEFAULT)
        entries.append(Entry(name, value, source, tuple(synonyms), config.type, config.text, read_only=False))
    return entries


def broker_entries(configs: list[BrokerConfig]) -> list[Entry]:
    """Those of a gateway."""
    entries = []
    for config in configs:
        synonyms = [Synonym(config.name, config.default, Source.DEFAULT)]
        if config.source is not Source.DEFAULT:
            synonyms.insert(0, Synonym(config.name, config.value, config.source))
        entries.append(
            Entry(
                config.name,
                config.value,
                config.source,
                tuple(synonyms),
                config.type,
                config.text,
                read_only=True,
            )
        )
    return entries
