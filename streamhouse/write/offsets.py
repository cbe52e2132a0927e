"""The offsets of groups that a transaction takes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from streamhouse.catalog.catalog import Catalog
from streamhouse.catalog.offsets import check_end, check_group_name, checked_offset, checked_place
from streamhouse.errors import InvalidInputError
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.write.outbox import Outbox

Offsets: TypeAlias = Mapping[tuple[str, int], int | tuple[int, str]]
"""The next offset wanted, perhaps with a note, per topic and partition."""


class OffsetSource(Protocol):
    """A consumer, as far as transactions know it."""

    _catalog: Catalog

    def _offsets_for_transaction(self) -> CommitOffsets:
        """Group, membership and positions."""


class TransactionOffsets:
    """What was said last of each partition, by group and member.

    Args:
        outbox: Knows topics.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._noted: dict[tuple[str, str], tuple[int, dict[tuple[int, int], OffsetEntry]]] = {}

    def asked(
        self, consumer: OffsetSource | None, group: str | None, offsets: Offsets | None
    ) -> CommitOffsets:
        """What somebody wants noted; see :meth:`streamhouse.Transaction.commit_offsets`."""
        if (consumer is None) == (group is None) or (consumer is None and offsets is None):
            raise InvalidInputError(
                "pass a consumer, or the name of a group together with offsets: "
                'tx.commit_offsets(group="billing", offsets={("orders", 0): 42})'
            )
        if offsets is not None and not isinstance(offsets, Mapping):
            raise InvalidInputError(
                "offsets is a mapping of (topic, partition) to an offset or to a pair of offset and note,"
                f" not {offsets!r}"
            )
        given = None if offsets is None else tuple([self._entry(*item) for item in offsets.items()])
        if group is None:
            who = self._asked(consumer)
        else:
            check_group_name(group)
            who = CommitOffsets(group, "", 0, ())
        return who if given is None else msgspec.structs.replace(who, offsets=given)

    def note(self, wanted: CommitOffsets) -> None:
        """Note offsets; of each partition the last ones count."""
        who = wanted.group, wanted.member
        _, entries = self._noted.get(who, (0, {}))
        entries.update({(entry.topic, entry.partition): entry for entry in wanted.offsets})
        self._noted[who] = wanted.generation, entries

    def operations(self) -> tuple[CommitOffsets, ...]:
        """All of it, as part of a transaction."""
        return tuple(
            CommitOffsets(group, member, generation, tuple(entries.values()))
            for (group, member), (generation, entries) in self._noted.items()
        )

    def __bool__(self) -> bool:
        return bool(self._noted)

    def _entry(self, place: object, wanted: object) -> OffsetEntry:
        name, partition = checked_place(place)
        offset, note = checked_offset(place, wanted, "")
        destination = self._outbox.destination(name)
        destination.check_partition(partition)
        topic = destination.topic
        check_end(self._outbox.catalog, topic.name, topic.id, partition, offset)
        return OffsetEntry(topic.id, partition, offset, note)

    def _asked(self, consumer: Any) -> CommitOffsets:
        try:
            log_id, ask = consumer._catalog.log_id, consumer._offsets_for_transaction
        except AttributeError:
            raise InvalidInputError(f"a consumer of this log is needed, not {consumer!r}") from None
        if log_id != self._outbox.catalog.log_id:
            raise InvalidInputError(
                "the consumer is of another log than the producer; a transaction does not span two"
            )
        asked: CommitOffsets = ask()
        return asked
