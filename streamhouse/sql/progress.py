"""How far an export has come, as the log remembers it: what is noted, and what comes next. Pure.

An export is a consumer group without members: per partition its committed offset is the next one to be
exported, and beside it stands a note. Files are made in *runs* with rising numbers, which are in their names.

A run takes two commits. Its files are made here first, so that a query that fails is never begun. The first
commit says what the run is about to do: the offsets stay, and the note has the number of the run and the
offset that it will end before. Then the files are uploaded. The second commit moves the offsets.

Who finds the first without the second ends the run. If it has one file and that is there, it is there as a
whole, and only the second commit is left to do. Otherwise the run is done again, with the same offsets and
the same names of files, which replace what may be there already. That is why a crash at any moment neither
loses nor doubles anything. Nothing is taken back when an upload fails: somebody else may have done the run
meanwhile, in files of the same names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streamhouse.errors import InvalidInputError
from streamhouse.sql.snapshot import PartitionView

Ranges = Mapping[int, range]
"""Offsets per partition."""

_DIGITS: Final = 8
_BASE_CHARS_MAX: Final = 200  # the whole name has to fit into the 255 bytes of most filesystems


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands beside an offset.

    Attributes:
        run: Number of the last run that had to do with the partition.
        how: A digest of what is exported in which way.
        until: Where that run ends, while it is not known to have ended.
        records: How many that run has, of all partitions, likewise; 0 in the notes of earlier versions.
    """

    run: int
    how: str
    until: int | None = None
    records: int = 0

    @property
    def text(self) -> str:
        """As it is noted."""
        return msgspec.json.encode(self).decode()


class Progress(msgspec.Struct, frozen=True):
    """What was noted.

    Attributes:
        offsets: The next offset of each partition that was ever exported.
        notes: What stands beside them; nothing where somebody has set an offset by hand.
    """

    offsets: Mapping[int, int]
    notes: Mapping[int, Note]

    @property
    def last_run(self) -> int:
        """The number of the last run; 0: there was none."""
        return max((note.run for note in self.notes.values()), default=0)

    @property
    def pending(self) -> Ranges:
        """What a run that was begun and not ended has to do."""
        return {
            number: range(self.offsets[number], note.until)
            for number, note in self.notes.items()
            if note.until is not None
        }

    @property
    def pending_records(self) -> int:
        """How many records a run that was begun and not ended has."""
        return max((note.records for note in self.notes.values() if note.until is not None), default=0)

    def check(self, how: str, where: str) -> None:
        """Refuse to go on in another way than before.

        Raises:
            InvalidInputError: The files would not fit together.
        """
        if any(note.how != how for note in self.notes.values()):
            raise InvalidInputError(
                f"{where} was begun with another select, partition_by or raw; go on with the same, or begin"
                " another export in another folder under another name"
            )


def progress_of(committed: Mapping[int, tuple[int, str]]) -> Progress:
    """What offsets and the texts beside them say."""
    notes = {}
    for number, (_, text) in committed.items():
        try:
            notes[number] = msgspec.json.decode(text, type=Note)
        except msgspec.DecodeError:
            continue
    return Progress({number: offset for number, (offset, _) in committed.items()}, notes)


def next_ranges(partitions: Iterable[PartitionView], progress: Progress, bytes_max: int) -> Ranges:
    """What the next run shall do: about so many stored bytes, but at least one block if there is any.

    Args:
        partitions: As they are now.
        progress: How far it has come.
        bytes_max: Stored bytes of a run.
    """
    ranges: dict[int, range] = {}
    left = bytes_max
    for partition in partitions:
        start = max(progress.offsets.get(partition.number, 0), partition.log_start)
        stop = start
        for index in range(partition.index_of(start), partition.block_count):
            ref = partition.block(index)
            enough = left < ref.length and (ranges or stop > start)
            if enough or ref.base_offset >= partition.high_watermark:
                break
            left -= ref.length
            stop = min(ref.next_offset, partition.high_watermark)
        if stop > start:
            ranges[partition.number] = range(start, stop)
        if left <= 0:
            break
    return ranges


def file_name(topic: str, run: int, number: int = 0) -> str:
    """The name of a file of a run.

    Args:
        topic: Name of the topic.
        run: Number of the run.
        number: Of the file among several in one folder.
    """
    return f"{_base(topic)}-{run:0{_DIGITS}}{f'-{number}' if number else ''}.parquet"


def run_of(topic: str, name: str) -> int | None:
    """The run that a file belongs to; ``None``: it is none of the topic's.

    A run has at least eight digits, and the number behind it at most seven and no leading zero. So a file of
    ``orders`` is never taken for one of ``orders-20240102``, or the other way round.
    """
    found = re.fullmatch(
        rf"{re.escape(_base(topic))}-(\d{{{_DIGITS},}})(-[1-9]\d{{0,{_DIGITS - 2}}})?\.parquet",
        name.rpartition("/")[2],
    )
    return None if found is None else int(found[1])


def _base(topic: str) -> str:
    """How names of files begin; with a ``~``, which no topic has in its name, where that is not the topic's.

    Files whose names begin with a dot or an underscore are hidden from many readers.
    """
    if len(topic) > _BASE_CHARS_MAX:
        digest = hashlib.sha256(topic.encode()).hexdigest()[:16]
        topic = f"{topic[: _BASE_CHARS_MAX - len(digest) - 1]}~{digest}"
    return f"topic~{topic}" if topic[0] in "._" else topic
