"""The documentation is whole: links lead somewhere, every page can be found, every command has its text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer

import streamhouse
from streamhouse.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")  # what has a colon leads out of the project


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert dead == []


def test_every_page_is_on_the_front_page() -> None:
    front = DOCS / "README.md"
    linked = {(DOCS / link).resolve() for link in LINK.findall(front.read_text())}
    assert {page.resolve() for page in PAGES[1:]} - linked == {front.resolve()}


def test_every_command_and_option_is_described() -> None:
    page = (DOCS / "command-line.md").read_text()
    missing = []

    def look(command: object, name: str) -> None:
        for child, sub in getattr(command, "commands", {}).items():
            look(sub, f"{name} {child}")
        if not hasattr(command, "commands") and name not in page:
            missing.append(name)
        for parameter in command.params:  # type: ignore[attr-defined]
            option = max(parameter.opts, key=len)
            if option.startswith("--") and option not in page and "completion" not in option:
                missing.append(f"{name} {option}")

    look(typer.main.get_command(app), "streamctl")
    assert missing == []


ERRORS = [
    value
    for value in vars(streamhouse.errors).values()
    if inspect.isclass(value) and issubclass(value, streamhouse.errors.StreamhouseError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_described_with_what_else_catches_it(error: type[Exception]) -> None:
    lines = [line for line in (DOCS / "errors.md").read_text().splitlines() if f"`{error.__name__}`" in line]
    assert lines
    builtins = [base.__name__ for base in error.__bases__ if base.__module__ == "builtins"]
    wanted = [f"`{name}`" for name in builtins if name != "Exception"]
    if "retriable" in vars(error) and error.retriable:
        wanted.append("retriable")
    assert any(all(word in line for word in wanted) for line in lines), f"{wanted} beside {error.__name__}"


@pytest.mark.parametrize("name", streamhouse.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert re.search(rf"\b{name}\b", "".join(page.read_text() for page in PAGES[1:]))
