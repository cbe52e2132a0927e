"""``streamctl sql`` with a query."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

import streamhouse
from tests.cli.test_app import on_a_terminal, start


@pytest.fixture
def shop(orders):
    """12 JSON orders."""
    lines = b"".join(b'{"user": "u%d", "amount": %d}\n' % (n % 3, n) for n in range(12))
    assert orders("produce", "orders", "--partition", "0", stdin=lines).code == 0
    return orders


def test_json_lines_when_nobody_looks(shop) -> None:
    query = """
        select value->>'user' as who, sum((value->>'amount')::int) as total from orders group by 1 order by 1
    """
    assert shop("sql", query).rows == [
        {"who": "u0", "total": 18},
        {"who": "u1", "total": 22},
        {"who": "u2", "total": 26},
    ]
    assert shop("sql", "--format", "jsonl", query).rows == shop("sql", "--json", query).rows


def test_what_values_become_in_json(shop) -> None:
    query = r"""
        select null as nothing, true as ok, 1.50::decimal(9,2) as d, 2::hugeint ** 70 as huge,
            'nan'::double as nan, timestamp '2024-05-01 12:00' as t, timestamptz '2024-05-01 12:00+02' as z,
            date '2024-05-01' as day,
            [1, null] as l, {'a': [date '2024-05-01']} as s, map {1: 'x'} as m, '\xAA\x00'::blob as b,
            '{"deep": [1]}'::json as j, '{"deep": 1}' as text, interval 3 day as i, 1 as same, 2 as same,
            uuid '00000000-0000-0000-0000-000000000001' as u
    """
    (row,) = shop("sql", query).rows
    assert row == {
        "nothing": None,
        "ok": True,
        "d": 1.5,
        "huge": 2**70,
        "nan": None,
        "t": "2024-05-01T12:00:00",
        "z": "2024-05-01T10:00:00Z",
        "day": "2024-05-01",
        "l": [1, None],
        "s": {"a": ["2024-05-01"]},
        "m": {"1": "x"},
        "b": "\\xAA\\x00",
        "j": {"deep": [1]},
        "text": '{"deep": 1}',
        "i": "3 days",
        "same": 1,
        "same_1": 2,
        "u": "00000000-0000-0000-0000-000000000001",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            r"""E'{"a":\n 1.50000000000000000001,\r\n "b": "\\n"}'::json""",
            """{"a":  1.50000000000000000001,   "b": "\\n"}""",
        ),
        ("'[1,]'::json", '"[1,]"'),
        ("'NaN'::json", '"NaN"'),
        ("null::json", "null"),
        (r"map {'\xAA'::blob: '\xAA'::blob}", r'{"\\xAA":"\\xAA"}'),
        (r"'\xAA'::blob::variant", r'"\\xAA"'),
        (r"{'a': ['\xAA'::blob]}::variant", r'{"a":["\\xAA"]}'),
        ("row(1, 'x')", '[1,"x"]'),
    ],
)
def test_json_is_valid_and_on_one_line(shop, value: str, expected: str) -> None:
    assert shop("sql", f"select {value} as v").out.decode() == f'{{"v":{expected}}}\n'


def test_what_python_has_no_type_for(shop) -> None:
    query = """
        select interval '1 month 2 days' as i, interval '178956970 years' as long, null::interval as nothing,
            timestamp_ns '2024-01-01 10:00:00.123456789' as ns, timetz '10:00:00+15:59:59' as z,
            time_ns '10:00:00.123456789' as t, [interval 1 month] as l, 1 as same, 2 as same,
            {'interval': interval 1 month, 'timestamp_ns': 1, 'a, TIME_NS)': [timetz '10:00:00+02']} as s,
            map {interval 1 month: 'INTERVAL'} as m, 'INTERVAL'::enum('INTERVAL', 'a') as e
    """
    expected = {
        "i": "1 month 2 days",
        "long": "178956970 years",
        "nothing": None,
        "ns": "2024-01-01T10:00:00.123456789",
        "z": "10:00:00+15:59:59",
        "t": "10:00:00.123456789",
        "l": ["1 month"],
        "same": 1,
        "same_1": 2,
        "s": {"interval": "1 month", "timestamp_ns": 1, "a, TIME_NS)": ["10:00:00+02"]},
        "m": {"1 month": "INTERVAL"},
        "e": "INTERVAL",
    }
    assert shop("sql", query).rows == [expected]
    rows = list(csv.DictReader(io.StringIO(shop("sql", "--format", "csv", query).out.decode())))
    assert (rows[0]["i"], rows[0]["ns"]) == ("1 month 2 days", "2024-01-01 10:00:00.123456789")


def test_that_also_of_what_is_no_query_and_in_order(shop) -> None:
    insert = "create table a (i interval); insert into a select interval 1 month returning i"
    assert shop("sql", insert).rows == [{"i": "1 month"}]
    query = (
        "select offset * interval 1 month as i from orders where $low < offset order by offset desc -- all"
    )
    found = [row["i"] for row in shop("sql", query, "--param", "low=8").rows]
    assert found == ["11 months", "10 months", "9 months"]


def test_what_has_several_values_is_json_in_csv(shop) -> None:
    query = r"select row(1, 'x') as t, {'a': 1}::variant as v, 'x'::variant as w, union_value(n := [1]) as u"
    assert shop("sql", "--format", "csv", query).out == b't,v,w,u\r\n"[1,""x""]","{""a"":1}",x,[1]\r\n'


def test_csv(shop) -> None:
    query = r"""
        select 1 as n, null as nothing, '' as empty, 'a,"b' as quoted, E'x\ny' as "two, lines", [1, 2] as l,
            true as ok, '\xAA'::blob as b
        union all select 2, null, 'x', 'y', 'z', null, false, null
    """
    result = shop("sql", "--format", "csv", query)
    assert result.out.splitlines()[0] == b'n,nothing,empty,quoted,"two, lines",l,ok,b'
    assert b'1,,"","a,""b","x\ny","[1,2]",true,\\xAA\r\n' in result.out
    rows = list(csv.DictReader(io.StringIO(result.out.decode())))
    assert rows[0]["two, lines"] == "x\ny"
    assert rows[1] == {
        "n": "2",
        "nothing": "",
        "empty": "x",
        "quoted": "y",
        "two, lines": "z",
        "l": "",
        "ok": "false",
        "b": "",
    }


def test_a_table(shop) -> None:
    shown = shop("sql", "--format", "table", "select 42 as answer").out.decode()
    assert "answer" in shown
    assert "│" in shown
    assert "│" in on_a_terminal("sql", "select count(*) from orders").decode()
    assert b"{" not in on_a_terminal("sql", "select count(*) from orders")


def test_parquet_and_files(shop, tmp_path: Path) -> None:
    query = "select key, (value->>'amount')::int as amount from orders; -- that is all"
    (tmp_path / "piped.parquet").write_bytes(shop("sql", "--format", "parquet", query).out)
    for name in ("a.parquet", "b.csv", "c.json", "d.jsonl", "e.csv.gz"):
        assert shop("sql", query, "--output", str(tmp_path / name)).code == 0
    assert shop("sql", query, "--output", str(tmp_path / "f.dat"), "--format", "csv").code == 0
    (tmp_path / "f.csv").write_bytes((tmp_path / "f.dat").read_bytes())
    (tmp_path / "d.json").write_bytes((tmp_path / "d.jsonl").read_bytes())
    for name in ("piped.parquet", "a.parquet", "b.csv", "c.json", "d.json", "e.csv.gz", "f.csv"):
        found = duckdb.sql(f"select count(*), sum(amount) from '{tmp_path / name}'").fetchall()
        assert found == [(12, 66)], name


def test_the_topics_into_files(shop, tmp_path: Path) -> None:
    assert shop("sql", "show tables; -- all", "--output", str(tmp_path / "a.csv")).code == 0
    assert (tmp_path / "a.csv").read_text() == "name\norders\n"
    (tmp_path / "b.parquet").write_bytes(shop("sql", "show tables", "--format", "parquet").out)
    assert duckdb.sql(f"from '{tmp_path}/b.parquet'").fetchall() == [("orders",)]


def test_a_pivot_into_files(shop, tmp_path: Path) -> None:
    """DuckDB does not say how many rows that were."""
    query = "pivot (select value->>'user' as who from orders) on who using count(*)"
    result = shop("sql", query, "--output", str(tmp_path / "a.csv"))
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "a.csv").read_text() == "u0,u1,u2\n4,4,4\n"
    (tmp_path / "b.parquet").write_bytes(shop("sql", query, "--format", "parquet").out)
    assert duckdb.sql(f"from '{tmp_path}/b.parquet'").fetchall() == [(4, 4, 4)]


def test_a_file_on_s3(cli, streamhouse_s3) -> None:
    at = ["--log", streamhouse_s3.url]
    for name, value in streamhouse_s3.storage_options.items():
        at += ["--storage-option", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    assert cli("topic", "create", "orders", *at).code == 0
    assert cli("produce", "orders", "a", *at).code == 0
    assert cli("sql", "from orders", "--output", "s3://streamhouse/out/x.csv", *at).code == 0
    assert b"orders,0,0," in streamhouse_s3.server.buckets["streamhouse"]["out/x.csv"].content


def test_the_query_from_standard_input(shop) -> None:
    assert shop("sql", stdin=b"select count(*) as n\nfrom orders;\n").rows == [{"n": 12}]
    assert shop("sql", "-", stdin=b"select 1 as one").rows == [{"one": 1}]
    assert shop("sql", stdin=b"").code == 2


def test_parameters(shop) -> None:
    query = "select $low + 1 as n, $text as t, $list as l, $nothing as x"
    given = ["--param", "low=4", "--param", "text=4a=b", "--param", "list=[1, 2]", "--param", "nothing=null"]
    assert shop("sql", query, *given).rows == [{"n": 5, "t": "4a=b", "l": [1, 2], "x": None}]
    assert shop("sql", "select $t as t", "--param", 't="4"').rows == [{"t": "4"}]


def test_as_of(shop, folder: Path) -> None:
    with streamhouse.Log(str(folder)) as log:
        commit = log.sql("select 1").commit
        moment = time.time_ns() // 1_000_000
    time.sleep(0.01)
    assert shop("produce", "orders", "late").code == 0
    count = "select count(*) as n from orders"
    assert shop("sql", count).rows == [{"n": 13}]
    assert shop("sql", count, "--as-of", str(commit)).rows == [{"n": 12}]
    assert shop("sql", count, "--as-of", f"@{moment}").rows == [{"n": 12}]


def test_explain(shop) -> None:
    shown = shop(
        "sql", "--explain", "select count(*) from orders where partition = 0 and length(value) > 3"
    ).out
    assert b"Filter" in shown
    assert b'orders: value where "partition" = 0' in shown
    assert b"bytes read" in shown
    assert b"log/0000" in shown


def test_statements_without_rows(shop) -> None:
    assert shop("sql", "create table t as select 1; drop table t").out == b""
    assert shop("sql", "show tables").rows == [{"name": "orders"}]
    assert shop("sql", "--format", "csv", "create table t as select 1; drop table t").out == b""
    assert shop("sql", "--format", "csv", "select * from orders limit 0").out.startswith(b"topic,partition,")


def test_a_column_may_be_called_like_the_answer_to_a_statement(shop) -> None:
    assert shop("sql", 'select 1 as "Success"').rows == [{"Success": 1}]
    assert shop("sql", "--format", "csv", 'select true as "Success"').out == b"Success\r\ntrue\r\n"
    assert shop("sql", "--format", "csv", 'select 1 as "Success" limit 0').out == b"Success\r\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["selec 1"], 2, "syntax error at or near"),
        (["from order1"], 4, "did you mean 'orders'"),
        (["select 'x'::int"], 2, "Could not convert"),
        (["select $a", "--param", "a"], 2, "NAME=VALUE"),
        (["select $a", "--param", "2=3"], 2, "NAME=VALUE"),
        (["select 1", "--as-of", "yesterday"], 2, "--as-of 'yesterday'"),
        (["select 1", "--as-of", "latest"], 2, "a commit number or a time"),
        (["select 1", "--as-of", "999999"], 2, "999999"),
        (["select 1", "--output", "x.dat"], 2, "names no format"),
        (["select 1", "--output", "x.csv", "--format", "table"], 2, "names no format"),
        (["select 1; select 2", "--output", "x.csv"], 2, "syntax error"),
        (["select 1", "--format", "xml"], 2, "'xml'"),
        ([";"], 2, "the query is empty"),
    ],
)
def test_what_cannot_be_done_is_one_line(shop, arguments: list[str], code: int, message: str) -> None:
    result = shop("sql", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_parquet_is_not_for_a_terminal(shop) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "wb") as terminal:
        asked = start("sql", "select 1", "--format", "parquet", stdout=terminal)
        _, err = asked.communicate(timeout=60)
    assert asked.returncode == 2
    assert b"not for a terminal" in err


def cpu_seconds(process: int) -> float:
    """What a process has worked so far, however busy the machine is."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_ctrl_c_ends_a_query(shop, form: str) -> None:
    """Also one of which DuckDB itself would not notice it."""
    query = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b"
    asked = start("sql", query, "--format", form)
    while cpu_seconds(asked.pid) < 4:  # by far more than it needs to begin
        assert asked.poll() is None
        time.sleep(0.05)
    asked.send_signal(signal.SIGINT)
    out, err = asked.communicate(timeout=60)
    assert (asked.returncode, out, err) == (130, b"", b"")


def test_a_reader_that_has_seen_enough_ends_it(shop) -> None:
    asked = start("sql", "select range from range(1000000000)")
    assert asked.stdout is not None
    assert asked.stdout.readline() == b'{"range":0}\n'
    asked.stdout.close()
    _, err = asked.communicate(timeout=60)
    assert (asked.returncode, err) == (0, b"")


def test_rows_are_written_while_they_come(shop) -> None:
    """A result that is larger than memory can be piped."""
    asked: subprocess.Popen[bytes] = start("sql", "select range, repeat('x', 100) from range(200000000)")
    assert asked.stdout is not None
    for _ in range(5000):
        asked.stdout.readline()
    status: dict[str, Any] = dict(
        line.split(":", 1) for line in Path(f"/proc/{asked.pid}/status").read_text().splitlines()
    )
    asked.kill()
    asked.communicate()
    assert int(status["VmHWM"].split()[0]) < 400_000  # kB
