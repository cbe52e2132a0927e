"""The command line of the simulator."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from streamhouse.testing.simulation.guards import GUARDS, guards_without
from streamhouse.testing.simulation.plan import PROFILES, WEATHERS
from streamhouse.testing.simulation.run import simulate
from streamhouse.testing.simulation.sweep import Tally, sweep

_REPORT_SECONDS = 30.0
_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator; 1 when a promise was broken that should hold."""
    options = _parser().parse_args(arguments)
    if options.table:
        return _table(options)
    if options.trace:
        return _trace(options)
    tally = _sweep(options, options.without)
    return 1 if tally.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streamhouse.testing.simulation",
        description="Run the commit engine through lost acknowledgements, late writes, stalls and crashes.",
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use (default 1)")
    parser.add_argument("--profile", choices=PROFILES, help="the kind of store (default: drawn by the seed)")
    parser.add_argument("--weather", choices=WEATHERS, help="the kind of trouble (likewise)")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=list(GUARDS),
        help="switch this guard off; repeatable",
    )
    parser.add_argument(
        "--table", action="store_true", help="switch each guard off in turn and print what happens"
    )
    parser.add_argument("--trace", action="store_true", help="print all that happens in the first seed")
    return parser


def _sweep(options: argparse.Namespace, without: Sequence[str]) -> Tally:
    total = Tally()
    began = reported = time.monotonic()
    seeds = range(options.start, options.start + options.seeds)
    for tally in sweep(
        seeds, without=without, profile=options.profile, weather=options.weather, jobs=options.jobs
    ):
        for finding in tally.findings[: max(0, _SHOWN - len(total.findings))]:
            _print(f"seed {finding.seed}:")
            for kind, what in finding.violations[:_SHOWN]:
                _print(f"    {kind}: {what}")
        total.add(tally)
        now = time.monotonic()
        if now - reported > _REPORT_SECONDS:
            reported = now
            _print(_summary(total, now - began))
    _print(_summary(total, time.monotonic() - began))
    for kind, count in total.kinds().most_common():
        _print(f"    {kind}: {count} seeds")
    return total


def _summary(tally: Tally, seconds: float) -> str:
    return (
        f"{tally.seeds} seeds, {len(tally.findings)} with violations; {tally.seeds / seconds:.0f} seeds/s, "
        f"{tally.appends} appends, {tally.acknowledged} acknowledged, {tally.commits} commits, "
        f"{tally.transactions} transactions, {tally.consumed} offsets consumed, {tally.rewritten} compactions"
    )


def _table(options: argparse.Namespace) -> int:
    _print(f"{'switched off':18}  {'seeds':>7}  {'violations':>10}  kinds (seeds)")
    unexpected = 0
    seeds = range(options.start, options.start + options.seeds)
    for without in ((), *((name,) for name in GUARDS)):
        total = Tally()
        for tally in sweep(
            seeds, without=without, profile=options.profile, weather=options.weather, jobs=options.jobs
        ):
            total.add(tally)
        kinds = ", ".join(f"{kind} ({count})" for kind, count in total.kinds().most_common())
        _print(
            f"{'+'.join(without) or 'nothing':18}  {total.seeds:7}  {len(total.findings):10}  {kinds or '-'}"
        )
        unexpected += bool(total.findings) != bool(without)
    return 1 if unexpected else 0


def _trace(options: argparse.Namespace) -> int:
    outcome = simulate(
        options.start, guards_without(*options.without), options.profile, options.weather, tracing=True
    )
    for line in outcome.trace:
        _print(line)
    for violation in outcome.violations:
        _print(f"{violation.kind}: {violation.what}")
    return 1 if outcome.violations else 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
