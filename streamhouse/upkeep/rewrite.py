"""Replacing blocks by others: upload, propose, and clear up after a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import StoredBlock
from streamhouse.commits.segments import Uploader
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import PartitionNotFoundError, TopicNotFoundError
from streamhouse.format.block import EncodedBlock
from streamhouse.format.columns import Columns, null_column
from streamhouse.format.operations import Replace
from streamhouse.upkeep.survey import Survey

_NOTHING: Final = Columns(0, b"", 0, 0, null_column(0), null_column(0))


class Rewritten(NamedTuple):
    """A new block."""

    base_offset: int
    block: EncodedBlock


def bare(block: EncodedBlock) -> EncodedBlock:
    """The block without what it was encoded from, which may be several times as large."""
    return msgspec.structs.replace(block, columns=_NOTHING)


def replace(
    commits: CommitLog, seen: Survey, indices: range, rewritten: Iterable[Rewritten]
) -> list[Rewritten] | None:
    """Put new blocks in the place of those with these indices.

    Args:
        commits: The log.
        seen: The partition when the work was planned.
        indices: What goes.
        rewritten: What comes; made while they are asked for.

    Returns:
        The new blocks, or ``None`` when the partition is another by now: plan anew.

    Raises:
        TopicNotFoundError: The topic was deleted.
        DeliveryTimeoutError: Nobody knows whether it happened; either way nothing is lost.
    """
    blocks = list(rewritten)
    partition = seen.partition
    after = indices.stop
    bases = partition.base_offsets
    with commits.uploaders.borrow() as uploader:
        stored = uploader.put([each.block for each in blocks]) if blocks else []
        operation = Replace(
            topic=seen.topic,
            partition=seen.number,
            first=bases[indices.start],
            stop=bases[after] if after < len(bases) else partition.high_watermark,
            sources=partition.fingerprint(indices),
            bases=tuple(each.base_offset for each in blocks),
            first_block=0,
        )
        verdict = _proposed(commits, uploader, operation, stored)
        if verdict.code is not Code.ACCEPTED:
            return None
        uploader.used()
    return blocks


def _proposed(
    commits: CommitLog, uploader: Uploader, operation: Replace, stored: Sequence[StoredBlock]
) -> Verdict:
    try:
        return commits.propose(operation, stored)
    except (TopicNotFoundError, PartitionNotFoundError):
        raise  # refused: what was uploaded can go
    except BaseException:
        uploader.taint()  # it may still take effect
        raise
