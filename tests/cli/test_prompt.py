"""The prompt of ``streamctl sql``, as somebody at a terminal has it."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

import streamhouse

PROGRAM = "from streamhouse.cli import main; main()"
TYPED = "\x1b[?2004l"  # what a terminal is told when a line is finished
LONG = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b;"


class Terminal:
    """Somebody who types and reads."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {
            "STREAMHOUSE_LOG": str(folder / "log"),
            "XDG_STATE_HOME": str(folder / "state"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }
        self.child = pexpect.spawn(
            sys.executable,
            ["-c", PROGRAM, "sql", *arguments],
            env=environment,
            encoding="utf-8",
            dimensions=(50, 120),
            timeout=30,
        )
        self.see("SQL over")
        self.see("sql>")

    def see(self, text: str) -> str:
        """Wait until a text comes; what came before it, without colours and moves of the cursor."""
        self.child.expect_exact(text)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.child.before or "")

    def ask(self, text: str) -> str:
        """Type a line that is complete; what is answered to it."""
        self.child.send(text)
        self.child.send("\r")
        self.see(TYPED)
        return self.see("sql>")

    def leave(self) -> int | None:
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where there is a log with a topic ``orders``."""
    with streamhouse.Log(tmp_path / "log") as log:
        log.create_topic("orders", partitions=2)
        with log.producer() as producer:
            producer.send_many("orders", [{"n": number} for number in range(12)]).result()
    return tmp_path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    opened = Terminal(folder)
    yield opened
    opened.child.close(force=True)


def test_a_conversation(terminal: Terminal) -> None:
    shown = terminal.ask("select count(*) as many from orders;")
    assert "many" in shown
    assert "12" in shown
    terminal.child.send("select sum((value->>'n')::int)\r")
    terminal.see("...>")
    terminal.child.send("  as total -- of all;\r")
    terminal.see("...>")
    assert "66" in terminal.ask("from orders;")
    assert terminal.ask("") == terminal.ask("-- nothing") == terminal.ask(";") == ""
    assert terminal.leave() == 0


@pytest.mark.parametrize("option", ["--explain", "--output=x.csv", "--param=a=1", "--format=parquet"])
def test_what_is_for_a_query_is_not_for_the_prompt(folder: Path, option: str) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM, "sql", "--log", str(folder / "log"), option],
        encoding="utf-8",
        timeout=30,
    )
    child.expect_exact("need a query")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_errors_do_not_end_it(terminal: Terminal) -> None:
    assert "syntax error" in terminal.ask("selec 1;")
    assert "did you mean 'orders'" in terminal.ask("from order1;")
    assert "Could not convert" in terminal.ask("select value::int from orders;")
    assert "there is no command .tabels; did you mean '.tables'?" in terminal.ask(".tabels")
    assert "x.csv" in terminal.ask("copy (select 1) to 's3://bucket/x.csv?';")
    assert "12" in terminal.ask("select count(*) from orders;")


def test_completion(terminal: Terminal) -> None:
    terminal.child.send("select count(*) as many from or")
    terminal.child.send("\t")
    terminal.see("ders")
    terminal.child.send(" where off")
    terminal.child.send("\t")
    terminal.see("et")
    assert "│     1 │" in terminal.ask(" < 1;")


def test_history_lasts(folder: Path, terminal: Terminal) -> None:
    terminal.ask("select 17 + 4;")
    assert terminal.leave() == 0
    again = Terminal(folder)
    again.child.send("\x1b[A")
    again.see("17")
    assert "21" in again.ask("")
    assert again.leave() == 0
    history = folder / "state" / "streamhouse" / "sql_history"
    assert history.stat().st_mode & 0o077 == 0
    assert "select 17 + 4;" in history.read_text()


def test_ctrl_c_drops_what_is_written(terminal: Terminal) -> None:
    terminal.child.send("select nonsense\r")
    terminal.see("...>")
    terminal.child.sendintr()
    terminal.see(TYPED)
    terminal.see("sql>")
    assert "42" in terminal.ask("select 42;")


def test_ctrl_c_ends_a_query_and_nothing_else(terminal: Terminal) -> None:
    terminal.ask("create table kept as select 42 as answer;")
    terminal.child.send(f"{LONG}\r")
    time.sleep(1.5)
    terminal.child.sendintr()
    terminal.see("interrupted")
    terminal.see("sql>")
    assert "42" in terminal.ask("from kept;")
    terminal.ask(".format csv")
    terminal.child.send(f"{LONG}\r")
    time.sleep(1.5)
    terminal.child.sendintr()
    terminal.see("interrupted")
    terminal.see("sql>")
    assert "answer\r\n42" in terminal.ask("from kept;").replace("\r\r", "\r")
    assert terminal.leave() == 0


@pytest.mark.parametrize("busy", [False, True])
def test_whoever_terminates_it_means_it(terminal: Terminal, busy: bool) -> None:
    if busy:
        terminal.child.send(f"{LONG}\r")
        time.sleep(1.5)
    terminal.child.kill(signal.SIGTERM)
    terminal.child.expect(pexpect.EOF)
    terminal.child.close()
    assert terminal.child.exitstatus == 143


def test_commands(terminal: Terminal) -> None:
    assert ".as-of WHEN" in terminal.ask(".help")
    tables = terminal.ask(".tables")
    assert "orders" in tables
    assert "streamhouse.consumer_offsets" in tables
    assert tables == terminal.ask("\\d")
    assert "headers" in terminal.ask(".columns orders")
    assert "lag" in terminal.ask("\\d streamhouse.consumer_offsets")
    assert "of which relation?" in terminal.ask(".columns")
    assert "did you mean 'orders'" in terminal.ask("\\d order1")
    assert "bytes read" in terminal.ask(".explain select * from orders;")
    assert "which query?" in terminal.ask(".explain")
    terminal.ask(".format json")
    assert '{"n":1}' in terminal.ask("select 1 as n;")
    assert "there are table, csv, json" in terminal.ask(".format xml")
    terminal.ask(".timer on")
    assert " ms" in terminal.ask("select 1 as n;")
    terminal.ask(".timer off")
    assert " ms" not in terminal.ask("select 1 as n;")
    assert "as of 1" in terminal.ask(".as-of 1")
    assert '{"n":0}' in terminal.ask("select count(*) as n from orders;")
    assert "not 'latest'" in terminal.ask(".as-of latest")
    assert "as of now" in terminal.ask(".as-of now")
    assert '{"n":12}' in terminal.ask("select count(*) as n from orders;")
    terminal.child.send(".quit\r")
    terminal.child.expect(pexpect.EOF)
    terminal.child.close()
    assert terminal.child.exitstatus == 0


def test_options_of_the_command(folder: Path) -> None:
    opened = Terminal(folder, "--format", "json", "--as-of", "1")
    assert '{"n":0}' in opened.ask("select count(*) as n from orders;")
    assert opened.leave() == 0
