"""``python -m tests.soak kill|many|chain|groups|compaction|kafka|kafka_fuzz``: see the package."""

from __future__ import annotations

import argparse
import time

from tests.soak import chain, compaction, groups, kafka, kafka_fuzz, runner

_WHAT = ("kill", "many", "chain", "groups", "compaction", "kafka", "kafka_fuzz")


def main() -> None:
    """Run one soak and print its verdict; the exit code says whether it was clean."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("what", choices=_WHAT)
    parser.add_argument("--store", choices=("dir", "ministack", "fake"), default="dir")
    parser.add_argument("--runs", type=int, default=None, help="processes to kill; runs of chain and groups")
    parser.add_argument("--frames", type=int, default=1_000_000, help="requests of kafka_fuzz")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, help="in place of seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="where the histories of groups that went wrong are kept")
    options = parser.parse_args()
    if options.minutes is not None:
        options.seconds = options.minutes * 60
    began = time.monotonic()
    if options.what == "kill":
        verdict = runner.kill(options.store, options.runs or 100, options.seed)
    elif options.what == "chain":
        raise SystemExit(chain.main(options.store, options.runs or 1, options.seconds, options.seed))
    elif options.what == "groups":
        raise SystemExit(
            groups.main(options.store, options.runs or 1, options.seconds, options.seed, options.keep)
        )
    elif options.what == "compaction":
        raise SystemExit(compaction.main(options.store, options.seconds, options.seed))
    elif options.what == "kafka_fuzz":
        raise SystemExit(kafka_fuzz.main(options.frames, options.seed))
    elif options.what == "kafka":
        raise SystemExit(kafka.main(options.store, options.seconds, options.seed, options.keep))
    else:
        verdict = runner.many(options.store, options.writers, options.seconds)
        shares = sorted(verdict.acknowledged.values())
        fair = sum(shares) / options.writers
        print(f"shares of the fair one: {[round(share / fair, 2) for share in shares]}")
    print(f"{verdict} ({time.monotonic() - began:.0f} s)")
    for anomaly in verdict.anomalies[:20]:
        print(f"  {anomaly}")
    raise SystemExit(not verdict.clean)


if __name__ == "__main__":
    main()
