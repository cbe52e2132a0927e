"""``cli``: run a command in this process, on a log of the test's own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamhouse.cli.app import run


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: bytes
    err: str

    @property
    def rows(self) -> list[Any]:
        """The JSON lines of the output."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the log of ``cli`` is; nothing is there yet."""
    monkeypatch.setenv("STREAMHOUSE_LOG", str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "log"


@pytest.fixture
def cli(folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """Run ``streamctl`` with these arguments and this standard input."""

    def call(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(arguments)
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    return call


@pytest.fixture
def orders(cli: Cli) -> Cli:
    """The same, with a topic ``orders`` of three partitions."""
    assert cli("topic", "create", "orders", "--partitions", "3").code == 0
    return cli
