"""Throughput on a local directory with fsync, as ratios."""

from __future__ import annotations

import time

import lz4.block

import streamhouse
from tests.bench.data import best, folder, records, row, seconds

_RECORDS = 1_000_000
_BATCH = 100_000
_CHUNK = 1 << 20
_MOCK_RECORDS = 40_000
_MOCK_POLL = 2_000
_ROUNDS = 10


def run() -> None:
    """Write and read a million records of 116 bytes."""
    keys, values = records(_RECORDS)
    raw = b"".join(keys) + b"".join(values)
    chunks = [raw[at : at + _CHUNK] for at in range(0, len(raw), _CHUNK)]
    packed = [lz4.block.compress(chunk, store_size=False) for chunk in chunks]
    row(
        "records",
        f"{_RECORDS:,}",
        f"{len(raw) / 1e6:.0f} MB, LZ4 ratio {len(raw) / sum(map(len, packed)):.2f}",
    )
    with folder() as place, streamhouse.Log(place) as log:
        compress = best(lambda: lz4.block.compress(raw, store_size=False))
        row("raw lz4.block compression", f"{len(raw) / compress / 1e6:.0f} MB/s")
        for partitions in (1, 3):
            _send_many(log, f"many-{partitions}", partitions, keys, values, len(raw), compress)
        decompress = best(lambda: _decompress(chunks, packed))
        row("raw lz4.block decompression, 1 MB at a time", f"{len(raw) / decompress / 1e6:.0f} MB/s")
        _read_batches(log, len(raw), decompress)
    _read_again(keys, values)
    _one_by_one(keys[:500_000], values[:500_000])


def _decompress(chunks: list[bytes], packed: list[bytes]) -> None:
    for chunk, data in zip(chunks, packed, strict=True):
        lz4.block.decompress(data, uncompressed_size=len(chunk))


def _send_many(log, topic, partitions, keys, values, size, yardstick) -> None:
    log.create_topic(topic, partitions=partitions)

    def work() -> None:
        with log.producer() as producer:
            for at in range(0, len(keys), _BATCH):
                producer.send_many(topic, values[at : at + _BATCH], keys=keys[at : at + _BATCH])

    took = seconds(work)
    row(
        f"send_many, durable, {partitions} partition(s) / raw compression",
        f"{yardstick / took:.2f}",
        f"{len(keys) / took / 1e6:.2f} M records/s, {size / took / 1e6:.0f} MB/s; wanted: 0.6",
    )


def _read_batches(log, size, yardstick) -> None:
    """Cold: through a second Log, whose cache is empty."""
    with streamhouse.Log(log.url, cache_bytes_max=0) as cold:
        for name in ("many-1", "many-3"):
            with cold.consumer(name, start="earliest") as consumer:
                began, count = time.perf_counter(), 0
                while batches := consumer.poll_batches(timeout=0):
                    count += sum(map(len, batches))
                took = time.perf_counter() - began
            assert count == _RECORDS, count
            row(
                f"poll_batches of {name} / raw decompression",
                f"{yardstick / took:.2f}",
                f"{count / took / 1e6:.2f} M records/s, {size / took / 1e6:.0f} MB/s; wanted: 0.5",
            )


def _read_again(keys, values) -> None:
    """Record by record, against confluent-kafka reading the same records from its mock cluster."""
    ours = theirs = 0.0
    with folder() as place, streamhouse.Log(place) as log:
        log.create_topic("records")
        with log.producer() as producer:
            producer.send_many("records", values, keys=keys)
        with log.consumer("records", start="earliest") as consumer:
            began, count = time.perf_counter(), 0
            for record in consumer:
                record.value  # noqa: B018 - the same work as confluent's message.value()
                count += 1
                if count == len(keys):
                    break
            ours = count / (time.perf_counter() - began)
    theirs = _confluent_consume(keys, values)
    row(
        "iteration, record by record / confluent-kafka consume()",
        f"{ours / theirs:.2f}",
        f"{ours / 1e6:.2f} / {theirs / 1e6:.2f} M records/s; wanted: 1",
    )


def _confluent_consume(keys: list[bytes], values: list[bytes]) -> float:
    """Records a second. The mock cluster keeps 5 MB of a partition, so those are read again and again."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

    producer = Producer({**_MOCK, "queue.buffering.max.messages": 2_000_000})
    settings = {"bootstrap.servers": _bootstrap(producer), "group.id": "g", "log_level": 2}
    for key, value in zip(keys[:_MOCK_RECORDS], values, strict=False):
        producer.produce("records", value, key, partition=0)
    producer.flush()
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.partition.eof": True})
    spent, count = 0.0, 0
    for _ in range(_ROUNDS):
        consumer.assign([TopicPartition("records", 0, OFFSET_BEGINNING)])
        consumer.consume(1, timeout=5.0)  # also pays for connecting
        full = True
        while full:
            began = time.perf_counter()
            messages = consumer.consume(_MOCK_POLL, timeout=0.5)
            for message in messages:
                message.value()  # the same work as looking at record.value
            full = len(messages) == _MOCK_POLL and not messages[-1].error()
            if full:  # the last one waits for records that do not come
                spent += time.perf_counter() - began
                count += len(messages)
    consumer.close()
    return count / spent


_MOCK = {
    "test.mock.num.brokers": 1,
    "bootstrap.servers": "mock",
    "linger.ms": 5,
    "queue.buffering.max.kbytes": 2_000_000,
    "log_level": 2,
}


def _bootstrap(producer) -> str:
    """The address of the mock cluster, which its own client knows."""
    return ",".join(f"{b.host}:{b.port}" for b in producer.list_topics().brokers.values())


def _one_by_one(keys: list[bytes], values: list[bytes]) -> None:
    """``send`` per record, against confluent-kafka's ``produce`` loop and its mock cluster."""
    from confluent_kafka import Producer

    theirs = Producer({**_MOCK, "queue.buffering.max.messages": 2_000_000})
    theirs.list_topics()

    def produce() -> None:
        for key, value in zip(keys, values, strict=True):
            theirs.produce("sends", value, key)

    their_loop = seconds(produce)
    their_total = their_loop + seconds(theirs.flush)
    with folder() as place, streamhouse.Log(place, buffer_bytes_max=1 << 30) as log:
        log.create_topic("sends")
        producer = log.producer()

        def send() -> None:
            for key, value in zip(keys, values, strict=True):
                producer.send("sends", value, key=key)

        our_loop = seconds(send)
        our_total = our_loop + seconds(producer.flush)
        producer.close()
    for name, mine, other, wanted in (
        ("send() loop / produce() loop", our_loop, their_loop, "; wanted: 2"),
        ("the same until all is acknowledged (ours on the disk)", our_total, their_total, ""),
    ):
        row(
            name,
            f"{other / mine:.2f}",
            f"{len(keys) / mine / 1e6:.2f} / {len(keys) / other / 1e6:.2f} M records/s{wanted}",
        )
