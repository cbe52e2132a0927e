"""What was freed is not asked of the kernel again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from streamhouse.read.heap import keep_freed_memory

if {kept}:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    blocks = []
    for number in range(200):
        blocks.append(b"x" * (2 << 20))
        if len(blocks) > 6:
            blocks.clear()

work()
before = faults()
work()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have their own thresholds")
def test_buffers_are_made_of_memory_that_was_freed() -> None:
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM.format(kept=kept)], capture_output=True, text=True, check=True
            ).stdout
        )
        for kept in (False, True)
    ]
    assert counts[1] < counts[0] / 10
