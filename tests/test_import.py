"""``import streamhouse`` stays cheap: libraries are loaded by the first call that needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["asyncio", "botocore", "duckdb", "fsspec", "lz4", "nanoarrow", "numpy", "s3fs", "typer"]


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running the code."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("heavy", HEAVY)
def test_import_loads_no_heavy_library(heavy: str) -> None:
    assert heavy not in loaded_after("import streamhouse")


def test_a_memory_log_needs_neither_s3fs_nor_duckdb() -> None:
    code = "import streamhouse\nstreamhouse.Log('memory://').close()"
    assert loaded_after(code).isdisjoint({"botocore", "duckdb", "numpy", "s3fs"})


def test_the_pytest_plugin_loads_nothing_of_the_engine() -> None:
    """It is imported in every test run of everybody who has the package installed."""
    plugin = loaded_after("import streamhouse.testing.plugin")
    bare = loaded_after("import pytest")
    assert {name for name in plugin - bare if name.startswith("streamhouse.")} <= {
        "streamhouse.testing",
        "streamhouse.testing.plugin",
    }
    assert plugin.isdisjoint(HEAVY[1:])
