"""The notebook runs from top to bottom, and shows what the file says."""

from __future__ import annotations

import gzip
import html
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# The kernel's own libraries, at the end of a run.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def outputs() -> list[list[dict[str, Any]]]:
    """What each code cell put out."""
    notebook = nbformat.read(EXAMPLES / "changes.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without output"
    done = nbclient.NotebookClient(
        notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    return [cell.outputs for cell in done.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def changes() -> list[dict[str, Any]]:
    with gzip.open(EXAMPLES / "kafka-changes.jsonl.gz") as file:
        return [json.loads(line) for line in file]


def shown(outputs: list[list[dict[str, Any]]], cell: int, kind: str) -> str:
    """What a cell ends with, without the tags."""
    (last,) = [out for out in outputs[cell] if out["output_type"] == "execute_result"]
    text = last["data"][kind]
    return html.unescape(re.sub(r"<[^>]*>", " ", text)) if kind == "text/html" else text


def test_nothing_goes_wrong_and_a_month_is_counted(
    outputs: list[list[dict[str, Any]]], changes: list[dict[str, Any]]
) -> None:
    streams = [out for cell in outputs for out in cell if out["output_type"] == "stream"]
    assert [out["name"] for out in streams] == ["stdout"]
    month = [datetime.fromtimestamp(change["committed_at"], UTC).strftime("%Y-%m") for change in changes]
    assert streams[0]["text"].startswith(f"[({month.count('2020-03')},)]")


def test_the_topic_and_its_picture(outputs: list[list[dict[str, Any]]]) -> None:
    assert "101,229 records" in shown(outputs, 1, "text/html")
    assert len(shown(outputs, 2, "image/png")) > 10_000


def test_sql_agrees_with_the_file(outputs: list[list[dict[str, Any]]], changes: list[dict[str, Any]]) -> None:
    (result,) = outputs[3]
    rows = [re.findall("<td.*?>(.*?)</td>", row) for row in result["data"]["text/html"].split("<tr>")[2:]]
    years: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for change in changes:
        years[datetime.fromtimestamp(change["committed_at"], UTC).year].append(change)
    assert [[int(cell) for cell in row[:4]] for row in rows] == [
        [year, len(found), len({each["author"] for each in found}), sum(each["added"] or 0 for each in found)]
        for year, found in sorted(years.items())
    ]


def test_the_group_and_its_lag(outputs: list[list[dict[str, Any]]]) -> None:
    text = shown(outputs, 5, "text/html")
    assert "group  review" in text
    assert len(shown(outputs, 6, "image/png")) > 1_000


def test_the_live_view_counted_along(outputs: list[list[dict[str, Any]]]) -> None:
    assert "application/vnd.jupyter.widget-view+json" in outputs[7][0]["data"]
    assert shown(outputs, 8, "text/plain") == "100"
    assert "101,329" in shown(outputs, 9, "text/html")
