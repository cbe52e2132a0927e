"""What ``import streamhouse`` costs."""

from __future__ import annotations

import subprocess
import sys

from tests.bench.data import row

_CODE = """
import time; began = time.perf_counter()
import streamhouse
print(1000 * (time.perf_counter() - began))
"""


def run() -> None:
    """Import in ten fresh processes."""
    times = sorted(
        float(subprocess.run([sys.executable, "-c", _CODE], capture_output=True, check=True).stdout)
        for _ in range(10)
    )
    row("import streamhouse, median of 10", f"{times[5]:.1f} ms", "wanted: under 50 ms")
