"""The documentation is whole: links lead somewhere, every page can be found, every command has its text."""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

import streamhouse
from streamhouse import limits
from streamhouse.cli.app import app, run
from streamhouse.kafka import GatewaySettings
from streamhouse.kafka.configs.brokers import broker_configs
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS
from streamhouse.sql.tables import TABLES
from streamhouse.testing.simulation.guards import GUARDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")  # what has a colon leads out of the project


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert dead == []


def anchors_of(page: Path) -> set[str]:
    """The places in a page that can be linked to, as GitHub names them after its headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.append(f"{name}-{count}" if (count := found.count(name)) else name)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_anchor_leads_to_a_heading(page: Path) -> None:
    dead = []
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = page.parent / link if link else page
        if target.suffix == ".md" and target.exists() and anchor not in anchors_of(target):
            dead.append(f"{link}#{anchor}")
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


NOT_RUN = [
    line
    for page in PAGES
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("streamctl ")
]


@pytest.mark.parametrize("command", NOT_RUN)
def test_commands_that_the_pages_do_not_run_are_understood(command: str) -> None:
    assert run([*shlex.split(command, comments=True)[1:], "--help"]) == 0


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


def rows_of(page: Path, heading: str) -> dict[str, str]:
    """The rows of the first table under a heading, by what stands in backticks in the first column."""
    section = f"\n{page.read_text()}".split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    return {found[1]: found[2] for found in re.finditer(r"^\| `([\w.]+)` \|(.*)\|$", section, re.MULTILINE)}


def test_the_page_of_names_has_exactly_the_public_ones() -> None:
    assert sorted(rows_of(DOCS / "api.md", "# Names")) == sorted(streamhouse.__all__)


CLASSES = {
    name: value for name in streamhouse.__all__ if inspect.isclass(value := getattr(streamhouse, name))
}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"Settings"}))  # which has a page of its own
def test_everything_that_a_public_class_has_is_on_the_page_of_names(name: str) -> None:
    cls = CLASSES[name]
    members = {
        member
        for base in cls.__mro__
        if base.__module__.startswith("streamhouse")
        for member in vars(base)
        if not member.startswith("_")
    }
    written = set(re.findall(r"`(\w+)`", rows_of(DOCS / "api.md", "## What they have")[name]))
    assert members - written == set()
    unknown = {word for word in written - members if word not in (inspect.getdoc(cls) or "")}
    assert unknown == set()


def test_every_setting_is_described() -> None:
    page = DOCS / "settings.md"
    rows = set(re.findall(r"^\| `([\w.]+)` \|", page.read_text(), re.MULTILINE))
    assert (
        set(streamhouse.Settings.__struct_fields__ + streamhouse.TopicSettings.__struct_fields__) - rows
        == set()
    )


def test_the_tables_about_the_log_are_described_with_their_columns() -> None:
    rows = rows_of(DOCS / "sql.md", "## Tables about the log")
    assert {name: found.partition("`")[2].partition("`")[0] for name, found in rows.items()} == {
        name: ", ".join(columns) for name, columns in TABLES.items()
    }


def test_every_setting_of_the_kafka_gateway_is_described_with_its_default() -> None:
    rows = rows_of(DOCS / "kafka.md", "## Settings")
    assert list(rows) == list(GatewaySettings.__struct_fields__)
    shown = {name: row.split("|")[0].strip(" `").replace(",", "") for name, row in rows.items()}
    assert shown == {name: written(getattr(GatewaySettings(), name)) for name in rows}


def test_every_config_of_kafka_is_described() -> None:
    page = DOCS / "kafka-configs.md"
    for heading, effective in (
        ("## Of topics, with an effect", True),
        ("## Of topics, without an effect", False),
    ):
        configs = [config for config in TOPIC_CONFIGS.values() if config.effective is effective]
        rows = rows_of(page, heading)
        assert list(rows) == [config.name for config in configs]
        for config in configs:
            default, broker, text = (cell.strip(" `") for cell in rows[config.name].split("|")[:3])
            assert broker == (config.broker or "")
            assert text == config.text
            assert default in {config.default, "empty", "that of the gateway"}
    shown = {each.name for each in broker_configs(GatewaySettings(), 1, "memory://", "127.0.0.1:9092")}
    assert set(rows_of(page, "## Of gateways")) <= shown


def written(value: object) -> str:
    """A default as the page has it."""
    if value in (None, (), {}):
        return "none"
    if isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return f"{value >> 20} MiB" if value and value % limits.MIB == 0 else str(value)
    return f'"{value}"'


def test_the_layers_are_drawn_as_they_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = project["tool"]["importlinter"]["contracts"][0]
    page = (DOCS / "internals" / "architecture.md").read_text()
    drawing = page.split("```text\n", 1)[1].split("```", 1)[0]
    drawn = [re.split(r"\s{2,}", line.strip())[0] for line in drawing.splitlines()]
    assert drawn == contract["layers"]


def test_files_that_the_internals_name_exist() -> None:
    missing = []
    for page in sorted((DOCS / "internals").glob("*.md")):
        for name in re.findall(r"`((?:[a-z]+/)+[a-z0-9_]+\.py)`", page.read_text()):
            places = [ROOT / name, ROOT / "streamhouse" / name, ROOT / "tests" / name]
            if not any(place.exists() for place in places):
                missing.append(f"{page.name}: {name}")
    assert missing == []


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_every_rule_of_the_simulation_stands_beside_the_failure_it_prevents(guard: str) -> None:
    page = (DOCS / "internals" / "commit-protocol.md").read_text()
    table = page.split("## Failures, code, tests", 1)[1]
    assert re.search(rf"\| [^|]*rules? [^|]*`{guard}`[^|]* \|$", table, re.MULTILINE)
