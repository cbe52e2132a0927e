"""``streamctl export``: new records of a topic as Parquet files."""

from __future__ import annotations

from typing import Annotated

import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log, parse_storage_options
from streamhouse.cli.output import print_json, print_text, wants_json
from streamhouse.cli.settings import parse_bytes


def export(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="What to export.")],
    url: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where to: a directory, s3://bucket/prefix, …")
    ],
    log: LogUrl,
    partition_by: Annotated[
        list[str] | None,
        typer.Option(
            "--partition-by", metavar="COLUMN", help="Becomes a level of folders: day=2024-05-01. Repeatable."
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option("--select", metavar="SQL", help="What to write, as it stands behind SELECT."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Keys and values as bytes instead of text.")] = False,
    compression: Annotated[
        str, typer.Option(help="zstd, snappy, lz4_raw, gzip, brotli or uncompressed.")
    ] = "zstd",
    file_bytes: Annotated[
        str,
        typer.Option("--file-bytes", metavar="SIZE", help="Stored bytes of records in one file, about."),
    ] = "128MiB",
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="GROUP", help="Under which the log remembers how far it is; made of FOLDER."
        ),
    ] = None,
    target_option: Annotated[
        list[str] | None,
        typer.Option(
            "--target-option",
            metavar="NAME=VALUE",
            help="Like --storage-option, for FOLDER instead of the log.",
        ),
    ] = None,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Write the records that came since the last time as Parquet files.

    Each record is exported once, also if this is interrupted: run it again. To export anew, delete the files
    and the group.
    """
    with open_log(log, storage_option) as handle:
        done = handle.topic(topic).to_parquet(
            url,
            partition_by=partition_by,
            select=select,
            raw=raw,
            compression=compression,
            file_bytes=parse_bytes("--file-bytes", file_bytes),
            group=group,
            storage_options=parse_storage_options(target_option) if target_option else None,
        )
    if wants_json(json):
        print_json({"topic": topic, "records": done.records, "files": done.files, "group": done.group})
    else:
        print_text(f"{done.records:,} records in {len(done.files):,} files under {done.url}")
