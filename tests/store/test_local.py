import errno
import hashlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamhouse.errors import (
    NotALogError,
    StoreAccessError,
    StoreDurabilityError,
    StoreError,
    StoreFullError,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.store import folders, local
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.local import LocalStore
from streamhouse.testing.conformance import StoreConformance

Worker = Callable[..., "subprocess.Popen[str]"]


def local_store(path: Path, durability: str = "fsync") -> LocalStore:
    return LocalStore(str(path), durability=durability, runtime=SystemRuntime())


def is_complete(data: bytes) -> bool:
    """Whether this is all of what `worker.py` writes."""
    return hashlib.sha256(data[32:]).digest() == data[:32]


def files_under(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


class TestContract(StoreConformance):
    rounds = 100

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return local_store(tmp_path / "log")


class TestContractWithoutSync(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return local_store(tmp_path / "log", "os")


def test_opening_and_reading_make_nothing(tmp_path: Path) -> None:
    store = local_store(tmp_path / "log")
    assert store.list("") == []
    assert store.head("a") is None
    with store.commit_lock(0.01) as locked:
        assert not locked
    assert list(tmp_path.iterdir()) == []


def test_parents_are_made_by_the_first_write(tmp_path: Path) -> None:
    store = local_store(tmp_path / "a" / "b" / "log")
    store.put_if_absent("lane/x/1", [b"1"])
    assert (tmp_path / "a/b/log/lane/x/1").read_bytes() == b"1"


def test_a_file_in_the_place_of_the_directory_is_not_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("notes")
    with pytest.raises(NotALogError, match="not a directory"):
        local_store(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "notes"


def test_a_file_in_the_place_of_a_folder_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "lane").write_text("notes")
    store = local_store(tmp_path)
    with pytest.raises(StoreError, match="lane"):
        store.put_if_absent("lane/1", [b""])
    with pytest.raises(StoreError, match="lane"):
        store.put("lane/1", [b""])


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "log/../../x", ".hidden", "log//1"])
def test_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    store = local_store(tmp_path / "log")
    for operation in (store.get, store.head, lambda n: store.put(n, [b""])):
        with pytest.raises(ValueError, match="cannot be the name"):
            operation(name)


def test_a_directory_that_vanishes_is_made_anew(tmp_path: Path) -> None:
    store = local_store(tmp_path / "log")
    store.put_if_absent("log/1", [b"1"])
    (tmp_path / "log/log/1").unlink()
    (tmp_path / "log/log").rmdir()
    (tmp_path / "log").rmdir()
    assert store.put_if_absent("log/2", [b"2"]) is PutOutcome.CREATED
    assert [info.name for info in store.list("")] == ["log/2"]


def test_hidden_files_are_not_objects(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    store.put("log/1", [b""])
    (tmp_path / "log" / ".tmp-1-x-0").write_bytes(b"half")
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"")
    with store.commit_lock(1.0) as locked:
        assert locked
    assert [info.name for info in store.list("")] == ["log/1"]


# --- what is on the disk when ----------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that matter for loss of power, in order; they are carried out as well."""
    made: list[tuple[str, str]] = []

    def record(module: object, name: str, label: Callable[..., str]) -> None:
        original = getattr(module, name)

        def called(*arguments: object, **options: object) -> object:
            made.append((name, label(*arguments)))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, called)

    def of_descriptor(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name.partition("-")[0]

    record(local, "sync_data", of_descriptor)
    record(os, "link", lambda _, path: Path(path).name)
    record(os, "replace", lambda _, path: Path(path).name)
    record(os, "fsync", of_descriptor)
    return made


def test_bytes_then_name_then_folder(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    store = local_store(tmp_path / "root")
    store.put_if_absent("log/0", [b"x"])
    calls.clear()
    store.put_if_absent("log/1", [b"x"])
    assert calls == [("sync_data", ".tmp"), ("link", "1"), ("fsync", "log")]
    calls.clear()
    store.put("log/1", [b"y"])
    assert calls == [("sync_data", ".tmp"), ("replace", "1"), ("fsync", "log")]


def test_the_first_write_syncs_the_chain_of_folders(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    (tmp_path / "root" / "lane").mkdir(parents=True)  # by another process, perhaps not synced
    local_store(tmp_path / "root").put_if_absent("lane/a/1", [b"x"])
    synced = [name for call, name in calls if call == "fsync"]
    before_link = synced[: synced.index("a")]
    assert before_link[:3] == ["lane", "root", tmp_path.name]


def test_a_name_that_is_taken_costs_no_sync_of_the_folder(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    store = local_store(tmp_path)
    store.put_if_absent("log/1", [b"x"])
    calls.clear()
    assert store.put_if_absent("log/1", [b"y"]) is PutOutcome.EXISTS
    assert ("fsync", "log") not in calls
    assert files_under(tmp_path) == {"log/1"}


def test_durability_os_syncs_nothing(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    store = local_store(tmp_path / "root", "os")
    store.put_if_absent("log/1", [b"x"])
    store.put("log/1", [b"x"])
    assert [call for call, _ in calls] == ["link", "replace"]


# --- failures --------------------------------------------------------------------------------------


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EROFS, StoreAccessError),
        (errno.EACCES, StoreAccessError),
        (errno.EIO, StoreError),
    ],
)
def test_a_failed_sync_of_the_bytes_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StoreError]
) -> None:
    store = local_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(local, "sync_data", failing(number))
        with pytest.raises(expected, match="log/1") as caught:
            store.put_if_absent("log/1", [b"x"])
        with pytest.raises(expected, match="log/1"):
            store.put("log/1", [b"x"])
    assert type(caught.value) is expected
    assert caught.value.errno == number
    assert files_under(tmp_path) == set()
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.CREATED


