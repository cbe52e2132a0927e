"""The log: the one object that people open."""

from __future__ import annotations

import atexit
import datetime as dt
import os
import re
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import msgspec

from streamhouse import markup
from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import Block, StoredBlock
from streamhouse.commits.root import open_root
from streamhouse.config import Settings, make_settings, make_topic_settings
from streamhouse.consumer import Consumer
from streamhouse.errors import (
    LOG_CLOSED,
    ClosedError,
    ForkedError,
)
from streamhouse.format.operations import Append
from streamhouse.groups.admin import Groups
from streamhouse.groups.agent import GroupAgent
from streamhouse.groups.options import Assignor, OnChange, check_reset, make_group_options
from streamhouse.groups.rollcall import RollCall
from streamhouse.process import Outputs, Process, Stop
from streamhouse.producer import Producer
from streamhouse.read.cursor import Reset
from streamhouse.read.deserializers import Deserializer
from streamhouse.read.positions import trim_offsets
from streamhouse.read.reader import BlockReader
from streamhouse.read.scan import scan
from streamhouse.records import K, Position, Positions, Record, V
from streamhouse.runtime import Runtime, SystemRuntime, check_wait, process_id
from streamhouse.schema.declare import SchemaInput, declared
from streamhouse.sql.engine import SqlEngine
from streamhouse.sql.limits import make_limits
from streamhouse.sql.parameters import Values, parameters_of
from streamhouse.store.base import ObjectStore
from streamhouse.store.metered import MeteredStore, StoreStats
from streamhouse.store.open import open_store
from streamhouse.store.outside import Outside
from streamhouse.store.probe import probe_atomic_create
from streamhouse.topic import (
    Topic,
    Topics,
    TopicTools,
    check_dead_letter,
    check_partition_count,
    check_topic_name,
)
from streamhouse.upkeep.report import UpkeepReport, UpkeepStats
from streamhouse.upkeep.upkeep import Upkeep
from streamhouse.upkeep.worker import UpkeepWorker
from streamhouse.write.batcher import Batcher
from streamhouse.write.serializers import Serializer, SerializerName

if TYPE_CHECKING:
    from streamhouse.sql.export import Export
    from streamhouse.sql.result import Result
    from streamhouse.sql.session import SqlSession

_CLOSE_SECONDS_MIN = 0.2  # for a consumer, though others used up the time
_open_logs: weakref.WeakSet[Log] = weakref.WeakSet()


class LogStats(StoreStats, frozen=True, kw_only=True):
    """What a log asked of its store, and what upkeep in the background did.

    Attributes:
        upkeep: ``None`` where it is not allowed (the setting ``upkeep``).
    """

    upkeep: UpkeepStats | None


class Inside(NamedTuple):
    """What a log consists of, for surfaces that need more than its handles."""

    commits: CommitLog
    catalog: Catalog
    reader: BlockReader
    store: ObjectStore
    agent: GroupAgent
    runtime: Runtime


