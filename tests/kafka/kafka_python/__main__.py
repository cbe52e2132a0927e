"""Fetch the tests, start a gateway, run them, and compare with what is known."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import streamhouse
import streamhouse.kafka
from tests.kafka.kafka_python.known import KNOWN

_KAFKA_VERSION = "4.0.0"
_SERVICE = '''"""In place of the module that starts brokers, which the source distribution lacks."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    close = stop = dump_logs = open


class SpawnedService:
    def __init__(self, *arguments):
        raise RuntimeError("there are no brokers to start")
'''
_OPTIONS = ("-q", "--timeout=60", "--tb=short", "--show-capture=no", "-W", "ignore")
_WITHOUT = ("streamhouse", "hypothesispytest", "cacheprovider")
_BAD = {"failure", "error"}


def main() -> int:
    """Run them; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        sources = fetch(Path(folder))
        report = Path(folder, "report.xml")
        with (
            streamhouse.Log("memory://") as log,
            streamhouse.kafka.serve(
                log, port=0, default_partitions=4, authorize=True, super_users=("User:ANONYMOUS",)
            ) as gateway,
        ):
            run(sources, gateway.bootstrap, report, sys.argv[1:])
        return compare(results(report), complete=not sys.argv[1:])


def fetch(folder: Path) -> Path:
    """The sources of the version that is installed."""
    version = importlib.metadata.version("kafka-python")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    subprocess.run([*pip, f"--dest={folder}", f"kafka-python=={version}"], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    sources = archive.with_name(archive.name.removesuffix(".tar.gz"))
    Path(sources, "test", "__init__.py").touch()
    Path(sources, "test", "service.py").write_text(_SERVICE)
    return sources


def run(sources: Path, bootstrap: str, report: Path, options: list[str]) -> None:
    """Run them, with the report as a file."""
    environment = {
        **os.environ,
        "KAFKA_URI": f"kafka://{bootstrap}",
        "KAFKA_VERSION": _KAFKA_VERSION,
        "KAFKA_ROOT": str(sources),
        "PYTHONPATH": str(sources),
    }
    without = [option for plugin in _WITHOUT for option in ("-p", f"no:{plugin}")]
    pytest = [sys.executable, "-m", "pytest", "test/integration", *_OPTIONS, *without, f"--junitxml={report}"]
    subprocess.run([*pytest, *options], cwd=sources, env=environment, check=False, timeout=900)


def results(report: Path) -> dict[str, str]:
    """What became of each test: passed, skipped, failure or error."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('test.integration.')}::{case.get('name')}"
        outcomes = {child.tag for child in case} & (_BAD | {"skipped"})
        found[name] = outcomes.pop() if outcomes else "passed"
    return found


def compare(found: dict[str, str], *, complete: bool) -> int:
    """Say what is not as it is known to be; the exit code."""
    failed = {name for name, outcome in found.items() if outcome in _BAD}
    unexpected = sorted(failed - set(KNOWN))
    missing = set(KNOWN) - failed
    mended = sorted(missing if complete else missing & set(found))
    passed = sum(outcome == "passed" for outcome in found.values())
    known = len(failed & set(KNOWN))
    print(f"\nkafka-python's tests: {passed} passed, {len(failed)} failed, {known} of them known")
    for name in unexpected:
        print(f"  failed: {name}")
    for name in mended:
        print(f"  did not fail, though it is in the list: {name} ({found.get(name, 'not found')})")
    return 1 if unexpected or mended or not passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
