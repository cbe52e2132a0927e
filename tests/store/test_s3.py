import gc
import json
import logging
import multiprocessing
import os
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from streamhouse.config import Settings
from streamhouse.errors import (
    InvalidSettingError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnsafeError,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.open import open_store
from streamhouse.testing.conformance import StoreConformance
from streamhouse.testing.s3http import Answer, Request
from streamhouse.testing.s3server import FakeS3Server

Open = Callable[..., ObjectStore]
IMPATIENT = {"config_kwargs": {"connect_timeout": 0.3, "read_timeout": 0.3}}


class TestContract(StoreConformance):
    rounds = 10

    @pytest.fixture
    def store(self, open_s3: Open) -> ObjectStore:
        return open_s3()


class TestContractInTheRootOfABucketWithSmallPages(StoreConformance):
    rounds = 3

    @pytest.fixture
    def s3(self) -> Any:
        with FakeS3Server(keys_per_page_max=3) as server:
            yield server

    @pytest.fixture
    def store(self, open_s3: Open) -> ObjectStore:
        return open_s3("s3://streamhouse")


# --- requests --------------------------------------------------------------------------------------


def test_each_call_is_one_request(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    calls: list[tuple[str, Callable[[], object]]] = [
        ("PUT", lambda: store.put_if_absent("log/1", [b"x" * 9_000_000])),
        ("PUT", lambda: store.put_if_absent("log/1", [b"x"])),
        ("PUT", lambda: store.put("lane/1", [b"x" * 9_000_000])),
        ("GET", lambda: store.get("log/1")),
        ("GET", lambda: store.get("log/1", 10, 20)),
        ("GET", lambda: store.get("log/1", 10_000_000)),
        ("HEAD", lambda: store.head("log/1")),
        ("HEAD", lambda: store.head("log/2")),
        ("LIST", lambda: store.list("log/")),
        ("DELETE", lambda: store.delete_many(["log/1"])),
        ("DELETE", lambda: store.delete_many(["lane/1", "lane/2"])),
    ]
    for operation, call in calls:
        s3.requests.clear()
        call()
        assert dict(s3.requests) == {operation: 1}


def test_a_missing_object_costs_one_get(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    with pytest.raises(ObjectNotFoundError, match="log/1"):
        store.get("log/1", 0, 100)
    assert dict(s3.requests) == {"GET": 1}


def test_many_names_are_listed_and_deleted_in_thousands(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    objects = s3.buckets["streamhouse"]
    store.put("log/0", [b""])
    template = objects.pop("log/log/0")
    names = [f"log/{number:05d}" for number in range(2500)]
    objects.update({f"log/{name}": template for name in names})
    s3.requests.clear()
    assert [info.name for info in store.list("log/")] == names
    assert dict(s3.requests) == {"LIST": 3}
    store.delete_many(names)
    assert s3.requests["DELETE"] == 3
    assert objects == {}


def test_a_limit_asks_for_no_more(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    for number in range(5):
        store.put(f"log/{number}", [b""])
    s3.requests.clear()
    assert len(store.list("log/", limit=2)) == 2
    assert store.list("log/", limit=0) == []
    assert s3.requests["LIST"] == 1


def test_names_with_odd_characters(open_s3: Open) -> None:
    store = open_s3("s3://streamhouse/a b/ü&<+%41>")
    store.put("log/1", [b"x"])
    assert store.get("log/1") == b"x"
    assert [info.name for info in store.list("")] == ["log/1"]
    store.delete_many(["log/1", "log/2"])
    assert store.list("") == []


def test_folder_markers_of_consoles_are_not_objects(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    store.put("log/1", [b"x"])
    objects = s3.buckets["streamhouse"]
    objects["log/log/"] = objects["log/"] = objects["log/log/1"]
    assert [info.name for info in store.list("")] == ["log/1"]


# --- outcomes of a creation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "code", "created"),
    [
        ("refuse", 409, "ConditionalRequestConflict", False),
        ("refuse", 429, "TooManyRequests", False),
        ("refuse", 500, "InternalError", False),
        ("refuse", 503, "SlowDown", False),
        ("refuse", 404, "NoSuchKey", False),
        ("refuse", 400, "RequestTimeout", False),
        ("fail-after", 500, "InternalError", True),
        ("fail-after", 503, "SlowDown", True),
        ("reset", 0, "", False),
        ("lost-answer", 0, "", True),
        ("hang", 0, "", False),
    ],
)
def test_doubt_is_unknown(
    s3: FakeS3Server, open_s3: Open, kind: Any, status: int, code: str, created: bool
) -> None:
    store = open_s3(**IMPATIENT)
    # A dead kept-alive connection is tried again by aiohttp, unseen; so it has to fail twice.
    s3.fault("PUT", kind, status=status, code=code, times=2, seconds=1.0)
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.UNKNOWN
    s3.clear_faults()
    assert (store.head("log/1") is not None) == created


@pytest.mark.parametrize("plain_conflicts", [False, True])
def test_a_conflict_is_seen_with_and_without_its_condition(
    plain_conflicts: bool, runtime: SystemRuntime
) -> None:
    with FakeS3Server(plain_conflicts=plain_conflicts) as server:
        store = open_store(server.url, server.storage_options, Settings(), runtime)
        assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.CREATED
        assert store.put_if_absent("log/1", [b"y"]) is PutOutcome.EXISTS
        store.close()


def test_a_lost_answer_on_a_used_connection_ends_in_a_conflict_with_ourselves(
    s3: FakeS3Server, open_s3: Open
) -> None:
    store = open_s3()
    store.put("a", [b""])  # leaves a connection open
    s3.fault("PUT", "lost-answer")
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.EXISTS  # why nonces are compared
    assert store.get("log/1") == b"x"


def test_a_put_can_land_after_it_was_given_up(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    s3.fault("PUT", "late", seconds=0.3)
    s3.fault("PUT", "reset", times=2)
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.UNKNOWN
    assert store.head("log/1") is None
    landed = threading.Event()
    for _ in range(100):
        if landed.wait(0.05) or store.head("log/1") is not None:
            break
    assert store.get("log/1") == b"x"


@pytest.mark.parametrize(
    ("status", "code", "expected", "words"),
    [
        (403, "AccessDenied", StoreAccessError, "policy"),
        (403, "InvalidAccessKeyId", StoreAccessError, "access key is unknown"),
        (403, "SignatureDoesNotMatch", StoreAccessError, "secret key"),
        (403, "RequestTimeTooSkewed", StoreAccessError, "clock"),
        (400, "ExpiredToken", StoreAccessError, "expired"),
        (403, "QuotaExceeded", StoreFullError, "quota"),
        (507, "XMinioStorageFull", StoreFullError, "space"),
        (501, "NotImplemented", StoreUnsafeError, "conditional writes"),
        (301, "PermanentRedirect", StoreError, "another region"),
        (400, "InvalidArgument", StoreError, "400 InvalidArgument"),
    ],
)
def test_refusals_are_errors_that_say_what_to_do(
    s3: FakeS3Server,
    open_s3: Open,
    status: int,
    code: str,
    expected: type[StoreError],
    words: str,
) -> None:
    store = open_s3()
    s3.fault("PUT", "refuse", status=status, code=code, times=2)
    with pytest.raises(expected, match=words) as caught:
        store.put_if_absent("log/1", [b"x"])
    assert type(caught.value) is expected
    assert "s3://streamhouse/log/log/1" in str(caught.value)
    s3.clear_faults()
    assert store.head("log/1") is None


def test_a_missing_bucket_is_named(open_s3: Open) -> None:
    store = open_s3("s3://no-such-bucket/log")
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("log/1", [b"x"]),
        lambda: store.put("log/1", [b"x"]),
        lambda: store.get("log/1"),
        lambda: store.list(""),
        lambda: store.delete_many(["a", "b"]),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFoundError)


def test_an_unreachable_server(open_s3: Open) -> None:
    store = open_s3(endpoint_url="http://127.0.0.1:9", **IMPATIENT)
    for call in (lambda: store.get("log/1"), lambda: store.list(""), lambda: store.put("a", [b""])):
        with pytest.raises(StoreUnavailableError, match="no answer") as caught:
            call()
        assert caught.value.retriable
    # The second try of a request that was carried out looks the same, so this is a doubt.
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.UNKNOWN


def test_denied_reads(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    s3.denied = True
    for call in (lambda: store.get("log/1"), lambda: store.head("a"), lambda: store.list("")):
        with pytest.raises(StoreAccessError, match="403"):
            call()


# --- faults of what may be repeated ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refuse", "reset", "hang", "truncate"])
def test_a_read_is_repeated(s3: FakeS3Server, open_s3: Open, kind: Any) -> None:
    store = open_s3(**IMPATIENT)
    store.put("a", [b"0123456789" * 1000])
    s3.fault("GET", kind, times=2, seconds=0.5)
    assert store.get("a", 5, 15) == b"5678901234"
    assert s3.injected[kind] >= 1


def test_a_read_gives_up(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    store.put("a", [b"x"])
    s3.fault("GET", "refuse", times=None)
    with pytest.raises(StoreUnavailableError, match="503 SlowDown"):
        store.get("a")
    assert s3.requests["GET"] == 3


@pytest.mark.parametrize("operation", ["PUT", "HEAD", "LIST", "DELETE"])
def test_other_requests_are_repeated(s3: FakeS3Server, open_s3: Open, operation: Any) -> None:
    store = open_s3()
    s3.fault(operation, "refuse")
    store.put("a", [b"x"])
    assert store.head("a") is not None
    assert len(store.list("")) == 1
    store.delete_many(["a", "b"])
    assert store.list("") == []
    assert s3.injected["refuse"] == 1


def test_a_server_that_ignores_ranges(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    store.put("a", [b"0123456789"])
    s3.fault("GET", "whole", times=None)
    assert store.get("a", 2, 5) == b"234"
    assert store.get("a", 7) == b"789"
    assert store.get("a", 0, 3) == b"012"


def test_a_page_that_fails_fails_the_listing(s3: FakeS3Server, open_s3: Open) -> None:
    store = open_s3()
    s3._keys_per_page_max = 2
    for number in range(6):
        store.put(f"log/{number}", [b""])
    s3.fault("LIST", "refuse", skip=1, times=None)
    with pytest.raises(StoreUnavailableError):
        store.list("log/")


def test_a_listing_out_of_order_is_refused(runtime: SystemRuntime) -> None:
    class Disorderly(FakeS3Server):
        def _list(self, request: Request, objects: Any) -> Answer:
            answer = super()._list(request, objects)
            answer.body = answer.body.replace(b"log/1", b"log/9")
            return answer

    with Disorderly() as server:
        store = open_store(server.url, server.storage_options, Settings(), runtime)
        for number in (1, 2):
            store.put(f"log/{number}", [b""])
        with pytest.raises(StoreError, match="out of order"):
            store.list("log/")
        store.close()


def test_a_refused_key_of_a_deletion_is_an_error(runtime: SystemRuntime) -> None:
    class Refusing(FakeS3Server):
        def _carry_out(self, request: Request) -> Answer:
            answer = super()._carry_out(request)
            if request.method == "POST":
                answer.body = (
                    b"<DeleteResult><Error><Key>log/a</Key><Code>AccessDenied</Code>"
                    b"<Message>no</Message></Error></DeleteResult>"
                )
            return answer

    with Refusing() as server:
        store = open_store(server.url, server.storage_options, Settings(), runtime)
        with pytest.raises(StoreAccessError, match="s3://streamhouse/log/a"):
            store.delete_many(["a", "b"])
        store.close()


# --- credentials, options, life time ---------------------------------------------------------------


def test_credentials_are_never_shown(
    s3: FakeS3Server, open_s3: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "streamhouse")
    secrets = {"key": "AKIAVERYPRIVATE", "secret": "s3cr3tv4lu3", "token": "t0k3nv4lu3"}
    host = s3.endpoint_url.removeprefix("http://")
    stores = [
        open_s3(**secrets),
        open_s3(**secrets, endpoint_url="http://127.0.0.1:9"),
        open_s3(**secrets, endpoint_url=f"http://me:s3cr3tv4lu3@{host}"),
        open_s3(**secrets, endpoint_url="not a url s3cr3tv4lu3"),
        open_s3(**secrets, client_kwargs={"region_name": "not a region"}),
    ]
    shown = [caplog.text]
    for store in stores:
        shown += [repr(store), store.url]
        for call in (lambda s=store: s.get("a"), lambda s=store: s.put_if_absent("a", [b""])):
            try:
                shown.append(repr(call()))
            except StoreError as error:
                shown += [str(error), repr(error), *traceback.format_exception(error)]
    shown.append(caplog.text)
    assert any("InvalidAccessKeyId" in text for text in shown)
    for secret in secrets.values():
        assert [text for text in shown if secret in text] == []


def test_no_credentials(s3: FakeS3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    options = {"endpoint_url": s3.endpoint_url}
    store = open_store(s3.url, options, Settings(), SystemRuntime())
    for call in (lambda: store.get("a"), lambda: store.put_if_absent("a", [b""])):
        with pytest.raises(StoreAccessError, match="no usable credentials"):
            call()
    store.close()


def test_unknown_options_are_refused_with_a_hint(s3: FakeS3Server, open_s3: Open) -> None:
    with pytest.raises(InvalidSettingError, match=r"'endpoint'.*did you mean 'endpoint_url'"):
        open_s3(endpoint="http://x")
    with pytest.raises(InvalidSettingError, match="'asynchronous'"):
        open_s3(asynchronous=True)
    assert s3.requests.total() == 0


def s3_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "streamhouse-s3"]


def test_close_leaves_nothing_behind(s3: FakeS3Server) -> None:
    store = open_store(s3.url, s3.storage_options, Settings(), SystemRuntime())
    assert s3_threads() == []
    store.put("a", [b""])
    assert s3_threads() == ["streamhouse-s3"]
    store.close()
    assert s3_threads() == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del store
        gc.collect()


def test_a_forgotten_store_stops_its_thread(s3: FakeS3Server) -> None:
    store = open_store(s3.url, s3.storage_options, Settings(), SystemRuntime())
    store.put("a", [b""])
    del store
    gc.collect()
    assert s3_threads() == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_connects_anew(open_s3: Open) -> None:
    store = open_s3()
    store.put("a", [b"parent"])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        answers.put([store.get("a"), store.put_if_absent("b", [b"child"]), len(s3_threads())])
        store.close()

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert answers.get() == [b"parent", PutOutcome.CREATED, 1]
    assert store.get("b") == b"child"


def test_of_many_processes_one_creates_each_object(s3: FakeS3Server, worker: Callable[..., Any]) -> None:
    options = json.dumps(s3.storage_options)
    writers = [worker("race", s3.url, options, number, 40) for number in range(3)]
    for process in writers:
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    won = [json.loads(process.stdout.readline()) for process in writers]
    assert sorted(number for numbers in won for number in numbers) == list(range(40))
