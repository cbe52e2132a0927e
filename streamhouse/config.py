"""Settings of a log: one frozen struct, units in the names, every value checked."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from streamhouse import limits
from streamhouse.errors import InvalidSettingError, nearest

Durability = Literal["fsync", "os"]
TimestampType = Literal["create", "append"]
CleanupPolicy = Literal["delete", "compact", "compact,delete"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a :class:`~streamhouse.Log` behaves in this process.

    ``None`` means: chosen by the kind of store. Nothing here changes what is stored, so processes with
    different settings share a log safely.

    Attributes:
        durability: ``"fsync"``: an acknowledged record survives loss of power. ``"os"``: it survives
            the death of the process, not of the machine (local directories only).
        linger_seconds: How long records wait for company before they are committed. Somebody who
            waits for a delivery on a local log ends the wait at once. Default: 5 ms locally, 250 ms
            to 1 s on remote stores, where requests are the bill.
        buffer_bytes_max: Memory for records not yet committed; ``send`` blocks when it is full.
        record_bytes_max: Largest record (key, value and headers together).
        block_bytes_target: Raw bytes in one block, the unit of compression and of reading.
        inline_bytes_max: Blocks up to this total travel inside the commit; larger ones go ahead of it.
        pipeline_depth: Commits or uploads under way at once on a remote store; by default 4. On a local one
            they take turns: a second would only wait for the first.
        delivery_timeout_seconds: After this long without an answer from the store, deliveries raise
            :class:`~streamhouse.errors.DeliveryTimeoutError`.
        cache_bytes_max: Memory for decoded blocks.
        prefetch_blocks: Blocks that a sequential reader fetches ahead.
        poll_seconds_min: Shortest pause between looks for commits of other processes.
        poll_seconds_max: Longest such pause. Defaults: 2 to 50 ms locally, 50 ms to 1 s remote.
        snapshot_commits: Commits after which the state is saved, so that opening stays fast.
        request_concurrency: Requests to a remote store under way at once.
        single_writer: Accept a store without create-if-absent; only one process may then write.
        upkeep: Take part in retention and compaction, in the background.
        upkeep_seconds: How often to look whether there is something to do. A look costs no request,
            or one while another process is at work.
    """

    durability: Durability = "fsync"
    linger_seconds: float | None = None
    buffer_bytes_max: int = 64 * limits.MIB
    record_bytes_max: int = limits.RECORD_BYTES_DEFAULT
    block_bytes_target: int = limits.BLOCK_BYTES_TARGET
    inline_bytes_max: int = limits.INLINE_BYTES_MAX
    pipeline_depth: int | None = None
    delivery_timeout_seconds: float = 120.0
    cache_bytes_max: int = 128 * limits.MIB
    prefetch_blocks: int = 4
    poll_seconds_min: float | None = None
    poll_seconds_max: float | None = None
    snapshot_commits: int = limits.SNAPSHOT_COMMITS
    request_concurrency: int = 16
    single_writer: bool = False
    upkeep: bool = True
    upkeep_seconds: float = 30.0


