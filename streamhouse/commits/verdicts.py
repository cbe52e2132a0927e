"""What the fold answers."""

from __future__ import annotations

import enum

import msgspec


class Code(enum.IntEnum):
    """What the fold says to an operation."""

    ACCEPTED = 0
    DUPLICATE = 1
    UNKNOWN_TOPIC = 2
    UNKNOWN_PARTITION = 3
    TOPIC_EXISTS = 4
    OUT_OF_SEQUENCE = 5
    FENCED = 6
    WRONG_STATE = 7
    FEWER_PARTITIONS = 8
    STALE = 9  # what was to be replaced is not there any more
    EXPIRED = 10  # a segment that the operation refers to may be gone
    CLAIMED = 11  # somebody else is at it
    UNKNOWN_GROUP = 12
    UNKNOWN_MEMBER = 13
    NOT_OWNED = 14  # the member does not have the partition, or not any more
    GROUP_NOT_EMPTY = 15
    OTHER_ASSIGNOR = 16
    INVALID = 17  # nonsense in any state
    OTHER_PROTOCOL = 18  # the group is a classic one, or is not
    FULL = 19  # a limit is reached


class Verdict(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The answer to one operation.

    ``values`` are the base offsets of an append's parts (-1 where a duplicate's is forgotten), those of all
    appends of a transaction in a row, the id of a topic that was made or already there, identity and epoch of
    a named producer, generation and fingerprint of a group's assignment, or the commit that set an entry.
    """

    code: Code
    values: tuple[int, ...] = ()


ACCEPTED = Verdict(Code.ACCEPTED)


class Applied(msgspec.Struct, frozen=True):
    """What a commit did.

    Attributes:
        seq: Its slot.
        verdicts: Per flush that counted: agent, number and one verdict per operation.
        diverged: Its author had computed another state than we.
    """

    seq: int
    verdicts: tuple[tuple[str, int, tuple[Verdict, ...]], ...]
    diverged: bool = False
