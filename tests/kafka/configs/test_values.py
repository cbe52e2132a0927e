"""Configs of a topic and its settings are one thing, whoever changes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.config import TopicSettings, make_topic_settings
from streamhouse.errors import InvalidSettingError
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.configs.kinds import INT_MAX, LONG_MAX, Config, ConfigType, Source
from streamhouse.kafka.configs.show import topic_entries
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS, batch_bytes_max, codec_of
from streamhouse.kafka.configs.values import Alteration, Change, altered, values_set, with_only, with_values
from streamhouse.kafka.settings import GatewaySettings

NEW = TopicSettings()
TYPED = TopicSettings(schemas=("s",), dead_letter="letters")


def values_of(config: Config) -> st.SearchStrategy[str]:
    """Values that a config may have."""
    if config.type is ConfigType.BOOLEAN:
        return st.sampled_from(("true", "false"))
    if config.type in {ConfigType.INT, ConfigType.LONG}:
        most = INT_MAX if config.type is ConfigType.INT else LONG_MAX
        low, high = max(-most - 1, config.low), min(most, config.high)
        return st.integers(int(low), int(high)).map(str)
    if config.type is ConfigType.DOUBLE:
        return st.floats(config.low, config.high).map(str)
    if config.type is ConfigType.LIST:
        entries = st.sampled_from(config.choices or ("0:1", "1:2", "*"))
        return st.lists(entries, min_size=1, unique=True).map(",".join)
    return st.sampled_from(config.choices or ("2.1", "3.5-IV2"))


configs = st.fixed_dictionaries(
    {}, optional={name: values_of(config) for name, config in TOPIC_CONFIGS.items()}
)


@given(configs)
def test_what_is_set_is_shown_as_it_was_set(values: dict[str, str]) -> None:
    settings = with_values(TYPED, values)
    assert values_set(settings) == {
        name: TOPIC_CONFIGS[name].checked(value) for name, value in values.items()
    }
    assert (settings.schemas, settings.dead_letter) == (TYPED.schemas, TYPED.dead_letter)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=TopicSettings)
    assert values_set(stored) == values_set(settings)


@given(configs, configs)
def test_changes_go_one_on_top_of_the_other(first: dict[str, str], second: dict[str, str]) -> None:
    settings = with_values(with_values(TYPED, first), second)
    assert settings == with_values(TYPED, {**first, **second})
    gone = with_values(settings, dict.fromkeys(first))
    assert values_set(gone) == values_set(
        with_values(NEW, {n: v for n, v in second.items() if n not in first})
    )
    assert with_only(settings, first) == with_values(TYPED, first)
    assert with_only(settings, {}) == TYPED


@given(configs)
def test_every_config_is_shown_with_its_source(values: dict[str, str]) -> None:
    entries = topic_entries(with_values(NEW, values), GatewaySettings())
    assert [entry.name for entry in entries] == sorted(TOPIC_CONFIGS)
    assert {entry.name for entry in entries if entry.source is Source.TOPIC} == set(values)
    for entry in entries:
        if entry.synonyms:
            assert (entry.value, entry.source) == (entry.synonyms[0].value, entry.synonyms[0].source)
        assert [each.source for each in entry.synonyms].count(Source.TOPIC) == (entry.name in values)


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [
        ("cleanup.policy", "delete,compact", "cleanup_policy", "compact,delete"),
        ("cleanup.policy", "compact", "cleanup_policy", "compact"),
        ("retention.ms", "5", "retention_ms", 5),
        ("retention.ms", "-1", "retention_ms", None),
        ("retention.ms", str(LONG_MAX), "retention_ms", LONG_MAX),
        ("retention.bytes", "-7", "retention_bytes", None),
        ("retention.bytes", "0", "retention_bytes", 0),
        ("delete.retention.ms", "6", "delete_retention_ms", 6),
        ("min.compaction.lag.ms", "7", "min_compaction_lag_ms", 7),
        ("message.timestamp.type", "LogAppendTime", "timestamp_type", "append"),
    ],
)
def test_configs_that_are_settings(name: str, value: str, setting: str, expected: Any) -> None:
    assert getattr(with_values(NEW, {name: value}), setting) == expected
    assert getattr(with_values(with_values(NEW, {name: value}), {name: None}), setting) == getattr(
        NEW, setting
    )


def test_settings_altered_by_native_means_are_believed() -> None:
    settings = with_values(NEW, {"cleanup.policy": "delete,compact", "retention.ms": "-1", "segment.ms": "5"})
    settings = make_topic_settings({"cleanup_policy": "compact", "retention_ms": 9}, settings)
    assert values_set(settings) == {"cleanup.policy": "compact", "retention.ms": "9", "segment.ms": "5"}
    settings = make_topic_settings({"cleanup_policy": "delete", "delete_retention_ms": 1}, settings)
    assert values_set(settings) == {"retention.ms": "9", "segment.ms": "5", "delete.retention.ms": "1"}


def test_what_another_version_has_stored_does_no_harm() -> None:
    settings = TopicSettings(
        kafka_configs=(("cleanup.policy", "shred"), ("new.config", "1"), ("retention.ms", "soon")),
    )
    assert values_set(settings) == {}
    assert with_values(settings, {"retention.ms": "4"}).retention_ms == 4
    settings = TopicSettings(kafka_configs=(("compression.type", "brotli"), ("max.message.bytes", "many")))
    assert codec_of(settings) is Codec.NONE
    assert batch_bytes_max(settings, 5) == 5


@pytest.mark.parametrize(
    ("change", "value", "before", "after"),
    [
        (Change.SET, "compact", None, "compact"),
        (Change.DELETE, None, "compact", None),
        (Change.DELETE, "ignored", "compact", None),
        (Change.APPEND, "compact", None, "delete,compact"),
        (Change.APPEND, "delete", None, "delete"),
        (Change.APPEND, "compact,delete", "compact", "compact,delete"),
        (Change.SUBTRACT, "delete", "compact,delete", "compact"),
        (Change.SUBTRACT, "compact", "delete", "delete"),
    ],
)
def test_incremental_changes(
    change: Change, value: str | None, before: str | None, after: str | None
) -> None:
    settings = with_values(NEW, {"cleanup.policy": before, "segment.ms": "8"})
    settings = altered(settings, [Alteration("cleanup.policy", change, value)])
    assert values_set(settings).get("cleanup.policy") == after
    assert values_set(settings)["segment.ms"] == "8"


@pytest.mark.parametrize(
    ("alteration", "said"),
    [
        (Alteration("segment.ms", Change.APPEND, "1"), "no list"),
        (Alteration("cleanup.policy", Change.SUBTRACT, "delete"), "at least one of"),
        (Alteration("cleanup.polcy", Change.DELETE, None), "did you mean 'cleanup.policy'"),
        (Alteration("segment.ms", Change.SET, "0"), "from 1"),
    ],
)
def test_changes_that_cannot_be(alteration: Alteration, said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        altered(NEW, [Alteration("flush.ms", Change.SET, "1"), alteration])


def test_what_the_gateway_obeys() -> None:
    assert codec_of(NEW) is Codec.NONE
    for value, codec in (("lz4", Codec.LZ4), ("producer", Codec.NONE), ("uncompressed", Codec.NONE)):
        assert codec_of(with_values(NEW, {"compression.type": value})) is codec
    assert batch_bytes_max(NEW, 5) == 5
    assert batch_bytes_max(with_values(NEW, {"max.message.bytes": "7"}), 5) == 7
    (entry,) = (e for e in topic_entries(NEW, GatewaySettings(batch_bytes_max=2_000)) if "max.mess" in e.name)
    assert (entry.value, entry.source) == ("2000", Source.STATIC_BROKER)
