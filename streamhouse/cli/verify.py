"""``streamctl verify``: read everything, check every checksum."""

from __future__ import annotations

import msgspec
import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, parse_storage_options
from streamhouse.cli.output import print_json, print_rows, print_text, wants_json
from streamhouse.verify import verify as verify_log


def verify(log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """Read every object of the log and check it; exit with 1 if anything is damaged.

    Each damage names the object and the offsets that cannot be read because of it.
    """
    as_json = wants_json(json)
    report = verify_log(log, storage_options=parse_storage_options(storage_option))
    print_rows([msgspec.structs.asdict(damage) for damage in report.damage], as_json=as_json)
    if as_json:
        print_json(
            {
                "objects_checked": report.objects_checked,
                "records_checked": report.records_checked,
                "damaged": len(report.damage),
            }
        )
    else:
        found = f"{len(report.damage):,} damaged" if report.damage else "no damage"
        print_text(f"{report.objects_checked:,} objects, {report.records_checked:,} records: {found}")
    if report.damage:
        raise typer.Exit(1)
