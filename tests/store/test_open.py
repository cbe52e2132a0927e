import sys
import traceback
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from streamhouse.config import Settings
from streamhouse.errors import (
    InvalidSettingError,
    InvalidUrlError,
    MissingExtraError,
    NotALogError,
    StoreAccessError,
    StoreUnavailableError,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore
from streamhouse.store.open import open_store, without_credentials


def opened(url: Any, **options: Any) -> ObjectStore:
    return open_store(url, options, Settings(), SystemRuntime())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/log", "/data/log"),
        ("/data/log/", "/data/log"),
        ("/data/../log", "/log"),
        (Path("/data/log"), "/data/log"),
        ("file:///data/log", "/data/log"),
        ("file://localhost/data/log", "/data/log"),
        ("file:///data/my%20log", "/data/my log"),
        ("local:///data/log", "/data/log"),
        ("FILE:///data/log", "/data/log"),
        ("memory://", "memory://"),
        ("memory://name", "memory://name"),
        ("memory://name/", "memory://name"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3a://bucket/a", "s3://bucket/a"),
        (
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a",
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a",
        ),
        ("dir:///x", "dir:///x"),
    ],
)
def test_places(url: Any, expected: str) -> None:
    options = {"path": "/tmp", "target_protocol": "file"} if str(url).startswith("dir:") else {}
    assert opened(url, **options).url == expected


def test_relative_paths_are_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened("./data")
    monkeypatch.chdir("/")
    assert store.url == str(tmp_path / "data")


def test_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("~/data").url == str(tmp_path / "data")


def test_strange_names_of_directories_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "ü", "with space", "s3", "%20"):
        store = opened(name)
        store.put("x", [b"1"])
        assert (tmp_path / name / "x").exists()
    store = opened(Path("s3://odd"))  # a path is a path
    assert store.url == str(tmp_path / "s3:" / "odd")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "neither a path nor a URL"),
        ("  ", "neither a path nor a URL"),
        ("a\0b", "neither a path nor a URL"),
        (None, "not NoneType"),
        (7, "not int"),
        (b"/data", "not bytes"),
        ("s3:/bucket/a", "two slashes"),
        ("s3:bucket/a", "two slashes"),
        ("memory:", "two slashes"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://b", "names no bucket"),
        ("s3://bu cket/a", "names no bucket"),
        ("s3://bucket/a//b", "empty part"),
        ("s3://bucket/a?endpoint_url=x", "storage_options"),
        ("s3://bucket/a#b", "storage_options"),
        ("file://host/a", "file:///absolute/path"),
        ("file://data", "file:///absolute/path"),
        ("simplecache::s3://bucket", "chains"),
        ("http://host/bucket", "endpoint_url"),
        ("https://host/bucket", "endpoint_url"),
        ("memori://", "did you mean 'memory'"),
        ("sftpp://host", "did you mean 'sftp'"),
        ("quatsch://host", "unknown protocol 'quatsch'"),
    ],
)
def test_nonsense(url: Any, words: str) -> None:
    with pytest.raises(InvalidUrlError, match=words):
        opened(url)


@pytest.mark.parametrize(
    "url",
    ["s3://AKIA:s3cr3t@bucket/a", "s3:AKIA:s3cr3t@bucket", "ftpp://me:s3cr3t@host/a?key=s3cr3t"],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        opened(url)
    assert "s3cr3t" not in str(caught.value)


def test_urls_without_credentials() -> None:
    assert without_credentials("sftp://me:pass@host/a?x=pass") == "sftp://***@host/a"
    assert without_credentials("sftp://me:p@ss@host/a") == "sftp://***@host/a"
    assert without_credentials("sftp://host/a@b") == "sftp://host/a@b"


@pytest.mark.parametrize("url", ["/data", "file:///data", "memory://"])
def test_options_for_a_place_that_takes_none(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="takes no storage_options; got key, secret"):
        opened(url, key="AKIA", secret="s3cr3t")


class Strict(AbstractFileSystem):
    """Takes one option, and connects when it is made."""

    protocol = "strict"

    def __init__(self, answer: str = "", **options: Any) -> None:
        if "colour" in options:
            raise TypeError("colour=s3cr3t")
        if answer == "denied":
            raise PermissionError("s3cr3t")
        if answer == "away":
            raise ConnectionRefusedError("s3cr3t")
        super().__init__(**options)


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        ({"colour": "s3cr3t"}, InvalidSettingError, "refuses the storage options colour"),
        ({"answer": "denied"}, StoreAccessError, "access denied"),
        ({"answer": "away"}, StoreUnavailableError, "cannot be reached"),
    ],
)
def test_filesystems_that_cannot_be_made(
    options: dict[str, Any], expected: type[Exception], words: str
) -> None:
    fsspec.register_implementation("strict", Strict, clobber=True)
    with pytest.raises(expected, match=words) as caught:
        opened("strict://me:s3cr3t@host/x", **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert "colour=s3cr3t" not in shown
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(("url", "package"), [("gs://bucket/a", "gcsfs"), ("sftp://host/a", "paramiko")])
def test_missing_packages_are_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"pip install {package}"):
        opened(url)


def test_missing_s3fs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match="pip install s3fs"):
        opened("s3://bucket/a")


def test_a_file_is_not_a_log(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("x")
    with pytest.raises(NotALogError, match=r"notes\.txt"):
        opened(file)


def test_another_filesystem_works(tmp_path: Path) -> None:
    store = opened("dir://log", path=str(tmp_path), target_protocol="file")
    store.put("lane/1", [b"x"])
    assert store.get("lane/1") == b"x"
    assert not store.capabilities.atomic_create
