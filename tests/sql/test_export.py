"""Topics as Parquet files, bit by bit: each record once, whatever dies, hangs, or comes at the same time."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

import streamhouse
from streamhouse.errors import (
    InvalidInputError,
    InvalidSettingError,
    InvalidUrlError,
    ProducerFencedError,
    QueryError,
    StoreAccessError,
    StoreUnavailableError,
    TopicNotFoundError,
)
from streamhouse.sql.copies import upload_all
from streamhouse.sql.export import Exporter
from streamhouse.sql.progress import Note, file_name, progress_of, run_of
from streamhouse.store.base import ObjectInfo
from streamhouse.store.outside import Outside, Place
from streamhouse.testing.s3server import FakeS3Server

DAY_MS = 86_400_000
BEGIN_MS = 20_000 * DAY_MS


def send(log: streamhouse.Log, first: int, count: int, *, partition: int | None = None) -> None:
    """JSON records with a number each, three a day, in blocks of two."""
    with log.producer() as producer:
        for start in range(first, first + count, 2):
            numbers = range(start, min(start + 2, first + count))
            producer.send_many(
                "orders",
                [{"n": number, "user": f"u{number % 4}"} for number in numbers],
                keys=[f"k{number}" for number in numbers],
                timestamps=[BEGIN_MS + number * DAY_MS // 3 for number in numbers],
                partition=start % 3 if partition is None else partition,
            ).result()


@pytest.fixture
def orders(log: streamhouse.Log) -> streamhouse.Log:
    log.create_topic("orders", partitions=3)
    send(log, 0, 20)
    return log


def exported(folder: Path, columns: str = '"partition", "offset"') -> list[tuple[Any, ...]]:
    """What a reader of all the files finds."""
    pattern = f"{folder}/**/*.parquet"
    query = f"select {columns} from read_parquet('{pattern}', hive_partitioning = true) order by all"
    return duckdb.sql(query).fetchall()


def stored(log: streamhouse.Log) -> list[tuple[int, int]]:
    return sorted((record.partition, record.offset) for record in log.read("orders"))


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- what is exported ------------------------------------------------------------------------------


def test_each_call_exports_what_is_new(orders: streamhouse.Log, tmp_path: Path) -> None:
    topic = orders.topic("orders")
    first = topic.to_parquet(tmp_path / "out")
    assert first.files == ("orders-00000001.parquet",)
    assert first.records == 20
    assert first.offsets == {p.number: range(p.high_watermark) for p in topic.partitions}
    assert topic.to_parquet(tmp_path / "out").files == ()
    send(orders, 20, 5, partition=1)
    orders.alter_topic("orders", partitions=4)
    send(orders, 25, 3, partition=3)
    second = topic.to_parquet(tmp_path / "out")
    assert (second.files, second.records) == (("orders-00000002.parquet",), 8)
    assert set(second.offsets) == {1, 3}
    assert exported(tmp_path / "out") == stored(orders)
    assert exported(tmp_path / "out", "count(distinct key), min(topic), typeof(any_value(timestamp))") == [
        (28, "orders", "TIMESTAMP WITH TIME ZONE")
    ]


def test_the_group_shows_how_far_it_is(orders: streamhouse.Log, tmp_path: Path) -> None:
    orders.topic("orders").to_parquet(tmp_path / "out", group="warehouse")
    send(orders, 20, 3, partition=0)
    assert sum(orders.groups["warehouse"].lag.values()) == 3
    lag = 'select sum(lag) from streamhouse.consumer_offsets where "group" = ?'
    assert orders.sql(lag, "warehouse").fetchall() == [(3,)]
    with pytest.raises(InvalidInputError, match="knows nothing of"):  # that is another export, by its name
        orders.topic("orders").to_parquet(tmp_path / "out")


def test_two_exports_are_independent(orders: streamhouse.Log, tmp_path: Path) -> None:
    topic = orders.topic("orders")
    assert topic.to_parquet(tmp_path / "a").records == 20
    assert topic.to_parquet(tmp_path / "b", select="key", partition_by=()).records == 20
    assert topic.to_parquet(tmp_path / "a").records == 0
    assert len(orders.groups) == 2


def test_several_topics_in_one_folder(orders: streamhouse.Log, tmp_path: Path) -> None:
    for name in ("orders-2", ".hidden", "_private"):
        orders.create_topic(name)
        with orders.producer() as producer:
            producer.send(name, b'{"n": 1}').result()
    for name in orders.topics:
        assert orders.topic(name).to_parquet(tmp_path).records > 0
        assert orders.topic(name).to_parquet(tmp_path).records == 0
    assert files_in(tmp_path) == [
        "orders-00000001.parquet",
        "orders-2-00000001.parquet",
        "topic~.hidden-00000001.parquet",
        "topic~_private-00000001.parquet",
    ]


def test_topics_of_confusing_names_in_one_folder(log: streamhouse.Log, tmp_path: Path) -> None:
    names = ["orders-20240102", "orders", ".x", "topic.x", "a" * 249, "a" * 248, "_" + "a" * 248]
    for name in names:
        log.create_topic(name)
        with log.producer() as producer:
            producer.send(name, name).result()
        assert log.topic(name).to_parquet(tmp_path).records == 1
        assert log.topic(name).to_parquet(tmp_path).records == 0
    assert [row[0] for row in exported(tmp_path, "value")] == sorted(names)


def test_folders_by_column(orders: streamhouse.Log, tmp_path: Path) -> None:
    select = "offset, partition, (value->>'n')::int as n, timestamp::date as day"
    for begin in (20, 28):
        done = orders.topic("orders").to_parquet(tmp_path, select=select, partition_by="day")
        assert all(name.startswith("day=2024-10-") for name in done.files)
        send(orders, begin, 8)
    assert [row[0] for row in exported(tmp_path, "n")] == list(range(28))
    days = {name.partition("/")[0] for name in files_in(tmp_path)}
    assert len(days) == 10
    assert {name.rpartition("/")[2] for name in files_in(tmp_path)} == {
        "orders-00000001.parquet",
        "orders-00000002.parquet",
    }


def test_files_of_about_a_size(orders: streamhouse.Log, tmp_path: Path) -> None:
    done = orders.topic("orders").to_parquet(tmp_path, file_bytes=1)
    blocks = orders.sql("select count(*) from streamhouse.segments").fetchall()[0][0]
    assert len(done.files) == blocks == 10
    assert exported(tmp_path) == stored(orders)


def test_typed_topics_give_typed_columns(log: streamhouse.Log, tmp_path: Path) -> None:
    schema = {"amount": "DECIMAL(9,2)", "at": "TIMESTAMP", "tags": "VARCHAR[]", "place": "STRUCT(x DOUBLE)"}
    log.create_topic("trades", schema=schema)
    value = {"amount": Decimal("1.50"), "at": dt.datetime(2024, 5, 1), "tags": ["a"], "place": {"x": 1.5}}  # noqa: DTZ001
    with log.producer() as producer:
        producer.send("trades", value, key="k").result()
        log.topic("trades").to_parquet(tmp_path)
        log.alter_topic("trades", schema=schema | {"amount": "DECIMAL(12,3)", "note": "VARCHAR"})
        producer.send("trades", value | {"note": "new"}).result()
        log.topic("trades").to_parquet(tmp_path)
    read = f"from read_parquet('{tmp_path}/*.parquet', union_by_name = true)"
    assert "value" not in duckdb.sql(read).columns
    assert duckdb.sql(f"select typeof(amount), typeof(tags), typeof(place) {read} limit 1").fetchall() == [
        ("DECIMAL(12,3)", "VARCHAR[]", "STRUCT(x DOUBLE)")
    ]
    rows = duckdb.sql(f'select sum(amount), max("at"), max(note), sum(place.x) {read}').fetchall()
    assert rows == [(Decimal("3.000"), dt.datetime(2024, 5, 1), "new", 3.0)]  # noqa: DTZ001


def test_raw_keeps_every_byte(log: streamhouse.Log, tmp_path: Path) -> None:
    log.create_topic("orders")
    values = [b"\xff\x00", b"", None, b'{"n": 1}', "ü".encode()]
    with log.producer() as producer:
        producer.send_many("orders", values, headers={"h": b"\xfe"}).result()
    log.topic("orders").to_parquet(tmp_path, raw=True)
    assert [row[0] for row in exported(tmp_path, 'value, "offset"')] != []
    found = duckdb.sql(f"select value, headers[1].value from '{tmp_path}/*.parquet' order by \"offset\"")
    assert found.fetchall() == [(value, b"\xfe") for value in values]


def test_what_retention_took_is_passed_over(orders: streamhouse.Log, tmp_path: Path) -> None:
    orders.topic("orders").to_parquet(tmp_path)
    send(orders, 20, 10, partition=0)
    high = orders.topic("orders").partitions[0].high_watermark
    orders.delete_records("orders", {0: high - 3})
    done = orders.topic("orders").to_parquet(tmp_path)
    assert (done.records, done.offsets) == (3, {0: range(high - 3, high)})
    orders.delete_records("orders", "latest")
    assert orders.topic("orders").to_parquet(tmp_path).records == 0


def test_compacted_blocks_that_reach_over_the_end(tmp_path: Path) -> None:
    with streamhouse.Log("memory://", upkeep=False) as log:
        log.create_topic("orders", partitions=3, cleanup_policy="compact")
        send(log, 0, 20)
        log.topic("orders").to_parquet(tmp_path)
        send(log, 0, 30)
        log.upkeep()
        log.topic("orders").to_parquet(tmp_path)
        found = exported(tmp_path)
        assert len(found) == len(set(found)) == 50
        assert set(stored(log)) <= set(found)


def test_to_a_bucket_with_the_options_of_the_log(tmp_path: Path) -> None:
    with (
        FakeS3Server() as server,
        streamhouse.Log(server.url, storage_options=server.storage_options) as log,
    ):
        log.create_topic("orders", partitions=3)
        send(log, 0, 4)
        done = log.topic("orders").to_parquet("s3://streamhouse/lake/", select="partition, offset")
        assert (done.url, done.files) == ("s3://streamhouse/lake", ("orders-00000001.parquet",))
        (tmp_path / "x.parquet").write_bytes(
            server.buckets["streamhouse"]["lake/orders-00000001.parquet"].content
        )
        assert exported(tmp_path) == stored(log)
        server.fault("PUT", "refuse", match="lake/", times=None, status=403, code="AccessDenied")
        send(log, 4, 4)
        with pytest.raises(StoreAccessError, match="lake/orders-00000002"):
            log.topic("orders").to_parquet("s3://streamhouse/lake", select="partition, offset")
        server.clear_faults()
        done = log.topic("orders").to_parquet("s3://streamhouse/lake", select="partition, offset")
        assert (done.files, done.records) == (("orders-00000002.parquet",), 4)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"partition_by": "dya", "select": "*, 1 as day"}, InvalidInputError, "did you mean 'day'"),
        ({"partition_by": "key", "select": "key"}, InvalidInputError, "takes all columns"),
        ({"partition_by": [""]}, InvalidInputError, "takes names of columns"),
        ({"partition_by": [1]}, InvalidInputError, "takes names of columns"),
        ({"partition_by": 5}, InvalidInputError, "takes names of columns"),
        ({"select": 5}, InvalidInputError, "what stands behind SELECT"),
        ({"storage_options": 5}, InvalidSettingError, "names and values, not int"),
        ({"partition_by": ".x", "select": '*, 1 as ".x"'}, InvalidInputError, "begin with a dot"),
        ({"select": " "}, InvalidInputError, "what stands behind SELECT"),
        ({"select": "nonsense"}, QueryError, "nonsense"),
        ({"compression": "zst"}, InvalidInputError, "did you mean 'zstd'"),
        ({"file_bytes": 0}, InvalidInputError, "no number of bytes"),
        ({"group": ""}, InvalidInputError, "a group is named"),
    ],
)
def test_arguments_that_make_no_sense(
    orders: streamhouse.Log, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        orders.topic("orders").to_parquet(tmp_path / "out", **arguments)
    assert len(orders.groups) == 0
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("by", [(), ("n",)])
def test_a_query_that_fails_is_not_begun(
    orders: streamhouse.Log, tmp_path: Path, by: tuple[str, ...]
) -> None:
    """So the next one may be another."""
    with pytest.raises(QueryError, match="Could not convert"):
        orders.topic("orders").to_parquet(
            tmp_path, select="offset, (value->>'user')::int as n", partition_by=by
        )
    assert len(orders.groups) == 0
    select = "partition, offset, (value->>'n')::int as n"
    assert orders.topic("orders").to_parquet(tmp_path, select=select, partition_by=by).records == 20
    assert exported(tmp_path) == stored(orders)


def test_it_goes_on_as_it_began(orders: streamhouse.Log, tmp_path: Path) -> None:
    orders.topic("orders").to_parquet(tmp_path, select="key")
    for other in ({}, {"select": "key, value"}, {"select": "key", "raw": True}):
        with pytest.raises(InvalidInputError, match="begun with another select"):
            orders.topic("orders").to_parquet(tmp_path, **other)
    orders.topic("orders").to_parquet(tmp_path, select="key", compression="snappy", file_bytes=7)


def test_files_that_nobody_knows_of(orders: streamhouse.Log, tmp_path: Path) -> None:
    orders.topic("orders").to_parquet(tmp_path)
    orders.groups[f"export {tmp_path}"].delete()
    with pytest.raises(InvalidInputError, match="knows nothing of"):
        orders.topic("orders").to_parquet(tmp_path)
    for name in files_in(tmp_path):
        (tmp_path / name).unlink()
    assert orders.topic("orders").to_parquet(tmp_path).records == 20


def test_offsets_that_were_set_by_hand_overwrite_nothing(orders: streamhouse.Log, tmp_path: Path) -> None:
    orders.topic("orders").to_parquet(tmp_path)
    orders.groups[f"export {tmp_path}"].reset("earliest")
    assert orders.topic("orders").to_parquet(tmp_path).files == ("orders-00000002.parquet",)


def test_a_place_that_cannot_be(orders: streamhouse.Log, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidUrlError, match="is a file"):
        orders.topic("orders").to_parquet(tmp_path / "file")
    with pytest.raises(InvalidUrlError, match="a web server stores nothing"):
        orders.topic("orders").to_parquet("https://host/x")
    for url in (None, 5, b"x"):
        with pytest.raises(InvalidUrlError, match=f"not {type(url).__name__}"):
            orders.topic("orders").to_parquet(url)  # type: ignore[arg-type]
    with pytest.raises(InvalidUrlError, match=r"'a\\udcffb' is no Unicode text"):
        orders.topic("orders").to_parquet("a\udcffb")
    with pytest.raises(InvalidUrlError) as caught:
        orders.topic("orders").to_parquet("sftp://me:s3cret@host/\udcff")
    assert "s3cret" not in str(caught.value)


def test_a_topic_that_was_deleted(orders: streamhouse.Log, tmp_path: Path) -> None:
    topic = orders.topic("orders")
    orders.delete_topic("orders")
    orders.create_topic("orders")
    with pytest.raises(TopicNotFoundError, match="topic 'orders' was deleted"):
        topic.to_parquet(tmp_path)


@pytest.mark.parametrize("step", ["_write", "_begin", "_end"])
def test_a_topic_that_is_made_anew_meanwhile(
    orders: streamhouse.Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What was exported of the old one is not taken for exported of the new one."""
    real = getattr(Exporter, step)

    def made_anew(self: Exporter, *args: Any) -> Any:
        monkeypatch.undo()
        orders.delete_topic("orders")
        orders.create_topic("orders", partitions=3)
        send(orders, 0, 40)
        return real(self, *args)

    monkeypatch.setattr(Exporter, step, made_anew)
    with pytest.raises(TopicNotFoundError, match="topic 'orders' was deleted"):
        orders.topic("orders").to_parquet(tmp_path)
    assert [group for group in orders.groups if orders.groups[group].offsets] == []
    shutil.rmtree(tmp_path)
    assert orders.topic("orders").to_parquet(tmp_path).records == 40


