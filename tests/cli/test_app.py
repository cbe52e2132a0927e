"""What all commands share: exit codes, help, pipes, terminals, interruption."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from streamhouse import cli as cli_package
from streamhouse.errors import CorruptionError, StoreUnavailableError

PROGRAM = [sys.executable, "-c", "from streamhouse.cli import main; main()"]


def start(*arguments: str, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_and_the_exit_codes(cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 0
    for word in (b"topic", b"group", b"offset", b"produce", b"consume", b"upkeep", b"verify", b"Exit codes"):
        assert word in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["topci", "list"], "'topic'"),
        (["topic"], "Missing command. See streamctl topic --help"),
        (["topic", "lst"], "'list'"),
        (["consume"], "TOPIC"),
        (["consume", "x", "--form", "raw"], "--format"),
        (["topic", "list", "--storage-option", "s3cret"], "NAME=VALUE"),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest_match(cli, arguments: list[str], message: str) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "s3cret" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["produce", "t", "\udcff"],
        ["consume", "t", "--format", "%k\udcff"],
        ["sql", "select $x", "--param", "x=\udcff"],
        ["export", "t", "lake\udcff"],
        ["topic", "list", "--storage-option", "secret=s3cret\udcff"],
    ],
)
def test_arguments_that_are_no_text_are_wrong_usage(cli, arguments: list[str]) -> None:
    """Bytes that are not UTF-8 reach a program like this."""
    result = cli(*arguments)
    assert (result.code, result.out) == (2, b"")
    assert result.err == f"streamctl: argument {len(arguments)} is no UTF-8 text\n"


def test_without_a_log_the_message_names_option_and_variable(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMHOUSE_LOG")
    result = cli("topic", "list")
    assert result.code == 2
    assert "--log" in result.err
    assert "STREAMHOUSE_LOG" in result.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(CorruptionError("log/7: bad"), 1), (StoreUnavailableError("no answer\nfrom x"), 5)],
)
def test_an_error_of_the_library_is_one_line_and_a_code(
    cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("streamhouse.cli.options.Log", fail)
    result = cli("topic", "list")
    assert (result.code, result.out) == (code, b"")
    assert result.err == f"streamctl: {str(error).replace(chr(10), ' ')}\n"


def test_a_missing_extra_is_answered_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        cli_package.main()
    assert caught.value.code == 3
    assert "pip install 'streamhouse[cli]'" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(orders) -> None:
    assert orders("produce", "orders", stdin=b"x" * 99 + b"\n" + b"y" * 99 * 3000 + b"\n").code == 0
    assert orders("produce", "orders", stdin=b"line\n" * 20_000).code == 0
    reading = start("consume", "orders")
    assert reading.stdout is not None
    reading.stdout.readline()
    reading.stdout.close()
    _, err = reading.communicate(timeout=60)
    assert (reading.returncode, err) == (0, b"")


def test_follow_shows_what_comes_and_ends_quietly_when_interrupted(orders) -> None:
    reading = start("consume", "orders", "--follow", "--format", "raw")
    assert reading.stdout is not None
    orders("produce", "orders", "first")
    assert reading.stdout.readline() == b"first\n"
    orders("produce", "orders", "second")
    assert reading.stdout.readline() == b"second\n"
    reading.send_signal(signal.SIGINT)
    out, err = reading.communicate(timeout=60)
    assert (reading.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_member_that_is_interrupted_commits_what_it_printed_and_leaves(
    orders, number: signal.Signals, code: int
) -> None:
    orders("produce", "orders", "first", "second", "-p", "1")
    reading = start("consume", "orders", "--group", "billing", "--follow", "--format", "raw")
    assert reading.stdout is not None
    assert reading.stdout.readline() == b"first\n"
    assert reading.stdout.readline() == b"second\n"
    assert orders("group", "list").rows[0]["members"] == 1
    reading.send_signal(number)
    out, err = reading.communicate(timeout=60)
    assert (reading.returncode, out, err) == (code, b"", b"")
    (row,) = orders("group", "list").rows
    assert (row["state"], row["lag"]) == ("empty", 0)


def test_a_member_whose_reader_is_gone_does_not_commit_what_nobody_saw(orders) -> None:
    orders("produce", "orders", "-p", "1", stdin=b"x" * 99 + b"\n" + b"line\n" * 20_000)
    reading = start("consume", "orders", "--group", "billing", "--format", "raw")
    assert reading.stdout is not None
    reading.stdout.readline()
    reading.stdout.close()
    _, err = reading.communicate(timeout=60)
    assert (reading.returncode, err) == (0, b"")
    (row,) = orders("group", "list").rows
    assert row["state"] == "empty"
    assert row["lag"] >= 10_000


def on_a_terminal(*arguments: str) -> bytes:
    """What a command shows there."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "wb") as terminal:
        listing = start(*arguments, stdout=terminal)
        _, err = listing.communicate(timeout=60)
        assert (listing.returncode, err) == (0, b"")
        return screen.read(100_000)


def test_a_terminal_gets_a_table_and_a_pipe_json_lines(orders) -> None:
    shown = on_a_terminal("topic", "list")
    assert b"orders" in shown
    assert b"{" not in shown
    assert orders("topic", "list").out.startswith(b'{"topic":"orders"')


def test_on_a_terminal_nothing_is_said_in_words(orders) -> None:
    assert on_a_terminal("group", "list").startswith(b"no groups yet")
    assert orders("group", "list").out == b""


def test_a_log_on_s3(cli, streamhouse_s3, tmp_path: Path) -> None:
    at = ["--log", streamhouse_s3.url]
    for name, value in streamhouse_s3.storage_options.items():
        text = value if isinstance(value, str) else json.dumps(value)
        at += ["--storage-option", f"{name}={text}"]
    assert cli("topic", "create", "orders", *at).code == 0
    assert cli("produce", "orders", "a", "b", *at).rows[0]["records"] == 2
    assert cli("consume", "orders", "--format", "raw", *at).out == b"a\nb\n"
    assert cli("verify", *at).rows[-1]["damaged"] == 0
