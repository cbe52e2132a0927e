"""Compaction by key: of each key the latest record stays, and a tombstone until everybody could see it.

As in Kafka's log cleaner a partition has a clean part, in which each key occurs once, and behind it a dirty
one. A round notes the latest offset of each key in the dirty part, as much of it as fits in memory,
then goes over both parts and drops what a later record of its key makes obsolete. Records without a key stay.

A tombstone may go when it lay in the clean part ``delete_retention_ms`` ago: since then no older record of
its key was there to be read, so a reader that comes by now misses nothing if it sees neither. Blocks
in which nothing is obsolete are left alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import ge
from typing import Final, NamedTuple

from streamhouse import limits
from streamhouse.format.integers import unpack_bitmap
from streamhouse.format.lists import binary_list
from streamhouse.upkeep.kept import Kept
from streamhouse.upkeep.rewrite import Rewritten
from streamhouse.upkeep.sources import Source, offsets_of
from streamhouse.upkeep.survey import Survey

_KEYS_MAX: Final = 1_000_000  # noted at a time
_KEY_BYTES_MAX: Final = 64 * limits.MIB
_DIRTY_SHARE_MIN: Final = 0.5  # so that a byte is rewritten a constant number of times, as in Kafka


class Cleaning(NamedTuple):
    """What a round has to do.

    Attributes:
        stop: Index of the first block that stays as it is.
        dirty: Index of the first block of the dirty part.
        tombstones_before: Tombstones with lower offsets may go.
    """

    stop: int
    dirty: int
    tombstones_before: int


def plan_cleaning(seen: Survey, now_ms: int, *, thorough: bool = False) -> Cleaning | None:
    """What a round of compaction by key would do; ``None``: it is not worth it.

    Args:
        seen: The partition.
        now_ms: The time.
        thorough: Take any chance to remove something.
    """
    partition, settings = seen.partition, seen.settings
    if not settings.compacts:
        return None
    clean_before, cleaned_ms = partition.cleaned[-1] if partition.cleaned else (0, 0)
    dirty = bisect_left(partition.base_offsets, clean_before)
    stop = len(partition.timestamps)
    if settings.min_compaction_lag_ms:
        stop = bisect_right(partition.timestamps, now_ms - settings.min_compaction_lag_ms)
    delay = settings.delete_retention_ms
    ripe = _ripe(partition.cleaned, now_ms - delay)
    work = Cleaning(max(stop, dirty), dirty, ripe)
    if dirty < stop:
        waiting = sum(partition.lengths[dirty:stop])
        if thorough or waiting >= _DIRTY_SHARE_MIN * sum(partition.lengths):
            return work
    # Tombstones between the two have become ripe since the last round.
    return work if ripe > _ripe(partition.cleaned[:-1], cleaned_ms - delay) else None


def _ripe(cleaned: Iterable[tuple[int, int]], before_ms: int) -> int:
    """Below what offset each key occurred once at that time."""
    return max((offset for offset, time_ms in cleaned if time_ms <= before_ms), default=0)


class Cleaner:
    """One round over one partition.

    Args:
        tombstones_before: Tombstones with lower offsets may go.
        last_offset: The record there stays, whatever it is.
    """

    def __init__(self, tombstones_before: int, last_offset: int) -> None:
        self._tombstones_before = tombstones_before
        self._last_offset = last_offset
        self._latest: dict[bytes | None, int] = {}

    def learn(self, dirty: Iterable[Source]) -> int:
        """Note the latest offset of each key; how many blocks there was memory for."""
        latest = self._latest
        size = 0
        learnt = 0
        for ref, columns in dirty:
            size += len(columns.key.data)
            if learnt and (len(latest) + columns.count > _KEYS_MAX or size > _KEY_BYTES_MAX):
                break
            keys = binary_list(columns.key, 0, columns.count)
            latest.update(zip(keys, offsets_of(ref.base_offset, columns), strict=True))
            learnt += 1
        latest.pop(None, None)
        return learnt

    def stays(self, source: Source) -> Sequence[bool] | None:
        """Whether each record stays; ``None``: all do."""
        ref, columns = source
        keys = binary_list(columns.key, 0, columns.count)
        offsets = offsets_of(ref.base_offset, columns)
        # A key that was not noted has no later record.
        stays = list(map(ge, offsets, map(self._latest.get, keys, repeat(-1))))
        if columns.value.validity is not None and ref.base_offset < self._tombstones_before:
            values = unpack_bitmap(columns.value.validity, 0, columns.count)
            for index in compress(range(columns.count), values.translate(_INVERTED)):
                if keys[index] is not None and offsets[index] < self._tombstones_before:
                    stays[index] = False
        if offsets[-1] == self._last_offset:
            stays[-1] = True
        return stays if False in stays else None


class Change(NamedTuple):
    """Blocks of a partition and what comes in their place.

    Attributes:
        start: Index of the first.
        stop: Index after the last.
        blocks: The new ones.
        removed: Records that are not in them.
    """

    start: int
    stop: int
    blocks: list[Rewritten]
    removed: int


def changes(cleaner: Cleaner, sources: Iterable[Source], block_bytes: int) -> Iterator[Change]:
    """What a round changes, at most one segment at a time.

    Args:
        cleaner: What knows the keys.
        sources: The blocks from the first on.
        block_bytes: Raw size of the new ones, about.

    Raises:
        CorruptionError: What was made does not hold what it was made of.
    """
    kept = Kept(block_bytes)
    start = removed = stop = 0
    for index, source in enumerate(sources):
        stop = index + 1
        stays = cleaner.stays(source)
        large = source.columns.nbytes * 2 >= block_bytes
        if stays is None and (large or start == index):
            if start < index:
                yield Change(start, index, kept.finish(), removed)
            start, removed = stop, 0
            continue
        removed += source.columns.count - kept.add(source, stays)
        if kept.size >= limits.SEGMENT_BYTES_MIN:
            yield Change(start, stop, kept.finish(), removed)
            start, removed = stop, 0
    if start < stop:
        yield Change(start, stop, kept.finish(), removed)


_INVERTED: Final = bytes.maketrans(b"\0\1", b"\1\0")
