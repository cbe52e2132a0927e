"""``streamctl consume``: print records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final

import typer

from streamhouse.cli.layouts import TERMINAL, BytesRecord, make_layout
from streamhouse.cli.options import LogUrl, StorageOptions, open_log
from streamhouse.cli.output import flush, write_bytes
from streamhouse.cli.positions import parse_position
from streamhouse.log import Log
from streamhouse.records import Positions

_POLL_SECONDS: Final = 1.0


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
    """Print the records of a topic, up to its present end or, with --follow, for ever."""
    write = make_layout(form or (TERMINAL if sys.stdout.isatty() else "json"))
    with open_log(log, storage_option) as handle:
        position = parse_position(start, handle.topic(topic))
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
