"""Topics and partitions as objects."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from streamhouse import limits, markup
from streamhouse.catalog.catalog import Catalog, PartitionInfo, TopicInfo
from streamhouse.catalog.offsets import check_group_name
from streamhouse.config import TopicSettings, make_topic_settings
from streamhouse.errors import (
    InvalidInputError,
    InvalidPartitionCountError,
    InvalidSettingError,
    InvalidTopicNameError,
    TopicNotFoundError,
    topic_deleted,
)
from streamhouse.notebook import require_extra
from streamhouse.notebook.throughput import Measure, plot
from streamhouse.records import Positions
from streamhouse.schema.declare import SchemaInput, declared
from streamhouse.schema.infer import inferred
from streamhouse.schema.model import Schema, quoted
from streamhouse.schema.versions import evolved, schema_of

if TYPE_CHECKING:
    from streamhouse.consumer import Consumer
    from streamhouse.notebook.charts import Chart
    from streamhouse.notebook.live import LiveTopic
    from streamhouse.sql.export import Export
    from streamhouse.sql.result import Result

_NAME: Final = re.compile(rf"[a-zA-Z0-9._-]{{1,{limits.TOPIC_NAME_CHARS_MAX}}}")
_RENAMING: Final = frozenset(("name", "new_name", "rename", "rename_to"))


class Partition:
    """One partition of a topic. Figures are read from the log when they are asked for.

    Attributes:
        topic: Name of the topic.
        number: Number of the partition, from 0.
    """

    def __init__(self, catalog: Catalog, info: TopicInfo, number: int) -> None:
        self._catalog = catalog
        self._info = info
        self.topic = info.name
        self.number = number

    def __repr__(self) -> str:
        return f"Partition({self.topic!r}, {self.number})"

    @property
    def log_start(self) -> int:
        """Offset of the oldest record."""
        return self.info().log_start

    @property
    def high_watermark(self) -> int:
        """Offset that the next record will get."""
        return self.info().high_watermark

    @property
    def records(self) -> int:
        """How many it holds; a few too many when a topic that is compacted by key was trimmed."""
        return self.info().records

    @property
    def stored_bytes(self) -> int:
        """Bytes that its records take in the store."""
        return self.info().stored_bytes

    @property
    def raw_bytes(self) -> int:
        """Bytes of keys, values and headers before compression."""
        return self.info().raw_bytes

    def info(self) -> PartitionInfo:
        """All figures of one moment.

        Raises:
            TopicNotFoundError: The topic was deleted.
        """
        self._catalog.refresh()
        try:
            return self._catalog.partition(self._info.id, self.number)
        except TopicNotFoundError:
            raise topic_deleted(self.topic, "log.topic() gives that one") from None


class TopicTools(NamedTuple):
    """What a log lends to its topics.

    Attributes:
        sql: :meth:`streamhouse.Log.sql`.
        consumer: :meth:`streamhouse.Log.consumer`.
        export: Exports what came into a topic; takes what :meth:`Topic.to_parquet` does.
    """

    sql: Callable[..., Result]
    consumer: Callable[..., Consumer[Any, Any]]
    export: Callable[..., Export]


class Topic:
    """One topic.

    Attributes:
        name: Its name.
        id: A number that no other topic has or will have, also not one of the same name.
        created: When it was made, by its maker's clock.
        partitions: Its partitions, by number, as they were when this object was made.
    """

    def __init__(self, catalog: Catalog, info: TopicInfo, tools: TopicTools) -> None:
        self._catalog = catalog
        self._info = info
        self._tools = tools
        self.name = info.name
        self.id = info.id
        self.created = dt.datetime.fromtimestamp(info.created_ms / 1000, tz=dt.UTC)
        self.partitions: Sequence[Partition] = _Partitions(catalog, info)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, partitions={len(self.partitions)})"

    def _repr_html_(self) -> str:
        self._catalog.refresh()
        try:
            return self._pictured()
        except TopicNotFoundError:
            return markup.heading("topic", self.name, "deleted")

    def _pictured(self) -> str:
        catalog = self._catalog
        now = catalog.current(self._info)
        totals = catalog.totals(now.id)
        head = markup.heading(
            "topic",
            self.name,
            f"{totals.records:,} records",
            f"{markup.size(totals.raw_bytes)}, stored in {markup.size(totals.stored_bytes)}",
            *(f"{name}={value!r}" for name, value in _chosen(now.settings).items()),
        )
        infos = ((number, catalog.partition(now.id, number)) for number in range(now.partitions))
        rows = (
            (
                number,
                markup.bar(info.records, totals.records),
                info.log_start,
                info.high_watermark,
                markup.size(info.stored_bytes),
                markup.moment(info.timestamp_min),
                markup.moment(info.timestamp_max),
            )
            for number, info in infos
        )
        columns = ("partition", "records", "log start", "high watermark", "stored", "first", "last")
        return head + markup.table(columns, rows, count=now.partitions)

    @property
    def settings(self) -> TopicSettings:
        """What it keeps, as of now."""
        self._catalog.refresh()
        return self._catalog.current(self._info).settings

    @property
    def schema(self) -> Schema | None:
        """What the values of a typed topic are, as of now; ``None``: they are bytes."""
        return schema_of(self.settings)

    def infer_schema(self, *, records: int = 10_000) -> Schema:
        """Propose a schema from the JSON values of this topic, for ``create_topic`` of another one.

        All of its fields are optional; :attr:`~streamhouse.schema.model.Schema.types` shows them as a dict to
        change to taste. The values looked at fit it; those that are no JSON objects, or too deep to be
        stored, are passed over.

        Args:
            records: How many to look at, at most.

        Raises:
            InvalidInputError: ``records`` is not positive.
            InvalidSchemaError: There is no JSON object among them, or one has names that fields cannot have.
            TopicNotFoundError: The topic was deleted.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     raw = log.create_topic("raw")
            ...     with log.producer() as producer:
            ...         stored = producer.send("raw", {"amount": 9.5, "day": "2024-05-01"}).result()
            ...     raw.infer_schema().types
            {'amount': 'DOUBLE', 'day': 'DATE'}
        """
        if type(records) is not int or records < 1:
            raise InvalidInputError(f"records={records!r} is no number of records to look at")
        query = f"select value from {quoted(self.name)} where value is not null limit {records}"  # noqa: S608
        return inferred([value for (value,) in self._tools.sql(query).fetchall()])

    def alter(
        self, *, partitions: int | None = None, schema: SchemaInput | None = None, **settings: Any
    ) -> Topic:
        """Change the topic, for everybody; how it is then.

        Args:
            partitions: How many it shall have: no fewer than now. Keys go to other partitions then.
            schema: Of a typed topic: all its fields, perhaps of wider types, and new optional ones. Stored
                records are read through it from then on.
            **settings: See :class:`~streamhouse.TopicSettings`; ``None`` means the default.

        Raises:
            InvalidPartitionCountError: It has more partitions already, or the number is out of bounds.
            InvalidSettingError: An unknown setting or an impossible value, or another name.
            InvalidSchemaError: The schema cannot be understood.
            IncompatibleSchemaError: Stored records could not be read through it; the message says why.
            TopicNotFoundError: It was deleted.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     log.create_topic("orders").alter(partitions=3, retention_ms=86_400_000)
            Topic('orders', partitions=3)
        """
        if partitions is not None:
            check_partition_count(partitions)
        if not _RENAMING.isdisjoint(settings):
            raise InvalidSettingError(
                f"topic {self.name!r} cannot be renamed: readers and writers know it by its name; make"
                " another topic and copy the records"
            )
        new = None if schema is None else declared(schema)

        def change(present: TopicSettings) -> TopicSettings:
            altered = make_topic_settings(_defaulted(settings), present)
            return altered if new is None else evolved(self.name, altered, new)

        self._catalog.refresh()
        if settings.get("dead_letter") is not None:
            now = self._catalog.current(self._info).settings
            check_dead_letter(self._catalog, self.name, settings["dead_letter"], typed=bool(now.schemas))
        changes = change if settings or schema is not None else None
        return Topic(self._catalog, self._catalog.alter_topic(self._info, partitions, changes), self._tools)

    def to_parquet(
        self,
        url: str | os.PathLike[str],
        *,
        partition_by: str | Sequence[str] | None = None,
        select: str | None = None,
        raw: bool = False,
        compression: str = "zstd",
        file_bytes: int = 128 * limits.MIB,
        group: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Export:
        """Write the records that came since the last call as Parquet files, into a folder anywhere.

        The log remembers how far this export is, as committed offsets of a group. Each record is exported
        once, also when a process dies in the middle: the next call does again what was begun, in the same
        files.

        Args:
            url: A folder: a path, ``s3://bucket/prefix`` or another fsspec URL. Several topics may share one.
            partition_by: Columns that become folders, such as ``day=2024-05-01``.
            select: What is written, as it stands behind SELECT; by default all columns, of a typed topic its
                fields in the place of ``value``.
            raw: Keys, values and header values as BLOB instead of text.
            compression: ``"zstd"``, ``"snappy"``, ``"lz4_raw"``, ``"gzip"``, ``"brotli"`` or
                ``"uncompressed"``.
            file_bytes: About so many stored bytes of records go into one file (or one file per folder).
            group: The name of the group; by default it is made of the URL.
            storage_options: For the filesystem of the URL; by default those of the log, if they are meant for
                it.

        Returns:
            What was done; there are no files in it if there was nothing new.

        Raises:
            InvalidInputError: An argument makes no sense, or is other than in earlier calls, or the folder
                has files of this topic that this export did not make.
            InvalidUrlError: The URL cannot be understood.
            QueryError: DuckDB does not understand ``select``.
            ProducerFencedError: Another process began the same export meanwhile, and goes on in its place.
            StoreError: The place or the log fails. What was begun is done again by the next call.
            TopicNotFoundError: The topic was deleted.

        Example:
            >>> import streamhouse, tempfile
            >>> with streamhouse.Log("memory://") as log, tempfile.TemporaryDirectory() as folder:
            ...     topic = log.create_topic("orders")
            ...     with log.producer() as producer:
            ...         stored = producer.send_many("orders", [{"amount": 3}, {"amount": 4}]).result()
            ...     topic.to_parquet(folder, select="offset, (value->>'amount')::int as amount").files
            ...     topic.to_parquet(folder, select="offset, (value->>'amount')::int as amount").files
            ...     log.sql(f"select sum(amount) from '{folder}/*.parquet'").fetchall()
            ('orders-00000001.parquet',)
            ()
            [(7,)]
        """
        if group is not None:
            check_group_name(group)
        return self._tools.export(
            self._info,
            url,
            group=group,
            storage_options=storage_options,
            typed=self.schema is not None,
            partition_by=partition_by,
            select=select,
            raw=raw,
            compression=compression,
            file_bytes=file_bytes,
        )

    def plot(
        self,
        measure: Measure = "records",
        *,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        intervals: int = 100,
    ) -> Chart:
        """A picture of what came in over time, by the timestamps of the records.

        Args:
            measure: ``"records"``; or ``"bytes"``, of keys and values, for which these are read.
            since: Leave out what is older; with a time zone.
            until: Leave out this and what is younger.
            intervals: Into about how many of equal length to cut the time.

        Returns:
            A figure of Matplotlib that shows itself in notebooks.

        Raises:
            MissingExtraError: The extra ``notebook`` is not installed.
            InvalidInputError: An argument makes no sense.
            TopicNotFoundError: The topic was deleted.
        """
        return plot(self._catalog, self._tools.sql, self._info, measure, since, until, intervals)

    def live(self, *, rows: int = 20, start: Positions = "latest", refresh_seconds: float = 0.5) -> LiveTopic:
        """A live view of the newest records and of how many come, as a widget for notebooks.

        It follows the topic in the background until ``close()`` is called on it, or the log is closed.

        Args:
            rows: How many records to show, 1 to 1,000.
            start: Where to begin; see :meth:`streamhouse.Log.consumer`.
            refresh_seconds: How often the picture changes at most.

        Raises:
            MissingExtraError: The extra ``notebook`` is not installed.
            InvalidInputError: An argument makes no sense.
            TopicNotFoundError: The topic was deleted.
        """
        require_extra("anywidget")
        from streamhouse.notebook.live import LiveTopic

        if type(rows) is not int or not 1 <= rows <= 1_000:
            raise InvalidInputError(f"rows must be 1 to 1,000, not {rows!r}")
        if type(refresh_seconds) not in {int, float} or not 0.05 <= refresh_seconds <= 3_600:
            raise InvalidInputError(f"refresh_seconds must be 0.05 to 3,600, not {refresh_seconds!r}")
        consumer = self._tools.consumer(self.name, start=start)
        return LiveTopic(self.name, consumer, rows=rows, refresh_seconds=refresh_seconds)


def check_dead_letter(catalog: Catalog, name: str, dead_letter: Any, *, typed: bool) -> None:
    """Refuse what cannot be the dead-letter topic of a topic.

    Raises:
        InvalidSettingError: The topic has no schema, or the other one is not there, has one, or is the same.
    """
    if not typed:
        raise InvalidSettingError(
            f"dead_letter={dead_letter!r}: topic {name!r} has no schema, so everything fits it"
        )
    try:
        other = catalog.topic(str(dead_letter))
    except TopicNotFoundError as error:
        raise InvalidSettingError(f"dead_letter={dead_letter!r}: {error}; make it first") from None
    if other.settings.schemas or other.name == name:
        raise InvalidSettingError(
            f"dead_letter={dead_letter!r}: what does not fit a schema goes to a topic without one"
        )


def check_topic_name(name: str) -> None:
    """Refuse what cannot be the name of a topic.

    Raises:
        InvalidTopicNameError: It breaks the rule.
    """
    if type(name) is not str or not _NAME.fullmatch(name) or name in {".", ".."}:
        raise InvalidTopicNameError(
            f"topic name {name!r} is not allowed: use 1 to {limits.TOPIC_NAME_CHARS_MAX} of "
            "a-z A-Z 0-9 . _ - (and not . or ..)"
        )


def check_partition_count(count: int) -> None:
    """Refuse what cannot be a number of partitions.

    Raises:
        InvalidPartitionCountError: It is no whole number, or out of bounds.
    """
    if type(count) is not int:
        raise InvalidPartitionCountError(f"partitions must be a whole number, not {count!r}")
    if not 1 <= count <= limits.PARTITIONS_PER_TOPIC_MAX:
        raise InvalidPartitionCountError(
            f"a topic has 1 to {limits.PARTITIONS_PER_TOPIC_MAX:,} partitions, not {count:,}"
        )


def _defaulted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the default in the place of ``None``."""
    usual = msgspec.structs.asdict(TopicSettings())
    return {name: usual.get(name) if value is None else value for name, value in settings.items()}