# --- what goes wrong -------------------------------------------------------------------------------


class Died(BaseException):
    """What a process would do that is killed."""


class Life:
    """Ends at a certain step, before or after it is done; after that nothing happens any more."""

    def __init__(self, step: int, *, done: bool) -> None:
        self._left = step
        self._done = done
        self.dead = False

    def step(self, work: Callable[[], Any]) -> Any:
        if self.dead:
            raise Died
        self._left -= 1
        if self._left == 0:
            self.dead = True
            if self._done:
                work()
            raise Died
        return work()


class MortalPlace:
    """A place whose user dies."""

    def __init__(self, inner: Place, life: Life) -> None:
        self._inner = inner
        self._life = life

    @property
    def url(self) -> str:
        return self._inner.url

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        return self._inner.list(prefix, start_after, limit)

    def upload(self, name: str, path: str) -> None:
        self._life.step(lambda: self._inner.upload(name, path))

    def delete_many(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._life.step(lambda name=name: self._inner.delete_many([name]))

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Life], None]:
    """Lets exports die."""
    note, opened = Exporter._note, Outside.open
    life = Life(0, done=False)

    def begin(other: Life) -> None:
        nonlocal life
        life = other

    monkeypatch.setattr(
        Exporter,
        "_note",
        lambda self, *args, **options: life.step(lambda: note(self, *args, **options)),
    )
    monkeypatch.setattr(Outside, "open", lambda self, *args: MortalPlace(opened(self, *args), life))
    return begin


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("by", [(), ("user",)])
def test_whoever_dies_wherever_each_record_is_there_once(
    mortal: Callable[[Life], None], tmp_path: Path, by: tuple[str, ...], done: bool
) -> None:
    """The first export dies at every step in turn; so does the one that takes over."""
    arguments = {"select": "partition, offset, value->>'user' as user", "partition_by": by, "file_bytes": 700}
    deaths = 0
    for first in range(1, 40):
        with streamhouse.Log("memory://", upkeep=False) as log:
            log.create_topic("orders", partitions=3)
            send(log, 0, 12)
            folder = tmp_path / str(first)
            topic = log.topic("orders")
            mortal(Life(first, done=done))
            try:
                topic.to_parquet(folder, **arguments)
            except Died:
                deaths += 1
            else:
                break
            send(log, 12, 3)
            for second in (1, 3):
                mortal(Life(second, done=done))
                try:
                    topic.to_parquet(folder, **arguments)
                except Died:
                    deaths += 1
            mortal(Life(0, done=False))
            topic.to_parquet(folder, **arguments)
            assert exported(folder) == stored(log)
            assert topic.to_parquet(folder, **arguments).records == 0
    assert deaths > 12


