"""Exactly once in spite of crashes: the example's own comparison holds, and so does another one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import streamhouse

EXAMPLE = Path(__file__).parents[2] / "examples" / "payments.py"
PAYMENTS = 6_000


def run_example(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert run.stderr == ""
    return run.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("payments")


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return json.loads(run_example(folder, "--log", "data", "--payments", str(PAYMENTS), "--json"))


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("payments_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its Structs look their annotations up there
    spec.loader.exec_module(module)
    return module


def test_processes_died_in_the_middle_and_their_work_was_done_again(report: dict[str, Any]) -> None:
    assert (report["payments"], report["entries"]) == (PAYMENTS, 2 * PAYMENTS)
    assert report["crashes"] >= 1
    assert report["calls"] >= PAYMENTS + report["crashes"]  # the payment in hand at least
    assert report["audits"] >= 1


def test_the_ledger_has_the_balances_that_the_payments_amount_to(
    report: dict[str, Any], folder: Path
) -> None:
    expected: Counter[str] = Counter()
    lines: dict[str, list[tuple[str, int]]] = defaultdict(list)
    with streamhouse.Log(str(folder / "data"), create=False) as log:
        for record in log.read("payments", value="json"):
            payment = record.value
            expected[payment["payee"]] += payment["cents"]
            expected[payment["payer"]] -= payment["cents"]
            lines[payment["id"]] = [
                (payment["payer"], -payment["cents"]),
                (payment["payee"], payment["cents"]),
            ]
        query = "select value->>'account', sum((value->>'cents')::bigint)::bigint from ledger group by all"
        assert dict(log.sql(query).fetchall()) == {account: expected[account] for account in expected}
        booked: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for record in log.read("ledger", value="json"):
            booked[record.value["payment"]].append((record.value["account"], record.value["cents"]))
            assert record.key.decode() == record.value["account"]
        assert sum(log.groups["bookkeeping"].lag.values()) == 0
    assert {payment: sorted(entries) for payment, entries in booked.items()} == {
        payment: sorted(entries) for payment, entries in lines.items()
    }
    assert len(lines) == PAYMENTS == report["payments"]


def test_it_can_run_again_on_the_same_log(report: dict[str, Any], folder: Path) -> None:
    again = run_example(folder, "--log", "data", "--payments", "500")
    assert f"payments       {report['payments'] + 500:,}\n" in again
    assert "none missing, none twice" in again


@pytest.mark.parametrize(
    ("entries", "said"), [(1, "1 entries are missing, 0 "), (3, "0 entries are missing, 1 ")]
)
def test_its_comparison_notices_what_is_missing_and_what_is_doubled(
    example: ModuleType, entries: int, said: str
) -> None:
    with streamhouse.Log("memory://") as log:
        log.create_topic("payments")
        log.create_topic("ledger")
        with log.producer() as producer:
            producer.send("payments", example.Payment("p", "a", "b", 5))
            lines = [example.Entry("p", "a", -5), example.Entry("p", "b", 5), example.Entry("p", "b", 5)]
            producer.send_many("ledger", lines[:entries]).result()
        with pytest.raises(AssertionError, match=said):
            example.compare(log)
        with pytest.raises(AssertionError, match="out of balance by"):
            example.audit(log)


def test_a_memory_log_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_example(EXAMPLE.parent, "--log", "memory://x")
    assert "cannot be shared by processes" in caught.value.stderr
