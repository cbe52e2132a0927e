"""Files outside of the log: there as a whole or not at all, with the right credentials, which nobody sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from streamhouse.config import Settings
from streamhouse.errors import (
    InvalidUrlError,
    StoreAccessError,
    StoreError,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.store import s3upload
from streamhouse.store.generic import FsspecStore
from streamhouse.store.outside import Outside, Place
from streamhouse.testing.s3server import FakeS3Server

Opened = Callable[..., Place]
PART = 5 << 20


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows."""
    monkeypatch.setattr(s3upload, "PART_BYTES", PART)
    monkeypatch.setattr("streamhouse.store.s3.PART_BYTES", PART)


def outside(log: str = "", options: dict[str, Any] | None = None) -> Outside:
    return Outside(log, options, Settings(), SystemRuntime())


@pytest.fixture
def on_s3(s3: FakeS3Server) -> Iterator[Place]:
    place = outside().open("s3://streamhouse/exports", s3.storage_options)
    yield place
    place.close()


@pytest.fixture(params=["directory", "memory", "s3", "fsspec"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: FakeS3Server) -> Iterator[Place]:
    runtime = SystemRuntime()
    if request.param == "directory":
        opened: Place = outside().open(tmp_path / "exports")
    elif request.param == "memory":
        opened = outside().open(f"memory://{request.node.name}")
    elif request.param == "s3":
        opened = outside().open("s3://streamhouse/exports", s3.storage_options)
    else:

        def make() -> Any:
            return DirFileSystem(str(tmp_path), fsspec.filesystem("file"), skip_instance_cache=True)

        opened = FsspecStore(make, "exports", url="dir://exports", protocol="dir", runtime=runtime)
    yield opened
    opened.close()


def file_of(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "file"
    path.write_bytes(content)
    return str(path)


def names(place: Place) -> list[str]:
    return [info.name for info in place.list("")]


def test_files_arrive_and_are_replaced(place: Place, tmp_path: Path) -> None:
    assert names(place) == []
    place.upload("day=2024-05-01/a b%2F.parquet", file_of(tmp_path, b"one"))
    place.upload("x.csv", file_of(tmp_path, b""))
    place.upload("day=2024-05-01/a b%2F.parquet", file_of(tmp_path, b"other"))
    sizes = {info.name: info.size for info in place.list("")}
    assert sizes == {"day=2024-05-01/a b%2F.parquet": 5, "x.csv": 0}
    place.delete_many(["x.csv", "nowhere.csv"])
    assert names(place) == ["day=2024-05-01/a b%2F.parquet"]


def test_large_files_travel_in_parts(
    small_parts: None, s3: FakeS3Server, on_s3: Place, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (PART // 256 * 2 + 100)
    on_s3.upload("large", file_of(tmp_path, content))
    assert s3.buckets["streamhouse"]["exports/large"].content == content
    assert s3.requests["PUT"] == 5  # begin, three parts, complete
    assert s3.unfinished_uploads == 0


@pytest.mark.parametrize("kind", ["refuse", "reset", "lost-answer"])
@pytest.mark.parametrize("skip", range(4))
def test_a_part_is_sent_again(
    small_parts: None, s3: FakeS3Server, on_s3: Place, tmp_path: Path, kind: Any, skip: int
) -> None:
    """Whichever request it is, the last one included, whose answer may get lost."""
    s3.fault("PUT", kind, skip=skip)
    content = b"x" * (PART + 1)
    on_s3.upload("large", file_of(tmp_path, content))
    assert s3.buckets["streamhouse"]["exports/large"].content == content
    assert s3.unfinished_uploads <= (kind == "lost-answer" and skip == 0)


def test_who_gives_up_leaves_nothing(
    small_parts: None, s3: FakeS3Server, on_s3: Place, tmp_path: Path
) -> None:
    path = file_of(tmp_path, b"x" * (3 * PART))
    s3.fault("PUT", "refuse", skip=2, times=None, status=403, code="AccessDenied")
    with pytest.raises(StoreAccessError, match="cannot write s3://streamhouse/exports/large"):
        on_s3.upload("large", path)
    assert s3.buckets["streamhouse"] == {}
    assert s3.unfinished_uploads == 0


def test_interrupted_copies_are_not_seen(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    class Failing(MemoryFileSystem):
        """Writes half of a file."""

        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        protocol = "failing"

        def put_file(self, lpath: str, rpath: str, **_: Any) -> None:  # type: ignore[override]
            self.pipe_file(rpath, Path(lpath).read_bytes()[:2])
            raise OSError("the line broke: password=s3cret")

    store = FsspecStore(
        Failing, "exports", url="failing://exports", protocol="failing", runtime=SystemRuntime()
    )
    with pytest.raises(StoreError) as caught:
        store.upload("x.csv", file_of(tmp_path, b"1234"))
    assert "s3cret" not in str(caught.value)
    assert names(store) == []


@pytest.mark.parametrize(
    ("log", "url", "shared"),
    [
        ("s3://logs/shop", "s3://exports/x", True),
        ("s3a://logs/shop", "s3://exports/x", True),
        ("s3://logs/shop", "gs://exports/x", False),
        ("s3://logs/shop", "./exports", False),
        ("./data", "s3://exports/x", False),
        ("sftp://ann@one/logs", "sftp://ann@one/exports", True),
        ("sftp://ann@one/logs", "sftp://ann@other/exports", False),
        ("sftp://ann@one/logs", "sftp://bob@one/exports", False),
        ("", "s3://exports/x", False),
    ],
)
def test_the_options_of_the_log_go_where_they_are_meant_for(log: str, url: str, shared: bool) -> None:
    try:
        assert outside(log, {"password": "s3cret"})._shares_options(url) == shared
    except ImportError:  # sftp needs paramiko, which tells addresses apart
        assert log.startswith("sftp")


def test_a_log_on_s3_exports_beside_itself(s3: FakeS3Server, tmp_path: Path) -> None:
    place = outside("s3://streamhouse/log", s3.storage_options).open("s3://streamhouse/exports")
    place.upload("x", file_of(tmp_path, b"1"))
    place.close()
    assert s3.buckets["streamhouse"]["exports/x"].content == b"1"
    refused = outside("s3://streamhouse/log", s3.storage_options).open(
        "s3://streamhouse/exports", {**s3.storage_options, "key": "another", "secret": "s3cret"}
    )
    with pytest.raises(StoreAccessError) as caught:
        refused.upload("x", file_of(tmp_path, b"1"))
    refused.close()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("https://host/x", InvalidUrlError, "a web server stores nothing"),
        ("s3x://bucket/x", InvalidUrlError, "did you mean 's3'"),
        ("s3://key:s3cret@bucket/x", InvalidUrlError, "credentials do not belong in the URL"),
    ],
)
def test_what_is_no_place_for_files(url: str, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        outside().open(url).list("")
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidUrlError, match="is a file"):
        outside().open(file_of(tmp_path, b""))