def _chosen(settings: TopicSettings) -> dict[str, Any]:
    """Those settings that are not the default."""
    usual = msgspec.structs.asdict(TopicSettings())
    usual["schemas"] = settings.schemas  # too long for a line
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value != usual[name]}


class _Partitions(Sequence[Partition]):
    """Partitions made when they are looked at: a topic may have 100,000."""

    def __init__(self, catalog: Catalog, info: TopicInfo) -> None:
        self._catalog = catalog
        self._info = info

    def __len__(self) -> int:
        return self._info.partitions

    def __getitem__(self, index: int | slice) -> Partition | list[Partition]:  # type: ignore[override]
        numbers = range(self._info.partitions)[index]
        if isinstance(numbers, range):
            return [Partition(self._catalog, self._info, number) for number in numbers]
        return Partition(self._catalog, self._info, numbers)

    def __repr__(self) -> str:
        return f"<{len(self)} partitions of {self._info.name!r}>"


class Topics(Mapping[str, Topic]):
    """The topics of a log by name, as they are at the moment of asking."""

    def __init__(self, catalog: Catalog, tools: TopicTools) -> None:
        self._catalog = catalog
        self._tools = tools

    def __getitem__(self, name: str) -> Topic:
        self._catalog.refresh()
        return Topic(self._catalog, self._catalog.topic(name), self._tools)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self[name]
        except TopicNotFoundError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        self._catalog.refresh()
        return iter([topic.name for topic in self._catalog.topics()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<topics {', '.join(self) or '(none)'}>"

    def _repr_html_(self) -> str:
        self._catalog.refresh()
        topics = self._catalog.topics()
        rows = []
        for info in topics[: markup.ROWS_MAX]:
            try:
                totals = self._catalog.totals(info.id)
            except TopicNotFoundError:
                continue  # deleted since
            rows.append(
                (
                    info.name,
                    info.partitions,
                    totals.records,
                    markup.size(totals.raw_bytes),
                    markup.size(totals.stored_bytes),
                    markup.moment(totals.timestamp_min),
                    markup.moment(totals.timestamp_max),
                )
            )
        columns = ("topic", "partitions", "records", "raw", "stored", "first", "last")
        return markup.table(columns, rows, count=len(topics))
