"""The configs of topics that Kafka knows, and what they are here.

Frameworks set configs that have no meaning in a log without segments, replicas and leaders. They are
accepted, kept with the topic and shown again, as long as Kafka itself would accept them: a client that sets
them gets the topic that it wants. Names that Kafka does not know are refused.
"""

from __future__ import annotations

from typing import Final

from streamhouse.config import TopicSettings
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.configs.kinds import LONG_MAX, Config, ConfigType, Field, split_list

COMPRESSION: Final = "compression.type"
BATCH_BYTES: Final = "max.message.bytes"
_DAY_MS: Final = 86_400_000
_NO_SEGMENTS: Final = "No effect: blocks of records are put together as upkeep sees fit."
_NO_REPLICAS: Final = "No effect: the store keeps what is acknowledged; there are no replicas."
_NO_FILES: Final = "No effect: there are no files and no indexes."
_NO_FLUSHES: Final = "No effect: what is acknowledged is durable."
_NO_TIERS: Final = "No effect: there is one store, for old and new records."
_NO_LEVELS: Final = "No effect: batches for consumers are compressed at the codec's usual level."
_NO_CHECK: Final = "No effect: a record may have any time in the years 1 to 9999."
_NO_FORMATS: Final = "No effect: record batches have version 2."
_PLACES: Final = r"\*|none|\d+:\d+"  # partition and broker


def _bound(value: str) -> int | None:
    return None if int(value) < 0 else int(value)


def _show_bound(value: int | None) -> str:
    return "-1" if value is None else str(value)


def _policy(value: str) -> str:
    return ",".join(sorted(split_list(value)))


_TIMESTAMPS: Final = {"CreateTime": "create", "LogAppendTime": "append"}
_TIMESTAMPS_SHOWN: Final = {setting: config for config, setting in _TIMESTAMPS.items()}

