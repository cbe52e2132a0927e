"""Who may commit offsets for a group: members of either protocol, and those who belong to no group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.verdicts import Code
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.groups.classic import subscribed_topics
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.consumer import ConsumerGroups
from streamhouse.kafka.groups.coordinator import ClassicGroups
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode

_NO_MEMBER: Final = ""
_NO_GENERATION: Final = -1


class Committers:
    """Of the groups that this gateway coordinates.

    Args:
        parts: The gateway's.
        brokers: What this gateway is.
        consumers: Members of the newer protocol.
        classic: Groups of the older one.
    """

    def __init__(
        self, parts: Parts, brokers: Brokers, consumers: ConsumerGroups, classic: ClassicGroups
    ) -> None:
        self._parts = parts
        self._brokers = brokers
        self._consumers = consumers
        self._classic = classic

    async def operation(
        self,
        group: str,
        member: str,
        instance: str,
        generation: int,
        entries: tuple[OffsetEntry, ...],
        *,
        transactional: bool = False,
    ) -> CommitOffsets | ErrorCode:
        """What notes offsets in the log, on behalf of a member; or why it may not.

        Args:
            group: The group.
            member: Id of the member; empty for who is none.
            instance: Name of a static member, or empty.
            generation: The generation, or epoch, that it knows; -1 for who is no member.
            entries: The offsets.
            transactional: Whether they move with a transaction.
        """
        standing = self._brokers.standing
        nobody = member == _NO_MEMBER and generation == _NO_GENERATION
        if nobody and not (transactional and self._is_classic(group)):
            # That there are no members whose offsets these are is for the log to see.
            return CommitOffsets(group, _NO_MEMBER, 0, entries, standing=standing)
        client = self._consumers.spoken_for(group, member)
        if client is not None:
            if generation == client.epoch or (transactional and generation == _NO_GENERATION):
                epoch = max(generation, client.epoch)
                return CommitOffsets(group, member, epoch, entries, standing=standing)
            return ErrorCode.stale_member_epoch
        if self._deals_out(group):
            newest = await self._consumers.generation_of(group, member)
            if newest is None:
                return ErrorCode.unknown_member_id
            if not 0 <= generation <= newest:
                return ErrorCode.stale_member_epoch
            # It was with another gateway and has not said a word here yet; the log knows what it owns.
            return CommitOffsets(group, member, generation, entries, standing=standing)
        coordinator = await self._classic.committer(
            group, member, instance, generation, transactional=transactional
        )
        if isinstance(coordinator, ErrorCode):
            return coordinator
        return CommitOffsets(group, member, max(0, generation), entries, coordinator, standing)

    def said(self, code: Code) -> ErrorCode:
        """What a client is told about the verdict."""
        return _SAID.get(code, ErrorCode.unknown_server_error)

    async def administration(self, group: str, entries: Sequence[OffsetEntry]) -> CommitOffsets | ErrorCode:
        """What changes the offsets of a group on behalf of an administrator."""
        standing = self._brokers.standing
        coordinator = await self._classic.take(group) if self._is_classic(group) else ""
        if isinstance(coordinator, ErrorCode):
            return coordinator
        return CommitOffsets(group, _NO_MEMBER, 0, tuple(entries), coordinator, standing)

    def subscribes(self, group: str, topic: TopicInfo) -> bool:
        """Whether a member of a group subscribes to a topic, so that its offsets are in use."""
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(group)
            if found is None:
                return False
            if any(topic.id in member.topics for member in found.members.values()):
                return True
            return found.classic is not None and any(
                topic.name in subscribed_topics(metadata)
                for member in found.classic.members
                for protocol, metadata in member.protocols
                if protocol == found.classic.protocol
            )

    def _is_classic(self, group: str) -> bool:
        """Whether it is a group of the older protocol now."""
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(group)
            return found is not None and found.has_classic_members

    def _deals_out(self, group: str) -> bool:
        """Whether it is a group of the newer protocol now."""
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(group)
            return found is not None and bool(found.members)


_SAID: Final = {
    Code.ACCEPTED: ErrorCode.none,
    Code.STALE: ErrorCode.not_coordinator,
    Code.UNKNOWN_MEMBER: ErrorCode.unknown_member_id,
    Code.GROUP_NOT_EMPTY: ErrorCode.unknown_member_id,
    Code.NOT_OWNED: ErrorCode.stale_member_epoch,  # given to somebody else meanwhile
    Code.UNKNOWN_TOPIC: ErrorCode.unknown_topic_or_partition,
    Code.UNKNOWN_PARTITION: ErrorCode.unknown_topic_or_partition,
    Code.FULL: ErrorCode.message_too_large,
}
