"""``streamctl upkeep``: retention, compaction and cleaning up, once and now."""

from __future__ import annotations

import msgspec

from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log
from streamhouse.cli.output import print_json, print_text, wants_json
from streamhouse.upkeep.report import UpkeepReport


def upkeep(log: LogUrl, storage_option: StorageOptions = None, json: Json = False) -> None:
    """Remove what retention lets go, compact, and free the space; print what was done.

    Processes that have the log open do the same now and then. It is safe at any time, beside them.
    """
    with open_log(log, storage_option) as handle:
        report = handle.upkeep()
    if wants_json(json):
        print_json(msgspec.to_builtins(report))
    else:
        for line in _sentences(report):
            print_text(line)


def _sentences(report: UpkeepReport) -> list[str]:
    collected = report.collected
    blocks = f"{report.blocks_before:,} blocks became {report.blocks_after:,}"
    rewritten = f"{report.bytes_rewritten:,} bytes rewritten into {report.segments_written:,} objects"
    return [
        f"retention: {report.trimmed:,} offsets went",
        f"compaction: {blocks} ({rewritten}), {report.records_removed:,} records went",
        f"store: {collected.objects_deleted:,} objects deleted ({collected.bytes_deleted:,} bytes)",
        *(f"left alone: {reason}" for reason in report.skipped),
    ]
