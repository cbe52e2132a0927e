"""``streamctl topic``: create, list, describe, alter, trim and delete topics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, Yes, confirm, open_log
from streamhouse.cli.output import print_fields, print_json, print_rows, print_text, wants_json
from streamhouse.cli.places import check_partition
from streamhouse.cli.positions import parse_position
from streamhouse.cli.schema import SchemaText, parse_schema
from streamhouse.cli.settings import (
    DEFAULT,
    CleanupPolicy,
    CompactionLag,
    DeadLetter,
    DeleteRetention,
    Retention,
    RetentionBytes,
    TimestampType,
    given_settings,
)
from streamhouse.errors import TopicExistsError
from streamhouse.topic import Partition, Topic

topics = typer.Typer(name="topic", help="Create, list, describe, alter, trim and delete topics.")

Name = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]


@topics.command()
def create(
    name: Name,
    log: LogUrl,
    partitions: Annotated[int, typer.Option("--partitions", "-p", help="1 to 100,000.")] = 1,
    exist_ok: Annotated[bool, typer.Option(help="Accept a topic that is there already.")] = False,
    cleanup_policy: CleanupPolicy = None,
    retention: Retention = None,
    retention_bytes: RetentionBytes = None,
    delete_retention: DeleteRetention = None,
    min_compaction_lag: CompactionLag = None,
    timestamp_type: TimestampType = None,
    schema: SchemaText = None,
    dead_letter: DeadLetter = None,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Create a topic, and the log with it if there is none yet."""
    fields = parse_schema(schema)
    given = given_settings(
        cleanup_policy, retention, retention_bytes, delete_retention, min_compaction_lag, timestamp_type
    )
    settings = {setting: value for setting, value in given.items() if value is not None}
    if dead_letter is not None:
        settings["dead_letter"] = dead_letter
    with open_log(log, storage_option, create=True) as handle:
        if not exist_ok and name in handle.topics:
            raise TopicExistsError(f"topic {name!r} exists; --exist-ok accepts it")
        topic = handle.create_topic(name, partitions=partitions, schema=fields, exist_ok=exist_ok, **settings)
        count = len(topic.partitions)
    if wants_json(json):
        print_json({"topic": name, "partitions": count})
    else:
        print_text(f"topic {name} has {count:,} partition{'s' if count > 1 else ''}")


