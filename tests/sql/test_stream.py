"""Arrow streams that are pulled from Python: their end, their errors, and consumers that stop early."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import duckdb
import nanoarrow as na
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.read.arrow import INT64, array_of
from streamhouse.sql import stream

SCHEMA = na.c_schema(na.struct({"n": INT64}))


def batch(*numbers: int) -> object:
    data = b"".join(number.to_bytes(8, "little") for number in numbers)
    return array_of(SCHEMA, len(numbers), [None], children=[array_of(INT64, len(numbers), [None, data])])


class Arrays:
    def __init__(self, *, fail: BaseException | None = None) -> None:
        self.given = 0
        self.closed = False
        self.released = 0
        self.failures: list[BaseException] = []
        self._fail = fail

    def arrays(self) -> Iterator[object]:
        try:
            for number in range(3):
                self.given += 1
                yield batch(number, number + 10)
            if self._fail is not None:
                raise self._fail
        finally:
            self.closed = True

    def capsule(self) -> object:
        return stream.array_stream(SCHEMA, self.arrays(), self.failures.append, self._release)

    def _release(self) -> None:
        self.released += 1


class Holder:
    def __init__(self, capsule: object) -> None:
        self._capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._capsule


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(stream._sources)
    yield
    gc.collect()
    assert set(stream._sources) <= before


def test_all_of_it() -> None:
    source = Arrays()
    assert pa.table(Holder(source.capsule()))["n"].to_pylist() == [0, 10, 1, 11, 2, 12]
    assert source.closed


def test_it_is_lazy_and_closed_when_dropped() -> None:
    source = Arrays()
    reader = pa.RecordBatchReader.from_stream(Holder(source.capsule()))
    assert (source.given, source.closed) == (0, False)
    reader.read_next_batch()
    assert source.given == 1
    reader.close()
    del reader
    assert source.closed


def test_a_capsule_that_nobody_takes() -> None:
    source = Arrays()
    capsule = source.capsule()
    del capsule
    assert (source.given, source.released) == (0, 1)


@pytest.mark.parametrize(
    "error", [ValueError("broken ü"), ValueError("half a pair \ud800"), KeyboardInterrupt()], ids=repr
)
def test_errors(error: BaseException) -> None:
    source = Arrays(fail=error)
    with duckdb.connect() as connection:
        connection.register("arrays", Holder(source.capsule()))
        with pytest.raises(duckdb.Error, match=type(error).__name__):
            connection.execute("select sum(n) from arrays").fetchall()
    assert source.failures == [error]
    assert source.closed


def many_blocks(log: streamhouse.Log) -> None:
    log.create_topic("t")
    with log.producer() as producer:
        for block in range(60):
            producer.send_many("t", [b"x" if block == 50 else b"1"] * 3000)


def test_consumers_of_results_that_fail(log: streamhouse.Log) -> None:
    many_blocks(log)
    with pytest.raises(OSError, match="Could not convert string 'x'"):
        pa.table(log.sql("select value::int from t"))


def test_consumers_of_results_that_stop(log: streamhouse.Log) -> None:
    many_blocks(log)

    def take_some() -> None:
        batches = pa.RecordBatchReader.from_stream(log.sql("select value from t"))
        rows = iter(log.sql("select value from t"))
        batches.read_next_batch()
        next(rows)
        raise RuntimeError("enough")  # what is open is released while this is on its way

    with pytest.raises(RuntimeError, match="enough"):
        take_some()


STOPPED = """
import gc
import sys
import pyarrow as pa
import streamhouse
from streamhouse.sql import stream

class Stop(Exception):
    pass

def stop(*_):
    raise Stop

def in_a_loop():
    for batch in pa.RecordBatchReader.from_stream(log.sql("select value from t")):
        stop()

def in_a_call():
    list(map(stop, pa.RecordBatchReader.from_stream(log.sql("select value from t"))))

def as_an_argument():
    print(log.sql("select value from t").__arrow_c_stream__(), stop())

log = streamhouse.Log("memory://")
log.create_topic("t")
with log.producer() as producer:
    for _ in range(40):
        producer.send_many("t", [b"x" * 100] * 3000).result()
try:
    globals()[sys.argv[1]]()
except Stop:
    gc.collect()
    (state, *_), *_ = log.sql("select state from streamhouse.queries").fetchall()
    print("stopped", len(stream._sources), state)
log.close()
"""


@pytest.mark.parametrize("how", ["in_a_loop", "in_a_call", "as_an_argument"])
def test_streams_of_results_are_released_while_an_exception_is_on_its_way(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped 0 done\n", "")


def test_a_stream_is_released_while_an_exception_is_on_its_way() -> None:
    source = Arrays()

    def take_one() -> None:
        for _ in pa.RecordBatchReader.from_stream(Holder(source.capsule())):
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        take_one()
    assert (source.given, source.closed, source.released) == (1, True, 1)


def test_from_another_thread() -> None:
    source = Arrays()
    reader = pa.RecordBatchReader.from_stream(Holder(source.capsule()))
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(reader.read_all().num_rows))
    thread.start()
    thread.join()
    assert counts == [6]
