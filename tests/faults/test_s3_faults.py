"""A log on an S3 server that misbehaves: what was acknowledged is there, once, and in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import streamhouse
from streamhouse.errors import (
    CorruptionError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
    StoreUnsafeError,
    StreamhouseError,
)
from streamhouse.format import names
from streamhouse.testing.s3server import FakeS3Server

COUNT = 12


@pytest.fixture
def server() -> Iterator[FakeS3Server]:
    with FakeS3Server() as running:
        yield running


def open_log(server: FakeS3Server, **settings: object) -> streamhouse.Log:
    fast = {"linger_seconds": 0.0, "poll_seconds_min": 0.01, "poll_seconds_max": 0.05}
    return streamhouse.Log(server.url, storage_options=server.storage_options, **{**fast, **settings})


def write_and_read(server: FakeS3Server, **settings: object) -> None:
    """Send records while faults strike, then look from outside."""
    with open_log(server, **settings) as log:
        log.create_topic("t")
        with log.producer() as producer:
            offsets = []
            for number in range(COUNT):
                delivery = producer.send("t", b"%d" % number)
                if number % 3 == 0:
                    offsets.append(delivery.result().offset)
        assert offsets == list(range(0, COUNT, 3))
    server.clear_faults()
    with open_log(server) as log:
        assert [record.value for record in log.read("t")] == [b"%d" % n for n in range(COUNT)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lost-answer", {}),
        ("refuse", {"status": 503, "code": "SlowDown"}),
        ("refuse", {"status": 429, "code": "TooManyRequests"}),
        ("refuse", {"status": 500, "code": "InternalError"}),
        ("refuse", {"status": 409, "code": "ConditionalRequestConflict"}),
        ("delay", {"seconds": 0.05}),
    ],
)
@pytest.mark.parametrize("matching", [names.LOG, names.LANES])
def test_faults_of_writing(server: FakeS3Server, kind: str, options: dict, matching: str) -> None:
    inline = 0 if matching == names.LANES else 1_000_000
    server.fault("PUT", kind, match=matching, times=6, skip=2, **options)  # type: ignore[arg-type]
    write_and_read(server, inline_bytes_max=inline)
    assert sum(server.injected.values()) > 0


@pytest.mark.parametrize("kind", ["flip", "truncate", "refuse", "delay"])
def test_faults_of_reading_pass(server: FakeS3Server, kind: str) -> None:
    """A bit that flips on the way is right at the next read."""
    with open_log(server) as log:
        log.create_topic("t")
        with log.producer() as producer:
            for number in range(COUNT):
                producer.send("t", b"%d" % number).result()
    server.fault("GET", kind, match=names.LOG, times=1, seconds=0.05)  # type: ignore[arg-type]
    with open_log(server) as log:
        assert [record.value for record in log.read("t")] == [b"%d" % n for n in range(COUNT)]
    assert server.injected[kind] == 1


def test_a_flipped_bit_in_the_bucket_is_an_error_that_names_the_object(server: FakeS3Server) -> None:
    with open_log(server, inline_bytes_max=0) as log:
        log.create_topic("t")
        with log.producer() as producer:
            producer.send_many("t", [b"a" * 100, b"b" * 100]).result()
        server.fault("GET", "flip", match=names.LANES, times=None)
        with pytest.raises(CorruptionError, match=names.LANES):
            list(log.read("t"))


def test_short_listings_are_read_to_the_end() -> None:
    with FakeS3Server(keys_per_page_max=3) as server:
        for _ in range(3):
            with open_log(server, snapshot_commits=10) as log:
                log.create_topic("t", exist_ok=True)
                with log.producer() as producer:
                    for number in range(15):
                        producer.send("t", b"%d" % number).result()
                log.upkeep()
        with open_log(server) as log:
            assert len(list(log.read("t"))) == 45


def test_conflicts_without_a_reason_are_understood() -> None:
    with FakeS3Server(plain_conflicts=True) as server:
        server.fault("PUT", "lost-answer", match=names.LOG, times=3, skip=1)
        write_and_read(server)


def test_a_store_that_ignores_conditions_is_refused() -> None:
    with FakeS3Server(ignore_conditions=True) as server:
        with pytest.raises(StoreUnsafeError, match="single_writer"):
            open_log(server)
        with open_log(server, single_writer=True) as log:
            log.create_topic("t")
        with pytest.raises(StoreUnsafeError):
            open_log(server)


def test_denied(server: FakeS3Server) -> None:
    server.denied = True
    with pytest.raises(StoreAccessError) as caught:
        open_log(server)
    for secret in (server.storage_options["secret"], server.storage_options["key"]):
        assert secret not in str(caught.value)


def test_credentials_that_expire_fail_the_delivery_and_later_ones_work(server: FakeS3Server) -> None:
    with open_log(server) as log:
        log.create_topic("t")
        producer = log.producer()
        producer.send("t", b"1").result()
        server.denied = True
        with pytest.raises(StoreAccessError):
            producer.send("t", b"2").result()
        server.denied = False
        assert producer.send("t", b"3").result().offset == 1
        producer.close()
        assert [record.value for record in log.read("t")] == [b"1", b"3"]


def test_unreachable() -> None:
    with FakeS3Server() as server:
        options = server.storage_options
    with pytest.raises(StoreUnavailableError):
        streamhouse.Log(server.url, storage_options=options)


def test_no_such_bucket(server: FakeS3Server) -> None:
    with pytest.raises(StoreError, match="absent-bucket"):
        streamhouse.Log("s3://absent-bucket/log", storage_options=server.storage_options)


def test_an_object_deleted_underneath_is_an_error_that_names_it(server: FakeS3Server) -> None:
    with open_log(server, inline_bytes_max=0) as log:
        log.create_topic("t")
        with log.producer() as producer:
            producer.send_many("t", [b"a"]).result()
        bucket = server.buckets["streamhouse"]
        for key in [key for key in bucket if names.LANES in key]:
            del bucket[key]
        with pytest.raises(StreamhouseError, match=names.LANES):
            list(log.read("t"))


def test_an_outage_is_waited_out(server: FakeS3Server) -> None:
    with open_log(server) as log:
        log.create_topic("t")
        with log.producer() as producer:
            server.fault("PUT", "refuse", times=None)
            server.fault("GET", "refuse", times=None)
            delivery = producer.send("t", b"patient")
            with pytest.raises(TimeoutError):
                delivery.result(timeout=0.5)
            server.clear_faults()
            assert delivery.result(timeout=30).offset == 0


def test_a_delivery_that_times_out_says_that_the_outcome_is_unknown(server: FakeS3Server) -> None:
    with open_log(server, delivery_timeout_seconds=1.0) as log:
        log.create_topic("t")
        producer = log.producer()
        server.fault("PUT", "refuse", times=None)
        with pytest.raises(streamhouse.errors.DeliveryTimeoutError, match="unknown"):
            producer.send("t", b"late").result()
        server.clear_faults()
        assert producer.send("t", b"next").result().offset >= 0
        producer.close()
        values = [record.value for record in log.read("t")]
        assert values in ([b"next"], [b"late", b"next"])
