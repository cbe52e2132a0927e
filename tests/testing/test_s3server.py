import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from streamhouse.config import Settings
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.open import open_store
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.s3faults import S3Fault
from streamhouse.testing.s3server import FakeS3Server


@pytest.fixture
def server() -> Iterator[FakeS3Server]:
    with FakeS3Server() as running:
        yield running


@pytest.fixture
def store(server: FakeS3Server) -> Iterator[ObjectStore]:
    opened = open_store(server.url, server.storage_options, Settings(), SystemRuntime())
    yield opened
    opened.close()


def test_it_listens_on_loopback_only(server: FakeS3Server) -> None:
    assert server._server is not None
    assert {socket.getsockname()[0] for socket in server._server.sockets} == {"127.0.0.1"}


def test_it_leaves_no_thread_and_no_port() -> None:
    before = set(threading.enumerate())  # the session's own server, for one
    with FakeS3Server() as server:
        endpoint = server.endpoint_url
        assert "fake-s3" in {thread.name for thread in set(threading.enumerate()) - before}
    assert "fake-s3" not in {thread.name for thread in set(threading.enumerate()) - before}
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(endpoint, timeout=1)


def test_plain_s3fs_can_use_it(server: FakeS3Server) -> None:
    """With its defaults: checksums in trailers, its own listing, its own conditional PUT."""
    fs = fsspec.filesystem("s3", **server.storage_options, skip_instance_cache=True)
    fs.pipe_file("streamhouse/dir/a", b"0123456789", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file("streamhouse/dir/a", b"x", mode="create")
    assert fs.cat_file("streamhouse/dir/a") == b"0123456789"
    assert fs.cat_file("streamhouse/dir/a", start=2, end=4) == b"23"
    assert fs.ls("streamhouse/dir", detail=False) == ["streamhouse/dir/a"]
    assert fs.info("streamhouse/dir/a")["size"] == 10
    fs.rm("streamhouse/dir/a")
    assert not fs.exists("streamhouse/dir/a")


def test_wrong_keys_are_denied(server: FakeS3Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{server.endpoint_url}/streamhouse/a", timeout=5)


def test_what_it_does_not_speak_is_not_implemented(server: FakeS3Server) -> None:
    key = server.storage_options["key"]
    request = urllib.request.Request(
        f"{server.endpoint_url}/streamhouse/a?acl",
        method="POST",
        data=b"",
        headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/x"},
    )
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(request, timeout=5)


def test_a_request_carried_out_twice_meets_itself(server: FakeS3Server, store: ObjectStore) -> None:
    server.fault("PUT", "twice")
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.EXISTS
    assert store.get("log/1") == b"x"


def test_bits_flip_and_bodies_shrink_without_notice(server: FakeS3Server, store: ObjectStore) -> None:
    content = bytes(range(200))
    store.put("a", [content])
    server.fault("GET", "flip")
    flipped = int.from_bytes(store.get("a")) ^ int.from_bytes(content)
    assert flipped.bit_count() == 1
    server.fault("GET", "short")
    assert store.get("a", 0, 100) == content[:50]
    assert store.get("a") == content


def test_stale_listings(server: FakeS3Server, store: ObjectStore) -> None:
    runtime = ManualRuntime()
    server._runtime = runtime
    for name in ("log/1", "log/2"):
        runtime.advance(1)
        store.put(name, [b""])
    server.fault("LIST", "stale")
    assert [info.name for info in store.list("")] == ["log/1"]
    assert [info.name for info in store.list("")] == ["log/1", "log/2"]
    assert store.get("log/2") == b""


def test_delays_and_latency_do_not_change_the_outcome(server: FakeS3Server, store: ObjectStore) -> None:
    server.latency_seconds = {"PUT": 0.01, "GET": 0.01}
    server.fault("PUT", "delay", seconds=0.05)
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.CREATED
    assert store.get("log/1") == b"x"
    assert server.injected == {"delay": 1}


def test_the_clock_of_the_store_is_its_own(server: FakeS3Server, store: ObjectStore) -> None:
    server._runtime = ManualRuntime(time_ms=86_400_123)
    store.put("a", [b""])
    head = store.head("a")
    assert head is not None
    assert head.modified_ms == 86_400_000  # HTTP dates have no fraction
    assert store.list("")[0].modified_ms == 86_400_123


def test_faults_by_match_skip_and_probability(server: FakeS3Server, store: ObjectStore) -> None:
    server.fault("PUT", "refuse", match="lane/", skip=1, status=400, code="Odd")
    outcomes = []
    for name in ("log/1", "lane/1", "lane/2", "lane/3"):
        try:
            store.put(name, [b""])
            outcomes.append(name)
        except OSError:
            pass
    assert outcomes == ["log/1", "lane/1", "lane/3"]
    server.fault("HEAD", "refuse", probability=0.0, times=None)
    assert store.head("log/1") is not None


@pytest.mark.parametrize("arguments", [("PUT", "flip"), ("GET", "stale"), ("POST", "reset"), ("GET", "typo")])
def test_senseless_faults_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="fault"):
        S3Fault(*arguments)
