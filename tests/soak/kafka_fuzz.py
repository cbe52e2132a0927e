"""Damaged requests for a gateway in a process of its own, while a good client works.

Afterwards the gateway must live, have logged no traceback, and have served the good client all the while. Its
memory may grow by what was stored, for some of the requests are fine, but not by more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kafka.hostile.corpus import load
from tests.kafka.hostile.fuzzing import Fuzzer, GoodClient

_SERVE = (sys.executable, "-c", "from streamhouse.cli import main; main()", "serve", "--kafka", "--port", "0")
_ROUND = 50_000
_GROWTH_BYTES_MAX = 320 << 20  # caches of blocks and of batches may take 192 MiB of it
_END_SECONDS = 60


def main(frames: int, seed: int) -> int:
    """Send them; the exit code."""
    with tempfile.TemporaryDirectory() as folder, _gateway(Path(folder)) as (process, bootstrap):
        good = GoodClient(bootstrap)
        good.work()
        fuzzer = Fuzzer(int(bootstrap.rpartition(":")[2]), load(), seed)
        first = _resident_bytes(process.pid)
        began = time.monotonic()
        print(f"seed {seed}; the gateway has {first >> 20} MiB")
        while fuzzer.tried < frames:
            _one_round(fuzzer, good, min(_ROUND, frames - fuzzer.tried))
            rate = fuzzer.tried / (time.monotonic() - began)
            print(
                f"{fuzzer.tried:,} frames ({rate:,.0f}/s): {dict(fuzzer.outcomes)};"
                f" {good.received:,} good records, slowest turn {good.slowest_seconds:.2f} s;"
                f" {_resident_bytes(process.pid) >> 20} MiB",
                flush=True,
            )
        good.close()
        last = _resident_bytes(process.pid)
        alive = process.poll() is None
        process.terminate()
        ended = _has_ended(process)
        errors = (Path(folder) / "errors").read_text()
    bad = [
        why
        for why, found in (
            ("the gateway died", not alive),
            ("it logged tracebacks", "Traceback" in errors),
            ("it did not end when it was told to", not ended),
            ("it grew", last - first > _GROWTH_BYTES_MAX),
        )
        if found
    ]
    print("\n".join(bad) or "clean")
    if "Traceback" in errors:
        print(errors[-20_000:])
    return len(bad)


def _one_round(fuzzer: Fuzzer, good: GoodClient, frames: int) -> None:
    sending = threading.Thread(target=fuzzer.run, args=(frames,))
    sending.start()
    while sending.is_alive():
        good.work()
        time.sleep(0.05)
    sending.join()


@contextmanager
def _gateway(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [*_SERVE, "--log", str(folder / "log"), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["bootstrap"]
        finally:
            process.kill()
            process.communicate()


def _has_ended(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _resident_bytes(pid: int) -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(done.stdout.strip() or 0) * 1024
