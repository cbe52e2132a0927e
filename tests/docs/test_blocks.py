"""Every code block of the README and the documentation runs, page by page, top to bottom.

``python`` blocks of a page share one namespace. ``console`` blocks hold commands after ``$ ``, each with
the output it must have; ``...`` stands for any text. Both run in one temporary directory per page, so
a block finds what an earlier one has written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("python", "console")
NOT_RUN = ("", "sh", "text", "toml", "json")  # no language at all is a drawing or a listing


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int
    code: str


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, also indented ones."""
    fence = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
    for found in fence.finditer(text):
        indent, language, code = found.groups()
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        line = text.count("\n", 0, found.start()) + 2
        yield Block(language, line, "\n".join(lines) + "\n")


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Run a block so that a traceback shows the line in the page."""
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True)
    exec(code, namespace)


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block and the output shown under it."""
    code = block.code.replace("\\\n", " ")
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_console(block: Block, page: Path, folder: Path) -> None:
    """Run the commands of a block and compare what they print."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, expected in commands_of(block):
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, "STREAMHOUSE_LOG": "data"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        shown = f"{page.name}:{block.line}: $ {command}\n{run.stdout}"
        assert run.returncode == 0, shown
        printed = re.sub(r" +$", "", run.stdout, flags=re.MULTILINE).strip()
        pattern = ".*?".join(map(re.escape, expected.strip().split("...")))
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{shown}\nnot:\n{expected}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page.read_text()):
        assert block.language in RUN + NOT_RUN, f"{page.name}:{block.line}: {block.language}?"
        if block.language == "python":
            run_python(block, page, namespace)
        elif block.language == "console":
            run_console(block, page, tmp_path)


def test_a_failing_block_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (python, console) = blocks_of(
        "# x\n\n```python\nassert 1 == 2\n```\n\n"
        "```console\n$ echo one two\none ...\n$ echo three\nfour\n```\n"
    )
    assert (python.line, console.language) == (4, "console")
    with pytest.raises(AssertionError) as caught:
        run_python(python, page, {})
    assert caught.traceback[-1].lineno == 3  # counted from 0: line 4 of the page
    with pytest.raises(AssertionError, match="three"):
        run_console(console, page, tmp_path)
