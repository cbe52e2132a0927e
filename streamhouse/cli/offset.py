"""``streamctl offset``: what a group has committed, and committing in its place."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log
from streamhouse.cli.output import print_rows, wants_json
from streamhouse.cli.places import check_partition, is_among, parse_offset, parse_place
from streamhouse.records import OffsetAndMetadata, TopicPartition

offsets = typer.Typer(name="offset", help="Look at, and commit, the offsets of a consumer group.")

Group = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]


@offsets.command()
def get(
    group: Group,
    log: LogUrl,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC[:P]]...", help="Only these.", show_default=False)
    ] = None,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Show the committed offsets of a group: the next that it wants of each partition.

    Of a topic that is named, all partitions are shown; those without a commit have no offset.
    """
    wanted = [parse_place(text, "offset get") for text in places or ()]
    with open_log(log, storage_option) as handle:
        named = set()
        for name, number in wanted:
            topic = handle.topic(name)
            check_partition(topic, number)
            named |= {TopicPartition(name, p.number) for p in topic.partitions}
        found = handle.groups[group].offsets
    shown = sorted(place for place in named | found.keys() if is_among(place, wanted))
    rows = [_row(group, place, found.get(place)) for place in shown]
    print_rows(rows, as_json=wants_json(json), nothing=f"group {group} has committed nothing")


@offsets.command()
def commit(
    group: Group,
    places: Annotated[
        list[str], typer.Argument(metavar="TOPIC:P=OFFSET...", help="The next offset wanted of a partition.")
    ],
    log: LogUrl,
    metadata: Annotated[str, typer.Option("--metadata", help="Text to note with the offsets.")] = "",
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Commit offsets for a group without members; makes the group if there is none."""
    wanted = dict(parse_offset(text) for text in places)
    with open_log(log, storage_option) as handle:
        if group in handle.groups:
            handle.groups[group].commit(dict(wanted.items()), metadata=metadata)
        else:
            with handle.consumer(group=group, auto_commit=False) as consumer:  # a member of nothing
                consumer.commit(dict(wanted.items()), metadata=metadata)
        found = handle.groups[group].offsets
    print_rows([_row(group, place, found[place]) for place in wanted], as_json=wants_json(json))


def _row(group: str, place: TopicPartition, offset: OffsetAndMetadata | None) -> dict[str, Any]:
    row: dict[str, Any] = {"group": group, "topic": place.topic, "partition": place.partition}
    if offset is None:
        return {**row, "offset": None, "metadata": None, "committed": None}
    committed = dt.datetime.fromtimestamp(offset.timestamp / 1000, tz=dt.UTC)
    return {
        **row,
        "offset": offset.offset,
        "metadata": offset.metadata,
        "committed": committed.isoformat(timespec="milliseconds"),
    }
