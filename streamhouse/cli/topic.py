"""``streamctl topic``: create, list, describe and delete topics."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log
from streamhouse.cli.output import print_json, print_rows, print_text, wants_json
from streamhouse.topic import Partition

topics = typer.Typer(name="topic", help="Create, list, describe and delete topics.")

Name = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]


@topics.command()
def create(
    name: Name,
    log: LogUrl,
    partitions: Annotated[int, typer.Option("--partitions", "-p", help="1 to 100,000.")] = 1,
    exist_ok: Annotated[bool, typer.Option(help="Accept a topic that is there already.")] = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Create a topic, and the log with it if there is none yet."""
    with open_log(log, storage_option, create=True) as handle:
        topic = handle.create_topic(name, partitions=partitions, exist_ok=exist_ok)
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
    print_rows(rows, as_json=wants_json(json))


@topics.command()
def describe(name: Name, log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """Show each partition of a topic: its first offset and the one after its last."""
    with open_log(log, storage_option) as handle:
        rows = [_describe(partition) for partition in handle.topic(name).partitions]
    print_rows(rows, as_json=wants_json(json))


@topics.command()
def delete(
    name: Name,
    log: LogUrl,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Delete a topic and all its records."""
    with open_log(log, storage_option) as handle:
        handle.topic(name)  # a misspelt name is told before anything is asked
        if not yes:
            _confirm(name)
        handle.delete_topic(name)
    if wants_json(json):
        print_json({"topic": name, "deleted": True})
    else:
        print_text(f"topic {name} deleted")


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"deleting {name!r} needs --yes where nobody can be asked")
    typer.confirm(f"Delete topic {name} and all its records?", abort=True)


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