class Log:
    """A log in a directory or a bucket: topics, and records in them.

    Any number of processes may have the same log open and write to it. A ``Log`` and everything made
    from it may be used from many threads, except that a consumer belongs to one at a time.

    Args:
        place: A path, ``memory://`` (private to this object), ``memory://name`` (shared in this process),
            ``s3://bucket/prefix`` or any other fsspec URL; or an
            :class:`~streamhouse.store.base.ObjectStore`, such as a faulty one for a test, which is
            closed with the log.
        storage_options: For the store, as in pandas: credentials, ``endpoint_url`` and the like.
        create: Make a log when the place is empty.
        runtime: Clock and randomness; another one than the real world's is for tests.
        **settings: See :class:`~streamhouse.Settings`.

    Raises:
        InvalidUrlError: The URL cannot be understood.
        InvalidSettingError: An unknown setting or an impossible value.
        NotALogError: The place holds something else, or nothing and ``create`` is false.
        StoreUnavailableError: The store cannot be reached.
        StoreAccessError: The store was reached, but does not let us in.
        StoreUnsafeError: The store must not be shared by writers.
        UnsupportedFormatError: A newer StreamHouse wrote the log.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders", partitions=3)
        ...     with log.producer() as producer:
        ...         stored = producer.send("orders", {"amount": 99.99}, key="user-1").result()
        ...     [record.value for record in log.read("orders")]
        [b'{"amount":99.99}']
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | ObjectStore,
        *,
        storage_options: Mapping[str, Any] | None = None,
        create: bool = True,
        runtime: Runtime | None = None,
        **settings: Any,
    ) -> None:
        self._closed = True  # until everything below is there
        self._process = process_id()
        self._settings = make_settings(settings)
        self._runtime = runtime or SystemRuntime()
        store = (
            open_store(place, storage_options, self._settings, self._runtime)
            if isinstance(place, str | os.PathLike)
            else place
        )
        self._store = MeteredStore(store, self._runtime)
        try:
            root = open_root(
                self._store,
                self._runtime,
                create=create,
                single_writer=self._settings.single_writer,
                probe=probe_atomic_create,
            )
            self._commits = CommitLog(self._store, self._settings, self._runtime, root.log_id)
        except BaseException:
            self._store.close()
            raise
        self._catalog = Catalog(self._commits)
        self._reader = BlockReader(self._store, self._settings)
        self._commits.on_append = self._offer
        self._batcher = Batcher(self._commits, self._settings, self._runtime)
        self._upkeep = Upkeep(self._commits, self._store, self._settings, self._runtime)
        self._worker = (
            UpkeepWorker(
                self._upkeep, self._commits, self._runtime, self._settings.upkeep_seconds, self._store.url
            )
            if self._settings.upkeep
            else None
        )
        self._agent = GroupAgent(self._commits, self._store, self._runtime)
        self._outside = Outside(
            place if isinstance(place, str | os.PathLike) else None,
            storage_options,
            self._settings,
            self._runtime,
        )
        self._sql = SqlEngine(
            self._catalog,
            self._commits,
            self._reader,
            self._store,
            self._settings,
            self._runtime,
            self._outside,
        )
        self._handles: weakref.WeakSet[Producer | Consumer[Any, Any]] = weakref.WeakSet()
        self._closed = False
        _open_logs.add(self)

    def __repr__(self) -> str:
        return f"Log({self._store.url!r}{', closed' if self._closed else ''})"

    def _repr_html_(self) -> str:
        if self._closed:
            return markup.heading("log", self.url, "closed")
        return markup.heading("log", self.url) + self.topics._repr_html_() + self.groups._repr_html_()

    @property
    def _inside(self) -> Inside:
        """For the surfaces of this package."""
        self._check()
        return Inside(self._commits, self._catalog, self._reader, self._store, self._agent, self._runtime)

    @property
    def url(self) -> str:
        """Where the log is, without credentials."""
        return self._store.url

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    # --- topics ------------------------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        schema: SchemaInput | None = None,
        exist_ok: bool = False,
        **settings: Any,
    ) -> Topic:
        """Make a topic.

        Args:
            name: 1 to 249 of ``a-z A-Z 0-9 . _ -``, and not ``.`` or ``..``.
            partitions: 1 to 100,000.
            schema: Makes the topic a typed one, whose values have these fields: a msgspec Struct or a
                dataclass; a dict of DuckDB types, such as ``{"amount": "DECIMAL(18,2) NOT NULL"}``; or a JSON
                schema.
            exist_ok: Return the present topic if it has as many partitions, and that schema.
            **settings: See :class:`~streamhouse.TopicSettings`.

        Raises:
            InvalidTopicNameError: The name breaks the rule.
            InvalidPartitionCountError: The number is out of bounds.
            InvalidSettingError: An unknown setting or an impossible value.
            InvalidSchemaError: The schema cannot be understood, or has a type that cannot be stored.
            TopicExistsError: The name is taken.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     topic = log.create_topic("trades", schema={"symbol": "VARCHAR", "amount": "DOUBLE"})
            ...     with log.producer() as producer:
            ...         stored = producer.send("trades", {"symbol": "ABC", "amount": 9.5}).result()
            ...     [record.value for record in log.read("trades")]
            [{'symbol': 'ABC', 'amount': 9.5}]
        """
        self._check()
        check_topic_name(name)
        check_partition_count(partitions)
        checked = make_topic_settings(settings)
        if schema is not None:
            checked = msgspec.structs.replace(checked, schemas=(declared(schema).text,))
        if checked.dead_letter is not None:
            self._catalog.refresh()
            check_dead_letter(self._catalog, name, checked.dead_letter, typed=schema is not None)
        info = self._catalog.create_topic(name, partitions, checked, exist_ok=exist_ok)
        return Topic(self._catalog, info, self._topic_tools)

    def alter_topic(
        self,
        name: str,
        *,
        partitions: int | None = None,
        schema: SchemaInput | None = None,
        **settings: Any,
    ) -> Topic:
        """Change a topic, for everybody; how it is then.

        Args:
            name: The topic.
            partitions: How many it shall have: no fewer than now. Keys go to other partitions then.
            schema: Of a typed topic: all its fields, perhaps of wider types, and new optional ones.
            **settings: See :class:`~streamhouse.TopicSettings`; ``None`` means the default.

        Raises:
            TopicNotFoundError: There is no such topic.
            InvalidPartitionCountError: It has more partitions already, or the number is out of bounds.
            InvalidSettingError: An unknown setting or an impossible value. Topics cannot be renamed.
            IncompatibleSchemaError: Stored records could not be read through the schema.
        """
        return self.topic(name).alter(partitions=partitions, schema=schema, **settings)

    def delete_topic(self, name: str) -> None:
        """Remove a topic and its records, for everybody and for good.

        Raises:
            TopicNotFoundError: There is no such topic.
        """
        self._catalog.delete_topic(self._topic_info(name))

    def topic(self, name: str) -> Topic:
        """The topic of that name.

        Raises:
            TopicNotFoundError: There is no such topic; the message has the nearest match.
        """
        self._check()
        return Topic(self._catalog, self._topic_info(name), self._topic_tools)

    @property
    def topics(self) -> Topics:
        """All topics by name."""
        self._check()
        return Topics(self._catalog, self._topic_tools)

    @property
    def groups(self) -> Groups:
        """All consumer groups by name, to look at, reset and delete."""
        self._check()
        roll_call = RollCall(self._commits, self._store, self._runtime)
        return Groups(self._commits, self._catalog, self._reader, roll_call)

    # --- writing and reading -----------------------------------------------------------------------

    def producer(
        self,
        *,
        key_serializer: Serializer | SerializerName | None = None,
        value_serializer: Serializer | SerializerName | None = None,
        transactional_id: str | None = None,
    ) -> Producer:
        """A handle for writing.

        Args:
            key_serializer: What makes bytes of a key, when it is neither bytes nor str.
            value_serializer: What makes bytes of a value; by default bytes and str stay what they are, and
                dicts, lists and Structs become JSON.
            transactional_id: A name under which transactions go on after a crash: making a producer of that
                name fences the older ones. See :meth:`streamhouse.Producer.transaction`.

        Raises:
            InvalidSettingError: An unknown serialiser.
            InvalidInputError: The name is no text, empty or too long.
            StoreError: The name could not be taken over.
        """
        self._check()
        producer = Producer(
            self._commits,
            self._catalog,
            self._batcher,
            self._settings,
            self._runtime,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            transactional_id=transactional_id,
        )
        self._handles.add(producer)
        return producer

    def consumer(
        self,
        *topics: str | re.Pattern[str],
        start: Positions = "earliest",
        partitions: Sequence[int] | None = None,
        key: Deserializer = None,
        value: Deserializer = None,
        reset: Reset | None = None,
        group: str | None = None,
        assignor: Assignor = "cooperative-sticky",
        auto_commit: bool = True,
        auto_commit_interval: float = 5.0,
        session_timeout: float = 30.0,
        max_poll_interval: float | None = None,
        instance_id: str | None = None,
        on_assign: OnChange | None = None,
        on_revoke: OnChange | None = None,
        on_lost: OnChange | None = None,
    ) -> Consumer[Any, Any]:
        """A handle for reading endlessly, alone or sharing the partitions with the members of a group.

        Args:
            *topics: Topics to read; none to :meth:`~streamhouse.Consumer.assign` partitions later. In a
                group also compiled patterns, which the whole name has to match: topics that come and go
                are added and dropped.
            start: Where: ``"earliest"``, ``"latest"``, an offset, a datetime, or a mapping from partition
                number to any of these. In a group, where to begin in partitions that have no committed
                offset.
            partitions: Partitions of each topic; all by default. With a group this is a fixed
                assignment: the consumer joins nothing, and commits while the group has no members.
            key: Deserialiser: ``"bytes"``, ``"str"``, ``"json"``, ``"msgpack"``, a type that JSON is decoded
                into, or a function. By default bytes.
            value: Likewise. By default dicts in a typed topic; a type, such as a Struct, is made of its
                fields, and everything else gets JSON.
            reset: Where to go on when what is at the position was removed: ``"earliest"``, ``"latest"``, or
                ``"error"`` to raise OffsetOutOfRangeError. By default ``"error"``; in a group what ``start``
                is, if that is one of the first two.
            group: Name of a group to be a member of: 1 to 255 characters.
            assignor: How partitions are dealt out: ``"cooperative-sticky"`` (only partitions that move
                stop), ``"sticky"``, ``"range"`` or ``"round-robin"`` (all stop). The same for all members.
            auto_commit: Commit in the background what was processed, also when partitions are given back and
                on close. Otherwise :meth:`~streamhouse.Consumer.commit` does it.
            auto_commit_interval: Seconds between commits in the background.
            session_timeout: Seconds without a sign of life from this process after which others take
                over. A slow handler gives signs of life.
            max_poll_interval: Seconds without a poll after which this consumer is taken out of the group,
                though its process lives; by default never.
            instance_id: Name of a static member. It keeps its partitions when it is started again within
                ``session_timeout``, and the older consumer of that name is shut out.
            on_assign: Told of partitions that come, as a list of
                :class:`~streamhouse.TopicPartition`, inside a poll, before their first record.
            on_revoke: Told of partitions that are about to go, before what was processed is committed;
                :meth:`~streamhouse.Consumer.commit` works in there.
            on_lost: Told of partitions that went without notice: others may work on them already.

        Raises:
            TopicNotFoundError: There is no such topic.
            OffsetOutOfRangeError: The log has no such offset.
            InvalidInputError: An argument makes no sense, or needs a group.
        """
        self._check()
        options = make_group_options(
            group,
            {
                "assignor": assignor,
                "auto_commit": auto_commit,
                "auto_commit_interval": auto_commit_interval,
                "session_timeout": session_timeout,
                "max_poll_interval": max_poll_interval,
                "instance_id": instance_id,
                "on_assign": on_assign,
                "on_revoke": on_revoke,
                "on_lost": on_lost,
            },
        )
        consumer: Consumer[Any, Any] = Consumer(
            self._catalog,
            self._reader,
            self._runtime,
            topics,
            start=start,
            partitions=partitions,
            key=key,
            value=value,
            reset=check_reset(reset),
            group=options,
            agent=self._agent,
        )
        self._handles.add(consumer)
        return consumer

    def read(
        self,
        topic: str,
        *,
        start: Positions = "earliest",
        until: Position | str = "end",
        partitions: Sequence[int] | None = None,
        key: Deserializer = None,
        value: Deserializer = None,
    ) -> Iterator[Record[Any, Any]]:
        """Read a bounded part of a topic, once, without a group.

        Args:
            topic: Name of the topic.
            start: Where to begin; see :meth:`consumer`.
            until: Where to stop: ``"end"`` is what the log holds at the time of the call; an offset or a
                datetime is the first not to be read.
            partitions: Which; all by default.
            key: Deserialiser; see :meth:`consumer`.
            value: Likewise.

        Returns:
            An iterator over records, in order of offset within each partition.
        """
        self._check()
        return scan(
            self._catalog,
            self._reader,
            topic,
            start=start,
            until=until,
            partitions=partitions,
            key=key,
            value=value,
        )

    def process(
        self,
        consumer: Consumer[K, V],
        producer: Producer,
        function: Callable[[Record[K, V]], Outputs],
        *,
        topic: str | None = None,
        batch_records: int = 1000,
        batch_seconds: float = 1.0,
        until: Literal["end"] | None = None,
        stop: Stop | None = None,
    ) -> int:
        """Send what a function makes of records; each record has its effect exactly once.

        Some records at a time are read, and what the function returned is sent in one transaction with the
        consumer's offsets. On an error, that of the function included, the transaction is aborted and the
        consumer goes back to what is committed; the same call goes on from there. When a rebalance takes
        partitions away in between, their records are left to their new owner.

        The consumer commits nothing by itself from here on.

        Args:
            consumer: A member of a group, or a consumer with a group and fixed partitions.
            producer: One with a ``transactional_id`` of its own: processes that share one stop each other.
            function: Called with each record. It returns ``None``; or an :class:`~streamhouse.Output`; or a
                tuple ``(topic, value)`` or ``(topic, value, key)``; or several of these, as a list or
                a generator. It may be called again for a record after a failure, so what else it
                does should bear that.
            topic: Where to send what is none of these: it is the value, under the record's key.
            batch_records: Records in one transaction, at most.
            batch_seconds: After this long the transaction is committed with what has been processed.
            until: ``"end"``: return when all is processed that the partitions held when they were first
                looked at. By default this is endless.
            stop: An event that ends it between two transactions.

        Returns:
            How many records were processed.

        Raises:
            TransactionError: The producer has no ``transactional_id``, or the consumer no group.
            ProducerFencedError: Another process has the same ``transactional_id``.
            StaleMemberError: The consumer is no member of its group, which has some.
            DeliveryTimeoutError: The outcome of a transaction is unknown. To call this again is safe.
            StreamhouseError: As from :meth:`~streamhouse.Consumer.poll` and
                :meth:`~streamhouse.Transaction.commit`.
        """
        self._check()
        return Process(
            self._commits,
            self._catalog,
            self._runtime,
            consumer,
            producer,
            function,
            topic=topic,
            batch_records=batch_records,
            batch_seconds=batch_seconds,
            until=until,
            stop=stop,
        ).run()

    # --- SQL ---------------------------------------------------------------------------------------

    def sql(
        self, query: str, /, *values: Any, as_of: int | dt.datetime | None = None, **parameters: Any
    ) -> Result:
        """Run SQL over topics, with everything that DuckDB has.

        Every topic is a relation of its name (in double quotes where it has more in it than letters, digits
        and ``_``, begins with a digit, or is a word that SQL reserves) with the columns ``topic, partition,
        offset, timestamp, key, value, headers``. Keys and values are text, bytes that are not UTF-8 escaped;
        in the schema ``raw`` they are BLOBs. Tables about the log are in the schema ``streamhouse``.
        DataFrames and Arrow objects among the caller's variables are relations too.

        Args:
            query: One statement, or several with semicolons between them.
            *values: What ``?`` or ``$1`` in it stand for.
            as_of: See the log as it was at that commit, or at that time; now by default.
            **parameters: What ``$name`` stands for.

        Returns:
            The result. All that is read for it is of one commit.

        Raises:
            QueryError: DuckDB cannot understand or run it.
            TopicNotFoundError: It names a relation that is nowhere; the message has the nearest match.
            HistoryGoneError: The log was cleaned up beyond ``as_of``.
        """
        return self._sql_in(query, parameters_of(values, parameters), as_of, sys._getframe().f_back)

    def _sql_in(
        self,
        query: str,
        values: Values,
        as_of: int | dt.datetime | None,
        frame: FrameType | None,
    ) -> Result:
        """Likewise, with the variables of a frame; there is none where C calls on a thread of its own."""
        self._check()
        return self._sql.run(query, values, as_of, frame)

    def sql_session(
        self,
        *,
        restricted: bool = False,
        topics: Sequence[str] | None = None,
        rows_max: int | None = None,
        memory_bytes_max: int | None = None,
        seconds_max: float | None = None,
    ) -> SqlSession:
        """A database for queries that is not shared with :meth:`sql`.

        Args:
            restricted: Only reading topics: no files, network, extensions, settings or changes, and limits.
                For surfaces that run what others wrote.
            topics: The only topics that may be seen; all by default.
            rows_max: Rows of a result in a restricted session; 100,000 by default.
            memory_bytes_max: Memory for its queries together; 512 MiB by default.
            seconds_max: How long a query may run; 30 by default.

        Raises:
            TopicNotFoundError: There is no such topic.
            InvalidSettingError: An impossible limit, one for a session without restrictions, or topics that
                are no names.
        """
        self._check()
        limits = make_limits(
            restricted=restricted,
            rows_max=rows_max,
            memory_bytes_max=memory_bytes_max,
            seconds_max=seconds_max,
        )
        return self._sql.session(limits, topics)

    # --- the store ---------------------------------------------------------------------------------

    def stats(self) -> LogStats:
        """Requests and bytes so far, what that would cost a month on S3, and how upkeep gets on."""
        self._check()
        upkeep = None if self._worker is None else self._worker.stats
        return LogStats(**msgspec.structs.asdict(self._store.stats()), upkeep=upkeep)

    def delete_records(self, topic: str, before: Mapping[int, int] | dt.datetime | str) -> dict[int, int]:
        """Remove the oldest records, for everybody and for good.

        Args:
            topic: Name of the topic.
            before: What goes: per partition everything before an offset; everything before a point in time in
                all partitions; or with ``"latest"`` all there is now.

        Returns:
            The log start of each partition concerned. The space comes back some hours later.

        Raises:
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: It has no such partition.
            OffsetOutOfRangeError: An offset above the high watermark.
            InvalidPositionError: What is said is none of these.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     topic = log.create_topic("orders")
            ...     with log.producer() as producer:
            ...         sent = producer.send_many("orders", ["a", "b", "c"]).result()
            ...     log.delete_records("orders", before={0: 2})
            ...     [record.value for record in log.read("orders")]
            {0: 2}
            [b'c']
        """
        info = self._topic_info(topic)
        return self._catalog.delete_records(info, trim_offsets(self._catalog, self._reader, info, before))

    def upkeep(self) -> UpkeepReport:
        """Do now what is otherwise done in the background now and then, and all of it.

        Old records go as the topics' retention says, compacted topics are compacted by key, small blocks are
        put together, the state is saved, so that opening is fast, and what nothing refers to since
        an hour is removed. It is safe at any time, from any process.

        Raises:
            StoreError: The store fails.
        """
        self._check()
        self._commits.check_may_wait()
        return self._upkeep.thorough()

    def flush(self) -> None:
        """Wait until everything that was sent is durable, by whichever producer.

        Raises:
            DeliveryError: Something was not, or perhaps not, written, and nobody has been told yet.
        """
        self._check()
        for handle in list(self._handles):
            if isinstance(handle, Producer):
                handle.flush()

    def close(self, timeout: float | None = None) -> None:
        """Write what is pending, then give everything back. Closing twice is fine.

        Args:
            timeout: Seconds to wait for the store; ``delivery_timeout_seconds`` by default.

        Raises:
            InvalidInputError: ``timeout`` is no time; it is not closed.
        """
        check_wait(timeout)
        self._shut(timeout, finished=True)

    def _shut(self, timeout: float | None, *, finished: bool) -> None:
        """Close; ``finished``: what consumers handed out last is processed."""
        if self._closed or self._process != process_id():
            return
        self._commits.check_may_wait()
        self._closed = True
        _open_logs.discard(self)
        if timeout is None:
            timeout = self._settings.delivery_timeout_seconds
        try:
            self._close_handles(timeout, finished=finished)
        finally:
            self._agent.close()
            if self._worker is not None:
                self._worker.close(timeout)
            self._batcher.close()
            self._sql.close()
            self._commits.close(timeout)
            self._reader.close()
            self._store.close()

    def _close_handles(self, timeout: float, *, finished: bool) -> None:
        failure: BaseException | None = None
        deadline = self._runtime.monotonic() + timeout  # for all consumers together
        for handle in list(self._handles):
            try:
                if isinstance(handle, Producer):
                    handle.close(timeout)
                else:
                    left = deadline - self._runtime.monotonic()
                    handle.close(max(_CLOSE_SECONDS_MIN, left), finished=finished)
            except Exception as error:  # noqa: BLE001 - close the others first
                failure = failure or error
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shut(None, finished=error is None)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._process == process_id():
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def _offer(self, append: Append, bases: Sequence[int], blocks: Sequence[Block]) -> None:
        """Hand blocks that this process wrote to its own readers, who then need not fetch them."""
        if not self._catalog.followed:
            return
        for part, base in zip(append.parts, bases, strict=True):
            refs = self._catalog.blocks(append.topic, part.partition, base, part.block_count)
            for ref, block in zip(refs, blocks[part.first_block :], strict=False):
                if not isinstance(block, StoredBlock) and block.columns.count:  # they may have been too large
                    self._reader.offer(ref, block.columns)

    # --- helpers -----------------------------------------------------------------------------------

    @property
    def _topic_tools(self) -> TopicTools:
        return TopicTools(self.sql, self.consumer, self._export)

    def _export(self, topic: TopicInfo, url: str | os.PathLike[str], **options: Any) -> Export:
        self._check()
        return self._sql.export(topic, url, self.producer, **options)

    def _topic_info(self, name: str) -> Any:
        self._check()
        self._catalog.refresh()
        return self._catalog.topic(name)

    def _check(self) -> None:
        if self._process != process_id():
            raise ForkedError(
                "this log was opened before fork; its threads are in the parent. Open it again here"
            )
        if self._closed:
            raise ClosedError(LOG_CLOSED)


@atexit.register
def _close_at_exit() -> None:
    """Give what is pending a last chance when the interpreter ends with a log still open."""
    for log in list(_open_logs):
        log._shut(5.0, finished=False)