_ALL: Final = (
    # --- what they say is done --------------------------------------------------------------------
    Config(
        name="cleanup.policy",
        type=ConfigType.LIST,
        default="delete",
        choices=("compact", "delete"),
        field=Field("cleanup_policy", _policy, str),
        broker="log.cleanup.policy",
        text="What goes: records that are too old or too many (delete), all but the latest of each key"
        " (compact), or both.",
    ),
    Config(
        name="retention.ms",
        type=ConfigType.LONG,
        default="-1",
        low=-1,
        field=Field("retention_ms", _bound, _show_bound),
        broker="log.retention.ms",
        text="Records older than this go, milliseconds. -1: never.",
    ),
    Config(
        name="retention.bytes",
        type=ConfigType.LONG,
        default="-1",
        field=Field("retention_bytes", _bound, _show_bound),
        broker="log.retention.bytes",
        text="Stored bytes to keep in each partition; the oldest records go first. -1: all.",
    ),
    Config(
        name="delete.retention.ms",
        type=ConfigType.LONG,
        default=str(_DAY_MS),
        low=0,
        field=Field("delete_retention_ms", int, str),
        broker="log.cleaner.delete.retention.ms",
        text="How long a compacted topic still shows that a key was deleted, milliseconds.",
    ),
    Config(
        name="min.compaction.lag.ms",
        type=ConfigType.LONG,
        default="0",
        low=0,
        field=Field("min_compaction_lag_ms", int, str),
        broker="log.cleaner.min.compaction.lag.ms",
        text="Records younger than this are not compacted away, milliseconds.",
    ),
    Config(
        name="message.timestamp.type",
        type=ConfigType.STRING,
        default="CreateTime",
        choices=tuple(_TIMESTAMPS),
        field=Field("timestamp_type", _TIMESTAMPS.__getitem__, _TIMESTAMPS_SHOWN.__getitem__),
        broker="log.message.timestamp.type",
        text="Whose time records have: that of their sender (CreateTime), or that at which they were stored"
        " (LogAppendTime).",
    ),
    Config(
        name=COMPRESSION,
        type=ConfigType.STRING,
        default="producer",
        choices=("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"),
        obeyed=True,
        broker="compression.type",
        text="How record batches are sent to Kafka's consumers: compressed so, or not at all (producer,"
        " uncompressed). Records are stored in columns, compressed with LZ4, in any case.",
    ),
    Config(
        name=BATCH_BYTES,
        type=ConfigType.INT,
        default="",  # that of the gateway
        low=0,
        obeyed=True,
        broker="message.max.bytes",
        text="Largest record batch that a Kafka client may send, as it is sent. Native producers have"
        " record_bytes_max instead.",
    ),
    # --- what they say has no meaning here --------------------------------------------------------
    Config(
        name="compression.gzip.level",
        type=ConfigType.INT,
        default="-1",
        low=-1,
        high=9,
        text=_NO_LEVELS,
        broker="compression.gzip.level",
    ),
    Config(
        name="compression.lz4.level",
        type=ConfigType.INT,
        default="9",
        low=1,
        high=17,
        text=_NO_LEVELS,
        broker="compression.lz4.level",
    ),
    Config(
        name="compression.zstd.level",
        type=ConfigType.INT,
        default="3",
        low=-131_072,
        high=22,
        text=_NO_LEVELS,
        broker="compression.zstd.level",
    ),
    Config(
        name="file.delete.delay.ms",
        type=ConfigType.LONG,
        default="60000",
        low=0,
        text="No effect: what nothing refers to any more is removed after an hour and more.",
        broker="log.segment.delete.delay.ms",
    ),
    Config(
        name="flush.messages",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=1,
        text=_NO_FLUSHES,
        broker="log.flush.interval.messages",
    ),
    Config(
        name="flush.ms",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=0,
        text=_NO_FLUSHES,
        broker="log.flush.interval.ms",
    ),
    Config(
        name="follower.replication.throttled.replicas",
        type=ConfigType.LIST,
        default="",
        pattern=_PLACES,
        text=_NO_REPLICAS,
    ),
    Config(
        name="index.interval.bytes",
        type=ConfigType.INT,
        default="4096",
        low=0,
        text=_NO_FILES,
        broker="log.index.interval.bytes",
    ),
    Config(
        name="leader.replication.throttled.replicas",
        type=ConfigType.LIST,
        default="",
        pattern=_PLACES,
        text=_NO_REPLICAS,
    ),
    Config(
        name="local.retention.bytes",
        type=ConfigType.LONG,
        default="-2",
        low=-2,
        text=_NO_TIERS,
        broker="log.local.retention.bytes",
    ),
    Config(
        name="local.retention.ms",
        type=ConfigType.LONG,
        default="-2",
        low=-2,
        text=_NO_TIERS,
        broker="log.local.retention.ms",
    ),
    Config(
        name="max.compaction.lag.ms",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=1,
        text="No effect: upkeep compacts when it is worth it, or when it is called.",
        broker="log.cleaner.max.compaction.lag.ms",
    ),
    Config(
        name="message.downconversion.enable",
        type=ConfigType.BOOLEAN,
        default="true",
        text=_NO_FORMATS,
        broker="log.message.downconversion.enable",
    ),
    Config(
        name="message.format.version",
        type=ConfigType.STRING,
        default="3.0-IV1",
        pattern=r"\d+\.\d+(\.\d+)*(-IV\d+)?",
        text=_NO_FORMATS,
        broker="log.message.format.version",
    ),
    Config(
        name="message.timestamp.after.max.ms",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=0,
        text=_NO_CHECK,
        broker="log.message.timestamp.after.max.ms",
    ),
    Config(
        name="message.timestamp.before.max.ms",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=0,
        text=_NO_CHECK,
        broker="log.message.timestamp.before.max.ms",
    ),
    Config(
        name="message.timestamp.difference.max.ms",
        type=ConfigType.LONG,
        default=str(LONG_MAX),
        low=0,
        text=_NO_CHECK,
        broker="log.message.timestamp.difference.max.ms",
    ),
    Config(
        name="min.cleanable.dirty.ratio",
        type=ConfigType.DOUBLE,
        default="0.5",
        low=0,
        high=1,
        text="No effect: it is 0.5 in the background, and 0 when upkeep is called.",
        broker="log.cleaner.min.cleanable.ratio",
    ),
    Config(
        name="min.insync.replicas",
        type=ConfigType.INT,
        default="1",
        low=1,
        text=_NO_REPLICAS,
        broker="min.insync.replicas",
    ),
    Config(
        name="preallocate",
        type=ConfigType.BOOLEAN,
        default="false",
        text=_NO_FILES,
        broker="log.preallocate",
    ),
    Config(name="remote.log.copy.disable", type=ConfigType.BOOLEAN, default="false", text=_NO_TIERS),
    Config(name="remote.log.delete.on.disable", type=ConfigType.BOOLEAN, default="false", text=_NO_TIERS),
    Config(name="remote.storage.enable", type=ConfigType.BOOLEAN, default="false", text=_NO_TIERS),
    Config(
        name="segment.bytes",
        type=ConfigType.INT,
        default=str(1 << 30),
        low=14,
        text=_NO_SEGMENTS,
        broker="log.segment.bytes",
    ),
    Config(
        name="segment.index.bytes",
        type=ConfigType.INT,
        default=str(10 << 20),
        low=4,
        text=_NO_FILES,
        broker="log.index.size.max.bytes",
    ),
    Config(
        name="segment.jitter.ms",
        type=ConfigType.LONG,
        default="0",
        low=0,
        text=_NO_SEGMENTS,
        broker="log.roll.jitter.ms",
    ),
    Config(
        name="segment.ms",
        type=ConfigType.LONG,
        default=str(7 * _DAY_MS),
        low=1,
        text=_NO_SEGMENTS,
        broker="log.roll.ms",
    ),
    Config(
        name="unclean.leader.election.enable",
        type=ConfigType.BOOLEAN,
        default="false",
        text=_NO_REPLICAS,
        broker="unclean.leader.election.enable",
    ),
)

TOPIC_CONFIGS: Final[dict[str, Config]] = {
    config.name: config for config in sorted(_ALL, key=lambda config: config.name)
}
"""All of them by name."""

_CODECS: Final = {
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}


def codec_of(settings: TopicSettings) -> Codec:
    """How record batches of a topic are compressed for consumers."""
    value = _kept(settings, COMPRESSION)
    return Codec.NONE if value is None else _CODECS.get(value, Codec.NONE)


def batch_bytes_max(settings: TopicSettings, default: int) -> int:
    """How large a record batch for a topic may be.

    Args:
        settings: Of the topic.
        default: What the gateway allows.
    """
    value = _kept(settings, BATCH_BYTES)
    return default if value is None or not value.isdecimal() else int(value)


def _kept(settings: TopicSettings, name: str) -> str | None:
    return next((value for known, value in settings.kafka_configs if known == name), None)