@topics.command("list")
def list_(log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """List the topics of a log."""
    with open_log(log, storage_option) as handle:
        rows = [
            {
                "topic": topic.name,
                "partitions": len(topic.partitions),
                "created": topic.created.isoformat(timespec="seconds"),
            }
            for topic in handle.topics.values()
        ]
    print_rows(rows, as_json=wants_json(json), nothing="no topics yet; topic create makes one")


@topics.command()
def describe(name: Name, log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """Show a topic's settings, and each partition: its first offset and the one after its last."""
    with open_log(log, storage_option) as handle:
        topic = handle.topic(name)
        summary = _summary(topic)
        rows = [_describe(partition) for partition in topic.partitions]
    as_json = wants_json(json)
    if as_json:
        print_json(summary)
    else:
        print_fields(summary)
    print_rows(rows, as_json=as_json)


@topics.command()
def alter(
    name: Name,
    log: LogUrl,
    partitions: Annotated[
        int | None, typer.Option("--partitions", "-p", help="How many it shall have: no fewer than now.")
    ] = None,
    cleanup_policy: CleanupPolicy = None,
    retention: Retention = None,
    retention_bytes: RetentionBytes = None,
    delete_retention: DeleteRetention = None,
    min_compaction_lag: CompactionLag = None,
    timestamp_type: TimestampType = None,
    schema: SchemaText = None,
    dead_letter: DeadLetter = None,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Change a topic for everybody: add partitions, alter settings; the value "default" takes one back.

    Shows what is other than before. Records with a key go to other partitions once there are more.
    """
    settings = given_settings(
        cleanup_policy, retention, retention_bytes, delete_retention, min_compaction_lag, timestamp_type
    )
    if dead_letter is not None:
        settings["dead_letter"] = None if dead_letter == DEFAULT else dead_letter
    fields = parse_schema(schema)
    if partitions is None and not settings and fields is None:
        raise typer.BadParameter("nothing to alter: name --partitions, --schema or a setting")
    with open_log(log, storage_option) as handle:
        before = _summary(handle.topic(name))
        after = _summary(handle.alter_topic(name, partitions=partitions, schema=fields, **settings))
    rows = [
        {"topic": name, "setting": setting, "before": before[setting], "after": value}
        for setting, value in after.items()
        if value != before[setting]
    ]
    print_rows(rows, as_json=wants_json(json), nothing=f"topic {name} is like that already")


@topics.command()
def trim(
    name: Name,
    log: LogUrl,
    before: Annotated[
        str,
        typer.Option(
            "--before",
            metavar="POSITION",
            help="latest (all records), an offset, -N (all but the last N), or a time; see consume --from.",
        ),
    ],
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", help="Repeatable; default all.")
    ] = None,
    yes: Yes = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Delete the oldest records of a topic, those before a position."""
    with open_log(log, storage_option) as handle:
        topic = handle.topic(name)
        wanted = _trim_positions(topic, before, partition)
        if not yes:
            confirm(f"Delete the records of topic {name} before {before}?", f"trimming {name!r}")
        starts = {p.number: p.log_start for p in topic.partitions}
        after = handle.delete_records(name, before=wanted)
    rows = [
        {"topic": name, "partition": number, "log_start": start, "removed": start - starts[number]}
        for number, start in sorted(after.items())
    ]
    print_rows(rows, as_json=wants_json(json))


@topics.command()
def delete(
    name: Name,
    log: LogUrl,
    yes: Yes = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Delete a topic and all its records."""
    with open_log(log, storage_option) as handle:
        handle.topic(name)  # a misspelt name is told before anything is asked
        if not yes:
            confirm(f"Delete topic {name} and all its records?", f"deleting {name!r}")
        handle.delete_topic(name)
    if wants_json(json):
        print_json({"topic": name, "deleted": True})
    else:
        print_text(f"topic {name} deleted")


def _trim_positions(
    topic: Topic, text: str, partitions: list[int] | None
) -> Mapping[int, int] | dt.datetime | str:
    """What the library is told; an offset or ``-N`` is one per partition there."""
    position = parse_position(text, topic, "--before")
    for number in partitions or ():
        check_partition(topic, number)
    numbers = partitions or [partition.number for partition in topic.partitions]
    if isinstance(position, int):
        return dict.fromkeys(numbers, position)
    if partitions and position == "latest":
        return {number: topic.partitions[number].high_watermark for number in numbers}
    if isinstance(position, Mapping):
        return {number: position[number] for number in numbers}  # type: ignore[misc]
    if partitions:
        raise typer.BadParameter("--before with a time concerns all partitions; leave out --partition")
    if position == "earliest":
        raise typer.BadParameter("nothing lies before earliest; --before latest deletes all records")
    return position


def _summary(topic: Topic) -> dict[str, Any]:
    settings = msgspec.structs.asdict(topic.settings)
    del settings["schemas"]
    return {
        "topic": topic.name,
        "partitions": len(topic.partitions),
        "created": topic.created.isoformat(timespec="seconds"),
        **settings,
        "kafka_configs": dict(settings["kafka_configs"]) or None,
        "schema": None if (schema := topic.schema) is None else schema.types,
    }


def _describe(partition: Partition) -> dict[str, Any]:
    info = partition.info()
    return {
        "topic": partition.topic,
        "partition": partition.number,
        "log_start": info.log_start,
        "high_watermark": info.high_watermark,
        "records": info.high_watermark - info.log_start,
        "raw_bytes": info.raw_bytes,
        "stored_bytes": info.stored_bytes,
    }