def test_a_run_is_done_again_as_it_was_begun(
    mortal: Callable[[Life], None], orders: streamhouse.Log, tmp_path: Path
) -> None:
    """What came meanwhile is for the next run, so that a file with the same name has the same records."""
    mortal(Life(2, done=True))  # the files are there, but that is not noted
    with pytest.raises(Died):
        orders.topic("orders").to_parquet(tmp_path)
    (name,) = files_in(tmp_path)
    before = exported(tmp_path)
    send(orders, 20, 6)
    mortal(Life(0, done=False))
    done = orders.topic("orders").to_parquet(tmp_path)
    assert done.files == (name, "orders-00000002.parquet")
    (tmp_path / "orders-00000002.parquet").unlink()
    assert exported(tmp_path) == before


@pytest.mark.parametrize("by", [(), ("user",)])
def test_what_was_removed_since_a_run_was_begun(
    mortal: Callable[[Life], None], orders: streamhouse.Log, tmp_path: Path, by: tuple[str, ...]
) -> None:
    """A run of one file that is there is over, whatever the log has by now; others are made again."""
    arguments = {"select": "partition, offset, value->>'user' as user", "partition_by": by}
    mortal(Life(2 if not by else 5, done=True))  # all files are there, but that is not noted
    with pytest.raises(Died):
        orders.topic("orders").to_parquet(tmp_path, **arguments)
    before = exported(tmp_path)
    assert len(before) == 20
    orders.delete_records("orders", {0: 3})
    mortal(Life(0, done=False))
    done = orders.topic("orders").to_parquet(tmp_path, **arguments)
    assert exported(tmp_path) == (stored(orders) if by else before)
    assert done.records == (17 if by else 20)
    assert list(done.files) == files_in(tmp_path)
    assert {number: len(offsets) for number, offsets in done.offsets.items()} == {0: 8, 1: 6, 2: 6}


