"""What producers were told and consumers saw: the operations that a history consists of.

A test writes them down as they happen, in memory or as lines of a file, and
:func:`~streamhouse.testing.checker.check_history` judges them.

Every value must be unique in the history, since values are what sends and reads are matched by. A
process that may be killed writes each send down twice: as ``"unknown"`` before it sends, then with
its outcome; the later entry counts.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

Value: TypeAlias = int | str
Outcome: TypeAlias = Literal["ok", "failed", "unknown"]


class Attempt(NamedTuple):
    """One record of a send; the offset is known once it was acknowledged."""

    topic: str
    partition: int
    value: Value
    offset: int | None = None


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """A producer sent records, in this order.

    Attributes:
        producer: Who; one name per producer, not per process.
        records: What; several for a batch.
        outcome: ``"ok"``: acknowledged, offsets are set. ``"failed"``: certainly not written.
            ``"unknown"``: not (yet) known.
        atomic: Whether it must be there as a whole or not at all: a batch, or a transaction.
    """

    producer: str
    records: tuple[Attempt, ...]
    outcome: Outcome
    atomic: bool = False


class Observed(NamedTuple):
    """One record as a consumer saw it."""

    topic: str
    partition: int
    offset: int
    value: Value


class Polled(msgspec.Struct, frozen=True, tag="polled"):
    """A consumer got records, in this order."""

    consumer: str
    records: tuple[Observed, ...]


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """A consumer was assigned partitions or told to seek: it goes on from elsewhere.

    Attributes:
        consumer: Who.
        positions: For each partition that moved, the offset at or after which the next record is
            expected, or ``None`` when any will do (``latest``, a point in time).
    """

    consumer: str
    positions: tuple[tuple[str, int, int | None], ...]


class Looked(msgspec.Struct, frozen=True, tag="looked"):
    """Somebody saw where partitions end, all of them at one commit.

    Attributes:
        observer: Who.
        ends: High watermarks: topic, partition, offset. A partition that is missing had no records.
    """

    observer: str
    ends: tuple[tuple[str, int, int], ...]


Operation: TypeAlias = Sent | Polled | Moved | Looked


_DECODER: Final = msgspec.json.Decoder(Operation)


def encode_operation(operation: msgspec.Struct) -> bytes:
    """One line of a history file."""
    return msgspec.json.encode(operation) + b"\n"


def decode_operations(data: bytes) -> list[Operation]:
    """The operations in a history file.

    A last line without its end is dropped: a killed process leaves one.
    """
    return [_DECODER.decode(line) for line in data.split(b"\n")[:-1]]
