"""A process with bounded memory: by a control group where that can be had, and measured in any case."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
_REPORT = """
import json as _json
_status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(_json.dumps([answer, int(_status["VmHWM"].split()[0]) * 1024]))
"""


class Outcome(NamedTuple):
    """What a program did.

    Attributes:
        answer: What it left in ``answer``; ``None`` if it failed.
        peak_bytes: The most memory that it ever had, shared pages included.
        problem: Why it failed.
    """

    answer: Any
    peak_bytes: int
    problem: str


def run_bounded(program: str, bytes_max: int) -> Outcome:
    """Run a program in a process of its own.

    Args:
        program: Python; it leaves something in ``answer``.
        bytes_max: Memory that it may have. The page cache counts, but it is given back instead.
    """
    with _group(bytes_max) as group:

        def enter() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(
            [sys.executable, "-c", program + _REPORT],
            capture_output=True,
            text=True,
            preexec_fn=enter,
            check=False,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Outcome(None, 0, lines[-1] if lines else f"killed by signal {-done.returncode}")
    return Outcome(*json.loads(done.stdout.splitlines()[-1]), "")


@contextlib.contextmanager
def _group(bytes_max: int) -> Iterator[Path | None]:
    """A control group with that much memory and no swap; ``None`` where we may not make one."""
    for parent, limit in ((_V1, "memory.limit_in_bytes"), (_V2, "memory.max")):
        group = parent / f"streamhouse-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / limit).write_text(str(bytes_max))
            except OSError:
                continue
            yield group
            return
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
    yield None


def is_enforced() -> bool:
    """Whether there is a control group to enforce it."""
    with _group(1 << 30) as group:
        return group is not None
