"""What the members of consumer groups saw, and what the log says of their groups.

Each member writes down what it took on, what it was delivered, what it committed by hand and what it gave
back, in the order in which that happened to it. Who owned a partition in truth, and which offsets counted,
stands in the log, in one order for all.
:func:`~streamhouse.testing.group_checker.check_groups` compares the two.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from streamhouse.testing.history import Observed, Operation, Outcome

# --- what a member saw --------------------------------------------------------------------------------


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """A member of a group took partitions on, as ``on_assign`` says.

    Attributes:
        consumer: Who; one name per consumer object.
        group: Of which group.
        member: What the group calls it: another name each time that it joins.
        instance: Name of a static member, else empty.
        generation: Of the group, as the member knows it.
        positions: Per partition, where it will begin.
        at: When, in seconds, by a clock that all processes share.
    """

    consumer: str
    group: str
    member: str
    instance: str
    generation: int
    positions: tuple[tuple[str, int, int], ...]
    at: float


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """A member was handed records, in this order, and has processed them.

    To be written down before it asks for more, or commits. Those that it did not process have to come again.

    Attributes:
        consumer: Who.
        group: Of which group.
        member: What the group calls it.
        generation: Of the group, as the member knows it.
        records: What.
        at: When it was handed them, as in :class:`Taken`.
    """

    consumer: str
    group: str
    member: str
    generation: int
    records: tuple[Observed, ...]
    at: float


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """A member committed offsets by hand.

    Attributes:
        consumer: Who.
        group: Of which group.
        offsets: Topic, partition, and the next offset wanted; at least one.
        note: The metadata; unique, for it is what this and :class:`Noted` are matched by.
        outcome: As for :class:`~streamhouse.testing.history.Sent`; ``"failed"`` means refused.
    """

    consumer: str
    group: str
    offsets: tuple[tuple[str, int, int], ...]
    note: str
    outcome: Outcome


class Given(msgspec.Struct, frozen=True, tag="given"):
    """A member stopped working on partitions.

    Attributes:
        consumer: Who.
        group: Of which group.
        member: What the group called it.
        partitions: Pairs of topic and number.
        how: ``"revoked"``: it was asked to, or closes; what it was delivered is processed, and it commits
            that. ``"unfinished"``: the same with records in hand, which have to come again, or after having
            been busy for so long that it may be out already. ``"lost"``: it was not asked.
        at: When, as in :class:`Taken`.
    """

    consumer: str
    group: str
    member: str
    partitions: tuple[tuple[str, int], ...]
    how: Literal["revoked", "unfinished", "lost"]
    at: float


# --- what the log says, in its order ------------------------------------------------------------------


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """A commit added the offsets from ``first`` up to ``stop`` to a partition.

    Attributes:
        topic: Where.
        partition: Where.
        first: The first offset.
        stop: The one after the last.
        at: Nobody can have seen it before; as in :class:`Taken`.
    """

    topic: str
    partition: int
    first: int
    stop: int
    at: float


class Owned(msgspec.Struct, frozen=True, tag="owned"):
    """A partition of a group got another owner, or none.

    Attributes:
        group: Of which group.
        topic: Where.
        partition: Where.
        member: The owner from here on; empty: nobody.
        since: The generation in which it was given the partition.
        how: It was ``"dealt"`` to a member, or went to a static member that ``"returned"`` under another
            name. Or the one before ``"released"`` it or ``"left"`` by itself, or was ``"expelled"`` by
            another process.
    """

    group: str
    topic: str
    partition: int
    member: str
    since: int
    how: Literal["dealt", "returned", "released", "left", "expelled"]


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """Offsets of a group were proposed, by hand or in the background.

    Attributes:
        group: Of which group.
        member: In whose name; empty for somebody who is no member.
        generation: In which generation that member believed to be.
        offsets: Topic, partition, and the next offset wanted.
        note: The metadata.
        accepted: Whether they count.
    """

    group: str
    member: str
    generation: int
    offsets: tuple[tuple[str, int, int], ...]
    note: str
    accepted: bool


GroupOperation: TypeAlias = Taken | Delivered | Committed | Given | Stored | Owned | Noted
Entry: TypeAlias = Operation | GroupOperation


_DECODER: Final = msgspec.json.Decoder(Entry)


def decode_entries(data: bytes) -> list[Entry]:
    """The operations in a history file, those of groups included.

    A last line without its end is dropped: a killed process leaves one.
    """
    return [_DECODER.decode(line) for line in data.split(b"\n")[:-1]]
