"""The offsets of groups that a transaction takes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from streamhouse.errors import InvalidInputError
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.write.outbox import Outbox

Offsets: TypeAlias = Mapping[tuple[str, int], int | tuple[int, str]]
"""The next offset wanted, perhaps with a note, per topic and partition."""


class OffsetSource(Protocol):
    """A consumer, as far as transactions know it."""

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

    def note(self, consumer: OffsetSource | None, group: str | None, offsets: Offsets | None) -> None:
        """Note offsets; see :meth:`streamhouse.Transaction.commit_offsets`."""
        if (consumer is None) == (group is None) or (consumer is None and offsets is None):
            raise InvalidInputError(
                "pass a consumer, or the name of a group together with offsets: "
                'tx.commit_offsets(group="billing", offsets={("orders", 0): 42})'
            )
        given = None if offsets is None else [self._entry(*item) for item in offsets.items()]
        who = CommitOffsets(_checked_name(group), "", 0, ()) if consumer is None else _asked(consumer)
        _, entries = self._noted.get((who.group, who.member), (0, {}))
        for entry in who.offsets if given is None else given:
            entries[entry.topic, entry.partition] = entry
        self._noted[who.group, who.member] = who.generation, entries

    def operations(self) -> tuple[CommitOffsets, ...]:
        """All of it, as part of a transaction."""
        return tuple(
            CommitOffsets(group, member, generation, tuple(entries.values()))
            for (group, member), (generation, entries) in self._noted.items()
        )

    def __bool__(self) -> bool:
        return bool(self._noted)

    def _entry(self, place: tuple[str, int], wanted: Any) -> OffsetEntry:
        topic, partition = place
        destination = self._outbox.destination(topic)
        destination.check_partition(partition)
        offset, note = wanted if isinstance(wanted, tuple) else (wanted, "")
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise InvalidInputError(f"an offset is a whole number from 0 on, not {offset!r}")
        if not isinstance(note, str):
            raise InvalidInputError(f"the note beside an offset is text, not {note!r}")
        return OffsetEntry(destination.topic.id, partition, offset, note)


def _asked(consumer: Any) -> CommitOffsets:
    try:
        ask = consumer._offsets_for_transaction
    except AttributeError:
        raise InvalidInputError(f"a consumer of this log is needed, not {consumer!r}") from None
    asked: CommitOffsets = ask()
    return asked


def _checked_name(group: Any) -> str:
    if not isinstance(group, str) or not group:
        raise InvalidInputError(f"a group is named by text, not by {group!r}")
    return group
