"""Which partition a record goes to, decided for a whole batch at once.

A key is hashed as Kafka hashes it (``murmur2``), an empty key too, so that every producer of every
language puts it into the same partition. Records without a key all go to one partition per batch,
another one for each batch (KIP-480, sticky): spread out record by record they would make many small
blocks. Keys come back again and again, so their partitions are remembered, up to a bound.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

from streamhouse.write.murmur2 import LANE_BITS, LANE_BYTES, LANES_MAX, lanes, murmur2, murmur2_lanes

_KNOWN_KEYS_MAX: Final = 1 << 16
_SAMPLE_KEYS: Final = 512
_LEARNT_KEYS: Final = 1024
_BYTE_VALUES: Final = 1 << 8
_HASH_BITS: Final = 31  # Kafka drops the sign


def partition_for_key(key: bytes, partitions: int) -> int:
    """The partition of one key, as Kafka's default partitioner has it.

    Example:
        >>> partition_for_key(b"user-1", 3)
        2
    """
    return (murmur2(key) & (1 << _HASH_BITS) - 1) % partitions


class Partitioner:
    """The partitions of the keys of one topic. Any thread may use it.

    Args:
        partitions: How many the topic has.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._known: dict[bytes, int] = {}

    def assign(self, keys: Sequence[bytes | None], sticky: int) -> Sequence[int]:
        """The partition of each key.

        Args:
            keys: One per record; ``None`` where there is no key.
            sticky: The partition for records without a key.
        """
        if self.partitions == 1:
            return bytes(len(keys))
        if self._mostly_new(keys):
            try:
                return self._of_new(keys)  # type: ignore[arg-type]
            except _UnevenError:
                pass
        known = self._known
        try:
            return self._pack(map(known.__getitem__, keys))  # type: ignore[arg-type]
        except KeyError:
            known = self._learn(keys)
        return self._pack(map(known.get, keys, repeat(sticky)))  # type: ignore[arg-type]

    def _mostly_new(self, keys: Sequence[bytes | None]) -> bool:
        """Whether looking keys up would cost more than hashing all of them, going by a sample.

        How many different keys there are shows in how many of a sample are alike, as with birthdays.
        """
        if len(keys) < _SAMPLE_KEYS:
            return False
        sample = keys[:: len(keys) // _SAMPLE_KEYS]
        if 2 * sum(map(self._known.__contains__, sample)) >= len(sample):
            return False
        alike = len(sample) - len(set(sample))
        distinct = len(sample) ** 2 // (2 * alike) if alike else len(keys)
        return distinct > min(len(keys) // 2, _KNOWN_KEYS_MAX)

    def _of_new(self, keys: Sequence[bytes]) -> Sequence[int]:
        try:
            if len(set(map(len, keys))) > 1:
                raise _UnevenError
        except TypeError:  # there are some without a key
            raise _UnevenError from None
        found = hash_partitions(keys, self.partitions)
        # If the keys were only not met before, a few remembered ones show it in the next sample.
        some = slice(0, _LEARNT_KEYS)
        self._remember(keys[some], found[some])
        return found

    def _learn(self, keys: Sequence[bytes | None]) -> dict[bytes, int]:
        """Hash the keys that are not known; a table that has all keys of the batch."""
        known = self._known
        distinct = set(keys)
        distinct.discard(None)
        new = distinct.difference(known)
        if len(known) + len(new) > _KNOWN_KEYS_MAX:
            known = {}
            new = distinct
            if len(new) <= _KNOWN_KEYS_MAX:
                self._known = known
        by_length: dict[int, list[bytes]] = {length: [] for length in set(map(len, new))}  # type: ignore[arg-type]
        lengths = map(len, new)  # type: ignore[arg-type]
        _exhaust(map(list.append, map(by_length.__getitem__, lengths), new))  # type: ignore[arg-type]
        for group in by_length.values():
            known.update(zip(group, hash_partitions(group, self.partitions), strict=True))
        return known

    def _remember(self, keys: Sequence[bytes], partitions: Sequence[int]) -> None:
        if len(self._known) + len(keys) > _KNOWN_KEYS_MAX:
            self._known = {}
        self._known.update(zip(keys, partitions, strict=True))

    def _pack(self, numbers: Iterable[int]) -> Sequence[int]:
        return bytes(numbers) if self.partitions <= _BYTE_VALUES else list(numbers)


def hash_partitions(keys: Sequence[bytes], partitions: int) -> Sequence[int]:
    """The partitions of keys that are all equally long; ``bytes`` when they fit.

    Args:
        keys: At least one.
        partitions: 1 to 100,000.
    """
    chunks = [keys[i : i + LANES_MAX] for i in range(0, len(keys), LANES_MAX)]
    raw = b"".join(
        [
            _remainders(murmur2_lanes(chunk), len(chunk), partitions).to_bytes(
                LANE_BYTES * len(chunk), "little"
            )
            for chunk in chunks
        ]
    )
    if partitions <= _BYTE_VALUES:
        return raw[::LANE_BYTES]
    return memoryview(raw).cast("Q").tolist()


def split(parts: Sequence[int], *columns: Sequence[Any]) -> dict[int, list[list[Any]]]:
    """Split parallel columns by partition, keeping the order within each.

    Args:
        parts: The partition of each record.
        *columns: Lists as long as that.

    Returns:
        Per partition, in order of number, its part of each column.
    """
    # One list per partition takes the entries of a record side by side: a tuple that zip uses again
    # for the next record costs less than a pass per column.
    woven: defaultdict[int, list[Any]] = defaultdict(list)
    rows = zip(*columns, strict=True)
    _exhaust(map(list.extend, map(woven.__getitem__, parts), rows))
    width = len(columns)
    return {part: [mixed[i::width] for i in range(width)] for part, mixed in sorted(woven.items())}


def _remainders(hashes: int, count: int, divisor: int) -> int:
    """Every lane without its sign bit, modulo the divisor.

    Division by a constant as multiplication: Granlund and Montgomery, "Division by invariant integers
    using multiplication", theorem 4.2. For 31 bits the product fits a lane.
    """
    hashes &= lanes((1 << _HASH_BITS) - 1, count)
    if divisor & divisor - 1 == 0:
        return hashes & lanes(divisor - 1, count)
    shift = _HASH_BITS + (divisor - 1).bit_length()
    reciprocal = -(-(1 << shift) // divisor)
    quotients = hashes * reciprocal >> shift & lanes((1 << LANE_BITS - shift) - 1, count)
    return hashes - quotients * divisor


class _UnevenError(Exception):
    """Keys of different lengths."""


_exhaust: Final = deque[None](maxlen=0).extend
