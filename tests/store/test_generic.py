from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from streamhouse.errors import ObjectNotFoundError, StoreAccessError, StoreError, StoreFullError
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.generic import FsspecStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.conformance import StoreConformance
from streamhouse.testing.s3server import FakeS3Server


def store_on(filesystem: Any, root: str, protocol: str) -> FsspecStore:
    return FsspecStore(
        lambda: filesystem,
        root,
        url=f"{protocol}://{root}",
        protocol=protocol,
        runtime=ManualRuntime(),
    )


class TestLocalFiles(StoreConformance):
    atomic = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return store_on(fsspec.filesystem("file"), str(tmp_path / "log"), "file")


class TestDirectory(StoreConformance):
    atomic = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        inside = fsspec.filesystem("dir", path=str(tmp_path), fs=fsspec.filesystem("file"))
        return store_on(inside, "", "dir")


class TestMemory(StoreConformance):
    atomic = False

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest) -> ObjectStore:
        return store_on(fsspec.filesystem("memory"), f"/{request.node.name}", "memory")


class TestBucketWithAtomicCreation(StoreConformance):
    """s3fs stands in for the filesystems that have a real ``mode="create"``."""

    rounds = 5

    @pytest.fixture
    def store(self, s3: FakeS3Server) -> ObjectStore:
        filesystem = fsspec.filesystem(
            "s3", **s3.storage_options, use_listings_cache=False, skip_instance_cache=True
        )
        return store_on(filesystem, "streamhouse/log", "gs")


class Failing(MemoryFileSystem):
    """Fails as told, after having written half."""

    cachable = False
    error: Exception = OSError()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        super().pipe_file(path, value[: len(value) // 2], mode)
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), StoreFullError),
        (PermissionError("no"), StoreAccessError),
        (RuntimeError("ftp://user:pass@host says no"), StoreError),
    ],
)
def test_a_failed_creation_leaves_nothing(
    request: pytest.FixtureRequest, error: Exception, expected: type[StoreError]
) -> None:
    filesystem = Failing()
    filesystem.error = error
    store = store_on(filesystem, f"/{request.node.name}", "memory")
    with pytest.raises(expected) as caught:
        store.put_if_absent("log/1", [b"content"])
    assert type(caught.value) is expected
    assert "pass" not in str(caught.value)
    assert store.list("") == []


def test_a_failed_conditional_creation_is_unknown(request: pytest.FixtureRequest) -> None:
    filesystem = Failing()
    filesystem.error = ConnectionResetError()
    store = store_on(filesystem, f"/{request.node.name}", "gs")
    assert store.put_if_absent("log/1", [b"content"]) is PutOutcome.UNKNOWN


def test_unknown_age_counts_as_new() -> None:
    class Ageless(MemoryFileSystem):
        cachable = False

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {"name": path, "size": 1, "type": "file"}

    store = store_on(Ageless(), "/ageless", "memory")
    info = store.head("log/1")
    assert info is not None
    assert info.modified_ms == ManualRuntime().time_ms()


def test_a_forked_child_makes_a_new_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(fsspec.filesystem("file", skip_instance_cache=True))
        return made[-1]

    store = FsspecStore(make, str(tmp_path), url="x", protocol="file", runtime=ManualRuntime())
    store.put("a", [b""])
    assert len(made) == 1
    monkeypatch.setattr("streamhouse.store.generic.process_id", lambda: -1)
    with pytest.raises(ObjectNotFoundError):
        store.get("b")
    assert len(made) == 2
