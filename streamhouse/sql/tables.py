"""The tables of the schema ``streamhouse``: the folded state in rows. Pure.

DuckDB is where people see the catalog, never where it is kept: a table is built when a query mentions it,
from the same state that the query's topics are taken from, and forgotten with the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.commits.state import State
from streamhouse.config import Settings
from streamhouse.format.commit import BlockEntry, Commit, Flush
from streamhouse.format.operations import AddToTransaction, Append, Operation, Transaction
from streamhouse.groups.description import lag_of, members_of, owners_of, state_name
from streamhouse.records import TopicPartition
from streamhouse.sql.snapshot import TopicView
from streamhouse.store.cost import DOLLARS_PER_GET, DOLLARS_PER_PUT
from streamhouse.store.metered import StoreStats

Row: TypeAlias = tuple[Any, ...]

SCHEMA: Final = "streamhouse"
TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "topics": {
        "topic": "text",
        "id": "int",
        "partitions": "int",
        "created": "time",
        "records": "int",
        "blocks": "int",
        "stored_bytes": "int",
        "raw_bytes": "int",
        "cleanup_policy": "text",
        "retention_ms": "int",
        "retention_bytes": "int",
    },
    "partitions": {
        "topic": "text",
        "partition": "int",
        "log_start": "int",
        "high_watermark": "int",
        "records": "int",
        "blocks": "int",
        "stored_bytes": "int",
        "raw_bytes": "int",
        "last_timestamp": "time",
    },
    "segments": {
        "topic": "text",
        "partition": "int",
        "base_offset": "int",
        "next_offset": "int",
        "records": "int",
        "object": "text",
        "position": "int",
        "stored_bytes": "int",
    },
    "consumer_groups": {
        "group": "text",
        "state": "text",
        "generation": "int",
        "assignor": "text",
        "members": "int",
        "partitions": "int",
    },
    "group_members": {
        "group": "text",
        "member": "text",
        "instance": "text",
        "process": "text",
        "session_ms": "int",
        "topics": "texts",
        "partitions": "int",
    },
    "consumer_offsets": {
        "group": "text",
        "topic": "text",
        "partition": "int",
        "offset": "int",
        "high_watermark": "int",
        "lag": "int",
        "owner": "text",
        "metadata": "text",
        "committed": "time",
    },
    "producers": {
        "producer": "int",
        "epoch": "int",
        "transactional_id": "text",
        "partitions": "int",
    },
    "commits": {
        "commit": "int",
        "time": "time",
        "agent": "text",
        "flushes": "int",
        "operations": "texts",
        "records": "int",
        "raw_bytes": "int",
    },
    "settings": {"name": "text", "value": "text"},
    "queries": {
        "query": "text",
        "session": "int",
        "started": "time",
        "state": "text",
        "seconds": "float",
        "commit": "int",
        "blocks_read": "int",
        "bytes_read": "int",
        "error": "text",
    },
    "requests": {"request": "text", "count": "int", "bytes": "int", "dollars": "float"},
}
"""Column names and kinds of each table."""


class Surroundings(msgspec.Struct, frozen=True):
    """What tables show beside the state: this process. Each is made when a query asks for it.

    Attributes:
        settings: Of the log.
        stats: Requests so far.
        commits: The last ones that were read, by number.
        queries: The last ones that were run, as rows, of the session with that number or of all.
    """

    settings: Settings
    stats: Callable[[], StoreStats]
    commits: Callable[[], tuple[tuple[int, Commit], ...]]
    queries: Callable[[int | None], list[Row]]


def rows_of_topics(topics: Iterable[TopicView], state: State) -> Iterator[Row]:
    """The table ``topics``."""
    for view in topics:
        topic = state.topics[view.id]
        yield (
            view.name,
            view.id,
            view.partition_count,
            topic.created_ms,
            view.record_count,
            sum(p.block_count for p in view.partitions),
            sum(p.stored_bytes for p in view.partitions),
            sum(p.raw_bytes for p in view.partitions),
            topic.settings.cleanup_policy,
            topic.settings.retention_ms,
            topic.settings.retention_bytes,
        )


def rows_of_partitions(topics: Iterable[TopicView]) -> Iterator[Row]:
    """The table ``partitions``; those without records have a row too."""
    for view in topics:
        known = {partition.number: partition for partition in view.partitions}
        for number in range(view.partition_count):
            p = known.get(number)
            if p is None:
                yield (view.name, number, 0, 0, 0, 0, 0, 0, None)
                continue
            yield (
                view.name,
                number,
                p.log_start,
                p.high_watermark,
                p.record_count,
                p.block_count,
                p.stored_bytes,
                p.raw_bytes,
                p.time_bounds(p.block_count - 1)[1] if p.block_count else None,
            )


def rows_of_segments(topics: Iterable[TopicView]) -> Iterator[Row]:
    """The table ``segments``: one row per block."""
    for view in topics:
        for partition in view.partitions:
            for ref in map(partition.block, range(partition.block_count)):
                yield (
                    view.name,
                    partition.number,
                    ref.base_offset,
                    ref.next_offset,
                    ref.records,
                    ref.object_name,
                    ref.position,
                    ref.length,
                )


def rows_of_groups(state: State) -> list[Row]:
    """The table ``consumer_groups``."""
    rows: list[Row] = []
    for name, group in state.groups.items():
        members = members_of(state, group)
        classic = group.classic if group.has_classic_members else None
        assignor, generation = (
            (group.assignor, group.generation) if classic is None else (classic.protocol, classic.generation)
        )
        owned = len(group.target) if classic is None else sum(len(member.assignment) for member in members)
        rows.append((name, state_name(group), generation, assignor, len(members), owned))
    return rows


def rows_of_members(state: State) -> list[Row]:
    """The table ``group_members``."""
    return [
        (
            name,
            member.id,
            member.instance,
            member.process,
            round(member.session_timeout * 1000),
            sorted(member.topics),
            len(member.assignment),
        )
        for name, group in state.groups.items()
        for member in members_of(state, group)
    ]


def rows_of_offsets(state: State) -> list[Row]:
    """The table ``consumer_offsets``."""
    rows: list[Row] = []
    for name, group in state.groups.items():
        owners = owners_of(state, group)
        for (topic_id, partition), committed in group.offsets.items():
            topic = state.topics.get(topic_id)
            if topic is None:
                continue
            held = topic.partitions.get(partition)
            rows.append(
                (
                    name,
                    topic.name,
                    partition,
                    committed.offset,
                    0 if held is None else held.high_watermark,
                    lag_of(held, committed),
                    owners.get(TopicPartition(topic.name, partition)),
                    committed.metadata,
                    committed.time_ms,
                )
            )
    return rows


def rows_of_producers(state: State) -> list[Row]:
    """The table ``producers``."""
    names = {named.identity: name for name, named in state.named_producers.items()}
    rows: list[Row] = [
        (_signed(identity), producer.epoch, names.pop(identity, None), len(producer.batches))
        for identity, producer in state.producers.items()
    ]
    rows.extend(
        (_signed(identity), state.named_producers[name].epoch, name, 0) for identity, name in names.items()
    )
    return rows


def rows_of_commits(commits: Iterable[tuple[int, Commit]]) -> Iterator[Row]:
    """The table ``commits``. Records are those that a commit proposes, whatever became of them."""
    for seq, commit in commits:
        blocks = [block for flush in commit.flushes for block in _appended(flush)]
        yield (
            seq,
            commit.time_ms,
            commit.agent,
            len(commit.flushes),
            [type(operation).__name__ for flush in commit.flushes for operation in flush.operations],
            sum(block.count for block in blocks),
            sum(block.raw_bytes for block in blocks),
        )


def rows_of_settings(settings: Settings) -> list[Row]:
    """The table ``settings``."""
    values = msgspec.structs.asdict(settings)
    return [(name, None if value is None else str(value)) for name, value in values.items()]


def rows_of_requests(stats: StoreStats) -> list[Row]:
    """The table ``requests``."""
    counts = stats.counts
    return [
        ("put", counts.puts, counts.bytes_written, counts.puts * DOLLARS_PER_PUT),
        ("get", counts.gets, counts.bytes_read, counts.gets * DOLLARS_PER_GET),
        ("head", counts.heads, 0, counts.heads * DOLLARS_PER_GET),
        ("list", counts.lists, 0, counts.lists * DOLLARS_PER_PUT),
        ("delete", counts.deletes, 0, 0.0),
    ]


OF_STATE: Final[Mapping[str, Callable[[State], list[Row]]]] = {
    "consumer_groups": rows_of_groups,
    "group_members": rows_of_members,
    "consumer_offsets": rows_of_offsets,
    "producers": rows_of_producers,
}
"""Tables that are made under the lock of the state."""

OF_TOPICS: Final[Mapping[str, Callable[[Iterable[TopicView]], Iterator[Row]]]] = {
    "partitions": rows_of_partitions,
    "segments": rows_of_segments,
}
"""Tables that are made of copies, when the lock is free again."""


def _appended(flush: Flush) -> Iterator[BlockEntry]:
    """The blocks of new records; those of a replacement hold what was there before."""
    for operation in flush.operations:
        for append in _appends(operation):
            for part in append.parts:
                yield from flush.blocks[part.first_block : part.first_block + part.block_count]


def _appends(operation: Operation) -> tuple[Append, ...]:
    if isinstance(operation, Append):
        return (operation,)
    return operation.appends if isinstance(operation, Transaction | AddToTransaction) else ()


def _signed(number: int) -> int:
    """Identities are 64 random bits; a BIGINT has a sign."""
    return number - (1 << 64) if number >= 1 << 63 else number
