"""Groups as an administrator sees them: who is in there, how far they are, and how to set them back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from streamhouse import markup
from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import (
    GroupNotEmptyError,
    GroupNotFoundError,
    InvalidInputError,
    InvalidPositionError,
    nearest,
)
from streamhouse.format.operations import (
    CommitOffsets,
    DeleteGroup,
    KeepClassicGroup,
    OffsetEntry,
)
from streamhouse.groups.description import GroupDescription, GroupMember, describe, find_group
from streamhouse.groups.offsets import GroupOffsets, Offset
from streamhouse.groups.rollcall import RollCall
from streamhouse.notebook import require_extra
from streamhouse.read.positions import checked_offset, resolve
from streamhouse.read.reader import BlockReader
from streamhouse.records import OffsetAndMetadata, Position, TopicPartition

if TYPE_CHECKING:
    from streamhouse.notebook.charts import Chart


_NO_COORDINATOR: Final = "nobody"


class Group:
    """One group. Its figures are read from the log when they are asked for.

    What changes it waits until it is sure when all members look dead, about a third of ``session_timeout``.

    Attributes:
        name: Its name.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders")
        ...     with log.producer() as producer:
        ...         stored = producer.send_many("orders", ["a", "b", "c"]).result()
        ...     with log.consumer("orders", group="billing") as consumer:
        ...         records = consumer.poll()
        ...     group = log.groups["billing"]
        ...     group.state, group.lag[("orders", 0)], group.reset("earliest")
        ('empty', 0, {TopicPartition(topic='orders', partition=0): 0})
    """

    def __init__(
        self, commits: CommitLog, catalog: Catalog, reader: BlockReader, roll_call: RollCall, name: str
    ) -> None:
        self.name = name
        self._commits = commits
        self._catalog = catalog
        self._reader = reader
        self._roll_call = roll_call

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def _repr_html_(self) -> str:
        found = self.describe()
        owners = {place: member for member in found.members for place in member.assignment}
        most = max(found.lag.values(), default=0)
        rows = (
            (
                place.topic,
                place.partition,
                None if place not in found.offsets else found.offsets[place].offset,
                markup.bar(lag, most),
                "" if place not in owners else owners[place].instance or owners[place].id,
            )
            for place, lag in found.lag.items()
        )
        head = markup.heading(
            "group",
            self.name,
            found.state,
            f"{len(found.members):,} members",
            f"generation {found.generation}",
        )
        columns = ("topic", "partition", "committed", "lag", "owner")
        return head + markup.table(columns, rows, count=len(found.lag))

    # --- looking -----------------------------------------------------------------------------------

    def describe(self) -> GroupDescription:
        """Everything about it, of one moment.

        Raises:
            GroupNotFoundError: It was deleted.
        """
        self._catalog.refresh()
        with self._commits.lock:
            return describe(self._commits.state, self.name)

    @property
    def state(self) -> str:
        """``"stable"``, ``"rebalancing"`` or ``"empty"``."""
        return self.describe().state

    @property
    def assignor(self) -> str:
        """How partitions are dealt out; empty when the group never had members."""
        return self.describe().assignor

    @property
    def generation(self) -> int:
        """Grows with every change of the assignment."""
        return self.describe().generation

    @property
    def members(self) -> tuple[GroupMember, ...]:
        """Its members, in the order in which they joined."""
        return self.describe().members

    @property
    def offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """How far it has come, by partition."""
        return self.describe().offsets

    @property
    def lag(self) -> dict[TopicPartition, int]:
        """How many offsets are left, by partition; see :class:`GroupDescription`."""
        return self.describe().lag

    def plot(self) -> Chart:
        """A picture of the lag: a bar for each partition.

        Returns:
            A figure of Matplotlib that shows itself in notebooks.

        Raises:
            MissingExtraError: The extra ``notebook`` is not installed.
            GroupNotFoundError: It was deleted.
        """
        require_extra("matplotlib")
        from streamhouse.notebook import charts

        return charts.lag(self.name, self.lag)

    # --- changing ----------------------------------------------------------------------------------

    def reset(
        self,
        to: Position | None = None,
        *,
        shift: int | None = None,
        topics: str | Sequence[str] | None = None,
        dry_run: bool = False,
    ) -> dict[TopicPartition, int]:
        """Set the committed offsets back or forward, while the group has no members.

        Args:
            to: ``"earliest"``, ``"latest"``, a datetime, or an offset for all partitions (what a
                partition does not have becomes the nearest that it has).
            shift: Instead of that, by how many offsets, backwards if negative; within what the
                partition has. Applies to partitions with a committed offset.
            topics: Only these, with all their partitions; by default the partitions that have a committed
                offset.
            dry_run: Only say what would be.

        Returns:
            The new offset of each partition.

        Raises:
            GroupNotEmptyError: It has members that are alive; stop them first.
            GroupNotFoundError: It was deleted.
            TopicNotFoundError: There is no such topic.
            InvalidInputError: Neither ``to`` nor ``shift`` was given, or both; or ``topics`` are no names.
            InvalidPositionError: ``to`` is no position.
        """
        if (to is None) == (shift is None):
            raise InvalidInputError("reset takes either a position or shift=, for example reset('earliest')")
        if shift is not None and (isinstance(shift, bool) or not isinstance(shift, int)):
            raise InvalidInputError(f"shift must be a whole number of offsets, not {shift!r}")
        if topics is not None and not isinstance(topics, Iterable):
            raise InvalidInputError(f"topics are names, not {topics!r}")
        described = self.describe()
        self._vacate(described, dry_run=dry_run)
        new: dict[tuple[TopicInfo, int], int] = {}
        for info, partition in self._places(described, topics):
            present = described.offsets.get(TopicPartition(info.name, partition))
            if shift is None:
                new[info, partition] = self._resolve(info, partition, to)
            elif present is not None:
                new[info, partition] = self._nearest(info, partition, present.offset + shift)
        if new and not dry_run:
            entries = [OffsetEntry(info.id, partition, at) for (info, partition), at in new.items()]
            self._offsets().commit(CommitOffsets(self.name, "", 0, tuple(entries)))
        return {TopicPartition(info.name, partition): at for (info, partition), at in new.items()}

    def commit(self, offsets: Mapping[tuple[str, int], Offset], *, metadata: str = "") -> None:
        """Note offsets for the group, while it has no members.

        Args:
            offsets: The next offset wanted by partition, or pairs of that and a text.
            metadata: Text to note with the others.

        Raises:
            GroupNotEmptyError: It has members that are alive; stop them first.
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: It has no such partition.
            OffsetOutOfRangeError: The partition ends before that offset.
            InvalidInputError: The offsets make no sense.
        """
        admin = self._offsets()
        self._catalog.refresh()
        operation = admin.of(offsets, metadata, {})
        with suppress(GroupNotFoundError):  # this makes it anew
            self._vacate(self.describe())
        admin.commit(operation)

    def delete(self) -> None:
        """Forget the group and its offsets, while it has no members.

        Raises:
            GroupNotEmptyError: It has members that are alive; stop them first.
            GroupNotFoundError: It is gone already.
        """
        self._vacate(self.describe())
        verdict = self._commits.propose(DeleteGroup(self.name))
        if verdict.code is Code.UNKNOWN_GROUP:
            raise GroupNotFoundError(f"no group {self.name!r}; it was deleted before")
        if verdict.code is Code.GROUP_NOT_EMPTY:
            raise self._not_empty(self.describe())

    # --- helpers -----------------------------------------------------------------------------------

    def _offsets(self) -> GroupOffsets:
        return GroupOffsets(self._commits, self._catalog, self.name)

    def _vacate(self, described: GroupDescription, *, dry_run: bool = False) -> None:
        """Refuse if a member is alive; end the memberships of the dead."""
        if not described.members:
            return
        if not any(member.process for member in described.members):
            self._vacate_classic(described, dry_run=dry_run)
            return
        sessions: dict[str, float] = {}
        for member in described.members:
            longest = max(sessions.get(member.process, 0.0), member.session_timeout)
            sessions[member.process] = longest
        if not self._roll_call.nobody_answers(sessions):
            raise self._not_empty(described)
        if not dry_run:
            self._roll_call.strike_off(self.name, [member.id for member in described.members])

    def _vacate_classic(self, described: GroupDescription, *, dry_run: bool) -> None:
        """Likewise for members who deal out among themselves: a gateway that lives speaks for them."""
        with self._commits.lock:
            group = find_group(self._commits.state, self.name)
            coordinator, content = group.coordinator, group.classic
        if content is None or not self._roll_call.no_gateway_answers():
            raise self._not_empty(described)
        if not dry_run:
            nobody = msgspec.structs.replace(content, leader="", members=())
            self._commits.propose(KeepClassicGroup(self.name, _NO_COORDINATOR, coordinator, nobody))

    def _not_empty(self, described: GroupDescription) -> GroupNotEmptyError:
        session = max((member.session_timeout for member in described.members), default=0.0)
        return GroupNotEmptyError(
            f"group {self.name!r} has {len(described.members)} member(s), and its offsets are theirs; stop"
            f" them first (one that was killed counts for {session:g} s more, its session_timeout)"
        )

    def _places(
        self, described: GroupDescription, topics: str | Sequence[str] | None
    ) -> Iterator[tuple[TopicInfo, int]]:
        if topics is None:
            for place in described.offsets:
                yield self._catalog.topic(place.topic), place.partition
            return
        for name in dict.fromkeys([topics] if isinstance(topics, str) else topics):
            info = self._catalog.topic(name)
            for partition in range(info.partitions):
                yield info, partition

    def _resolve(self, info: TopicInfo, partition: int, to: Position | None) -> int:
        if isinstance(to, str | dt.datetime):
            if isinstance(to, str) and to not in {"earliest", "latest"}:
                hint = nearest(to, ["earliest", "latest"])
                raise InvalidPositionError(f"groups are reset to 'earliest' or 'latest', not to {to!r}{hint}")
            return resolve(self._catalog, self._reader, info, partition, to)
        return self._nearest(info, partition, checked_offset(to))

    def _nearest(self, info: TopicInfo, partition: int, offset: int) -> int:
        present = self._catalog.partition(info.id, partition)
        return min(max(offset, present.log_start), present.high_watermark)


class Groups(Mapping[str, Group]):
    """The groups of a log by name, as they are at the moment of asking."""

    def __init__(
        self, commits: CommitLog, catalog: Catalog, reader: BlockReader, roll_call: RollCall
    ) -> None:
        self._commits = commits
        self._catalog = catalog
        self._reader = reader
        self._roll_call = roll_call

    def __getitem__(self, name: str) -> Group:
        self._catalog.refresh()
        with self._commits.lock:
            find_group(self._commits.state, name)
        return self._group(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"<groups {', '.join(map(repr, self)) or '(none)'}>"

    def _repr_html_(self) -> str:
        names = self._names()
        found = []
        for name in names[: markup.ROWS_MAX]:
            with suppress(GroupNotFoundError):  # deleted since
                found.append(self._group(name).describe())
        most = max((sum(group.lag.values()) for group in found), default=0)
        rows = [
            (
                group.name,
                group.state,
                len(group.members),
                group.generation,
                markup.bar(sum(group.lag.values()), most),
            )
            for group in found
        ]
        columns = ("group", "state", "members", "generation", "lag")
        return markup.table(columns, rows, left=2, count=len(names))

    def _group(self, name: str) -> Group:
        return Group(self._commits, self._catalog, self._reader, self._roll_call, name)

    def _names(self) -> list[str]:
        self._catalog.refresh()
        with self._commits.lock:
            return sorted(self._commits.state.groups)
