"""Committing how far a group has come, by hand and in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from streamhouse.catalog.catalog import Catalog
from streamhouse.catalog.offsets import check_end, check_metadata, checked_offset, checked_place
from streamhouse.commits.groups import OffsetState
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import (
    GroupError,
    GroupNotEmptyError,
    InvalidInputError,
    StaleMemberError,
)
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.groups.membership import go_on, wait_for
from streamhouse.read.cursor import Cursor
from streamhouse.records import OffsetAndMetadata, Record

Offset = int | tuple[int, str]
What = Record[Any, Any] | Mapping[tuple[str, int], Offset]
"""What can be committed: the place after a record, or next offsets wanted, perhaps with metadata."""

Who = Callable[[], tuple[str, int]]
"""Member and generation; the former is empty for somebody with a fixed assignment."""


class GroupOffsets:
    """Reads and writes the committed offsets of one group.

    Args:
        commits: The commit log.
        catalog: Where topics are looked up.
        group: Its name.
        who: In whose name.
        story: What happened to a member that is none any more.
    """

    def __init__(
        self,
        commits: CommitLog,
        catalog: Catalog,
        group: str,
        who: Who = lambda: ("", 0),
        story: Callable[[], str] = lambda: "it never joined",
    ) -> None:
        self.group = group
        self._commits = commits
        self._catalog = catalog
        self._who = who
        self._story = story

    # --- reading -----------------------------------------------------------------------------------

    def committed(self, topic_id: int, partition: int) -> OffsetAndMetadata | None:
        """What was committed for a partition, as far as the log was read."""
        with self._commits.lock:
            group = self._commits.state.groups.get(self.group)
            found = None if group is None else group.offsets.get((topic_id, partition))
        return None if found is None else as_offset(found)

    # --- writing -----------------------------------------------------------------------------------

    def of_cursors(self, offsets: Mapping[Cursor, int], metadata: str = "") -> CommitOffsets:
        """The operation that notes offsets of partitions that are read."""
        check_metadata(metadata)
        return self._operation(
            [OffsetEntry(c.topic.id, c.partition, offset, metadata) for c, offset in offsets.items()]
        )

    def of(self, what: What, metadata: str, cursors: Mapping[Any, Cursor]) -> CommitOffsets:
        """The operation that notes what somebody wants noted.

        Raises:
            InvalidInputError: It is neither a record nor a mapping of partitions to offsets.
            OffsetOutOfRangeError: There is no such offset yet.
            TopicNotFoundError: There is no such topic.
        """
        check_metadata(metadata)
        if isinstance(what, Record):
            what = {(what.topic, what.partition): what.offset + 1}
        if not isinstance(what, Mapping):
            raise InvalidInputError(
                "commit takes a record or a mapping of (topic, partition) to an offset or to a pair of"
                f" offset and metadata, not {what!r}"
            )
        entries = []
        for place, wanted in what.items():
            topic, partition = checked_place(place)
            offset, note = checked_offset(place, wanted, metadata)
            cursor = cursors.get((topic, partition))
            topic_id = self._catalog.topic(topic).id if cursor is None else cursor.topic.id
            check_end(self._catalog, topic, topic_id, partition, offset)
            entries.append(OffsetEntry(topic_id, partition, offset, note))
        return self._operation(entries)

    def changed(self, offsets: Mapping[Cursor, int]) -> dict[Cursor, int]:
        """Those of the offsets that are not what is committed already; without topics that are gone."""
        with self._commits.lock:
            state = self._commits.state
            group = state.groups.get(self.group)
            present = {} if group is None else group.offsets
            changed = {}
            for cursor, offset in offsets.items():
                found = present.get((cursor.topic.id, cursor.partition))
                if cursor.topic.id in state.topics and (found is None or found.offset != offset):
                    changed[cursor] = offset
            return changed

    def commit(self, operation: CommitOffsets, check: Callable[[], None] = go_on) -> None:
        """Note offsets, and wait until they are.

        Raises:
            StaleMemberError: Nothing was noted: the member is none any more, or not the owner.
            GroupNotEmptyError: Nothing was noted: the group has members, and this is none.
            StreamhouseError: The store fails.
        """
        self._commits.check_may_wait()
        future = self.submit(operation)
        self._commits.urge()
        wait_for(future, check)

    def submit(self, operation: CommitOffsets) -> Future[None]:
        """Note offsets, without waiting; the future raises what :meth:`commit` does."""
        outcome: Future[None] = Future()
        outcome.set_running_or_notify_cancel()  # once proposed, it cannot be taken back

        def answered(future: Future[Verdict]) -> None:
            error = future.exception()
            if error is None:
                error = self._refusal(future.result(), operation)
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)

        self._commits.submit(operation, (), answered)
        return outcome

    def urge(self) -> None:
        """Somebody waits for what was submitted.

        Raises:
            InvalidInputError: He does so on the thread that commits.
        """
        self._commits.urge()
        self._commits.check_may_wait()

    def _operation(self, entries: list[OffsetEntry]) -> CommitOffsets:
        member, generation = self._who()
        return CommitOffsets(self.group, member, generation, tuple(entries))

    def _refusal(self, verdict: Verdict, operation: CommitOffsets) -> GroupError | None:
        code = verdict.code
        if code is Code.ACCEPTED:
            return None
        if code is Code.GROUP_NOT_EMPTY:
            return GroupNotEmptyError(
                f"group {self.group!r} has members, and their offsets are theirs to commit; stop them"
                " first, or join with them (a consumer without partitions= and assign())"
            )
        if code is Code.UNKNOWN_MEMBER:
            return StaleMemberError(
                f"nothing was committed: this consumer is no member of group {self.group!r}:"
                f" {self._story()}. Polling joins anew; records after the last commit will come again,"
                " perhaps to another member"
            )
        if code is Code.NOT_OWNED:
            return StaleMemberError(
                f"nothing was committed: not all of {self._describe(operation)} belong to this member of"
                f" group {self.group!r} (any more); a rebalance gave them to others, or is about to. Poll,"
                " and go on with what is assigned then"
            )
        return GroupError(f"offsets of group {self.group!r} were refused ({code.name.lower()})")

    def _describe(self, operation: CommitOffsets) -> str:
        # On the commit thread: the state may be read without its lock.
        topics = self._commits.state.topics
        return ", ".join(
            f"{topics[entry.topic].name}-{entry.partition}"
            for entry in operation.offsets[:10]
            if entry.topic in topics
        )


def as_offset(found: OffsetState) -> OffsetAndMetadata:
    """A committed offset as users see it."""
    return OffsetAndMetadata(found.offset, found.metadata, found.time_ms)
