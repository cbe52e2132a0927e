"""A topic as Parquet files, exported bit by bit; how a run is made safe is told in ``progress.py``.

Two processes that export the same topic to the same place at once do no harm: an export has the name of a
producer, and who begins takes it over. The other one cannot note anything any more, and the files that it may
still upload are those that the new one makes as well. It deletes none: what an upload that fails leaves is
replaced when the run is done again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from streamhouse import limits
from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.errors import (
    InvalidInputError,
    ProducerFencedError,
    TopicNotFoundError,
    nearest,
    topic_deleted,
)
from streamhouse.sql.copies import upload_all
from streamhouse.sql.database import quoted
from streamhouse.sql.progress import Note, Progress, Ranges, file_name, next_ranges, progress_of, run_of
from streamhouse.sql.script import literal
from streamhouse.sql.snapshot import TopicView, view_of
from streamhouse.store.outside import Place

if TYPE_CHECKING:
    from streamhouse.producer import Producer
    from streamhouse.sql.session import SqlSession

_MADE_ANEW: Final = "log.topic() gives that one"
_THREADS_MAX: Final = 4
_ROW_GROUP_BYTES: Final = 32 * limits.MIB
_ROW_GROUP_RECORDS: Final = (2_048, 122_880)  # the least and the most; DuckDB's vector, and its own choice
_FOLDERS_OPEN_MAX: Final = 1_000  # above, DuckDB closes the file of one and begins another for it later


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has done.

    Attributes:
        url: The folder, without credentials.
        group: The group whose committed offsets say how far it has come.
        records: How many records were exported.
        files: Names of the files that were made, relative to the folder.
        offsets: The offsets that were exported, per partition.
    """

    url: str
    group: str
    records: int
    files: tuple[str, ...]
    offsets: dict[int, range]


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to export; see :meth:`streamhouse.topic.Topic.to_parquet`."""

    partition_by: tuple[str, ...]
    select: str
    raw: bool
    compression: str
    file_bytes: int

    @property
    def digest(self) -> str:
        """Of all that must not change from run to run."""
        parts = (self.partition_by, self.select, self.raw)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


class Exporter:
    """Exports one topic to one place.

    Args:
        commits: The log.
        session: A session of its own.
        make_producer: Makes a producer with a ``transactional_id``.
        topic: The topic.
        place: Where the files go.
        group: Under which name the log remembers it.
        options: How.
    """

    def __init__(
        self,
        commits: CommitLog,
        session: SqlSession,
        make_producer: Callable[..., Producer],
        topic: TopicInfo,
        place: Place,
        group: str,
        options: ExportOptions,
    ) -> None:
        self._commits = commits
        self._session = session
        self._make_producer = make_producer
        self._topic = topic
        self._place = place
        self._group = group
        self._options = options
        self._files: list[str] = []
        self._records = 0
        self._done: dict[int, range] = {}

    def run(self) -> Export:
        """Export what has come since the last time, up to what there is now."""
        self._check_columns()
        name = hashlib.sha256(f"{self._group}\n{self._topic.id}".encode()).hexdigest()
        with closing(self._make_producer(transactional_id=f"export-{name[:32]}")) as producer:
            # From here on nobody else notes anything, so what is found now stays so.
            last = self._last_present()
            ends = {partition.number: partition.high_watermark for partition in self._view().partitions}
            while ranges := self._ranges(ends):
                self._one_run(producer, ranges, last)
        return Export(
            url=self._place.url,
            group=self._group,
            records=self._records,
            files=tuple(self._files),
            offsets=self._done,
        )

    def _ranges(self, ends: Mapping[int, int]) -> Ranges:
        progress, view = self._progress(), self._view()
        if progress.pending:
            return progress.pending
        partitions = [part.between(0, ends.get(part.number, 0)) for part in view.partitions]
        return next_ranges(partitions, progress, self._options.file_bytes)

    def _one_run(self, producer: Producer, ranges: Ranges, last: int) -> None:
        progress = self._progress()
        begun = bool(progress.pending)
        run = progress.last_run if begun else max(progress.last_run, last) + 1
        if progress.pending_records and not self._options.partition_by and self._names_of(run):
            # Its only file, as a whole, also with records that were removed from the log meanwhile.
            names, records = [file_name(self._topic.name, run)], progress.pending_records
        else:
            names, records = self._make(producer, ranges, run, begun=begun)
        self._end(producer, ranges, run)
        self._files += names
        self._records += records
        for partition, done in ranges.items():
            before = self._done.get(partition, done)
            self._done[partition] = range(min(before.start, done.start), done.stop)

    def _make(self, producer: Producer, ranges: Ranges, run: int, *, begun: bool) -> tuple[list[str], int]:
        """Make the files of a run, and upload them: their names, and how many records are in them."""
        folder = tempfile.mkdtemp(prefix="streamhouse-export-")
        try:
            files, records = self._write(Path(folder), ranges, run)
            self._begin(producer, ranges, run, records)
            upload_all(self._place, files)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        names = [name for name, _ in files]
        others = sorted(set(self._names_of(run)) - set(names)) if begun else []
        if others:
            self._begin(producer, ranges, run, records)  # fails if they are somebody else's by now
            self._place.delete_many(others)
        return names, records

    def _begin(self, producer: Producer, ranges: Ranges, run: int, records: int) -> None:
        noted = {
            number: (offsets.start, Note(run, self._options.digest, offsets.stop, records))
            for number, offsets in ranges.items()
        }
        self._note(producer, noted)

    def _end(self, producer: Producer, ranges: Ranges, run: int) -> None:
        note = Note(run, self._options.digest)
        self._note(producer, {number: (offsets.stop, note) for number, offsets in ranges.items()})

    def _note(self, producer: Producer, noted: Mapping[int, tuple[int, Note]]) -> None:
        offsets = {
            (self._topic.name, number): (offset, note.text) for number, (offset, note) in noted.items()
        }
        try:
            with producer.transaction() as transaction:
                transaction.commit_offsets(group=self._group, offsets=offsets)
                self._view()  # or else the name may be that of a topic made anew, whose offsets these are not
        except TopicNotFoundError:
            raise topic_deleted(self._topic.name, _MADE_ANEW) from None
        except ProducerFencedError as error:
            raise ProducerFencedError(
                f"another export of {self._topic.name!r} to {self._place.url} began meanwhile, and goes on in"
                " the place of this one"
            ) from error

    # --- files -------------------------------------------------------------------------------------

    def _write(self, folder: Path, ranges: Ranges, run: int) -> tuple[list[tuple[str, str]], int]:
        """Write the files of a run: their names there and paths here, and how many records are in them."""
        target = folder / "out"
        options = [
            "format parquet",
            f"compression {literal(self._options.compression)}",
            f"row_group_size {self._row_group_records()}",
        ]
        threads = min(_THREADS_MAX, os.cpu_count() or 1)
        if self._options.partition_by:
            options.append(f"partition_by ({', '.join(map(quoted, self._options.partition_by))})")
            threads = 1  # so that the same records make the same files, also if the run is done again
        settings = f"set threads = {threads}; set partitioned_write_max_open_files = {_FOLDERS_OPEN_MAX};"
        copy = f"copy ({self._query}) to {literal(str(target))} ({', '.join(options)})"
        result = self._session.run(f"{settings} {copy}", None, None, None, {self._topic.name: ranges})
        ((count,),) = result.fetchall()
        if not self._options.partition_by:
            return [(file_name(self._topic.name, run), str(target))] if count else [], count
        files = []
        for inner in sorted({path.parent for path in target.rglob("*.parquet")}):
            for number, path in enumerate(sorted(inner.iterdir())):
                name = file_name(self._topic.name, run, number)
                files.append(((inner.relative_to(target) / name).as_posix(), str(path)))
        return files, count

    def _row_group_records(self) -> int:
        """As many records as are about as large as a row group should be: DuckDB holds some in memory."""
        partitions = self._view().partitions
        raw_bytes = sum(partition.raw_bytes for partition in partitions)
        records = sum(partition.record_count for partition in partitions)
        return max(
            _ROW_GROUP_RECORDS[0], min(_ROW_GROUP_RECORDS[1], _ROW_GROUP_BYTES * records // (raw_bytes or 1))
        )

    @property
    def _query(self) -> str:
        schema = "raw." if self._options.raw else ""
        return f"select {self._options.select} from {schema}{quoted(self._topic.name)}"  # noqa: S608

    def _check_columns(self) -> None:
        """Refuse a query that cannot be, before anything is noted."""
        columns = self._session.run(self._query, None, None, None, {self._topic.name: {}}).columns
        for name in self._options.partition_by:
            if name[0] == ".":
                raise InvalidInputError(f"partition_by={name!r}: folders that begin with a dot are hidden")
            if name.casefold() not in map(str.casefold, columns):
                raise InvalidInputError(
                    f"partition_by={name!r} is no column of what is exported{nearest(name, columns)}; there"
                    f" are {', '.join(columns)}"
                )
        if len(self._options.partition_by) == len(columns):
            raise InvalidInputError("partition_by takes all columns, and leaves none for the files")

    def _last_present(self) -> int:
        """The last run of which there are files; 0: of none.

        Raises:
            InvalidInputError: There are some, and the log knows of none.
        """
        runs = {
            run for info in self._place.list("") if (run := run_of(self._topic.name, info.name)) is not None
        }
        if runs and not self._progress().offsets:
            raise InvalidInputError(
                f"{self._place.url} has files of {self._topic.name!r} which group {self._group!r} knows"
                " nothing of: choose another folder, or delete them first"
            )
        said = f"the export of {self._topic.name!r} to {self._place.url}"
        self._progress().check(self._options.digest, said)
        return max(runs, default=0)

    def _names_of(self, run: int) -> list[str]:
        """The files of a run that are there; those in other folders are of another export."""
        names = [info.name for info in self._place.list("")]
        return [name for name in names if run_of(self._topic.name, name) == run and self._is_placed(name)]

    def _is_placed(self, name: str) -> bool:
        """Whether a file is in a folder for each column of ``partition_by``."""
        folders = name.split("/")[:-1]
        return len(folders) == len(self._options.partition_by) and all("=" in folder for folder in folders)

    # --- the log -----------------------------------------------------------------------------------

    def _progress(self) -> Progress:
        with self._commits.lock:
            group = self._commits.state.groups.get(self._group)
            offsets = {} if group is None else group.offsets
            return progress_of(
                {
                    number: (noted.offset, noted.metadata)
                    for (topic, number), noted in offsets.items()
                    if topic == self._topic.id
                }
            )

    def _view(self) -> TopicView:
        with self._commits.lock:
            topic = self._commits.state.topics.get(self._topic.id)
            if topic is None:
                raise topic_deleted(self._topic.name, _MADE_ANEW)
            return view_of(self._commits.state, topic)


def default_group(url: str) -> str:
    """The name under which an export is remembered, if it is given none."""
    name = f"export {url}"
    if len(name) <= 200:
        return name
    return f"{name[:180]} {hashlib.sha256(url.encode()).hexdigest()[:16]}"


def checked_options(
    *,
    typed: bool,
    partition_by: str | Sequence[str] | None,
    select: str | None,
    raw: bool,
    compression: str,
    file_bytes: int,
) -> ExportOptions:
    """Check what a user said.

    Raises:
        InvalidInputError: It makes no sense.
    """
    names = _names(partition_by)
    if names is None:
        raise InvalidInputError(f"partition_by takes names of columns, not {partition_by!r}")
    if select is not None and not _says_something(select):
        raise InvalidInputError(f"select takes what stands behind SELECT, not {select!r}")
    if compression not in _COMPRESSIONS:
        hint = nearest(str(compression), _COMPRESSIONS)
        raise InvalidInputError(f"compression={compression!r}: there are {', '.join(_COMPRESSIONS)}{hint}")
    if type(file_bytes) is not int or file_bytes < 1:
        raise InvalidInputError(f"file_bytes={file_bytes!r} is no number of bytes")
    usual = "* exclude (value)" if typed else "*"  # fields say it all
    return ExportOptions(
        partition_by=names,
        select=usual if select is None else select,
        raw=raw,
        compression=compression,
        file_bytes=file_bytes,
    )


def _names(given: object) -> tuple[str, ...] | None:
    """Names of columns; ``None``: they are something else."""
    named = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(named, Sequence) or not all(map(_says_something, named)):
        return None
    return tuple(named)


def _says_something(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


_COMPRESSIONS: Final = ("zstd", "snappy", "lz4_raw", "gzip", "brotli", "uncompressed")