def test_a_run_that_is_done_again_leaves_no_other_files_of_it(
    mortal: Callable[[Life], None], orders: streamhouse.Log, tmp_path: Path
) -> None:
    """Records that are in another folder each time, or were cut into more files, would be there twice."""
    arguments = {"select": "partition, offset, value->>'user' as user", "partition_by": "user"}
    mortal(Life(2, done=True))
    with pytest.raises(Died):
        orders.topic("orders").to_parquet(tmp_path, **arguments)
    made = next(tmp_path.rglob("*.parquet"))
    shutil.copy(made, made.parent / file_name("orders", 1, 1))
    (tmp_path / "user=gone").mkdir()
    shutil.copy(made, tmp_path / "user=gone" / made.name)
    # Of another export in a folder below, and of a topic that is called like the run:
    others = [tmp_path / "below" / made.name, tmp_path / "user=u1" / f"{made.stem}-00000001.parquet"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        shutil.copy(made, other)
    mortal(Life(0, done=False))
    orders.topic("orders").to_parquet(tmp_path, **arguments)
    assert all(other.exists() for other in others)
    for other in others:
        other.unlink()
    assert exported(tmp_path) == stored(orders)


def test_a_file_in_a_folder_below_is_of_another_export(
    mortal: Callable[[Life], None], orders: streamhouse.Log, tmp_path: Path
) -> None:
    mortal(Life(1, done=True))  # begun, and nothing is there
    with pytest.raises(Died):
        orders.topic("orders").to_parquet(tmp_path)
    mortal(Life(0, done=False))
    orders.topic("orders").to_parquet(tmp_path / "below")
    done = orders.topic("orders").to_parquet(tmp_path)
    assert (done.files, done.records) == (("orders-00000001.parquet",), 20)
    assert "orders-00000001.parquet" in files_in(tmp_path)


def test_two_at_once_do_no_harm(
    orders: streamhouse.Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hangs in the middle of an upload while the second does all the work; then it wakes up."""
    uploading, woken = threading.Event(), threading.Event()
    opened = Outside.open
    hung: list[BaseException] = []

    class Hanging(MortalPlace):
        def upload(self, name: str, path: str) -> None:
            uploading.set()
            assert woken.wait(30)
            super().upload(name, path)

    def hang() -> None:
        try:
            orders.topic("orders").to_parquet(tmp_path)
        except ProducerFencedError as error:
            hung.append(error)

    monkeypatch.setattr(
        Outside, "open", lambda self, *args: Hanging(opened(self, *args), Life(0, done=False))
    )
    first = threading.Thread(target=hang)
    first.start()
    assert uploading.wait(30)
    monkeypatch.setattr(Outside, "open", opened)
    send(orders, 20, 6)
    second = orders.topic("orders").to_parquet(tmp_path)
    assert second.files == ("orders-00000001.parquet", "orders-00000002.parquet")
    woken.set()
    first.join()
    assert "began meanwhile" in str(hung[0])
    assert exported(tmp_path) == stored(orders)
    assert orders.topic("orders").to_parquet(tmp_path).records == 0


@pytest.mark.parametrize("by", [(), ("user",)])
def test_who_was_overtaken_takes_nothing_back(
    orders: streamhouse.Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: tuple[str, ...]
) -> None:
    """Its upload fails in the end, when the other one has long uploaded the same files and is done."""
    arguments = {"select": "partition, offset, value->>'user' as user", "partition_by": by}
    uploading, woken = threading.Event(), threading.Event()
    opened = Outside.open
    failed: list[BaseException] = []

    class Failing(MortalPlace):
        def upload(self, name: str, path: str) -> None:
            super().upload(name, path)
            uploading.set()
            assert woken.wait(30)
            raise StoreUnavailableError("the answer was lost")

    def fail() -> None:
        try:
            orders.topic("orders").to_parquet(tmp_path, **arguments)
        except StoreUnavailableError as error:
            failed.append(error)

    monkeypatch.setattr(
        Outside, "open", lambda self, *args: Failing(opened(self, *args), Life(0, done=False))
    )
    first = threading.Thread(target=fail)
    first.start()
    assert uploading.wait(30)
    monkeypatch.setattr(Outside, "open", opened)
    assert orders.topic("orders").to_parquet(tmp_path, **arguments).records == 20
    woken.set()
    first.join()
    assert len(failed) == 1
    assert exported(tmp_path) == stored(orders)


def test_who_was_overtaken_deletes_nothing(
    orders: streamhouse.Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not what it would if a run that it does again had left other files than it makes."""
    arguments = {"select": "partition, offset, value->>'user' as user", "partition_by": "user"}
    other = tmp_path / "user=u1" / file_name("orders", 1, 1)
    real = upload_all

    def overtaken(place: Place, files: Any) -> None:
        monkeypatch.setattr("streamhouse.sql.export.upload_all", real)
        real(place, files)
        assert orders.topic("orders").to_parquet(tmp_path, **arguments).records == 20
        shutil.copy(next(tmp_path.rglob("*.parquet")), other)

    def lost(*_: Any) -> None:
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr("streamhouse.sql.export.upload_all", lost)
    with pytest.raises(StoreUnavailableError):
        orders.topic("orders").to_parquet(tmp_path, **arguments)
    monkeypatch.setattr("streamhouse.sql.export.upload_all", overtaken)
    with pytest.raises(ProducerFencedError, match="began meanwhile"):
        orders.topic("orders").to_parquet(tmp_path, **arguments)
    assert other.exists()


def test_another_process_goes_on(tmp_path: Path) -> None:
    """What is known of an export is in the log, not in the process."""
    for first in (0, 10, 20):
        with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
            log.create_topic("orders", partitions=3, exist_ok=True)
            send(log, first, 10)
            assert log.topic("orders").to_parquet(tmp_path / "out").records == 10
    with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
        assert exported(tmp_path / "out") == stored(log)


# --- the parts -------------------------------------------------------------------------------------


def test_what_is_noted() -> None:
    progress = progress_of(
        {0: (5, Note(3, "x").text), 1: (2, Note(4, "x", 9, 6).text), 2: (7, ""), 3: (1, "by hand")}
    )
    assert progress.offsets == {0: 5, 1: 2, 2: 7, 3: 1}
    assert progress.last_run == 4
    assert progress.pending == {1: range(2, 9)}
    assert progress.pending_records == 6
    progress.check("x", "the export")
    with pytest.raises(InvalidInputError, match="the export was begun with another"):
        progress.check("y", "the export")
    assert progress_of({}).last_run == 0


@pytest.mark.parametrize("topic", ["orders", "a.b-c_d", ".x", "_x", "orders-00000001", "a" * 249])
def test_names_of_files(topic: str) -> None:
    for run, number in ((1, 0), (17, 3), (123_456_789, 0)):
        name = file_name(topic, run, number)
        assert run_of(topic, name) == run
        assert run_of(topic, f"day=1/{name}") == run
        assert run_of("other", name) is None
        assert name[0] not in "._"
        assert run_of(f"{topic}-{run:08}", name) is None
        assert run_of(topic, file_name(f"{topic}-20240102", run, number)) is None
        assert len(name) < 250
    assert run_of(topic, "note.txt") is None
