"""``streamctl group``: list, describe, reset and delete consumer groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, Yes, confirm, open_log
from streamhouse.cli.output import print_fields, print_json, print_rows, print_text, wants_json
from streamhouse.cli.places import check_partition, is_among, parse_place
from streamhouse.cli.positions import parse_one_position
from streamhouse.groups.description import GroupDescription
from streamhouse.records import TopicPartition

groups = typer.Typer(name="group", help="List, describe, reset and delete consumer groups.")

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]


@groups.command("list")
def list_(log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """List the groups of a log: how many members they have, and how far they are behind."""
    with open_log(log, storage_option) as handle:
        rows = [_summary(group.describe()) for group in handle.groups.values()]
    print_rows(rows, as_json=wants_json(json), nothing="no groups yet; consume --group makes one")


@groups.command()
def describe(name: Name, log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """Show a group, its members, and for each partition its owner, offset and lag.

    In a rebalance, partitions are coming that their present owners have yet to give back.
    """
    with open_log(log, storage_option) as handle:
        group = handle.groups[name].describe()
    summary, members, partitions = _summary(group), _members(group), _partitions(group)
    if wants_json(json):
        print_json({**summary, "members": members})
        print_rows(partitions, as_json=True)
        return
    print_fields(summary)
    print_rows(members, as_json=False, title="members")
    print_rows(partitions, as_json=False, title="partitions")


@groups.command()
def reset(
    name: Name,
    log: LogUrl,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="POSITION",
            help="earliest, latest, an offset, or a time such as 2026-11-22T10:00 (UTC) or @MILLISECONDS.",
        ),
    ] = None,
    shift: Annotated[
        int | None, typer.Option("--shift", metavar="N", help="By so many offsets, back if negative.")
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="TOPIC[:P]", help="Repeatable; default all with a committed offset."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Set the committed offsets of a group without members; shows them before and after.

    An offset that a partition does not have becomes the nearest that it has. Members that look dead are
    struck off, after a third of their session, to be sure.
    """
    if (to is None) == (shift is None):
        raise typer.BadParameter("reset takes either --to or --shift")
    position = None if to is None else parse_one_position(to, "--to")
    wanted = [parse_place(text, "--topic") for text in topic or ()]
    with open_log(log, storage_option) as handle:
        group = handle.groups[name]
        before = group.offsets
        for each, number in wanted:
            check_partition(handle.topic(each), number)
        topics = [each for each, _ in wanted] or None
        whole = all(number is None for _, number in wanted)
        after = group.reset(position, shift=shift, topics=topics, dry_run=dry_run or not whole)
        if not whole:
            after = {place: offset for place, offset in after.items() if is_among(place, wanted)}
            if after and not dry_run:
                group.commit(dict(after.items()))
    rows = [
        {
            "group": name,
            "topic": place.topic,
            "partition": place.partition,
            "before": before[place].offset if place in before else None,
            "after": offset,
        }
        for place, offset in sorted(after.items())
    ]
    print_rows(
        rows,
        as_json=wants_json(json),
        title="would be" if dry_run else "",
        nothing=f"group {name} has nothing to reset",
    )


@groups.command()
def delete(
    name: Name,
    log: LogUrl,
    yes: Yes = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Forget a group without members, and its offsets."""
    with open_log(log, storage_option) as handle:
        group = handle.groups[name]
        if not yes:
            confirm(f"Forget group {name} and its offsets?", f"deleting {name!r}")
        group.delete()
    if wants_json(json):
        print_json({"group": name, "deleted": True})
    else:
        print_text(f"group {name} deleted")


def _summary(group: GroupDescription) -> dict[str, Any]:
    return {
        "group": group.name,
        "state": group.state,
        "members": len(group.members),
        "assignor": group.assignor or None,
        "generation": group.generation,
        "lag": sum(group.lag.values()),
    }


def _members(group: GroupDescription) -> list[dict[str, Any]]:
    return [
        {
            "member": member.id,
            "process": member.process,
            "instance": member.instance,
            "session_timeout": member.session_timeout,
            "partitions": _names(member.assignment),
            "coming": _names(member.coming),
        }
        for member in group.members
    ]


def _names(places: Iterable[TopicPartition]) -> str:
    return " ".join(f"{place.topic}:{place.partition}" for place in places)


def _partitions(group: GroupDescription) -> list[dict[str, Any]]:
    owners = {place: member.id for member in group.members for place in member.assignment}
    return [
        {
            "group": group.name,
            "topic": place.topic,
            "partition": place.partition,
            "offset": group.offsets[place].offset if place in group.offsets else None,
            "lag": lag,
            "member": owners.get(place),
        }
        for place, lag in group.lag.items()
    ]
