"""Kafka's record batches, against the readers and writers of Python's Kafka clients.

The clients make an object per record; columns are made of these, as a gateway in Python would do instead.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.bench.data import records, row, seconds

_BATCH_BYTES = 1_000_000  # librdkafka's batch.size
_ROUNDS = 15
_MANY = 50_000
_OURS = "ours"
_MS_RECORDS = 50  # that share a millisecond


class Case(NamedTuple):
    """Records of one kind.

    Attributes:
        name: In the table.
        value_bytes: Of a value, on average.
        varied: Whether values differ in length, by half of that in both directions.
        keys: Whether there are keys, of 16 bytes.
        headers: Whether each record has a ``traceparent``.
        count: Number of records; 0: as many as make a megabyte.
        codec: Name of what they are compressed with.
    """

    name: str
    value_bytes: int = 100
    varied: bool = True
    keys: bool = True
    headers: bool = False
    count: int = 0
    codec: str = "NONE"


_CASES = [
    Case("100 B, one length, no keys", varied=False, keys=False),
    Case("100 B, one length, keys", varied=False),
    Case("100 B, no keys", keys=False),
    Case("100 B, keys"),
    Case("100 B, keys, a header", headers=True),
    Case("1 KB, one length, keys", 1_000, varied=False),
    Case("1 KB, keys", 1_000),
    Case("10 KB, keys", 10_000),
    *[Case(f"100 B, keys, batch of {count}", count=count) for count in (1, 10, 140, 1_000, 100_000)],
    *[Case(f"100 B, keys, {codec.lower()}", codec=codec) for codec in ("GZIP", "SNAPPY", "LZ4", "ZSTD")],
]


def run() -> None:
    """Parse and build batches; millions of records a second, megabytes of keys, values and headers."""
    warm = bytearray(30 << 20)  # so that freed memory is not given back to the system in between
    del warm
    for case in _CASES:
        _run(case)


def _run(case: Case) -> None:
    from streamhouse.format.columns import columns_from_lists
    from streamhouse.kafka.batches.build import build_batch
    from streamhouse.kafka.batches.compression import Codec
    from streamhouse.kafka.batches.parse import parse_batch

    lists = _lists(case)
    columns = columns_from_lists(*lists)
    count, size = columns.count, columns.payload_bytes
    codec = Codec[case.codec]
    data = build_batch(columns, 0, count, 0, codec=codec)
    assert parse_batch(data).columns == columns
    parse, build = "parse", "build"
    works = {
        (parse, _OURS): lambda: parse_batch(data),
        (build, _OURS): lambda: build_batch(columns, 0, count, 0, codec=codec),
    }
    for peer in ("aiokafka", "kafka-python"):
        works[parse, peer], works[build, peer] = _peer(peer, lists, data, int(codec))
    took = _fastest(works, count)
    for work in (parse, build):
        ours, aiokafka, kafka_python = [took[work, who] for who in (_OURS, "aiokafka", "kafka-python")]
        row(
            f"{work} {case.name} / aiokafka",
            f"{aiokafka / ours:.2f}",
            f"{count / ours / 1e6:.2f} M records/s, {size / ours / 1e6:.0f} MB/s; aiokafka "
            f"{count / aiokafka / 1e6:.2f} M, kafka-python {count / kafka_python / 1e6:.2f} M",
        )


def _fastest(works: dict[Any, Callable[[], Any]], count: int) -> dict[Any, float]:
    """Seconds of each at its best; they take turns, so that what else the machine does befalls them all."""
    times = max(1, 200 // count)  # one batch of one record is too short to time
    took = dict.fromkeys(works, float("inf"))
    for _ in range(_ROUNDS if count < _MANY else _ROUNDS // 5):
        for name, work in works.items():
            took[name] = min(took[name], seconds(lambda work=work: [work() for _ in range(times)]) / times)
    return took


def _lists(case: Case) -> tuple[Any, ...]:
    dice = random.Random(1)
    count = case.count or _BATCH_BYTES // (case.value_bytes + (16 if case.keys else 0))
    keys, texts = records(count)
    values = []
    for text in texts:
        size = case.value_bytes
        if case.varied:
            size = dice.randrange(size // 2, size * 3 // 2)
        values.append((text * (size // len(text) + 1))[:size])
    stamps = [1_700_000_000_000 + place // _MS_RECORDS for place in range(count)]
    headers = None
    if case.headers:
        headers = [(("traceparent", b"00-%032x-%016x-01" % (place, place)),) for place in range(count)]
    return (keys if case.keys else None), values, stamps, headers


def _peer(name, lists, data, codec) -> tuple[Callable[[], None], Callable[[], None]]:
    """What parses and what builds the batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if name == "aiokafka":
            from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
        else:
            from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
    from streamhouse.format.columns import columns_from_lists

    keys, values, stamps, headers = lists
    keys = keys or [None] * len(values)
    pairs = [list(each) for each in headers or [()] * len(values)]

    def parse() -> None:
        batch = DefaultRecordBatch(bytearray(data))
        assert batch.validate_crc()
        rows = [(record.key, record.value, record.timestamp, record.headers) for record in batch]
        columns_from_lists(*zip(*rows, strict=True))

    def build() -> None:
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=codec,
            is_transactional=False,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=1 << 30,
        )
        for offset, (stamp, key, value, each) in enumerate(zip(stamps, keys, values, pairs, strict=True)):
            builder.append(offset, stamp, key, value, each)
        builder.build()

    return parse, build
