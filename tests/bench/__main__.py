"""``python -m tests.bench [NAME ...]``: run benchmarks and print what they measured."""

from __future__ import annotations

import sys

from tests.bench import (
    compaction,
    group_cost,
    growth,
    importing,
    kafka,
    kafka_batches,
    latency,
    rebalance,
    speed,
    sql,
    sql_large,
    sql_s3,
    sql_typed,
    tail,
)

BENCHMARKS = {
    "import": importing.run,
    "speed": speed.run,
    "latency": latency.run,
    "growth": growth.run,
    "tail": tail.run,
    "compaction": compaction.run,
    "rebalance": rebalance.run,
    "group_cost": group_cost.run,
    "sql_typed": sql_typed.run,
    "sql": sql.run,
    "sql_s3": sql_s3.run,
    "sql_large": sql_large.run,
    "kafka": kafka.run,
    "kafka_batches": kafka_batches.run,
}
ONLY_IF_NAMED = ("sql_large",)
"""Those that take minutes and tens of gigabytes."""


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    for name in names or [name for name in BENCHMARKS if name not in ONLY_IF_NAMED]:
        if name not in BENCHMARKS:
            raise SystemExit(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
        print(f"== {name}", flush=True)
        BENCHMARKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
