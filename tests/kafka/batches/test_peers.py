"""The record batches of other people's clients, both ways: kafka-python's and aiokafka's."""

from __future__ import annotations

import warnings

import aiokafka.record.default_records as of_aiokafka
import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.format.columns import columns_from_lists
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec, compress
from streamhouse.kafka.batches.parse import parse_batch
from tests.format import strategies
from tests.kafka.batches import naive

with warnings.catch_warnings():  # kafka-python reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.record.default_records as of_kafka_python

PEERS = pytest.mark.parametrize("peer", [of_aiokafka, of_kafka_python], ids=["aiokafka", "kafka-python"])
CODECS = pytest.mark.parametrize("codec", list(Codec))

# Clients do not produce records of extreme times, and overflow when they read some.
times = st.integers(0, 2**45)
rows = strategies.rows().flatmap(
    lambda rows: st.one_of(times, st.lists(times, min_size=len(rows[1]), max_size=len(rows[1]))).map(
        lambda stamps: (rows[0], rows[1], stamps, rows[3])
    )
)


def written(peer, codec, rows, **producer) -> bytes:
    """A batch as the peer's producer makes it."""
    keys, values, stamps, headers = strategies.spelled_out(rows)
    builder = peer.DefaultRecordBatchBuilder(
        magic=2,
        compression_type=int(codec),
        is_transactional=producer.get("transactional", False),
        producer_id=producer.get("producer_id", -1),
        producer_epoch=producer.get("epoch", -1),
        base_sequence=producer.get("sequence", -1),
        batch_size=1 << 30,
    )
    for offset, entry in enumerate(zip(stamps, keys, values, map(list, headers), strict=True)):
        assert builder.append(offset, *entry) is not None
    return bytes(builder.build())


def read(peer, data: bytes):
    """Offsets and rows as the peer's consumer sees them."""
    batch = peer.DefaultRecordBatch(bytearray(data))
    assert batch.validate_crc()
    records = list(batch)
    return [record.offset for record in records], (
        [record.key for record in records],
        [record.value for record in records],
        [record.timestamp for record in records],
        [tuple(map(tuple, record.headers)) for record in records],
    )


@PEERS
@CODECS
@settings(max_examples=30)
@given(rows=rows)
def test_what_they_produce_is_parsed(peer, codec, rows):
    batch = parse_batch(written(peer, codec, rows))
    assert batch.columns == strategies.columns_of(rows)
    assert not batch.append_time


@PEERS
@CODECS
@settings(max_examples=30)
@given(rows=rows, base_offset=st.integers(0, 2**50))
def test_what_is_built_they_consume(peer, codec, rows, base_offset):
    columns = strategies.columns_of(rows)
    data = build_batch(columns, 0, columns.count, base_offset, codec=codec)
    offsets, found = read(peer, data)
    assert offsets == list(range(base_offset, base_offset + columns.count))
    assert found == strategies.spelled_out(rows)


@PEERS
@CODECS
def test_large_batches(peer, codec):
    columns = naive.random_columns(8, 3_000, 300)
    rows = strategies.rows_of(columns)
    assert parse_batch(written(peer, codec, rows)).columns == columns
    offsets, found = read(peer, build_batch(columns, 0, columns.count, 0, codec=codec))
    assert offsets == list(range(columns.count))
    assert found == rows


@PEERS
def test_what_they_say_of_the_producer(peer):
    rows = ([b"k"], [b"v"], 5, None)
    data = written(peer, Codec.NONE, rows, transactional=True, producer_id=77, epoch=3, sequence=1_000)
    batch = parse_batch(data)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (77, 3, 1_000)
    assert batch.transactional


def test_they_read_snappy_in_both_framings():
    """As the batches of a topic come from Java's producers and from librdkafka's."""
    columns = columns_from_lists(None, [b"v" * 9_000] * 9, 5, None)
    body = build_batch(columns, 0, 9, 0)[61:]
    packed = {"java": compress(Codec.SNAPPY, body), "raw": bytes(cramjam.snappy.compress_raw(body))}
    for framing in packed.values():
        data = naive.batch(framing, 9, attributes=Codec.SNAPPY, base_timestamp=5, timestamp_max=5)
        assert parse_batch(data).columns == columns
        for peer in (of_aiokafka, of_kafka_python):
            assert read(peer, data)[1] == strategies.rows_of(columns)