def test_a_failed_link_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local_store(tmp_path)
    monkeypatch.setattr(os, "link", failing(errno.ENOSPC))
    with pytest.raises(StoreFullError):
        store.put_if_absent("log/1", [b"x"])
    assert files_under(tmp_path) == set()


def test_a_link_whose_answer_got_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local_store(tmp_path)
    link = os.link

    def link_twice(source: str, target: str) -> None:  # as a client of NFS may do
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.CREATED
    assert files_under(tmp_path) == {"log/1"}


def test_a_failed_sync_of_the_folder_stops_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = local_store(tmp_path)
    store.put_if_absent("log/1", [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr(folders, "sync_folder", failing(errno.EIO))
        with pytest.raises(StoreDurabilityError, match="log/2"):
            store.put_if_absent("log/2", [b"x"])
    # The disk works again, but nobody knows what became of log/2.
    with pytest.raises(StoreDurabilityError, match="must stop"):
        store.put_if_absent("log/3", [b"x"])
    with pytest.raises(StoreDurabilityError, match="must stop"):
        store.put("log/3", [b"x"])
    assert store.get("log/2") == b"x"  # others may have read it already
    assert files_under(tmp_path) == {"log/1", "log/2"}


def test_a_failed_sync_of_parents_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local_store(tmp_path / "root")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "sync_folder", failing(errno.EIO))
        with pytest.raises(StoreError) as caught:
            store.put_if_absent("log/1", [b"x"])
    assert type(caught.value) is StoreError
    assert files_under(tmp_path) == set()
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.CREATED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    store = local_store(small_disk)
    store.put_if_absent("log/1", [b"1" * 100_000])
    with pytest.raises(StoreFullError, match="No space left") as caught:
        store.put_if_absent("log/2", [b"2" * 100_000, b"3" * 200_000])
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(StoreFullError):
        store.put("log/1", [b"2" * 300_000])
    assert files_under(small_disk) == {"log/1"}
    assert store.get("log/1") == b"1" * 100_000
    store.delete_many(["log/1"])
    assert store.put_if_absent("log/2", [b"2" * 200_000]) is PutOutcome.CREATED


def test_a_read_only_disk(small_disk: Path) -> None:
    store = local_store(small_disk)
    store.put_if_absent("log/1", [b"x"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreAccessError, match="Read-only"):
        store.put_if_absent("log/2", [b"x"])
    with pytest.raises(StoreAccessError):
        store.put("log/1", [b"y"])
    with pytest.raises(StoreAccessError):
        store.delete_many(["log/1"])
    with store.commit_lock(0.01) as locked:
        assert not locked
    assert local_store(small_disk).get("log/1") == b"x"
    assert [info.name for info in store.list("")] == ["log/1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    (tmp_path / "log").mkdir(mode=0o555)
    with pytest.raises(StoreAccessError, match="Permission denied"):
        store.put_if_absent("log/1", [b"x"])


# --- other processes -------------------------------------------------------------------------------


def test_of_many_processes_one_creates_each_object(tmp_path: Path, worker: Worker) -> None:
    rounds = 150
    writers = [worker("race", tmp_path / "log", "{}", number, rounds) for number in range(4)]
    for process in writers:
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    won = [json.loads(process.stdout.readline()) for process in writers]
    winners = Counter(number for numbers in won for number in numbers)
    assert winners == Counter(range(rounds))
    store = local_store(tmp_path / "log")
    for writer, numbers in enumerate(won):
        for number in numbers:
            data = store.get(f"log/{number:03d}")
            assert is_complete(data)
            assert data[32:].startswith(b"%d-%d " % (writer, number))
    assert all(not name.rpartition("/")[2].startswith(".tmp") for name in files_under(tmp_path))


def test_kill_leaves_no_torn_object_and_loses_none(tmp_path: Path, worker: Worker) -> None:
    store = local_store(tmp_path / "log")
    acknowledged: set[int] = set()
    first = 0
    for attempt in range(8):
        process = worker("write_for_ever", tmp_path / "log", "{}", attempt, first)
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        acknowledged.update(int(line) for line in process.stdout.read().splitlines())
        first = max(acknowledged) + 2
    names = [info.name for info in store.list("log/")]
    assert {f"log/{number:06d}" for number in acknowledged} <= set(names)
    assert all(is_complete(store.get(name)) for name in names)


# --- sweeping --------------------------------------------------------------------------------------


def test_sweep_removes_what_dead_writers_left(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    store.put("log/1", [b"x"])
    old, young = tmp_path / "log" / ".tmp-1-a-0", tmp_path / "log" / ".tmp-1-a-1"
    empty, used = tmp_path / "lane" / "dead", tmp_path / "lane" / "young"
    for file in (old, young):
        file.write_bytes(b"half")
    for folder in (empty, used):
        folder.mkdir(parents=True)
    hours_ago = time.time() - 7200
    for path in (old, empty, tmp_path / "log" / "1"):
        os.utime(path, (hours_ago, hours_ago))
    assert store.sweep(3600) == 2
    assert files_under(tmp_path) == {"log/1", "log/.tmp-1-a-1"}
    assert used.exists()
    assert not empty.exists()
    assert store.sweep(3600) == 0


def test_sweep_of_nothing(tmp_path: Path) -> None:
    assert local_store(tmp_path / "log").sweep(0) == 0