class TopicSettings(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a topic keeps. Part of the log: the same for everybody who opens it.

    Attributes:
        cleanup_policy: ``"delete"``: records go when they are too old or too many. ``"compact"``: of each
            key the latest record stays. ``"compact,delete"``: both.
        retention_ms: Records older than this may go, milliseconds; ``None``: never.
        retention_bytes: Stored bytes to keep in each partition; the oldest go first. ``None``: all.
        delete_retention_ms: How long a compacted topic still shows that a key was deleted (a null value).
        min_compaction_lag_ms: Records younger than this are not compacted away.
        schemas: Versions of the schema of a typed topic, the present one last; see ``schema=`` of
            :meth:`~streamhouse.Log.create_topic`. Each is a text that ``streamhouse.schema`` understands.
        dead_letter: Topic where records of native producers go that do not fit the schema; ``None``: they are
            refused.
        timestamp_type: ``"create"``: records have the time that their sender gave them. ``"append"``: that at
            which they were stored, by the clock of the process that stores them.
        kafka_configs: What Kafka's clients have set that is no other setting of these, by name: see
            ``streamhouse.kafka``. They alone change it.
    """

    cleanup_policy: CleanupPolicy = "delete"
    retention_ms: int | None = None
    retention_bytes: int | None = None
    delete_retention_ms: int = 86_400_000
    min_compaction_lag_ms: int = 0
    schemas: tuple[str, ...] = ()
    dead_letter: str | None = None
    timestamp_type: TimestampType = "create"
    kafka_configs: tuple[tuple[str, str], ...] = ()

    @property
    def compacts(self) -> bool:
        """Whether only the latest record of each key is kept."""
        return self.cleanup_policy != "delete"

    @property
    def deletes(self) -> bool:
        """Whether retention applies."""
        return self.cleanup_policy != "compact"


_SET_ELSEWHERE = frozenset(("schemas", "kafka_configs"))

_TOPIC_NUMBER_MAX: Final = (1 << 62) - 1

_BOUNDS: dict[str, tuple[float, float]] = {
    "linger_seconds": (0.0, 60.0),
    "buffer_bytes_max": (64 * limits.KIB, 64 * limits.GIB),
    "record_bytes_max": (1, limits.RECORD_BYTES_MAX),
    "block_bytes_target": (limits.KIB, 64 * limits.MIB),
    "inline_bytes_max": (0, limits.COMMIT_BYTES_MAX // 2),
    "pipeline_depth": (1, 64),
    "delivery_timeout_seconds": (0.001, 86_400.0),
    "cache_bytes_max": (0, 1024 * limits.GIB),
    "prefetch_blocks": (0, 256),
    "poll_seconds_min": (0.0001, 3_600.0),
    "poll_seconds_max": (0.0001, 3_600.0),
    "snapshot_commits": (10, 1_000_000),
    "request_concurrency": (1, 256),
    "upkeep_seconds": (0.01, 86_400.0),
}


def make_settings(values: dict[str, Any]) -> Settings:
    """Check keyword settings and freeze them.

    Raises:
        InvalidSettingError: For an unknown name (with the nearest known one), a value of a wrong
            type or one outside its bounds.
    """
    known = Settings.__struct_fields__
    for name in values:
        if name not in known:
            raise InvalidSettingError(
                f"unknown setting {name!r}{nearest(name, known)}; known are {', '.join(known)}"
            )
    try:
        settings = msgspec.convert(values, Settings)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise InvalidSettingError(f"invalid setting: {error}") from None
    for name, (low, high) in _BOUNDS.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise InvalidSettingError(f"setting {name}={value!r} is outside {low:g} to {high:g}")
    low_poll, high_poll = settings.poll_seconds_min, settings.poll_seconds_max
    if low_poll is not None and high_poll is not None and low_poll > high_poll:
        raise InvalidSettingError(f"poll_seconds_min={low_poll:g} is above poll_seconds_max={high_poll:g}")
    return settings


def make_topic_settings(values: dict[str, Any], base: TopicSettings | None = None) -> TopicSettings:
    """Check settings of a topic and freeze them.

    Args:
        values: What is to be other than in ``base``.
        base: The settings to start from; by default those of a new topic.

    Raises:
        InvalidSettingError: For an unknown name (with the nearest known one), a value of a wrong
            type or one that is negative or too large.
    """
    known = tuple(name for name in TopicSettings.__struct_fields__ if name not in _SET_ELSEWHERE)
    for name, value in values.items():
        if name not in known:
            raise InvalidSettingError(
                f"unknown topic setting {name!r}{nearest(name, known)}; known are {', '.join(known)}"
            )
        if isinstance(value, bool) or (isinstance(value, int) and not 0 <= value <= _TOPIC_NUMBER_MAX):
            raise InvalidSettingError(
                f"topic setting {name} must be a whole number from 0 to {_TOPIC_NUMBER_MAX:,}, not {value!r}"
            )
    fields = msgspec.structs.asdict(base or TopicSettings()) | values
    try:
        return msgspec.convert(tuple(fields[name] for name in TopicSettings.__struct_fields__), TopicSettings)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise InvalidSettingError(f"invalid topic setting: {error}") from None
