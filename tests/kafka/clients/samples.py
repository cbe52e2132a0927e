"""Records that are hard on somebody, and what is compared of them whoever reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import streamhouse

NOW_MS = 1_700_000_000_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Sample(NamedTuple):
    """A record, as every client can send and read it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = NOW_MS


SAMPLES: Sequence[Sample] = (
    Sample(b"key", b"value"),
    Sample(None, b"no key"),
    Sample(b"", b"an empty key"),
    Sample(b"no value", None),
    Sample(b"an empty value", b""),
    Sample(None, None),
    Sample(b"\x00\xff\xfe", bytes(range(256))),
    Sample("schlüssel".encode(), "größe ✓".encode(), timestamp=1),
    Sample(b"headers", b"v", (("a", b"1"), ("a", b"2"), ("null", None), ("empty", b""), ("ü", b"\xff"))),
    Sample(b"earlier", b"v", timestamp=NOW_MS - 86_400_000),
    Sample(b"later", b"v", timestamp=NOW_MS + 1),
    Sample(b"long", b"x" * 70_000),
)


def stored(log: streamhouse.Log, topic: str) -> list[Sample]:
    """What the native API reads, in the order of offsets."""
    return [Sample(record.key, record.value, record.headers, record.timestamp) for record in log.read(topic)]


def store(log: streamhouse.Log, topic: str, samples: Sequence[Sample] = SAMPLES) -> None:
    """Written by the native API."""
    with log.producer() as producer:
        for key, value, headers, timestamp in samples:
            producer.send(topic, value, key=key, headers=list(headers), timestamp=timestamp)
        producer.flush()


def until(done: Callable[[], object], seconds: float = 20.0, pause: float = 0.01) -> None:
    """Wait until something is so; that it becomes so counts, not how soon."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(pause)
