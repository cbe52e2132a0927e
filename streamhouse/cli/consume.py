"""``streamctl consume``: print records."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Final, TypeAlias, cast

import typer

from streamhouse.cli.layouts import TERMINAL, BytesRecord, Layout, make_layout
from streamhouse.cli.options import LogUrl, StorageOptions, open_log
from streamhouse.cli.output import flush, write_bytes
from streamhouse.cli.positions import parse_position
from streamhouse.consumer import Consumer
from streamhouse.groups.options import Assignor
from streamhouse.log import Log
from streamhouse.records import Positions
from streamhouse.topic import Topic

BytesConsumer: TypeAlias = Consumer[bytes | None, bytes | None]

_POLL_SECONDS: Final = 1.0
_POLL_RECORDS: Final = 500


def consume(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="What to read.")],
    log: LogUrl,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            "-o",
            metavar="POSITION",
            help="earliest, latest, an offset, -N (the last N of each partition), a time such as"
            " 2026-11-22T10:00 (UTC) or @MILLISECONDS.",
        ),
    ] = "earliest",
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", help="Repeatable; default all.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more at the end; Ctrl-C stops.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            metavar="GROUP",
            help="Join this consumer group: share the partitions, go on where it stopped, commit.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="Stop after so many records.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="json, raw, or a text with kcat's tokens: %t topic, %p partition, %o offset,"
            " %T timestamp, %k key, %s or %v value, %K %S %V lengths, %h headers, \\n \\t.",
        ),
    ] = None,
    storage_option: StorageOptions = None,
) -> None:
    """Print the records of a topic, up to its present end or, with --follow, for ever.

    With --group, what was printed is committed, and --from is where to begin without a commit.
    """
    write = make_layout(form or (TERMINAL if sys.stdout.isatty() else "json"))
    with open_log(log, storage_option) as handle:
        position = parse_position(start, handle.topic(topic))
        if group is not None:
            with handle.consumer(
                topic,
                group=group,
                start=position,
                partitions=partition,
                assignor=_assignor(handle, group),
            ) as consumer:
                _share(handle, consumer, handle.topic(topic), write, follow=follow, limit=limit)
            return
        if follow:
            records = _follow(handle, topic, position, partition)
        else:
            records = _read(handle, topic, position, partition)
        for record in islice(records, limit):
            write_bytes(write(record))


def _read(log: Log, topic: str, start: Positions, partitions: list[int] | None) -> Iterator[BytesRecord]:
    return iter(log.read(topic, start=start, until="end", partitions=partitions))


def _follow(log: Log, topic: str, start: Positions, partitions: list[int] | None) -> Iterator[BytesRecord]:
    """Everything there is and will be; output is flushed whenever there is nothing more for now."""
    with log.consumer(topic, start=start, partitions=partitions) as consumer:
        while True:
            records = consumer.poll(timeout=0)
            if not records:
                flush()
                records = consumer.poll(timeout=_POLL_SECONDS)
            yield from records


def _assignor(log: Log, group: str) -> Assignor:
    """The one that the members of the group agree on."""
    groups = log.groups
    present = groups[group].assignor if group in groups else ""
    return cast(Assignor, present or "cooperative-sticky")


def _share(
    log: Log, consumer: BytesConsumer, topic: Topic, write: Layout, *, follow: bool, limit: int | None
) -> None:
    """Print a member's share. What was not printed is not committed, whatever ends this."""
    left = sys.maxsize if limit is None else limit
    ends = {(topic.name, p.number): p.high_watermark for p in topic.partitions}
    while left:
        records = consumer.poll(_POLL_SECONDS, min(left, _POLL_RECORDS))
        left -= len(records)
        _print_all(consumer, records, write)
        if not follow and _at_end(log, consumer, ends):
            break


def _print_all(consumer: BytesConsumer, records: Sequence[BytesRecord], write: Layout) -> None:
    printed = 0
    try:
        for record in records:
            write_bytes(write(record))
            printed += 1
        flush()  # the next poll says that they are processed
    except KeyboardInterrupt:
        flush()
        for record in reversed(records[printed:]):  # the first of each partition comes last
            consumer.seek(record.topic, record.partition, record.offset)
        consumer.close()
        raise


def _at_end(log: Log, consumer: BytesConsumer, ends: Mapping[tuple[str, int], int]) -> bool:
    """Whether all is read that the partitions held, and no more of them are on their way to us."""
    if any(consumer.position(*place) < ends.get(place, 0) for place in consumer.assignment):
        return False
    return consumer.member_id is None or log.groups[str(consumer.group)].state == "stable"
